"""What does the machine run for AUROC under many sets of weights? Compiled by numba; used by bootstrap.py only."""

import numpy as np

from datasets_io.compiled import compiled

LANES = 64  # resamples side by side: the weights of a patient in all of them are one line of the cache

# What an image adds to `twice`, 2 x (weight of pairs won) + (weight of pairs tied), when images are visited from the
# lowest score up and `below` is the weight of negatives visited so far. Where positives and negatives tie, the
# positives come twice, before and after the negatives of the tie: below + (below + tied) counts a tie as half.
NEGATIVE, POSITIVE, TIED_BEFORE, TIED_AFTER = 0, 1, 2, 3


@compiled
def visits(order, scores, codes, patients):
    """Whose weights to visit in which order, and as what: (V,) int32 patients and (V,) uint8 kinds.

    order: (N,) rows by rising score; scores: (N,); codes: (N,) int8, 1, 0, or else left out; patients: (N,) int32.
    """
    n = len(order)
    who, kinds = np.empty(2 * n, np.int32), np.empty(2 * n, np.uint8)
    count, start = 0, 0
    while start < n:
        stop, positives, negatives = start, 0, 0
        while stop < n and scores[order[stop]] == scores[order[start]]:
            positives += codes[order[stop]] == 1
            negatives += codes[order[stop]] == 0
            stop += 1
        mixed = positives > 0 and negatives > 0
        for i in range(start, stop):
            if codes[order[i]] == 1:
                who[count], kinds[count] = patients[order[i]], TIED_BEFORE if mixed else POSITIVE
                count += 1
        for i in range(start, stop):
            if codes[order[i]] == 0:
                who[count], kinds[count] = patients[order[i]], NEGATIVE
                count += 1
        if mixed:
            for i in range(start, stop):
                if codes[order[i]] == 1:
                    who[count], kinds[count] = patients[order[i]], TIED_AFTER
                    count += 1
        start = stop
    return who[:count].copy(), kinds[:count].copy()


@compiled
def weighted_aurocs(who, kinds, starts, weights, out):
    """Fill out (F, B x LANES) with AUROCs, NaN where a resample lacks a class.

    who, kinds: the visits of all findings, finding f from starts[f] to starts[f + 1];
    weights: (B, P, LANES) uint8. Sums are exact: integers, below 2^53 for fewer than 9e7 images.
    """
    below, positives = np.empty(LANES, np.int32), np.empty(LANES, np.int32)
    twice = np.empty(LANES, np.int64)
    for block in range(weights.shape[0]):  # outermost: a block's weights stay in the cache for all findings
        for f in range(len(starts) - 1):
            below[:], positives[:], twice[:] = 0, 0, 0
            for v in range(starts[f], starts[f + 1]):
                weight = weights[block, who[v]]
                kind = kinds[v]
                if kind == NEGATIVE:
                    for j in range(LANES):
                        below[j] += weight[j]
                else:
                    factor = 2 if kind == POSITIVE else 1
                    new = 0 if kind == TIED_AFTER else 1
                    for j in range(LANES):
                        twice[j] += np.int64(factor * weight[j]) * below[j]
                        positives[j] += new * weight[j]
            for j in range(LANES):
                pairs = np.int64(positives[j]) * below[j]
                out[f, block * LANES + j] = twice[j] / (2 * pairs) if pairs > 0 else np.nan


@compiled
def count_draws(draws, counts):
    """draws: (LANES, P) patients drawn with replacement; counts: (P, LANES) uint8, zero at first."""
    for j in range(draws.shape[0]):
        for i in range(draws.shape[1]):
            counts[draws[j, i], j] += 1
