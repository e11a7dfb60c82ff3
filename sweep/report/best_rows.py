"""Which row has the highest mean where: for each dataset and column, and from which others it can be told."""

from dataclasses import dataclass

from sweep.report.narrative import DatasetSummaries, dataset_summaries, separation, verdict
from sweep.statistics.comparisons import Comparisons
from sweep.statistics.summaries import Column


@dataclass(frozen=True)
class BestRow:
    """The row with the highest mean of one column of one dataset. Numbers in percent or points; None where unknown.

    tied: rows that print the same mean. patients: low and high of the interval over patients; ci95 is over seeds.
    separation: from how many rows it cannot be told, in words. lead: over the next row; lead_verdict: on the two.
    reference: the row that others are compared with, None where it is the highest itself. difference, verdict: over
    it; p: over seeds and patients, Holm-corrected over all rows and columns. n: seeds in the mean; complete: every seed
    that was asked for is there.
    """

    column: str
    winner: str
    tied: tuple[str, ...]
    mean: float
    ci95: float | None
    patients: tuple[float, float] | None
    separation: str
    n: int
    complete: bool
    next_row: str | None
    lead: float | None
    lead_verdict: str
    reference: str | None
    difference: float | None
    verdict: str
    p: float | None


def best_rows(comparisons: Comparisons) -> list[tuple[str, list[BestRow]]]:
    """(display name, the best row of each column) of each dataset that has a finished cell."""
    found = []
    for dataset in dataset_summaries(comparisons):
        columns = [_best_row(dataset, column) for column in dataset.layout.columns]
        if any(columns):
            found.append((dataset.display, [best for best in columns if best]))
    return found


def _best_row(dataset: DatasetSummaries, column: Column) -> BestRow | None:
    rows = [name for name, _, _ in dataset.layout.rows]
    best = dataset.best(column, rows)
    if not best:
        return None
    winner, summary = best[0], dataset.summary(best[0], column)
    # A mean over fewer seeds is neither the best nor the next.
    rivals = [row for row in rows if row not in best and dataset.summary(row, column).n == summary.n]
    rival = max(rivals, key=lambda row: dataset.mean(row, column), default=None)
    # Nothing is compared with itself: where the reference is the best there is no difference and no p.
    reference = None if winner == dataset.reference else dataset.reference
    test = dataset.against_reference(column).get(winner)
    return BestRow(
        dataset.title(column),
        dataset.name(winner),
        tuple(map(dataset.name, best[1:])),
        100 * dataset.mean(winner, column),
        None if summary.ci95 is None else 100 * summary.ci95,
        (100 * patients[0], 100 * patients[1]) if (patients := dataset.patients(winner, column)) else None,
        separation(dataset, winner, column),
        summary.n,
        summary.complete,
        dataset.name(rival) if rival else None,
        100 * (dataset.mean(winner, column) - dataset.mean(rival, column)) if rival else None,
        dataset.pair(winner, rival, column) if rival else "",
        dataset.name(reference) if reference else None,
        100 * test.difference if test and test.difference is not None else None,
        verdict(test) if test else "",
        test.p_both_holm_table if test else None,
    )
