"""What does the machine run for the placements of all images of a finding? Compiled by numba; used by placements.py.

The placement of an image is the share of the other class that it is on the right side of, ties 1/2: of the negatives
that score below a positive, of the positives that score above a negative. AUROC is the mean of either class's.
"""

import numpy as np

from datasets_io.compiled import compiled


@compiled
def influences(
    orders: np.ndarray,
    scores: np.ndarray,
    codes: np.ndarray,
    patients: np.ndarray,
    scales: np.ndarray,
    aurocs: np.ndarray,
    out: np.ndarray,
) -> None:
    """Fill aurocs, (F,) float64, and add to out, (F, P) float64, what each patient moves the AUROC by.

    orders: (F, N) rows by rising score; scores: (F, N); codes: (F, N) int8, 1, 0, or else left out;
    patients: (N,) int32 in 0 to P - 1; scales: (F, 2), factors of a positive's and of a negative's part.
    A finding without both classes gets NaN, and nothing is added.
    """
    num = orders.shape[1]
    placements = np.empty(num, np.float64)
    for f in range(orders.shape[0]):
        order, score, code = orders[f], scores[f], codes[f]
        n_pos, n_neg = 0, 0
        for i in range(num):
            n_pos += code[i] == 1
            n_neg += code[i] == 0
        if n_pos == 0 or n_neg == 0:
            aurocs[f] = np.nan
            continue
        # Walk up the scores. below_*: how many of a class lie below the score that is visited.
        start, below_pos, below_neg = 0, 0, 0
        twice = np.int64(0)  # 2 x (pairs that the positive wins) + (pairs that tie): exact
        while start < num:
            stop, tied_pos, tied_neg = start, 0, 0
            while stop < num and score[order[stop]] == score[order[start]]:
                tied_pos += code[order[stop]] == 1
                tied_neg += code[order[stop]] == 0
                stop += 1
            of_positive = (below_neg + tied_neg / 2) / n_neg
            of_negative = (n_pos - below_pos - tied_pos / 2) / n_pos
            for i in range(start, stop):
                placements[order[i]] = of_positive if code[order[i]] == 1 else of_negative
            twice += np.int64(tied_pos) * (2 * below_neg + tied_neg)
            below_pos += tied_pos
            below_neg += tied_neg
            start = stop
        aurocs[f] = twice / (2.0 * n_pos * n_neg)
        for i in range(num):
            if code[i] == 1:
                out[f, patients[i]] += scales[f, 0] * (placements[i] - aurocs[f]) / n_pos
            elif code[i] == 0:
                out[f, patients[i]] += scales[f, 1] * (placements[i] - aurocs[f]) / n_neg
