"""How much does each patient move an AUROC? DeLong's placements, summed over the images of a patient.

With V the placement of an image (placement_kernel.py), A the AUROC and M, N its positive and negative images, patient i
moves A by
    D_i = a / M x sum over its positives (V - A)  +  b / N x sum over its negatives (V - A)
and sum of D_i^2 estimates var(A) when patients are independent and their images are not (Obuchowski, 1997); with one
image of each patient it is the variance of DeLong, DeLong and Clarke-Pearson (1988). D is linear in A: a mean or a
difference of AUROCs on the same patients has the mean or difference of the D.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

# Effective patients of each class of a finding whose differences are tested: one says nothing of how patients vary, and
# two agree by chance so often that equal rows are told apart in up to 10% of studies, with three in at most 4%.
FEWEST_TESTED = 3
Seeds = tuple[int, int]  # pretraining seed, downstream seed


@dataclass(frozen=True)
class Classes:
    """Who is positive and who is negative in a set of images, finding by finding.

    codes: (N, F) int8, the label, or -1 for an image that has no part: unknown, or outside of a subgroup.
    rows: (N,) int32, the place of each image's patient in patients; patients: (P,) int32, numbers of the patients with
    an image in the set, among the num_patients of the whole test set.
    positive: (F, P) bool, whether a patient has a positive image.
    sizes: (F, 2), the effective number of positive and of negative patients, (sum k)^2 / sum k^2 for patients with k
    images of the class (Kish, 1965): their number if all have as many, less if few patients have most of the images.
    """

    codes: np.ndarray
    rows: np.ndarray
    patients: np.ndarray
    num_patients: int
    positive: np.ndarray
    sizes: np.ndarray


def classes_of(labels: np.ndarray, known: np.ndarray, patient_ids: Sequence[str] | np.ndarray) -> Classes:
    """Of the images with known labels. labels, known: (N, F), labels of 1 and 0; patient_ids: (N,).

    Raises ValueError for shapes that do not fit together.
    """
    labels, known = np.asarray(labels), np.asarray(known, dtype=bool)
    names, numbers = np.unique(np.asarray(patient_ids), return_inverse=True)
    if labels.shape != known.shape or len(labels) != len(numbers):
        raise ValueError(
            f"labels {labels.shape}, known {known.shape}, {len(numbers)} patient ids: all must be of the same images "
            "and findings"
        )
    # A patient none of whose images has a part (in a subgroup, most) takes no memory.
    patients, rows = np.unique(np.where(known.any(axis=1), numbers, -1), return_inverse=True)
    if len(patients) and patients[0] == -1:
        patients, rows = patients[1:], np.maximum(rows - 1, 0)  # images without a part are never looked at
    codes = np.where(known, labels, -1).astype(np.int8)
    counts = [_images_of_patients(codes == label, rows, len(patients)) for label in (1, 0)]
    squares = [(count**2).sum(axis=1) for count in counts]
    sizes = np.stack(
        [count.sum(axis=1) ** 2 / np.maximum(square, 1) for count, square in zip(counts, squares, strict=True)], axis=1
    )
    return Classes(codes, rows.astype(np.int32), patients.astype(np.int32), len(names), counts[0] > 0, sizes)


def _images_of_patients(member: np.ndarray, rows: np.ndarray, num: int) -> np.ndarray:
    """(F, P) float64: how many images of each patient are members. member: (N, F) bool; rows: (N,)."""
    if num == 0:
        return np.zeros((member.shape[1], 0))
    return np.stack([np.bincount(rows[column], minlength=num) for column in member.T]).astype(np.float64)


@dataclass(frozen=True)
class Placed:
    """aurocs: (F,) in [0, 1], NaN where undefined; influence: (F, P), D of each patient, zero where undefined."""

    aurocs: np.ndarray
    influence: np.ndarray


def presort(scores: np.ndarray) -> np.ndarray:
    """(N, F) scores -> (F, N) rows by rising score, for several calls of `place` on the same scores."""
    return np.argsort(np.ascontiguousarray(scores.T), axis=1)


def place(scores: np.ndarray, classes: Classes, orders: np.ndarray | None = None) -> Placed:
    """AUROC of each finding (Mann and Whitney, 1947) and what each patient moves it by.

    scores: (N, F); orders: (F, N), of `presort` on these scores, None sorts them here.
    The parts of the classes are scaled by sqrt(m / (m - 1)), m their effective number of patients, so that the sum of
    squares is the variance with m - 1 in the divisor, and products of two findings have the mean of both divisors.
    Raises ValueError for scores of other images or findings and for NaN.
    """
    # Imported here, since numba takes a second to load and most commands never measure.
    from sweep.statistics.placement_kernel import influences

    scores = np.asarray(scores)
    if scores.shape != classes.codes.shape:
        raise ValueError(f"scores {scores.shape}, labels {classes.codes.shape}: must be of the same images, findings")
    if np.isnan(scores).any():
        raise ValueError(f"{np.isnan(scores).sum()} of {scores.size} scores are NaN; AUROC needs numbers")
    num_findings = scores.shape[1]
    aurocs, influence = np.full(num_findings, np.nan), np.zeros((num_findings, len(classes.patients)))
    if scores.size:
        # Below two patients there is no spread, and no interval: any finite factor does.
        scales = np.sqrt(classes.sizes / np.maximum(classes.sizes - 1, 1))
        by_finding, codes = (np.ascontiguousarray(array.T) for array in (scores, classes.codes))
        orders = presort(scores) if orders is None else orders
        influences(orders, by_finding, codes, classes.rows, scales, aurocs, influence)
    return Placed(aurocs, influence)


def macro_influence(placed: Placed, classes: Classes) -> np.ndarray:
    """(num_patients of the test set,) what each patient moves the mean over the defined findings by.

    The sum of squares estimates the variance of that mean. NaN where no finding is defined, and where a class of one
    has fewer than FEWEST_TESTED effective patients.
    """
    defined = np.isfinite(placed.aurocs)
    moved = np.zeros(classes.num_patients)
    # The effective number of patients is 1 of one patient alone, however many images he has; 3 is 3 to rounding.
    if not defined.any() or classes.sizes[defined].min() < FEWEST_TESTED * (1 - 1e-9):
        return np.full_like(moved, np.nan)
    moved[classes.patients] = placed.influence[defined].mean(axis=0)
    return moved


def over_seeds(vectors: Mapping[Seeds, np.ndarray]) -> np.ndarray:
    """The mean that tables print: over the downstream seeds of each pretraining, then over pretrainings.

    vectors: one or more of the same shape, which the mean has too. NaN in any of them is NaN in the mean.
    """
    groups: dict[int, list[np.ndarray]] = {}
    for (pretrain_seed, _), vector in vectors.items():
        groups.setdefault(pretrain_seed, []).append(vector)
    mean: np.ndarray = np.mean([np.mean(group, axis=0) for group in groups.values()], axis=0)
    return mean


def over_seeds_placed(placed: Mapping[Seeds, Placed]) -> Placed:
    """The same mean of AUROCs and of what each patient moves them by. placed: one or more on the same images."""
    return Placed(
        over_seeds({seeds: one.aurocs for seeds, one in placed.items()}),
        over_seeds({seeds: one.influence for seeds, one in placed.items()}),
    )
