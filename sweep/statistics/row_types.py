"""What are the rows of the statistics' files? One frozen class a file; its fields are the columns."""

from collections.abc import Iterable
from dataclasses import dataclass, fields

from sweep.store.csv_files import csv_text


@dataclass(frozen=True)
class IntervalRow:
    """How sure one mean AUROC is. value: a finding, macro_defined, macro_10_positives or macro_competition.

    mean, sd, n, ci95 (half-width), varies, missing, failed, undefined: of sweep.statistics.summary.Summary, over seeds.
    sd_pretraining, sd_downstream, ci95_both_seeds: of inference.TwoWay, with several pretraining seeds.
    patients_low, patients_high: 95% percentile interval of the same mean over seeds under resampling of the test
    patients, these models being given; resamples_defined of resamples have a value.
    """

    dataset: str
    protocol: str
    label_percent: int
    method: str
    display_name: str
    value: str
    n_findings: int
    n_pos: int | None
    n_neg: int | None
    mean: float | None
    sd: float | None
    n: int
    interval: str
    ci95: float | None
    varies: str
    sd_pretraining: float | None
    sd_downstream: float | None
    ci95_both_seeds: float | None
    patients_low: float | None
    patients_high: float | None
    resamples_defined: int | None
    resamples: int | None
    missing: tuple[str, ...]
    failed: tuple[str, ...]
    undefined: tuple[str, ...]


@dataclass(frozen=True)
class MetricRow:
    """AUROC, AUPRC, expected calibration error (15 bins of equal width) and Brier score, means over n seeds.

    finding: or macro_defined, the mean over the findings that have an AUROC. *_ci95: half-widths over seeds.
    """

    dataset: str
    protocol: str
    label_percent: int
    method: str
    display_name: str
    finding: str
    n_pos: int | None
    n_neg: int | None
    prevalence: float | None
    n: int
    auroc: float | None
    auprc: float | None
    auprc_ci95: float | None
    ece: float | None
    ece_ci95: float | None
    brier: float | None
    brier_ci95: float | None


@dataclass(frozen=True)
class ComparisonRow:
    """first - second in macro AUROC: of comparisons.Tested, and the interval under resampling of the patients.

    difference is over the n shared seeds (pretraining seeds where several vary); Holm's correction is within a
    family of one column. patients_low, patients_high: both methods on the same resamples.
    """

    dataset: str
    protocol: str
    label_percent: int
    family: str
    first: str
    second: str
    n: int
    difference: float | None
    ci95: float | None
    t: float | None
    p: float | None
    p_holm: float | None
    wilcoxon_p: float | None
    wilcoxon_p_holm: float | None
    patients_low: float | None
    patients_high: float | None
    resamples_defined: int | None
    resamples: int | None
    left_out: tuple[str, ...]


@dataclass(frozen=True)
class FindingDifferenceRow:
    """AUROC of one finding, method - reference, over the num_cells seeds that both have, with its interval."""

    dataset: str
    protocol: str
    label_percent: int
    finding: str
    method: str
    reference: str
    num_cells: int
    difference: float
    patients_low: float | None
    patients_high: float | None
    resamples_defined: int
    resamples: int


@dataclass(frozen=True)
class RankRow:
    """One method of one critical-difference figure: see sweep.statistics.comparisons.Ranks."""

    scope: str
    blocks_are: str
    method: str
    mean_rank: float
    num_blocks: int
    chi2: float | None
    p: float | None
    critical_difference: float | None
    methods_left_out: tuple[str, ...]
    blocks_left_out: int


@dataclass(frozen=True)
class SubgroupRow:
    """Macro AUROC of a method within one group of test images, mean over num_cells seeds, over n_findings findings.

    The findings are those with both classes in every compared group; fewest_positives is the smallest count of
    positives of any of them in any compared group.
    """

    dataset: str
    protocol: str
    label_percent: int
    method: str
    display_name: str
    attribute: str
    group: str
    n_images: int
    n_patients: int
    n_findings: int
    fewest_positives: int
    num_cells: int
    macro_auroc: float
    patients_low: float | None
    patients_high: float | None
    resamples_defined: int
    resamples: int


@dataclass(frozen=True)
class GapRow:
    """Highest minus lowest group of an attribute, and the interval of the difference of these two groups.

    Both are picked after looking: among more than two groups the gap is larger than that of any two fixed ones.
    """

    dataset: str
    protocol: str
    label_percent: int
    method: str
    display_name: str
    attribute: str
    highest: str
    lowest: str
    n_findings: int
    num_cells: int
    gap: float
    patients_low: float | None
    patients_high: float | None
    resamples_defined: int
    resamples: int


@dataclass(frozen=True)
class GroupSizeRow:
    """Every group of a dataset's test images. compared: whether it has a row in subgroups.csv."""

    dataset: str
    attribute: str
    group: str
    n_images: int
    n_patients: int
    compared: bool


def rows_csv(kind: type, rows: Iterable) -> str:
    """CSV of rows of one class; None is empty, several names are separated by spaces."""
    names = [field.name for field in fields(kind)]
    return csv_text(names, ([_cell(getattr(row, name)) for name in names] for row in rows))


def _cell(value: object) -> object:
    return " ".join(value) if isinstance(value, tuple) else value
