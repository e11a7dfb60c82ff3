"""Which pretraining wins where, at a glance: for each dataset and column the best row, its lead and how sure it is."""

from dataclasses import dataclass

from sweep.report.narrative import ALPHA, DatasetSummaries, dataset_summaries
from sweep.statistics.comparisons import Comparisons
from sweep.statistics.summaries import Column


@dataclass(frozen=True)
class BestRow:
    """One column of one dataset. Numbers in percent or points; None where they cannot be had.

    tied: rows that print the same mean. lead: over the next row. reference: the row that others are compared with, None
    where it wins itself. difference, p: over it, p after Holm's correction over all rows of the column. n: seeds in
    the mean; complete: every seed that was asked for is there.
    """

    column: str
    winner: str
    tied: tuple[str, ...]
    mean: float
    ci95: float | None
    n: int
    complete: bool
    next_row: str | None
    lead: float | None
    reference: str | None
    difference: float | None
    p: float | None

    @property
    def sure(self) -> bool:
        return self.p is not None and self.p < ALPHA


def best_rows(comparisons: Comparisons) -> list[tuple[str, list[BestRow]]]:
    """Display name of each dataset that has a finished cell -> its columns' answers."""
    found = []
    for block in dataset_summaries(comparisons):
        columns = [_best_row(block, column) for column in block.layout.columns]
        if any(columns):
            found.append((block.display, [answer for answer in columns if answer]))
    return found


def _best_row(block: DatasetSummaries, column: Column) -> BestRow | None:
    rows = [name for name, _, _ in block.layout.rows]
    best = block.best(column, rows)
    if not best:
        return None
    winner, summary = best[0], block.summary(best[0], column)
    rivals = [r for r in rows if r not in best and block.summary(r, column).n == summary.n]
    rival = max(rivals, key=lambda r: block.summary(r, column).mean, default=None)
    reference = None if winner == block.reference else block.reference
    test = block.against_reference(column).get(winner)
    return BestRow(
        block.title(column),
        block.name(winner),
        tuple(map(block.name, best[1:])),
        100 * summary.mean,
        None if summary.ci95 is None else 100 * summary.ci95,
        summary.n,
        summary.complete,
        block.name(rival) if rival else None,
        100 * (summary.mean - block.summary(rival, column).mean) if rival else None,
        block.name(reference) if reference else None,
        100 * test.difference if test and test.difference is not None else None,
        test.p_holm if test else None,
    )
