"""Is one set of scores better than another, on the same images? Differences with intervals and one test."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from sweep.api.evaluate import aurocs, half_width_over_seeds, mean_of, members_of
from sweep.api.lazy_pandas import pandas
from sweep.api.no_mean import no_such_mean
from sweep.api.rows import frame_of_rows
from sweep.api.scores import Labelled, labelled, mean_placed, scores_of
from sweep.statistics.combined_test import ErrorPart, combined_half_width, combined_p, patient_part, seed_parts
from sweep.statistics.inference import holm, mean
from sweep.statistics.patient_intervals import difference_interval
from sweep.statistics.placements import Placed, macro_influence
from sweep.statistics.summary import MACROS


@dataclass(frozen=True)
class Comparison:
    """first - second in AUROC. value, n_findings: as of sweep.api.evaluate.Evaluation.

    first, second, difference: means over the n seeds, which are paired. ci95: half-width of the t-interval over seeds.
    patients_low, patients_high, patients_note: 95% over patients. ci95_both, p_both: half-width and two-sided p of no
    difference over patients, and over seeds together with them where there are several (docs/statistics.md); empty
    where a class has fewer than three patients, and where nothing varies. p_both_holm: corrected for all findings, of
    a finding only.
    """

    value: str
    n_findings: int
    first: float | None
    second: float | None
    difference: float | None
    n: int
    ci95: float | None
    patients_low: float | None
    patients_high: float | None
    patients_note: str
    ci95_both: float | None
    p_both: float | None
    p_both_holm: float | None = None


def compare(
    first: Any, second: Any, labels: Any, patients: Any = None, findings: Sequence[str] | None = None
) -> "pandas.DataFrame":
    """Two sets of scores on the same images: means over findings, then each finding, as Comparison says.

    first, second, labels, patients, findings: as of `sweep.evaluate`; both have as many seeds, in one order. Raises
    ValueError.
    """
    images = labelled(labels, patients, findings)
    a, b = scores_of({"first": first, "second": second}, images)
    if len(a) != len(b):
        raise ValueError(f"first has {len(a)} seeds, second {len(b)}: seeds are paired, so give as many of both")
    return frame_of_rows(Comparison, comparisons(a, b, images))


def comparisons(first: np.ndarray, second: np.ndarray, images: Labelled) -> list[Comparison]:
    """first, second: (S, N, F)."""
    means = [mean_placed(scores, images) for scores in (first, second)]
    found = [[aurocs(one, images) for one in scores] for scores in (first, second)]
    rows = [_row(value, members, found, means, images) for value, members in members_of(found[0][0]).items()]
    corrected = iter(holm([row.p_both for row in rows if row.value not in MACROS]))
    return [row if row.value in MACROS else replace(row, p_both_holm=next(corrected)) for row in rows]


def _row(
    value: str, members: tuple[str, ...], found: Sequence[Any], means: Sequence[Placed], images: Labelled
) -> Comparison:
    places = [images.findings.index(name) for name in members]
    pairs = [(mean_of(a, members), mean_of(b, members)) for a, b in zip(*found, strict=True)]
    numbers = [(a, b) for a, b in pairs if a is not None and b is not None]
    differences = [a - b for a, b in numbers]
    if places:
        of_patients = difference_interval(means[0], means[1], images.classes, images.in_sentences, places)
    else:
        of_patients = no_such_mean(value, found[0][0])
    both = _both(differences, means, images, places)
    return Comparison(
        value,
        len(members),
        mean([a for a, _ in numbers]),
        mean([b for _, b in numbers]),
        mean(differences),
        len(differences),
        half_width_over_seeds(differences),
        of_patients.low,
        of_patients.high,
        of_patients.note,
        *both,
    )


def _both(
    differences: Sequence[float], means: Sequence[Placed], images: Labelled, places: Sequence[int]
) -> tuple[float | None, float | None]:
    """Half-width and p over patients and seeds; None where one of them is not known, or nothing varies."""
    total = mean(differences)
    part = _patients(means, images, places)
    seeds = seed_parts([dict(enumerate(differences))]) if len(differences) > 1 else ()
    if total is None or part is None or (len(differences) > 1 and not seeds):
        return None, None
    parts: tuple[ErrorPart, ...] = (*seeds, part)
    if not any(one.se > 0 for one in parts):
        return None, None
    return combined_half_width(parts), combined_p(total, parts)


def _patients(means: Sequence[Placed], images: Labelled, places: Sequence[int]) -> ErrorPart | None:
    if not places:
        return None
    rows = list(places)
    difference = Placed(
        means[0].aurocs[rows] - means[1].aurocs[rows], means[0].influence[rows] - means[1].influence[rows]
    )
    classes = images.classes
    own = replace(classes, codes=classes.codes[:, rows], positive=classes.positive[rows], sizes=classes.sizes[rows])
    return patient_part(macro_influence(difference, own))
