"""What can be said of one column of the table (dataset, protocol, percentage): the rows of all statistics.

Shapes: F findings of the dataset, P patients of its test images.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from sweep.statistics.cell_metrics import QUALITIES, CellMetrics, TestSet
from sweep.statistics.combined_test import ErrorPart, patient_part
from sweep.statistics.comparisons import Comparisons, cells_by_method
from sweep.statistics.patient_intervals import (
    NO_SUCH_MEAN,
    NOT_AT_HAND,
    PatientInterval,
    difference_interval,
    gap_interval,
    mean_interval,
)
from sweep.statistics.placements import Placed, Seeds, macro_influence, over_seeds, over_seeds_placed
from sweep.statistics.row_types import FindingDifferenceRow, GapRow, IntervalRow, MetricRow, SubgroupRow
from sweep.statistics.subgroups import Attribute, widest_gap
from sweep.statistics.summaries import Column, auroc_of
from sweep.statistics.summary import MACRO_DEFINED, MACROS, Summary, findings_of_macro
from sweep.store.records import CellResult
from trainables.evaluation.metrics import FindingAuroc


@dataclass(frozen=True)
class ColumnStatistics:
    """The cells of one column of a study, and everything that is computed from them.

    measures: key of a cell -> what its predictions say, for the cells whose predictions are at hand; empty where tests,
    the test images of the dataset, is None.
    """

    comparisons: Comparisons
    dataset: str
    protocol: str
    label_percent: int
    measures: Mapping[str, CellMetrics]
    tests: TestSet | None

    @property
    def place(self) -> tuple[str, str, int]:
        """dataset, protocol, label_percent: the first columns of every file."""
        return self.dataset, self.protocol, self.label_percent

    @property
    def _column(self) -> Column:
        return self.protocol, self.label_percent

    @property
    def methods(self) -> list[tuple[str, str]]:
        """(name, display name) of every row, in the table's order."""
        return [(name, display) for name, display, _ in self.comparisons.summaries.layout.rows]

    @property
    def cells(self) -> list[CellResult]:
        """All cells of the column, failed and missing ones included."""
        summaries = self.comparisons.summaries
        return [cell for method, _ in self.methods for cell in summaries.cells(method, self.dataset, self._column)]

    @cached_property
    def findings(self) -> tuple[FindingAuroc, ...]:
        """The findings with their counts of positives and negatives; empty where no cell is finished."""
        return self.comparisons.summaries.findings(self.dataset, self._column)

    @cached_property
    def members(self) -> dict[str, tuple[str, ...]]:
        """Value (one of MACROS, or a finding) -> the findings in its mean: a finding is itself."""
        macros = {kind: findings_of_macro(kind, self.findings) for kind in MACROS}
        return macros | {finding.finding: (finding.finding,) for finding in self.findings}

    def summary(self, method: str, value: str) -> Summary:
        """The mean AUROC over seeds of a finding or a macro, in [0, 1]."""
        return self.comparisons.summaries.of(method, self.dataset, self._column, value)

    def quality(self, method: str, name: str, value: str) -> Summary:
        """The mean over seeds of one of QUALITIES, over the cells whose predictions are at hand."""
        # Empty for a macro without a finding: there is no such mean.
        rows = self._rows_of(value)

        def of(cell: CellResult) -> float | None:
            if cell.key not in self.measures or not rows:
                return None
            number = float(self.measures[cell.key].qualities[name][rows].mean())
            return None if np.isnan(number) else number  # NaN: one finding of the value is undefined

        return self.comparisons.summaries.over_seeds(method, self.dataset, self._column, of)

    def _rows_of(self, value: str) -> list[int]:
        """Where the findings of a value stand among the F of the predictions."""
        assert self.tests is not None, "predictions are measured on a test set only"
        return [self.tests.images.findings.index(finding) for finding in self.members[value]]

    @cached_property
    def finished(self) -> dict[str, dict[Seeds, CellResult]]:
        """Method -> its cells that have a macro AUROC. Findings are undefined in all cells or in none.

        That is since all cells of a dataset have the same test images.
        """
        return cells_by_method(self.cells)

    @cached_property
    def _means(self) -> dict[tuple[str, tuple[Seeds, ...]], Placed]:
        # Filled by `placed`: a method is compared with all others, mostly over the same seeds.
        return {}

    def placed(self, method: str, places: Sequence[Seeds]) -> Placed | None:
        """AUROCs and what each patient moves them by, the mean over the cells at these seeds.

        None without seeds, and unless the predictions of all these cells are at hand.
        """
        key = method, tuple(places)
        cells = self.finished.get(method, {})
        if not places or any(cells[place].key not in self.measures for place in places):
            return None
        if key not in self._means:
            self._means[key] = over_seeds_placed({place: self.measures[cells[place].key].placed for place in places})
        return self._means[key]

    def patient_part(self, first: str, second: str) -> ErrorPart | None:
        """What patients do to first - second in macro AUROC, the mean over the seeds that both have.

        None without such seeds, unless the predictions of all these cells are at hand, and where
        `combined_test.patient_part` has none.
        """
        a, b, _ = on_shared_seeds(self, first, second)
        if a is None or b is None or self.tests is None:
            return None
        difference = Placed(a.aurocs - b.aurocs, a.influence - b.influence)
        return patient_part(macro_influence(difference, self.tests.classes))

    def interval(self, placed: Placed | None, value: str, subtracted: Placed | None = None) -> PatientInterval:
        """Over patients, of a finding or a macro: of placed, or of placed - subtracted where that is given."""
        if not self.members[value]:
            return NO_SUCH_MEAN
        if placed is None or self.tests is None:
            return NOT_AT_HAND
        classes, names, rows = self.tests.classes, self.tests.images.findings, self._rows_of(value)
        if subtracted is None:
            return mean_interval(placed, classes, names, rows)
        return difference_interval(placed, subtracted, classes, names, rows)


