"""How far would an AUROC move with other patients? Resampling of whole patients, and DeLong's variance beside it.

The bootstrap of patient-clustered data (Rutter, 2000): patients are drawn with replacement, each with all of their
images. Intervals are percentile intervals.
"""

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
    drawn: resample r is [r // 64, :, r % 64]. num: resamples in use; the last block may hold more than are left.
    The first k of many resamples are those that k resamples would be.
    """

    patients: np.ndarray
    weights: np.ndarray
    num: int

    @property
    def num_patients(self) -> int:
        """Patients that are drawn from, and drawn in each resample."""
        return int(self.weights.shape[1])

    def rows(self, r: int) -> np.ndarray:
        """Images of resample r, (K,) int64 rows: all images of a drawn patient, as often as it was drawn.

        K differs between resamples, since patients have different numbers of images.
        """
        block_size = self.weights.shape[2]
        times = self.weights[r // block_size, :, r % block_size][self.patients]
        return np.repeat(np.arange(len(self.patients)), times)


def draw_resamples(patient_ids: Sequence[str] | np.ndarray, num: int = NUM_RESAMPLES, seed: int = 0) -> Resamples:
    """Draw the resamples that all cells of a dataset share. The same ids, num and seed give the same ones.

    patient_ids: (N,), one for each image. Images of a patient are alike, so patients are drawn, not images.
    Raises ValueError where there is nothing to draw.
    """
    # Imported here, since numba takes a second to load and most commands never resample.
    from sweep.statistics.auroc_kernel import BLOCK_SIZE, count_draws

    names, patients = np.unique(np.asarray(patient_ids), return_inverse=True)
    if len(names) == 0 or num < 1:
        raise ValueError(f"{num} resamples of {len(names)} patients: both must be at least 1")
    rng = np.random.default_rng(derive_seed(seed, "patient_bootstrap"))
    # -(-a // b) is a / b rounded up. Each block is drawn whole: so the first resamples do not depend on num.
    weights = np.zeros((-(-num // BLOCK_SIZE), len(names), BLOCK_SIZE), np.uint8)
    # A byte is enough for a count. With P patients a count has mean 1 and variance below 1, about Poisson: above 255
    # has probability below 1 / 255!, and with up to 255 patients there are not as many draws.
    for block in weights:
        count_draws(rng.integers(0, len(names), (BLOCK_SIZE, len(names)), dtype=np.int32), block)
    return Resamples(patients.astype(np.int32), weights, num)


def presort(scores: np.ndarray) -> np.ndarray:
    """(N, F) scores -> (F, N) rows by rising score, for several calls of `resampled_aurocs` on the same scores."""
    return np.argsort(np.ascontiguousarray(scores.T), axis=1)


def resampled_aurocs(
    scores: np.ndarray, labels: np.ndarray, known: np.ndarray, resamples: Resamples, orders: np.ndarray | None = None
) -> np.ndarray:
    """AUROC of each finding in each resample, (F, num) float64; NaN where the resample lacks a class.

    scores, labels, known: (N, F); a label that is not known, or an image that is left out by known, has no part.
    orders: (F, N), of `presort` on these scores; None sorts them here. Equal to AUROC (Mann and Whitney, 1947) of the
    resample's images; scores are sorted once, and a resample is a set of integer weights.
    Raises ValueError for shapes that do not fit together and for NaN scores.
    """
    from sweep.statistics.auroc_kernel import BLOCK_SIZE, visits, weighted_aurocs

    scores, labels, known = np.asarray(scores), np.asarray(labels), np.asarray(known, dtype=bool)
    if scores.shape != labels.shape or scores.shape != known.shape or len(scores) != len(resamples.patients):
        raise ValueError(
            f"scores {scores.shape}, labels {labels.shape}, known {known.shape}, {len(resamples.patients)} images in "
            "the resamples: all must be of the same images and findings"
        )
    if np.isnan(scores).any():
        raise ValueError(f"{np.isnan(scores).sum()} of {scores.size} scores are NaN; AUROC needs numbers")
    orders = presort(scores) if orders is None else orders
    codes = np.where(known, labels, -1).astype(np.int8)  # one array for both: 1, 0, or -1 for left out
    found = [
        visits(orders[f], np.ascontiguousarray(scores[:, f]), np.ascontiguousarray(codes[:, f]), resamples.patients)
        for f in range(scores.shape[1])
    ]
    out = np.full((len(found), len(resamples.weights) * BLOCK_SIZE), np.nan)
    if found:
        starts = np.cumsum([0, *(len(visited) for visited, _ in found)])
        visited, kinds = (np.concatenate(parts) for parts in zip(*found, strict=True))
        weighted_aurocs(visited, kinds, starts, resamples.weights, out)
    return out[:, : resamples.num]  # without what fills up the last block


@dataclass(frozen=True)
class BootstrapInterval:
    """Percentile interval. `defined` of `num` resamples have a value; the others are left out of low, high and sd.

    low, high: in the statistic's unit; sd: standard deviation over the resamples, the bootstrap's standard error.
    low, high, sd: None where fewer than a tenth of the resamples, or than two of them, have a value.
    """

    low: float | None
    high: float | None
    sd: float | None
    defined: int
    num: int


def percentile_interval(values: np.ndarray, level: float = 0.95) -> BootstrapInterval:
    """Between the (1 - level) / 2 and (1 + level) / 2 quantiles (Efron and Tibshirani, 1993, chapter 13).

    values: (num,) of a statistic in num resamples, NaN where it is undefined; level: coverage in (0, 1).
    """
    values = np.asarray(values, dtype=np.float64)
    defined = values[~np.isnan(values)]
    if len(defined) < max(2, FEWEST_DEFINED * len(values)):
        return BootstrapInterval(None, None, None, len(defined), len(values))
    defined = np.sort(defined)
    low, high = _quantile(defined, (1 - level) / 2), _quantile(defined, (1 + level) / 2)
    return BootstrapInterval(low, high, float(defined.std(ddof=1)), len(defined), len(values))


def _quantile(ordered: np.ndarray, q: float) -> float:
    """Linear between the neighbours, as numpy's: written out, since a study has thousands, and sorting is enough.

    ordered: (n,) in rising order, n >= 1; q in [0, 1].
    """
    position = q * (len(ordered) - 1)  # 0 is the smallest value, n - 1 the largest
    below = int(position)
    above = min(below + 1, len(ordered) - 1)
    return float(ordered[below] + (position - below) * (ordered[above] - ordered[below]))


def delong_variance(scores: np.ndarray, labels: np.ndarray) -> float | None:
    """Variance of AUROC when images are independent (DeLong, DeLong and Clarke-Pearson, 1988).

    scores, labels: (N,), labels of 1 and 0. Sum over both classes of var(placements) / n, a placement being the share
    of the other class that an image is on the right side of, ties 1/2. None for fewer than two of a class.
    A reference for the bootstrap where each patient has one image; no file of a report holds it.
    """
    scores, labels = np.asarray(scores, dtype=np.float64), np.asarray(labels)
    positives, negatives = np.sort(scores[labels == 1]), np.sort(scores[labels == 0])
    if min(len(positives), len(negatives)) < 2:
        return None

    def share_below(values: np.ndarray, others: np.ndarray) -> np.ndarray:
        # "left" counts those below, "right" those below or equal: their mean counts a tie as half.
        return (others.searchsorted(values) + others.searchsorted(values, "right")) / (2 * len(others))

    of_positives, of_negatives = share_below(positives, negatives), 1 - share_below(negatives, positives)
    return float(of_positives.var(ddof=1) / len(positives) + of_negatives.var(ddof=1) / len(negatives))
