"""A row of Tables 2 to 7: one finding, or a mean of findings, under each method, and what its cells say."""

from dataclasses import dataclass

from sweep.report.tables.main_table import OVER_PATIENTS
from sweep.report.tables.table_text import NO_VALUE, mean_and_interval, patients_range
from sweep.statistics.summary import FEW_POSITIVES, Summary


@dataclass(frozen=True)
class FindingEntry:
    """One finding under one method: our mean AUROC, in [0, 1]. `published` is the paper's, in percent.

    best: whether it is its row's highest; mark: the letter of its footnote, empty without one. patients: as of
    main_table.Entry.
    """

    summary: Summary
    best: bool
    mark: str
    published: float | None
    patients: tuple[float, float] | None = None

    @property
    def text(self) -> str:
        """`70.00 ± 2.48`, in percent; `-` without a mean."""
        return mean_and_interval(self.summary.mean, self.summary.ci95)

    @property
    def difference(self) -> float | None:
        """Ours minus the paper's, in percentage points."""
        if self.published is None or self.summary.mean is None:
            return None
        return 100 * self.summary.mean - self.published


@dataclass(frozen=True)
class FindingRow:
    """One finding, with an entry for each method; without a name a row of means over findings.

    n_pos, n_neg: positive and negative test images, fewest and most over cells; None in the row of the means.
    published_prevalence: in percent, None where the paper has no such row.
    """

    finding: str
    display: str
    n_pos: tuple[int, int] | None
    n_neg: tuple[int, int] | None
    entries: tuple[FindingEntry, ...]
    published_prevalence: float | None = None

    @property
    def prevalence(self) -> float | None:
        """Positives among the known test labels, in percent; None where they are unknown or differ between cells."""
        if self.n_pos is None or self.n_neg is None:
            return None
        if self.n_pos[0] != self.n_pos[1] or self.n_neg[0] != self.n_neg[1]:
            return None
        known = self.n_pos[0] + self.n_neg[0]
        return 100 * self.n_pos[0] / known if known else None

    @property
    def few(self) -> bool:
        """Whether some cell has fewer than FEW_POSITIVES positive test images."""
        return self.n_pos is not None and self.n_pos[0] < FEW_POSITIVES


def counts_of(row: FindingRow) -> tuple[str, str]:
    """Prevalence and n_pos as they are printed; empty in a row of means."""
    if not row.finding:
        return "", ""
    return NO_VALUE if row.prevalence is None else f"{row.prevalence:.2f}", str(shown_range(row.n_pos))


def shown_range(counts: tuple[int, int] | None) -> int | str | None:
    """A count that is the same in all cells as a number, else `30 to 31`."""
    if counts is None:
        return None
    return counts[0] if counts[0] == counts[1] else f"{counts[0]} to {counts[1]}"


def reference_of(row: FindingRow) -> list[tuple[str, list[str]]]:
    """(label, a text for each column but the first) of intervals over patients, published values and differences."""
    lines = []
    if any(entry.patients is not None for entry in row.entries):
        lines.append((OVER_PATIENTS, ["", "", *(patients_range(entry.patients) for entry in row.entries)]))
    if all(entry.published is None for entry in row.entries):
        return lines
    # Under n_pos both lines are empty: the paper prints no counts.
    prevalence = NO_VALUE if row.published_prevalence is None else f"{row.published_prevalence:.2f}"
    published = [NO_VALUE if e.published is None else f"{e.published:.2f}" for e in row.entries]
    differences = [NO_VALUE if e.difference is None else f"{e.difference:+.2f}" for e in row.entries]
    return [*lines, ("published", [prevalence, "", *published]), ("difference", ["", "", *differences])]
