"""How far would an AUROC, a mean of AUROCs or a difference move with other patients? Intervals of 95%.

DeLong's variance, clustered by patient, with one more patient of each class whose images score at chance, on the probit
scale, with Student's quantile. Why, and how well it covers: docs/statistics.md. The added patient is what Agresti and
Coull (1998) add to a proportion: without it AUROC 1.0 has no variance, and where few patients are positive the
variance is too small whenever the estimate is too high, since those who would be missed are not among them.

For a value sum of w_f A_f over findings f, with D of placements.py, T = sum of w_f D_f, d = A - 1/2, m and n the
effective positive and negative patients of f:
    Vp, Vn = sum of D_f^2 over positive patients, over the others
    a_f = w_f^2 (d^2 / (m + 1)^2 + d^2 / (n + 1)^2 - Vp / m - Vn / n)     what the added patients change in var(w_f A_f)
    s_f = -d (Vp' / (m + 1) + Vn' / (n + 1)) / (Vp' + Vn')                where to they move A_f; ' with its part of a_f
    r_f = squared correlation of w_f A_f with the value
    centre = sum of w_f (A_f + r_f s_f),  variance = T.T + sum of r_f a_f
One finding has r = 1: the patients are simply added. In a mean of many, which is less skewed, each counts by its share.

The difference of two methods on the same images is not bounded near where it lies, and what is rare is a patient on
whom they differ: nobody is added, the scale is AUROC, and it takes more patients.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr, ndtri, stdtrit

from sweep.statistics.placements import Classes, Placed
from sweep.statistics.value_names import in_sentence

FEWEST_PATIENTS = 10  # effective patients of either class; below them the coverage depends on the scores' distribution
FEWEST_IN_ALL = 50  # of both classes: below them the interval covers too much
FEWEST_IN_DIFFERENCE = 100  # patients of the rarer class over all findings; with 50 it covers 91 to 98%
# Student's degrees of freedom are those of the variance (Satterthwaite, 1946), and these. By simulation: with none the
# interval covers 97 to 98% at 10 positives, with infinitely many 92%.
ADDED_FREEDOM = 10
NO_SPREAD = 1e-12  # AUROC; a standard error below it is rounding


@dataclass(frozen=True)
class PatientInterval:
    """low, high: in AUROC, both None where there is no interval; note: why there is none, empty where there is one.

    fewest_patients: smallest effective number of patients of one class in any finding of the value,
    None where that is not known.
    """

    low: float | None
    high: float | None
    note: str
    fewest_patients: float | None


NO_SUCH_MEAN = PatientInterval(None, None, "no finding of the mean has an AUROC", None)
NOT_AT_HAND = PatientInterval(None, None, "predictions are not at hand", None)


@dataclass(frozen=True)
class Term:
    """A weighted sum of findings on one set of images. placed: over all F findings; rows: those in the sum.

    weight: of each of them. names: (F,) of the findings, for notes.
    """

    placed: Placed
    classes: Classes
    names: Sequence[str]
    rows: Sequence[int]
    weight: float

    def total(self) -> np.ndarray:
        """(num_patients of the test set,): what each patient moves the sum by."""
        moved = np.zeros(self.classes.num_patients)
        moved[self.classes.patients] = self.weight * self.placed.influence[list(self.rows)].sum(axis=0)
        return moved


def mean_interval(placed: Placed, classes: Classes, names: Sequence[str], rows: Sequence[int]) -> PatientInterval:
    """Of the mean AUROC of one or more findings. placed: of one cell, or the mean of several; rows: of the findings."""
    return _interval([Term(placed, classes, names, rows, 1 / len(rows))], is_difference=False)


def difference_interval(
    first: Placed, second: Placed, classes: Classes, names: Sequence[str], rows: Sequence[int]
) -> PatientInterval:
    """Of first - second, the mean over findings, both on the same images."""
    difference = Placed(first.aurocs - second.aurocs, first.influence - second.influence)
    return _interval([Term(difference, classes, names, rows, 1 / len(rows))], is_difference=True, add=False)


def gap_interval(
    first: tuple[Placed, Classes], second: tuple[Placed, Classes], names: Sequence[str]
) -> PatientInterval:
    """Of the mean over all findings in one set of images minus that in another one, which may share patients."""
    rows = range(len(names))
    signs = (1 / len(names), -1 / len(names))
    terms = [Term(*part, names, rows, sign) for part, sign in zip((first, second), signs, strict=True)]
    return _interval(terms, is_difference=True)


def _interval(terms: Sequence[Term], is_difference: bool, add: bool = True) -> PatientInterval:
    """add: whether the patients at chance are added."""
    sizes = np.concatenate([term.classes.sizes[list(term.rows)] for term in terms])
    fewest = float(sizes.min())
    if note := _too_few(terms) or (_too_few_in_difference(sizes) if is_difference else ""):
        return PatientInterval(None, None, note, fewest)
    total = np.sum([term.total() for term in terms], axis=0)
    parts = [_moments(term, total, add) for term in terms]
    own, shift, of_classes, covariance = (np.concatenate(part) for part in zip(*parts, strict=True))
    added = own - of_classes.sum(axis=1)  # a_f; own: var(w_f A_f) with the added patients, of_classes: without them
    raw = float(total @ total)
    with_all = raw + float(added.sum())
    if with_all <= NO_SPREAD**2:
        return PatientInterval(None, None, "no patient moves it", fewest)
    share = np.clip((covariance + added) ** 2 / np.maximum(own * with_all, NO_SPREAD**4), 0, 1)
    spread = float(np.sqrt(raw + share @ added))
    freedom = of_classes.sum() ** 2 / max((of_classes**2 / sizes).sum(), NO_SPREAD**4)
    half = float(stdtrit(freedom + ADDED_FREEDOM, 0.975)) * spread
    estimate = float(sum(term.weight * term.placed.aurocs[list(term.rows)].sum() for term in terms))
    return PatientInterval(*_limits(estimate, estimate + float(share @ shift), half, is_difference), "", fewest)


def _limits(estimate: float, centre: float, half: float, is_difference: bool) -> tuple[float, float]:
    """low, high; widened to hold the estimate, which the added patients can move the centre away from."""
    if is_difference:
        low, high = max(centre - half, -1.0), min(centre + half, 1.0)
    else:
        # On the probit scale: the derivative of the normal quantile at p is 1 / density(quantile).
        place = float(ndtri(centre))
        half *= np.sqrt(2 * np.pi) * np.exp(place**2 / 2)
        low, high = float(ndtr(place - half)), float(ndtr(place + half))
    return min(low, estimate), max(high, estimate)


def _moments(term: Term, total: np.ndarray, add: bool) -> tuple[np.ndarray, ...]:
    """For the K findings of a term: var(w A) with the added patients, w s, (K, 2) var(w A) by class, covariances.

    total: (num_patients,), what each patient moves the whole value by; the covariances are with that.
    """
    rows = list(term.rows)
    influence = term.weight * term.placed.influence[rows]
    positive, sizes = term.classes.positive[rows], term.classes.sizes[rows]
    away = term.weight * (term.placed.aurocs[rows] - 0.5)
    squares = influence**2
    all_squares, of_positive = squares.sum(axis=1), (squares * positive).sum(axis=1)
    of_classes = np.stack([of_positive, all_squares - of_positive], axis=1)
    if not add:
        return of_classes.sum(axis=1), np.zeros(len(rows)), of_classes, influence @ total[term.classes.patients]
    with_added = of_classes * (1 - 1 / sizes) + (away[:, None] / (sizes + 1)) ** 2
    own = with_added.sum(axis=1)
    shift = -away * (with_added / (sizes + 1)).sum(axis=1) / np.maximum(own, NO_SPREAD**4)
    return own, shift, of_classes, influence @ total[term.classes.patients]


def _too_few(terms: Sequence[Term]) -> str:
    """Which findings have too few patients for an interval, in words; empty where none has."""
    few: dict[str, list[str]] = {}
    for term in terms:
        for row in term.rows:
            positive, negative = term.classes.sizes[row]
            for what, is_few in (
                (f"{FEWEST_PATIENTS} positive patients", positive < FEWEST_PATIENTS),
                (f"{FEWEST_PATIENTS} negative patients", negative < FEWEST_PATIENTS),
                (f"{FEWEST_IN_ALL} patients", positive + negative < FEWEST_IN_ALL),
            ):
                if is_few:
                    few.setdefault(what, [])
                    if term.names[row] not in few[what]:
                        few[what].append(term.names[row])
                    break
    return "; ".join(f"fewer than {what}: {', '.join(map(in_sentence, names))}" for what, names in few.items())


def _too_few_in_difference(sizes: np.ndarray) -> str:
    """A difference of K findings is carried by (sum 1 / k)^2 / sum 1 / k^3 patients, k being those of the rarer class.

    These are Satterthwaite's degrees of freedom with variances of 1 / k: k for one finding, K k for K like it. From the
    labels alone, so that whether there is an interval does not depend on what it would say. sizes: (K, 2).
    """
    rarer = sizes.min(axis=1)
    carried = (1 / rarer).sum() ** 2 / (1 / rarer**3).sum()
    if carried >= FEWEST_IN_DIFFERENCE * (1 - 1e-9):  # 100 is 100, whatever its rounding
        return ""
    return f"fewer than {FEWEST_IN_DIFFERENCE} patients of the rarer class carry the difference"
