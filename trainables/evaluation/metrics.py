"""How good are scores: AUROC for each finding and its mean where it is defined, AUPRC, calibration."""

import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from datasets_io.granted import cores

THREADS_PAY = 100_000  # scores; below them, sorting takes less than two threads take to start


@dataclass(frozen=True, slots=True)
class FindingAuroc:
    """AUROC of one finding in [0, 1], None where the images do not have both classes; counts of known labels."""

    finding: str
    auroc: float | None
    n_pos: int
    n_neg: int


def auroc(scores: np.ndarray, labels: np.ndarray, known: np.ndarray | None = None) -> float | None:
    """Probability that a positive scores above a negative, ties 1/2 (Mann and Whitney, 1947).

    scores: (N,) of any real type; labels: (N,) of 1 and 0; known: (N,) bool, None for all.
    None where one class is absent. Raises ValueError for NaN scores, other labels and unequal shapes.
    """
    scores, labels = np.asarray(scores), np.asarray(labels)
    if scores.ndim != 1:
        raise ValueError(f"scores have shape {scores.shape}; auroc takes (N,), auroc_per_finding takes (N, F)")
    columns = None if known is None else np.asarray(known)[:, None]
    return auroc_per_finding(scores[:, None], labels[:, None], columns)[0].auroc


def auroc_per_finding(
    scores: np.ndarray, labels: np.ndarray, known: np.ndarray | None = None, findings: Sequence[str] | None = None
) -> tuple[FindingAuroc, ...]:
    """One FindingAuroc for each column, in the columns' order, undefined ones included under their name.

    scores, labels, known: (N, F), as in `auroc`; labels that are not known are never looked at.
    findings: F names, by default "0", "1", ... Raises ValueError as `auroc` does, naming the finding.
    """
    scores, labels = np.asarray(scores), np.asarray(labels)
    known = np.ones(labels.shape, dtype=bool) if known is None else np.asarray(known, dtype=bool)
    if scores.ndim != 2 or scores.shape != labels.shape or scores.shape != known.shape:
        raise ValueError(f"scores {scores.shape}, labels {labels.shape}, known {known.shape}: all must be one (N, F)")
    names = [str(f) for f in range(scores.shape[1])] if findings is None else list(findings)
    if len(names) != scores.shape[1]:
        raise ValueError(f"{len(names)} findings for {scores.shape[1]} columns of scores")
    if scores.dtype not in (np.float32, np.float64):
        scores = scores.astype(np.float64)
    positive, negative = (labels == 1) & known, (labels == 0) & known
    _check_values(scores, labels, known & ~positive & ~negative, names)
    # Transposed and copied, so that each finding's scores lie side by side.
    columns = [np.ascontiguousarray(a.T) for a in (scores, positive, negative)]
    if scores.size < THREADS_PAY:
        return tuple(map(_one, names, *columns))
    with ThreadPoolExecutor(min(len(names), cores())) as pool:  # numpy sorts without the GIL
        return tuple(pool.map(_one, names, *columns))


def _check_values(scores: np.ndarray, labels: np.ndarray, strange: np.ndarray, names: list[str]) -> None:
    nan = np.isnan(scores)
    if nan.any():
        f = int(nan.any(axis=0).argmax())
        raise ValueError(f"finding {names[f]}: {nan[:, f].sum()} of {len(scores)} scores are NaN; AUROC needs numbers")
    if strange.any():
        i, f = np.argwhere(strange)[0]
        raise ValueError(f"finding {names[f]}: label {labels[i, f]} in row {i}; allowed are 1 and 0 where known")


def _one(finding: str, scores: np.ndarray, positive: np.ndarray, negative: np.ndarray) -> FindingAuroc:
    positives, negatives = scores[positive], scores[negative]
    n_pos, n_neg = len(positives), len(negatives)
    if n_pos == 0 or n_neg == 0:
        return FindingAuroc(finding, None, n_pos, n_neg)
    return FindingAuroc(finding, _twice_wins(positives, negatives) / (2 * n_pos * n_neg), n_pos, n_neg)