def interval_rows(column: ColumnStatistics) -> list[IntervalRow]:
    """Every mean of the column with its intervals: for each method the macros, then the findings."""
    counts = {finding.finding: (finding.n_pos, finding.n_neg) for finding in column.findings}
    rows = []
    for method, display in column.methods:
        # Over the finished cells, as the mean is; a method whose predictions are not all at hand has no interval.
        placed = column.placed(method, list(column.finished.get(method, ())))
        for value, members in column.members.items():
            s = column.summary(method, value)
            both = s.both_seeds
            n_pos, n_neg = counts.get(value, (None, None))
            over_patients = column.interval(placed, value)
            rows.append(
                IntervalRow(
                    *column.place,
                    method=method,
                    display_name=display,
                    value=value,
                    n_findings=len(members),
                    n_pos=n_pos,
                    n_neg=n_neg,
                    mean=s.mean,
                    sd=s.sd,
                    n=s.n,
                    interval=s.interval,
                    ci95=s.ci95,
                    varies=s.varies,
                    sd_pretraining=None if both is None else both.sd_pretraining,
                    sd_downstream=None if both is None else both.sd_downstream,
                    ci95_both_seeds=None if both is None else both.ci95,
                    patients_low=over_patients.low,
                    patients_high=over_patients.high,
                    patients_note=over_patients.note,
                    fewest_patients=over_patients.fewest_patients,
                    missing=s.missing,
                    failed=s.failed,
                    undefined=s.undefined,
                )
            )
    return rows


def metric_rows(column: ColumnStatistics) -> list[MetricRow]:
    """AUPRC, calibration error and Brier score of each method: the macro, then the findings.

    None where the test images are not known.
    """
    if column.tests is None:
        return []
    counts = {finding.finding: (finding.n_pos, finding.n_neg) for finding in column.findings}
    rows = []
    for method, display in column.methods:
        for value in (MACRO_DEFINED, *counts):
            n_pos, n_neg = counts.get(value, (None, None))
            known = None if n_pos is None or n_neg is None else n_pos + n_neg
            found = {name: column.quality(method, name, value) for name in QUALITIES}
            rows.append(
                MetricRow(
                    *column.place,
                    method=method,
                    display_name=display,
                    finding=value,
                    n_pos=n_pos,
                    n_neg=n_neg,
                    prevalence=n_pos / known if n_pos is not None and known else None,
                    n=found["brier"].n,  # defined for every cell whose predictions are at hand
                    auroc=column.summary(method, value).mean,
                    auprc=found["auprc"].mean,
                    auprc_ci95=found["auprc"].ci95,
                    ece=found["ece"].mean,
                    ece_ci95=found["ece"].ci95,
                    brier=found["brier"].mean,
                    brier_ci95=found["brier"].ci95,
                )
            )
    return rows


def on_shared_seeds(
    column: ColumnStatistics, first: str, second: str
) -> tuple[Placed | None, Placed | None, tuple[Seeds, ...]]:
    """Two methods over the seeds that both have, and these."""
    shared = tuple(sorted(column.finished.get(first, {}).keys() & column.finished.get(second, {}).keys()))
    return column.placed(first, shared), column.placed(second, shared), shared


