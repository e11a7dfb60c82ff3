"""What are the rows of the statistics' files? One frozen class a file; its fields are the columns, in this order.

Columns that several files share:
- dataset: its name in the study, `chexpert` where it has no other; protocol: LP, LPFT or FT; label_percent: share of
  the training labels that were used, in percent. attribute, group: how test images are grouped.
- method: name of an encoder row; display_name: the same as tables print it.
- n_pos, n_neg: test images whose label of the finding is known to be 1, to be 0; empty for a macro.
- patients_low, patients_high: 95% interval of the row's number over test patients, the models being given
  (sweep.statistics.patient_intervals); patients_note: why there is none, else empty. fewest_patients: smallest
  effective number of patients of one class, positive or negative, in any finding of the number.
AUROCs, their differences and standard deviations are in the unit of AUROC, [0, 1], not in percent. p-values lie in
[0, 1]. An empty field is a number that is not defined or not at hand, never zero.
"""

from collections.abc import Iterable
from dataclasses import dataclass, fields

from sweep.store.csv_files import csv_text


@dataclass(frozen=True)
class IntervalRow:
    """How sure one mean AUROC is. value: a finding, macro_defined, macro_10_positives or macro_competition.

    n_findings: findings in the value, 1 for a finding, 0 where there is no such mean.
    mean, sd, n, interval, ci95 (half-width), varies, missing, failed, undefined: of sweep.statistics.summary.Summary,
    over seeds. sd_pretraining, sd_downstream, ci95_both_seeds: of inference.TwoWay, with several pretraining seeds.
    patients_low, patients_high: of the same mean over seeds.
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
    # Over seeds.
    mean: float | None
    sd: float | None
    n: int
    interval: str
    ci95: float | None
    varies: str
    # Over both kinds of seeds; empty with one pretraining seed and where a value is missing.
    sd_pretraining: float | None
    sd_downstream: float | None
    ci95_both_seeds: float | None
    # Over patients.
    patients_low: float | None
    patients_high: float | None
    patients_note: str
    fewest_patients: float | None
    # Seeds that were asked for and are not in the mean.
    missing: tuple[str, ...]
    failed: tuple[str, ...]
    undefined: tuple[str, ...]


@dataclass(frozen=True)
class MetricRow:
    """AUROC, AUPRC, expected calibration error (15 bins of equal width) and Brier score, means over n seeds.

    finding: or macro_defined, the mean over the findings that have an AUROC. prevalence: n_pos / (n_pos + n_neg).
    n: values in the means, seeds whose predictions are at hand (pretraining seeds where several vary); auroc is over
    all finished seeds. auprc: average precision, without
    interpolation; ece (Guo et al., 2017, for the probability of a finding) and brier (Brier, 1950): 0 is best. All lie
    in [0, 1]. *_ci95: half-widths over seeds.
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
    # Means over seeds, each with the half-width of its interval; that of auroc stands in intervals.csv.
    auroc: float | None
    auprc: float | None
    auprc_ci95: float | None
    ece: float | None
    ece_ci95: float | None
    brier: float | None
    brier_ci95: float | None


@dataclass(frozen=True)
class ComparisonRow:
    """The difference of two methods in one column, first - second in macro AUROC, and how sure it is.

    Of comparisons.Tested, with the interval over patients. family: `against the reference` or `all pairs`. difference
    is over the n shared seeds (pretraining seeds where several vary); ci95: half-width of its t-interval. t, p: of the
    paired t-test over seeds; wilcoxon_p: of the signed-rank test. patients_low, patients_high: both methods on the same
    patients. left_out: seeds that not both methods have. patients_se, patients_freedom: standard error over patients,
    and its degrees of freedom. ci95_both, p_both: over seeds and patients together (sweep/statistics/combined_test.py);
    sentences go by p_both_holm_table. *_holm: with Holm's correction within a family of one column; *_holm_table: over
    that family in all columns of all datasets.
    """

    dataset: str
    protocol: str
    label_percent: int
    family: str
    first: str
    second: str
    # Over seeds.
    n: int
    difference: float | None
    ci95: float | None
    t: float | None
    p: float | None
    p_holm: float | None
    wilcoxon_p: float | None
    wilcoxon_p_holm: float | None
    # Over patients.
    patients_low: float | None
    patients_high: float | None
    patients_note: str
    fewest_patients: float | None
    left_out: tuple[str, ...]
    # Newer columns come last, so that whoever reads columns by number still finds them.
    p_holm_table: float | None = None
    patients_se: float | None = None
    patients_freedom: float | None = None
    ci95_both: float | None = None
    p_both: float | None = None
    p_both_holm: float | None = None
    p_both_holm_table: float | None = None


