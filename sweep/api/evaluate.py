"""How good are anybody's scores: AUROC of each finding and their means, with intervals over seeds and over patients."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sweep.api.lazy_pandas import pandas
from sweep.api.no_mean import no_such_mean
from sweep.api.rows import frame_of_rows
from sweep.api.scores import Labelled, labelled, mean_placed, scores_of
from sweep.statistics.inference import half_width, mean, negligible, sd
from sweep.statistics.patient_intervals import mean_interval
from sweep.statistics.summary import MACROS, findings_of_macro
from trainables.evaluation.metrics import FindingAuroc, auroc_per_finding, average_precision


@dataclass(frozen=True)
class Evaluation:
    """One mean over seeds. value: a finding, macro_defined, macro_10_positives or macro_competition.

    n_findings: in the value, 0 where there is no such mean. n_pos, n_neg: images whose label is known, of a finding.
    auroc: mean over the n seeds, empty where a class is absent. sd, ci95 (half-width, Student's): over seeds, empty
    for one seed, and where all are equal. patients_low, patients_high: 95% over patients, of the same mean;
    patients_note: why there is none; fewest_patients: effective patients of the rarest class. auprc: mean over seeds.
    """

    value: str
    n_findings: int
    n_pos: int | None
    n_neg: int | None
    auroc: float | None
    n: int
    sd: float | None
    ci95: float | None
    patients_low: float | None
    patients_high: float | None
    patients_note: str
    fewest_patients: float | None
    auprc: float | None


def evaluate(
    scores: Any, labels: Any, patients: Any = None, findings: Sequence[str] | None = None
) -> "pandas.DataFrame":
    """Means over findings, then each finding, as columns of `sweep.api.evaluate.Evaluation` say.

    scores: (N,) or (N, F), or with S seeds in front, or a list of S frames; higher is more likely. labels: (N,) or
    (N, F) of 1 and 0; None, NaN or masked is unknown, and left out. patients: N names; None: each image is another
    patient's. findings: F names, else those of a frame's columns, else "0", "1" and so on; macro_competition is of
    atelectasis, cardiomegaly, consolidation, edema and pleural_effusion, under these names. Columns of frames are found
    by these names, in any order; rows are not moved: all that have an index must have the same. What each number says:
    docs/statistics.md. Raises ValueError.
    """
    images = labelled(labels, patients, findings)
    (values,) = scores_of({"scores": scores}, images)
    return frame_of_rows(Evaluation, evaluations(values, images))


def evaluations(scores: np.ndarray, images: Labelled) -> list[Evaluation]:
    """scores: (S, N, F)."""
    by_seed = [aurocs(one, images) for one in scores]
    together = mean_placed(scores, images)
    counts: dict[str, tuple[int | None, int | None]] = {f.finding: (f.n_pos, f.n_neg) for f in by_seed[0]}
    auprcs = np.array([[_auprc(one[:, f], images, f) for f in range(len(images.findings))] for one in scores])
    rows = []
    for value, members in members_of(by_seed[0]).items():
        places = [images.findings.index(name) for name in members]
        values = [mean_of(seed, members) for seed in by_seed]
        if places:
            of_patients = mean_interval(together, images.classes, images.in_sentences, places)
        else:
            of_patients = no_such_mean(value, by_seed[0])
        n_pos, n_neg = counts.get(value, (None, None))
        numbers = [one for one in values if one is not None]
        auprc = float(auprcs[:, places].mean()) if places else np.nan
        rows.append(
            Evaluation(
                value,
                len(members),
                n_pos,
                n_neg,
                mean(numbers),
                len(numbers),
                sd(numbers),
                half_width_over_seeds(numbers),
                of_patients.low,
                of_patients.high,
                of_patients.note,
                of_patients.fewest_patients,
                None if np.isnan(auprc) else auprc,
            )
        )
    return rows


def aurocs(scores: np.ndarray, images: Labelled) -> tuple[FindingAuroc, ...]:
    """Of one seed. scores: (N, F)."""
    return auroc_per_finding(scores, images.labels, images.known, images.findings)


def members_of(found: Sequence[FindingAuroc]) -> dict[str, tuple[str, ...]]:
    """Value -> the findings in its mean: macros first, then each finding itself."""
    macros = {kind: findings_of_macro(kind, found) for kind in MACROS}
    return macros | {one.finding: (one.finding,) for one in found}


def mean_of(found: Sequence[FindingAuroc], members: Sequence[str]) -> float | None:
    """AUROC of a value; None where there is no such mean, or one of its findings has none."""
    values = [one.auroc for one in found if one.finding in members]
    numbers = [value for value in values if value is not None]
    return mean(numbers) if len(numbers) == len(values) else None


def half_width_over_seeds(values: Sequence[float]) -> float | None:
    """Of Student's 95% interval; None for one value, and where all are one number, which is no certainty."""
    found = sd(values)
    return None if found is None or negligible(found, values) else half_width(values)


def _auprc(scores: np.ndarray, images: Labelled, f: int) -> float:
    known = images.known[:, f]
    value = average_precision(scores[known], images.labels[known, f])
    return np.nan if value is None else value
