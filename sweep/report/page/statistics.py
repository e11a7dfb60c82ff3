"""Which columns of the statistics' files does the page show, under which title, in which unit, and which at first?"""

from dataclasses import dataclass
from typing import Any

from sweep.report.cached_parts import SIDE_BY_SIDE
from sweep.statistics.value_names import MEAN_NAMES


@dataclass(frozen=True)
class Shown:
    """One column of the page. fields: of the file's rows that it is made from. first: shown without asking for more.

    kind: how start.js writes it. text, words (without underscores), method, dataset, evaluation (protocol and
    label_percent), value (a finding or a mean), count; percent and points (x 100), mean (with a half-width), half
    (a half-width alone), range (low and high), all x 100; number, p, verdict (of a p).
    """

    title: str
    kind: str
    fields: tuple[str, ...]
    first: bool = True


def _later(kind: str, **titles: str) -> tuple[Shown, ...]:
    """Columns of one field each that are shown only where all are asked for."""
    return tuple(Shown(title, kind, (field,), False) for field, title in titles.items())


METHOD, DATASET = Shown("Method", "text", ("display_name",)), Shown("Dataset", "dataset", ("dataset",))
EVALUATION = Shown("Evaluation", "evaluation", ("protocol", "label_percent"))
PLACE = (METHOD, DATASET, EVALUATION)
OVER_PATIENTS = Shown("95%, patients", "range", ("patients_low", "patients_high"))
NAME = _later("text", method="Method's name")
WHY_NONE = (
    *_later("words", patients_note="No interval over patients, since"),
    *_later("number", fewest_patients="Fewest patients of a class"),
)
COLUMNS: dict[str, tuple[Shown, ...]] = {
    "intervals.csv": (
        *PLACE,
        Shown("AUROC of", "value", ("value",)),
        Shown("Mean, %", "percent", ("mean",)),
        Shown("95%, seeds", "half", ("ci95",)),
        OVER_PATIENTS,
        Shown("Seeds", "count", ("n",)),
        *_later("count", n_pos="Positive", n_neg="Negative", n_findings="Findings"),
        *_later("percent", sd="SD, seeds", sd_pretraining="SD, pretrainings", sd_downstream="SD, downstream seeds"),
        *_later("half", ci95_both_seeds="95%, both seeds"),
        *_later("text", interval="Quantile", varies="Varies", missing="Missing", failed="Failed"),
        *_later("text", undefined="Undefined"),
        *WHY_NONE,
        *NAME,
    ),
    "metrics.csv": (
        *PLACE,
        Shown("Finding", "value", ("finding",)),
        Shown("AUROC, %", "percent", ("auroc",)),
        Shown("AUPRC, %", "mean", ("auprc", "auprc_ci95")),
        Shown("Calibration error, %", "mean", ("ece", "ece_ci95")),
        Shown("Brier, %", "mean", ("brier", "brier_ci95")),
        *_later("percent", prevalence="Prevalence, %"),
        *_later("count", n_pos="Positive", n_neg="Negative", n="Seeds"),
        *NAME,
    ),
    "comparisons.csv": (
        Shown("First", "method", ("first",)),
        Shown("Second", "method", ("second",)),
        DATASET,
        EVALUATION,
        Shown("Points", "points", ("difference",)),
        Shown("95%, both", "half", ("ci95_both",)),
        Shown("p, table", "p", ("p_both_holm_table",)),
        Shown("Told apart", "verdict", ("p_both_holm_table",)),
        *_later("text", family="Family"),
        *_later("p", p_both="p, both", p_both_holm="p, both, column"),
        *_later("half", ci95="95%, seeds"),
        *_later("p", p="p, seeds", p_holm="p, seeds, column", p_holm_table="p, seeds, table"),
        *_later("number", t="t, seeds"),
        *_later("p", wilcoxon_p="Signed-rank p", wilcoxon_p_holm="Signed-rank p, column"),
        Shown("95%, patients", "range", ("patients_low", "patients_high"), False),
        *_later("percent", patients_se="SE, patients"),
        *_later("number", patients_freedom="Freedom, patients"),
        *_later("count", n="Seeds"),
        *_later("text", left_out="Seeds left out"),
        *WHY_NONE,
    ),
    "finding_differences.csv": (
        Shown("Method", "method", ("method",)),
        Shown("Reference", "method", ("reference",)),
        DATASET,
        EVALUATION,
        Shown("Finding", "value", ("finding",)),
        Shown("Points", "points", ("difference",)),
        OVER_PATIENTS,
        *_later("count", num_cells="Cells"),
        *WHY_NONE,
    ),
    "ranks.csv": (
        Shown("Method", "method", ("method",)),
        Shown("Over", "words", ("scope",)),
        Shown("Mean rank", "number", ("mean_rank",)),
        Shown("Critical difference", "number", ("critical_difference",)),
        Shown("Blocks", "count", ("num_blocks",)),
        Shown("Friedman's p", "p", ("p",)),
        *_later("words", blocks_are="A block is"),
        *_later("number", chi2="Chi-squared"),
        *_later("text", methods_left_out="Methods left out"),
        *_later("count", blocks_left_out="Blocks left out"),
    ),
    "subgroups.csv": (
        *PLACE,
        Shown("By", "value", ("attribute",)),
        Shown("Group", "words", ("group",)),
        Shown("AUROC, %", "percent", ("macro_auroc",)),
        OVER_PATIENTS,
        Shown("Images", "count", ("n_images",)),
        *_later("count", n_patients="Patients", n_findings="Findings", fewest_positives="Fewest positives"),
        *_later("count", num_cells="Cells"),
        *WHY_NONE,
        *NAME,
    ),
    "subgroup_gaps.csv": (
        *PLACE,
        Shown("By", "value", ("attribute",)),
        Shown("Highest", "words", ("highest",)),
        Shown("Lowest", "words", ("lowest",)),
        Shown("Gap, points", "points", ("gap",)),
        OVER_PATIENTS,
        *_later("count", n_findings="Findings", num_cells="Cells"),
        *WHY_NONE,
        *NAME,
    ),
    "subgroup_sizes.csv": (
        DATASET,
        Shown("By", "value", ("attribute",)),
        Shown("Group", "words", ("group",)),
        Shown("Images", "count", ("n_images",)),
        Shown("Patients", "count", ("n_patients",)),
        Shown("Compared", "text", ("compared",)),
    ),
}
SIDE_BY_SIDE_COLUMNS = (
    *PLACE,
    Shown("Mean, %", "mean", ("mean", "ci95")),
    Shown("Other's mean, %", "mean", ("other_mean", "other_ci95")),
    Shown("Points", "points", ("difference",)),
    Shown("95%, both", "half", ("ci95_both",)),
    Shown("p, table", "p", ("p_both_holm_table",)),
    *_later("half", ci95_seeds="95%, seeds"),
    *_later("p", p_both="p, both"),
    Shown("95%, patients", "range", ("patients_low", "patients_high"), False),
    *_later("count", n="Seeds", other_n="Other's seeds", num_shared="Shared seeds", same_cells="Same cells"),
    *_later("text", left_out="Seeds left out", matched_by="Matched by", other_method="Other's name"),
    *WHY_NONE,
    *NAME,
)
COLUMNS[SIDE_BY_SIDE] = SIDE_BY_SIDE_COLUMNS
TITLES = {
    "intervals.csv": "Means and their intervals",
    "metrics.csv": "AUPRC, calibration error, Brier score",
    "comparisons.csv": "Differences of methods",
    "finding_differences.csv": "Differences of findings",
    "ranks.csv": "Ranks",
    "subgroups.csv": "Subgroups",
    "subgroup_gaps.csv": "Gaps between subgroups",
    "subgroup_sizes.csv": "Sizes of subgroups",
    SIDE_BY_SIDE: "Two studies side by side",
}


def columns_value() -> dict[str, Any]:
    """For the page's JSON. columns: file -> [title, kind, fields, first] of each; words: a mean's name -> its words."""
    columns = {name: [[c.title, c.kind, list(c.fields), c.first] for c in COLUMNS[name]] for name in COLUMNS}
    return {"columns": columns, "words": dict(MEAN_NAMES)}
