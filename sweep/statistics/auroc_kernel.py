"""What does the machine run for AUROC under many sets of weights? Compiled by numba; used by bootstrap.py only.

A resample of patients is a weight for each patient: how often it was drawn. A pair of a positive and a negative image
weighs the product of its patients' weights, and AUROC is (weight of the pairs that the positive wins + half of that of
the ties) / (weight of all pairs). One walk through the images by rising score adds that up for a block of resamples at
once, so that scores are sorted once and not for each resample.
"""

import numpy as np

from datasets_io.compiled import compiled

# Resamples that are computed side by side. A weight is one byte, so the weights of one patient in a whole block are 64
# bytes: one line of a processor's cache, and whole vector registers for the innermost loops.
BLOCK_SIZE = 64

# What an image adds to `twice`, 2 x (weight of pairs won) + (weight of pairs tied), when images are visited from the
# lowest score up and `below` is the weight of negatives visited so far. Where positives and negatives tie, the
# positives come twice, before and after the negatives of the tie: below + (below + tied) counts a tie as half.
NEGATIVE, POSITIVE, TIED_BEFORE, TIED_AFTER = 0, 1, 2, 3


@compiled
def visits(
    order: np.ndarray, scores: np.ndarray, codes: np.ndarray, patients: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Whose weights to visit in which order, and as what: (V,) int32 patients and (V,) uint8 kinds, V <= 2 N.

    order: (N,) rows by rising score; scores: (N,); codes: (N,) int8, 1, 0, or else left out; patients: (N,) int32.
    """
    n = len(order)
    visited, kinds = np.empty(2 * n, np.int32), np.empty(2 * n, np.uint8)  # at most: every positive tied, so twice
    count, start = 0, 0
    while start < n:
        # order[start:stop] are the images of one score.
        stop, positives, negatives = start, 0, 0
        while stop < n and scores[order[stop]] == scores[order[start]]:
            positives += codes[order[stop]] == 1
            negatives += codes[order[stop]] == 0
            stop += 1
        mixed = positives > 0 and negatives > 0
        for i in range(start, stop):
            if codes[order[i]] == 1:
                visited[count], kinds[count] = patients[order[i]], TIED_BEFORE if mixed else POSITIVE
                count += 1
        for i in range(start, stop):
            if codes[order[i]] == 0:
                visited[count], kinds[count] = patients[order[i]], NEGATIVE
                count += 1
        if mixed:
            for i in range(start, stop):
                if codes[order[i]] == 1:
                    visited[count], kinds[count] = patients[order[i]], TIED_AFTER
                    count += 1
        start = stop
    return visited[:count].copy(), kinds[:count].copy()  # copies, so that the unused halves are freed


@compiled
def weighted_aurocs(
    visited: np.ndarray, kinds: np.ndarray, starts: np.ndarray, weights: np.ndarray, out: np.ndarray
) -> None:
    """Fill out, (F, B x BLOCK_SIZE) float64, with AUROCs in [0, 1], NaN where a resample lacks a class.

    visited, kinds: the visits of all F findings, finding f from starts[f] to starts[f + 1];
    weights: (B, P, BLOCK_SIZE) uint8 for P patients. Sums are exact: integers, below 2^53 for fewer than 9e7 images.
    """
    below, positives = np.empty(BLOCK_SIZE, np.int32), np.empty(BLOCK_SIZE, np.int32)
    twice = np.empty(BLOCK_SIZE, np.int64)
    for block in range(weights.shape[0]):  # outermost: a block's weights stay in the cache for all findings
        for f in range(len(starts) - 1):
            below[:], positives[:], twice[:] = 0, 0, 0
            for v in range(starts[f], starts[f + 1]):
                weight = weights[block, visited[v]]
                kind = kinds[v]
                if kind == NEGATIVE:
                    for j in range(BLOCK_SIZE):
                        below[j] += weight[j]
                else:
                    # An untied positive wins 2 x below. A tied one comes twice with 1 x below each, and counts once.
                    factor = 2 if kind == POSITIVE else 1
                    new = 0 if kind == TIED_AFTER else 1
                    for j in range(BLOCK_SIZE):
                        twice[j] += np.int64(factor * weight[j]) * below[j]
                        positives[j] += new * weight[j]
            for j in range(BLOCK_SIZE):
                pairs = np.int64(positives[j]) * below[j]  # by now `below` is the weight of all negatives
                out[f, block * BLOCK_SIZE + j] = twice[j] / (2 * pairs) if pairs > 0 else np.nan


@compiled
def count_draws(draws: np.ndarray, counts: np.ndarray) -> None:
    """How often each patient was drawn in each resample of a block, added to counts.

    draws: (BLOCK_SIZE, P) patients drawn with replacement; counts: (P, BLOCK_SIZE) uint8, zero at first.
    """
    for j in range(draws.shape[0]):
        for i in range(draws.shape[1]):
            counts[draws[j, i], j] += 1