def _twice_wins(positives: np.ndarray, negatives: np.ndarray) -> int:
    """2 x (pairs where the positive is above) + (pairs that tie), an exact integer.

    float64 is sorted as float32, at half the time. Rounding keeps the order except that it may make ties,
    so only scores in ties between the classes are counted again as float64.
    """
    if positives.dtype == np.float32:
        return _count(positives, negatives)[0]
    with np.errstate(over="ignore"):  # beyond float32: all tie at infinity, and are then counted again
        rounded_positives, rounded_negatives = positives.astype(np.float32), negatives.astype(np.float32)
    twice, tied = _count(rounded_positives, rounded_negatives)
    if len(tied) == 0:
        return twice
    # Pairs that tie as float32 are counted 1 each: their part is taken out, and put in as float64 counts it.
    pos, neg = np.isin(rounded_positives, tied), np.isin(rounded_negatives, tied)
    rounded, _ = _count(rounded_positives[pos], rounded_negatives[neg])
    return twice - rounded + _count(positives[pos], negatives[neg])[0]


def _count(positives: np.ndarray, negatives: np.ndarray) -> tuple[int, np.ndarray]:
    """_twice_wins as it is, and the scores that stand in both classes. Looks the smaller class up in the larger."""
    few, many = np.sort(positives), np.sort(negatives)
    swapped = len(few) > len(many)
    if swapped:
        few, many = many, few
    # below[i]: how many of `many` are less than few[i], so the pairs that few[i] wins; ties count one more each.
    below = many.searchsorted(few)
    tied = many[np.minimum(below, len(many) - 1)] == few
    twice = 2 * int(below.sum())
    if tied.any():
        twice += int((many.searchsorted(few[tied], "right") - below[tied]).sum())
    # All pairs count 2: what the smaller class did not win, the other did.
    return (2 * len(few) * len(many) - twice if swapped else twice), few[tied]


def macro(findings: Sequence[FindingAuroc]) -> float | None:
    """Mean AUROC over the findings that have one; None where none has. Undefined is never counted as 0."""
    values = [finding.auroc for finding in findings if finding.auroc is not None]
    return math.fsum(values) / len(values) if values else None


def average_precision(scores: np.ndarray, labels: np.ndarray) -> float | None:
    """Area under the precision-recall curve without interpolation: sum of (gain in recall) x precision.

    scores: (N,); labels: (N,) of 1 and 0. Equal scores are one threshold. None where one class is absent.
    """
    scores, labels = np.asarray(scores), np.asarray(labels) == 1
    n_pos = int(labels.sum())
    if n_pos in (0, len(labels)):
        return None
    # Down the ranking, a threshold after each group of equal scores: hits are true positives so far, and precision
    # divides them by the images so far.
    order = np.argsort(-scores)
    scores = scores[order]
    last_of_tie = np.append(scores[1:] != scores[:-1], True)
    hits = np.cumsum(labels[order])[last_of_tie]
    precision = hits / (np.flatnonzero(last_of_tie) + 1)
    return float((np.diff(hits, prepend=0) * precision).sum() / n_pos)


def brier(probabilities: np.ndarray, labels: np.ndarray) -> float | None:
    """Mean squared distance of probability and label (Brier, 1950); None for no image.

    probabilities: (N,) in [0, 1], else ValueError is raised; labels: (N,) of 1 and 0.
    """
    probabilities = _checked_probabilities(probabilities)
    return float(((probabilities - labels) ** 2).mean()) if len(probabilities) else None


def calibration_error(probabilities: np.ndarray, labels: np.ndarray, num_bins: int = 15) -> float | None:
    """Expected calibration error: |mean probability - share of positives| of each bin, weighted by its images.

    The bins are num_bins intervals of equal width, lower edge included, the last one closed (Guo et al., 2017, for
    the probability of a finding instead of that of the predicted class). None for no image.
    probabilities: (N,) in [0, 1], else ValueError is raised; labels: (N,) of 1 and 0.
    """
    probabilities = _checked_probabilities(probabilities)
    if len(probabilities) == 0:
        return None
    edges = np.linspace(0, 1, num_bins + 1)
    places = np.minimum(np.searchsorted(edges, probabilities, "right") - 1, num_bins - 1)
    # A bin's |sum of (probability - label)| is its images times |mean probability - share of positives|.
    gaps = np.bincount(places, weights=probabilities - np.asarray(labels, dtype=np.float64), minlength=num_bins)
    return float(np.abs(gaps).sum() / len(probabilities))


def _checked_probabilities(probabilities: np.ndarray) -> np.ndarray:
    probabilities = np.asarray(probabilities, dtype=np.float64)
    outside = ~((probabilities >= 0) & (probabilities <= 1))
    if outside.any():
        raise ValueError(
            f"{outside.sum()} of {len(probabilities)} probabilities are NaN or outside 0 to 1, "
            f"such as {probabilities[outside][0]}"
        )
    return probabilities
