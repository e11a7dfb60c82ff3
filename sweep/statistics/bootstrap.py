"""How far would an AUROC move with other patients? Resampling of whole patients, and DeLong's variance beside it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from datasets_io.fingerprint import derive_seed

NUM_RESAMPLES = 1000
FEWEST_DEFINED = 0.1  # share of the resamples below which no interval is given


@dataclass(frozen=True)
class Resamples:
    """Patients drawn with replacement, as many as there are, `num` times. All that is compared uses the same ones.

    patients: (N,) int32, the patient of each image; weights: (blocks, patients, 64) uint8, how often a patient was
    drawn: resample r is [r // 64, :, r % 64]. The first k of many resamples are those that k resamples would be.
    """

    patients: np.ndarray
    weights: np.ndarray
    num: int

    @property
    def num_patients(self) -> int:
        return self.weights.shape[1]

    def rows(self, r: int) -> np.ndarray:
        """Images of one resample: all images of a drawn patient, as often as it was drawn."""
        lanes = self.weights.shape[2]
        times = self.weights[r // lanes, :, r % lanes][self.patients]
        return np.repeat(np.arange(len(self.patients)), times)


def draw_resamples(patient_ids: Sequence[str] | np.ndarray, num: int = NUM_RESAMPLES, seed: int = 0) -> Resamples:
    """patient_ids: one for each image. Images of a patient are alike, so patients are drawn, not images."""
    from sweep.statistics.auroc_kernel import (  # numba takes a second to load: only who resamples waits for it
        LANES,
        count_draws,
    )

    names, patients = np.unique(np.asarray(patient_ids), return_inverse=True)
    if len(names) == 0 or num < 1:
        raise ValueError(f"{num} resamples of {len(names)} patients: both must be at least 1")
    rng = np.random.default_rng(derive_seed(seed, "patient_bootstrap"))
    weights = np.zeros((-(-num // LANES), len(names), LANES), np.uint8)
    for block in weights:  # a count above 255 would need one of over 255 patients in each such place: never drawn
        count_draws(rng.integers(0, len(names), (LANES, len(names)), dtype=np.int32), block)
    return Resamples(patients.astype(np.int32), weights, num)


def presort(scores: np.ndarray) -> np.ndarray:
    """(N, F) scores -> (F, N) rows by rising score, for several calls of `resampled_aurocs` on the same scores."""
    return np.argsort(np.ascontiguousarray(scores.T), axis=1)


def resampled_aurocs(
    scores: np.ndarray, labels: np.ndarray, known: np.ndarray, resamples: Resamples, orders: np.ndarray | None = None
) -> np.ndarray:
    """AUROC of each finding in each resample, (F, num) float64; NaN where the resample lacks a class.

    scores, labels, known: (N, F); a label that is not known, or an image that is left out by known, has no part.
    Equal to AUROC of the resample's images; scores are sorted once, and a resample is a set of integer weights.
    """
    from sweep.statistics.auroc_kernel import LANES, visits, weighted_aurocs

    scores, labels, known = np.asarray(scores), np.asarray(labels), np.asarray(known, dtype=bool)
    if scores.shape != labels.shape or scores.shape != known.shape or len(scores) != len(resamples.patients):
        raise ValueError(
            f"scores {scores.shape}, labels {labels.shape}, known {known.shape}, {len(resamples.patients)} images in "
            "the resamples: all must be of the same images and findings"
        )
    if np.isnan(scores).any():
        raise ValueError(f"{np.isnan(scores).sum()} of {scores.size} scores are NaN; AUROC needs numbers")
    orders = presort(scores) if orders is None else orders
    codes = np.where(known, labels, -1).astype(np.int8)
    found = [
        visits(orders[f], np.ascontiguousarray(scores[:, f]), np.ascontiguousarray(codes[:, f]), resamples.patients)
        for f in range(scores.shape[1])
    ]
    out = np.full((len(found), len(resamples.weights) * LANES), np.nan)
    if found:
        starts = np.cumsum([0, *(len(who) for who, _ in found)])
        who, kinds = (np.concatenate(parts) for parts in zip(*found, strict=True))
        weighted_aurocs(who, kinds, starts, resamples.weights, out)
    return out[:, : resamples.num]


@dataclass(frozen=True)
class BootstrapInterval:
    """Percentile interval. `defined` of `num` resamples have a value; the others are left out of low, high and sd.

    low, high, sd: None where fewer than a tenth of the resamples, or than two of them, have a value.
    """

    low: float | None
    high: float | None
    sd: float | None
    defined: int
    num: int


def percentile_interval(values: np.ndarray, level: float = 0.95) -> BootstrapInterval:
    """values: (num,) of a statistic, NaN where it is undefined (Efron and Tibshirani, 1993, chapter 13)."""
    values = np.asarray(values, dtype=np.float64)
    defined = values[~np.isnan(values)]
    if len(defined) < max(2, FEWEST_DEFINED * len(values)):
        return BootstrapInterval(None, None, None, len(defined), len(values))
    defined = np.sort(defined)
    low, high = _quantile(defined, (1 - level) / 2), _quantile(defined, (1 + level) / 2)
    return BootstrapInterval(low, high, float(defined.std(ddof=1)), len(defined), len(values))


def _quantile(ordered: np.ndarray, q: float) -> float:
    """Linear between the neighbours, as numpy's: written out, since a study has thousands, and sorting is enough."""
    place = q * (len(ordered) - 1)
    below = int(place)
    above = min(below + 1, len(ordered) - 1)
    return float(ordered[below] + (place - below) * (ordered[above] - ordered[below]))


def delong_variance(scores: np.ndarray, labels: np.ndarray) -> float | None:
    """Variance of AUROC when images are independent (DeLong, DeLong and Clarke-Pearson, 1988).

    scores, labels: (N,). Sum over both classes of var(placements) / n, a placement being the share of the other
    class that an image is on the right side of, ties 1/2. None for fewer than two of a class.
    """
    scores, labels = np.asarray(scores, dtype=np.float64), np.asarray(labels)
    positives, negatives = np.sort(scores[labels == 1]), np.sort(scores[labels == 0])
    if min(len(positives), len(negatives)) < 2:
        return None

    def share_below(values: np.ndarray, others: np.ndarray) -> np.ndarray:
        return (others.searchsorted(values) + others.searchsorted(values, "right")) / (2 * len(others))

    of_positives, of_negatives = share_below(positives, negatives), 1 - share_below(negatives, positives)
    return float(of_positives.var(ddof=1) / len(positives) + of_negatives.var(ddof=1) / len(negatives))
