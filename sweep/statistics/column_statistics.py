"""What can be said of one column of the table (dataset, protocol, percentage): the rows of all statistics."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from sweep.statistics.bootstrap import percentile_interval
from sweep.statistics.cell_metrics import QUALITIES, CellMetrics, TestSet
from sweep.statistics.comparisons import Comparisons, cells_by_method
from sweep.statistics.row_types import ComparisonRow, FindingDifferenceRow, GapRow, IntervalRow, MetricRow, SubgroupRow
from sweep.statistics.subgroups import widest_gap
from sweep.statistics.summaries import auroc_of
from sweep.statistics.summary import MACRO_DEFINED, MACROS, Summary, findings_of_macro
from sweep.store.records import CellResult
from trainables.evaluation.metrics import FindingAuroc

Seeds = tuple[int, int]  # pretraining seed, downstream seed


def over_seeds(vectors: Mapping[Seeds, np.ndarray]) -> np.ndarray:
    """The mean that tables print: over the downstream seeds of each pretraining, then over pretrainings."""
    groups: dict[int, list[np.ndarray]] = {}
    for (pretrain_seed, _), vector in vectors.items():
        groups.setdefault(pretrain_seed, []).append(vector)
    return np.mean([np.mean(group, axis=0) for group in groups.values()], axis=0)


def patients_interval(values: np.ndarray | None) -> tuple[float | None, float | None, int | None, int | None]:
    """patients_low, patients_high, resamples_defined, resamples; all None without resamples."""
    if values is None:
        return None, None, None, None
    interval = percentile_interval(values)
    return interval.low, interval.high, interval.defined, interval.num


@dataclass(frozen=True)
class ColumnStatistics:
    """The cells of one column of a study. measures: key -> what its predictions say."""

    comparisons: Comparisons
    dataset: str
    protocol: str
    label_percent: int
    measures: Mapping[str, CellMetrics]
    tests: TestSet | None

    @property
    def place(self) -> tuple[str, str, int]:
        return self.dataset, self.protocol, self.label_percent

    @property
    def methods(self) -> list[tuple[str, str]]:
        return [(name, display) for name, display, _ in self.comparisons.summaries.layout.rows]

    @property
    def cells(self) -> list[CellResult]:
        place = self.dataset, (self.protocol, self.label_percent)
        return [cell for method, _ in self.methods for cell in self.comparisons.summaries.cells(method, *place)]

    @cached_property
    def findings(self) -> tuple[FindingAuroc, ...]:
        return self.comparisons.summaries.findings(self.dataset, (self.protocol, self.label_percent))

    @cached_property
    def members(self) -> dict[str, tuple[str, ...]]:
        """Value -> the findings in it: a finding is itself."""
        macros = {kind: findings_of_macro(kind, self.findings) for kind in MACROS}
        return macros | {finding.finding: (finding.finding,) for finding in self.findings}

    def summary(self, method: str, value: str) -> Summary:
        """The mean AUROC over seeds of a finding or a macro."""
        return self.comparisons.summaries.of(method, self.dataset, (self.protocol, self.label_percent), value)

    def quality(self, method: str, name: str, value: str) -> Summary:
        """The mean over seeds of one of QUALITIES, over the cells whose predictions are at hand."""
        rows = self._rows_of(value)

        def of(cell: CellResult) -> float | None:
            if cell.key not in self.measures or not rows:
                return None
            number = float(self.measures[cell.key].qualities[name][rows].mean())
            return None if np.isnan(number) else number

        column = self.protocol, self.label_percent
        return self.comparisons.summaries.over_seeds(method, self.dataset, column, of)

    def _rows_of(self, value: str) -> list[int]:
        return [self.tests.images.findings.index(finding) for finding in self.members[value]]

    @cached_property
    def finished(self) -> dict[str, dict[Seeds, CellResult]]:
        """Method -> its cells that have a macro AUROC. Findings are undefined in all cells or in none."""
        return cells_by_method(self.cells)

    @cached_property
    def _means(self) -> dict[tuple[str, tuple[Seeds, ...]], np.ndarray]:
        return {}

    def resampled(self, method: str, places: Sequence[Seeds]) -> np.ndarray | None:
        """(F, num) AUROCs in each resample, the mean over the cells at these seeds; None unless all have measures."""
        key = method, tuple(places)
        cells = self.finished.get(method, {})
        if not places or any(cells[place].key not in self.measures for place in places):
            return None
        if key not in self._means:
            self._means[key] = over_seeds({place: self.measures[cells[place].key].resampled for place in places})
        return self._means[key]

    def value_of(self, resampled: np.ndarray | None, value: str) -> np.ndarray | None:
        """(num,) of a finding or macro, NaN where one of its findings is undefined. resampled: (F, num)."""
        if resampled is None or not self.members[value]:
            return None
        return resampled[self._rows_of(value)].mean(axis=0)


def interval_rows(column: ColumnStatistics) -> list[IntervalRow]:
    counts = {finding.finding: (finding.n_pos, finding.n_neg) for finding in column.findings}
    rows = []
    for method, display in column.methods:
        resampled = column.resampled(method, list(column.finished.get(method, ())))
        for value, members in column.members.items():
            s = column.summary(method, value)
            both = s.both_seeds
            rows.append(
                IntervalRow(
                    *column.place,
                    method,
                    display,
                    value,
                    len(members),
                    *counts.get(value, (None, None)),
                    s.mean,
                    s.sd,
                    s.n,
                    s.interval,
                    s.ci95,
                    s.varies,
                    both and both.sd_pretraining,
                    both and both.sd_downstream,
                    both and both.ci95,
                    *patients_interval(column.value_of(resampled, value)),
                    s.missing,
                    s.failed,
                    s.undefined,
                )
            )
    return rows


def metric_rows(column: ColumnStatistics) -> list[MetricRow]:
    if column.tests is None:
        return []
    counts = {finding.finding: (finding.n_pos, finding.n_neg) for finding in column.findings}
    rows = []
    for method, display in column.methods:
        for value in (MACRO_DEFINED, *counts):
            n_pos, n_neg = counts.get(value, (None, None))
            prevalence = n_pos / (n_pos + n_neg) if n_pos is not None and n_pos + n_neg else None
            found = {name: column.quality(method, name, value) for name in QUALITIES}
            auroc = column.summary(method, value)
            rows.append(
                MetricRow(
                    *column.place,
                    method,
                    display,
                    value,
                    n_pos,
                    n_neg,
                    prevalence,
                    found["brier"].n,
                    auroc.mean,
                    *(number for name in QUALITIES for number in (found[name].mean, found[name].ci95)),
                )
            )
    return rows


def comparison_rows(column: ColumnStatistics) -> list[ComparisonRow]:
    rows = []
    for tested in column.comparisons.tested[column.place]:
        c = tested.comparison
        vector = None
        if column.members[MACRO_DEFINED]:
            a, b, _ = _both(column, c.first, c.second)
            vector = None if a is None or b is None else column.value_of(a - b, MACRO_DEFINED)
        rows.append(
            ComparisonRow(
                *column.place,
                tested.family,
                c.first,
                c.second,
                c.n,
                c.difference,
                c.ci95,
                c.t,
                c.p,
                c.p_holm,
                c.wilcoxon_p,
                c.wilcoxon_p_holm,
                *patients_interval(vector),
                tested.left_out,
            )
        )
    return rows


def _both(
    column: ColumnStatistics, first: str, second: str
) -> tuple[np.ndarray | None, np.ndarray | None, tuple[Seeds, ...]]:
    """(F, num) of two methods over the seeds that both have, and these."""
    places = tuple(sorted(column.finished.get(first, {}).keys() & column.finished.get(second, {}).keys()))
    return column.resampled(first, places), column.resampled(second, places), places


def finding_difference_rows(column: ColumnStatistics) -> list[FindingDifferenceRow]:
    """Every method against the reference, for each defined finding, where predictions of both are at hand."""
    rows, reference = [], column.comparisons.reference
    for method, _ in column.methods:
        if reference is None or method == reference:
            continue
        a, b, places = _both(column, method, reference)
        if a is None or b is None:
            continue
        ours, theirs = column.finished[method], column.finished[reference]
        for finding in (f.finding for f in column.findings if f.auroc is not None):
            difference = over_seeds(
                {p: np.float64(auroc_of(ours[p], finding) - auroc_of(theirs[p], finding)) for p in places}
            )
            rows.append(
                FindingDifferenceRow(
                    *column.place,
                    finding,
                    method,
                    reference,
                    len(places),
                    float(difference),
                    *patients_interval(column.value_of(a - b, finding)),
                )
            )
    return rows


def subgroup_rows(column: ColumnStatistics) -> tuple[list[SubgroupRow], list[GapRow]]:
    """Groups and gaps of every method, over its cells whose predictions are at hand; none where a cell's are not."""
    rows, gaps = [], []
    for method, display in column.methods if column.tests is not None else ():
        cells = column.finished.get(method, {})
        if not cells or any(cell.key not in column.measures for cell in cells.values()):
            continue
        for number, attribute in enumerate(column.tests.attributes):
            if not attribute.compared:
                continue
            parts = {place: column.measures[cell.key].groups[number] for place, cell in cells.items()}
            values = over_seeds({place: part.values for place, part in parts.items()})
            resampled = over_seeds({place: part.resampled for place, part in parts.items()})
            start = (*column.place, method, display, attribute.name)
            num_findings = int(attribute.findings.sum())
            for g, group in enumerate(attribute.compared):
                size = attribute.groups.index(group)
                rows.append(
                    SubgroupRow(
                        *start,
                        group,
                        attribute.num_images[size],
                        attribute.num_patients[size],
                        num_findings,
                        attribute.fewest_positives,
                        len(cells),
                        float(values[g]),
                        *patients_interval(resampled[g]),
                    )
                )
            if len(attribute.compared) > 1:
                high, low = widest_gap(values)
                gaps.append(
                    GapRow(
                        *start,
                        attribute.compared[high],
                        attribute.compared[low],
                        num_findings,
                        len(cells),
                        float(values[high] - values[low]),
                        *patients_interval(resampled[high] - resampled[low]),
                    )
                )
    return rows, gaps