def finding_difference_rows(column: ColumnStatistics) -> list[FindingDifferenceRow]:
    """Every method against the reference, for each defined finding, where predictions of both are at hand."""
    rows: list[FindingDifferenceRow] = []
    reference = column.comparisons.reference
    for method, _ in column.methods:
        if reference is None or method == reference:
            continue
        a, b, shared = on_shared_seeds(column, method, reference)
        if a is None or b is None:
            continue
        ours, theirs = column.finished[method], column.finished[reference]
        for finding in (f.finding for f in column.findings if f.auroc is not None):
            # Of each shared cell first, then the mean that tables print: an unfinished seed of one method has no part.
            differences = {
                seeds: np.array(_defined(ours[seeds], finding) - _defined(theirs[seeds], finding)) for seeds in shared
            }
            over_patients = column.interval(a, finding, b)
            rows.append(
                FindingDifferenceRow(
                    *column.place,
                    finding=finding,
                    method=method,
                    reference=reference,
                    num_cells=len(shared),
                    difference=float(over_seeds(differences)),
                    patients_low=over_patients.low,
                    patients_high=over_patients.high,
                    patients_note=over_patients.note,
                    fewest_patients=over_patients.fewest_patients,
                )
            )
    return rows


def _defined(cell: CellResult, finding: str) -> float:
    auroc = auroc_of(cell, finding)
    assert auroc is not None, f"{cell.key}: {finding} has an AUROC in other cells of the same test images"
    return auroc


def subgroup_rows(column: ColumnStatistics) -> tuple[list[SubgroupRow], list[GapRow]]:
    """Groups and gaps of every method, over its cells whose predictions are at hand; none where a cell's are not."""
    rows: list[SubgroupRow] = []
    gaps: list[GapRow] = []
    if column.tests is None:
        return rows, gaps
    names = column.tests.images.findings
    for method, display in column.methods:
        cells = column.finished.get(method, {})
        if not cells or any(cell.key not in column.measures for cell in cells.values()):
            continue
        # The groups of a cell's measures stand in the order of the test set's attributes.
        for number, attribute in enumerate(column.tests.attributes):
            if attribute.compared:
                parts = [
                    {seeds: column.measures[cell.key].groups[number][g] for seeds, cell in cells.items()}
                    for g in range(len(attribute.compared))
                ]
                placed = [over_seeds_placed(part) for part in parts]
                findings = [name for name, used in zip(names, attribute.findings, strict=True) if used]
                groups, gap = _attribute_rows((*column.place, method, display), attribute, findings, placed, len(cells))
                rows += groups
                gaps += gap
    return rows, gaps


def _attribute_rows(
    head: tuple[str, str, int, str, str],
    attribute: Attribute,
    findings: Sequence[str],
    placed: Sequence[Placed],
    num_cells: int,
) -> tuple[list[SubgroupRow], list[GapRow]]:
    """Of one method and attribute: a row for each compared group, and the gap where there are two groups or more.

    head: place, method and display name, the first fields of both kinds of rows. findings: names of the attribute's
    findings; placed: of each compared group, the mean over num_cells cells.
    """
    values = np.array([group.aurocs.mean() for group in placed])
    num_findings = len(findings)
    assert attribute.fewest_positives is not None, f"{attribute.name}: compared groups have positives"
    rows: list[SubgroupRow] = []
    for g, group in enumerate(attribute.compared):
        size = attribute.groups.index(group)
        over_patients = mean_interval(placed[g], attribute.classes[g], findings, range(num_findings))
        rows.append(
            SubgroupRow(
                *head,
                attribute=attribute.name,
                group=group,
                n_images=attribute.num_images[size],
                n_patients=attribute.num_patients[size],
                n_findings=num_findings,
                fewest_positives=attribute.fewest_positives,
                num_cells=num_cells,
                macro_auroc=float(values[g]),
                patients_low=over_patients.low,
                patients_high=over_patients.high,
                patients_note=over_patients.note,
                fewest_patients=over_patients.fewest_patients,
            )
        )
    if len(attribute.compared) < 2:
        return rows, []
    highest, lowest = widest_gap(values)
    # The two groups stay those of the estimate: with other patients another pair may be widest.
    first, second = ((placed[g], attribute.classes[g]) for g in (highest, lowest))
    over_patients = gap_interval(first, second, findings)
    gap = GapRow(
        *head,
        attribute=attribute.name,
        highest=attribute.compared[highest],
        lowest=attribute.compared[lowest],
        n_findings=num_findings,
        num_cells=num_cells,
        gap=float(values[highest] - values[lowest]),
        patients_low=over_patients.low,
        patients_high=over_patients.high,
        patients_note=over_patients.note,
        fewest_patients=over_patients.fewest_patients,
    )
    return rows, [gap]
