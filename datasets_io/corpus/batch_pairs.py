"""How many pairs of one study, or of one patient, does a batch hold, and how many if epochs were shuffled uniformly?

Images of a study share their report: in a batch each is a negative of the other although their texts are equal.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from datasets_io.corpus.order import windows

BATCH, WINDOW = 256, 16_384  # the defaults of a pretraining recipe, which a test compares
EPOCHS = 8  # whose windows are averaged: they differ where row groups do


@dataclass(frozen=True)
class BatchPairs:
    """Mean number of pairs in one batch: `expected` in windows, `uniform` if every epoch were one permutation."""

    expected: float
    uniform: float


def batch_pairs(
    group_rows: list[int], kept: np.ndarray, owners: np.ndarray, window_rows: int = WINDOW, batch: int = BATCH
) -> BatchPairs:
    """Over the whole batches of an epoch, as datasets_io.corpus.order makes them.

    group_rows: rows of each row group, in the split's order. kept: (N,) bool, rows that take part. owners: (N,), equal
    where two rows make a pair, such as study ids. A batch larger than the number of kept rows counts as all of them.

    Row groups come in uniformly random order, so all pairs within a row group are equally likely to meet, and so are
    all others: two probabilities say it all. The second follows from the first, since a batch of B always has
    B (B - 1) / 2 pairs of rows. Exact where row groups have equally many kept rows, and close to it elsewhere.
    """
    group_of = np.repeat(np.arange(len(group_rows)), np.array(group_rows, np.int64))[kept]
    rows = len(group_of)
    batch = min(batch, rows)
    if batch < 2:
        return BatchPairs(0.0, 0.0)
    _, owner = np.unique(owners[kept], return_inverse=True)
    wanted = _pairs(np.bincount(owner))
    wanted_within = _pairs(np.unique(owner * len(group_rows) + group_of, return_counts=True)[1])
    within = _pairs(np.bincount(group_of))
    others = _pairs(np.array([rows])) - within
    batches = rows // batch
    of_batches = batches * batch * (batch - 1) / 2  # pairs of rows that meet in an epoch, of any owner
    met = sum(_met_within(group_rows, kept, epoch, window_rows, batch) for epoch in range(EPOCHS)) / EPOCHS
    expected = 0.0
    if within:
        expected += wanted_within * met / within
    if others:
        expected += (wanted - wanted_within) * (of_batches - met) / others
    uniform = wanted * of_batches / (within + others)
    return BatchPairs(expected / batches, uniform / batches)


def _met_within(group_rows: list[int], kept: np.ndarray, epoch: int, window_rows: int, batch: int) -> float:
    """How many pairs of rows of one row group are expected to meet in the whole batches of an epoch."""
    kept_in = np.add.reduceat(kept.astype(np.int64), np.cumsum([0, *group_rows[:-1]]))
    end = int(kept.sum()) // batch * batch
    met = 0.0
    for window in windows(group_rows, kept, 0, epoch, window_rows):
        size = len(window.rows)
        if size < 2:
            continue
        # The window has places offset .. offset + size - 1, of which some may lie behind the last whole batch.
        places = np.arange(window.offset, min(window.offset + size, end)) // batch
        share = np.unique(places, return_counts=True)[1]
        # Within the window every order is equally likely: any two of its rows meet with this probability.
        met += _pairs(kept_in[list(window.groups)]) * _pairs(share) / (size * (size - 1) / 2)
    return met


def _pairs(counts: np.ndarray) -> float:
    """Sum of n (n - 1) / 2."""
    return float((counts * (counts - 1) // 2).sum())


def describe(row_groups: list[int], kept: np.ndarray, studies: np.ndarray, patients: np.ndarray) -> dict[str, Any]:
    """counts["batches"] of a manifest, at the defaults of a pretraining: pairs of one study and of one patient.

    row_groups, kept: as `batch_pairs` takes them. studies, patients: (N,), the ids of the rows.
    """
    found = {"study": batch_pairs(row_groups, kept, studies), "patient": batch_pairs(row_groups, kept, patients)}
    # Four digits: what is beyond them says nothing, and could come out otherwise on another processor.
    pairs = {
        name: {"expected": float(f"{each.expected:.4g}"), "uniform": float(f"{each.uniform:.4g}")}
        for name, each in found.items()
    }
    return {"batch_size": BATCH, "window": WINDOW, "pairs_of_one": pairs}