@dataclass(frozen=True)
class FindingDifferenceRow:
    """How far one finding's AUROC is from the reference's, method - reference, over the seeds that both have.

    num_cells: these seeds. patients_low, patients_high: both methods on the same patients. There is no p-value.
    """

    dataset: str
    protocol: str
    label_percent: int
    finding: str
    method: str
    reference: str
    # Over the shared seeds, and over patients.
    num_cells: int
    difference: float
    patients_low: float | None
    patients_high: float | None
    patients_note: str
    fewest_patients: float | None


@dataclass(frozen=True)
class RankRow:
    """The mean rank of one method among the others, over all columns or over the findings of one column.

    Of sweep.statistics.comparisons.Ranks. scope, blocks_are, num_blocks, chi2, p, critical_difference and what was left
    out are the same in all rows of a scope. mean_rank: 1 is best; critical_difference: in ranks.
    """

    scope: str
    blocks_are: str
    method: str
    mean_rank: float
    # Of the whole figure, repeated in each of its rows.
    num_blocks: int
    chi2: float | None
    p: float | None
    critical_difference: float | None
    methods_left_out: tuple[str, ...]
    blocks_left_out: int


@dataclass(frozen=True)
class SubgroupRow:
    """Macro AUROC of a method within one group of test images, mean over num_cells seeds, over n_findings findings.

    n_images, n_patients: in the group. The findings are those with both classes in every compared group;
    fewest_positives is the smallest count of positives of any of them in any compared group.
    """

    dataset: str
    protocol: str
    label_percent: int
    method: str
    display_name: str
    attribute: str
    group: str
    # Of the group's images and of the findings that it is measured on.
    n_images: int
    n_patients: int
    n_findings: int
    fewest_positives: int
    # Over seeds, and over patients.
    num_cells: int
    macro_auroc: float
    patients_low: float | None
    patients_high: float | None
    patients_note: str
    fewest_patients: float | None


@dataclass(frozen=True)
class GapRow:
    """gap: macro AUROC of the highest minus the lowest group of an attribute; the interval is of these two groups.

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
    # The estimate, and its interval over patients.
    gap: float
    patients_low: float | None
    patients_high: float | None
    patients_note: str
    fewest_patients: float | None


@dataclass(frozen=True)
class GroupSizeRow:
    """Every group of a dataset's test images, with its sizes. compared: whether it has rows in subgroups.csv."""

    dataset: str
    attribute: str
    group: str
    n_images: int
    n_patients: int
    compared: bool


@dataclass(frozen=True)
class SideBySideRow:
    """One place of two studies, this one's mean macro AUROC and the other's, and how far they are apart.

    method: the row's name in this study, other_method in the other; display_name: as this study prints it; matched_by:
    `same recipe`, `same name` or `same method`. The dataset has this study's name. mean, ci95, n: as the table of this
    study has them; other_*: of the other study. difference: this study minus the other over the num_shared seeds that
    both have (pretraining seeds where several vary), with ci95_seeds, its t-interval; same_cells: shared seeds whose
    cells have one key, so that recipes and data are the same. patients_low, patients_high: where both predicted the
    same test images. ci95_both, p_both, p_both_holm_table: over seeds and patients together, the last corrected over
    all places of the file. left_out: seeds that not both have.
    """

    dataset: str
    protocol: str
    label_percent: int
    method: str
    other_method: str
    display_name: str
    matched_by: str
    # As each study's own table prints it.
    mean: float | None
    ci95: float | None
    n: int
    other_mean: float | None
    other_ci95: float | None
    other_n: int
    # Over the seeds that both have.
    num_shared: int
    same_cells: int
    difference: float | None
    ci95_seeds: float | None
    # Over patients, and over both.
    patients_low: float | None
    patients_high: float | None
    patients_note: str
    fewest_patients: float | None
    ci95_both: float | None
    p_both: float | None
    p_both_holm_table: float | None
    left_out: tuple[str, ...]


def rows_csv(kind: type, rows: Iterable[object]) -> str:
    """CSV of rows of one of these classes; None is empty, several names are separated by spaces.

    kind: the class, whose fields are the header, also without rows.
    """
    # The fields' order is the columns' order.
    names = [field.name for field in fields(kind)]
    return csv_text(names, ([_cell(getattr(row, name)) for name in names] for row in rows))


def _cell(value: object) -> object:
    return " ".join(value) if isinstance(value, tuple) else value
