"""In which order a corpus is seen: a pure function of the rows, a seed, an epoch and a window."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from datasets_io.fingerprint import derive_seed


@dataclass(frozen=True)
class Window:
    """Row groups that are read together, and the order in which their kept rows are delivered.

    groups: indices of row groups in the split's order; rows: (n,) int64 indices into the split;
    offset: place of rows[0] in the epoch.
    """

    groups: tuple[int, ...]
    rows: np.ndarray
    offset: int


def windows(group_rows: list[int], kept: np.ndarray, seed: int, epoch: int, window_rows: int) -> Iterator[Window]:
    """Shuffle row groups, cut them into windows of about `window_rows` kept rows, shuffle each window.

    group_rows: rows of each row group, in the split's order. kept: (N,) bool, rows that take part.
    With window_rows >= N this is one uniform permutation. The same on every worker.
    """
    generator = np.random.default_rng(derive_seed(seed, "order", epoch))
    # Group g holds the rows starts[g] .. starts[g + 1] - 1 of the split.
    starts = np.concatenate([[0], np.cumsum(group_rows)])
    chosen: list[int] = []
    rows: list[np.ndarray] = []
    offset = 0
    order = generator.permutation(len(group_rows))
    for place, group in enumerate(order):
        members = np.arange(starts[group], starts[group + 1])
        chosen.append(int(group))
        rows.append(members[kept[members]])
        # Closed at the first group that fills it, so a window is larger than asked by less than one group.
        if sum(map(len, rows)) >= window_rows or place == len(order) - 1:
            shuffled = generator.permutation(np.concatenate(rows))
            yield Window(tuple(chosen), shuffled, offset)
            offset += len(shuffled)
            chosen, rows = [], []


def epoch_order(group_rows: list[int], kept: np.ndarray, seed: int, epoch: int, window_rows: int) -> np.ndarray:
    """The whole epoch's order, (K,) int64 indices of the K kept rows into the split."""
    return np.concatenate([window.rows for window in windows(group_rows, kept, seed, epoch, window_rows)])


def worker_rows(position: np.ndarray, global_batch_size: int, rank: int, world_size: int) -> np.ndarray:
    """Which places of an epoch belong to one worker: its slice of every global batch. (n,) int -> (n,) bool.

    global_batch_size must be a multiple of world_size, as the plan of a study sees to.
    """
    # With 8 rows a batch and 2 workers, rank 1 has the places 4-7, 12-15, 20-23, ...
    share = global_batch_size // world_size
    within = position % global_batch_size
    return (within >= rank * share) & (within < (rank + 1) * share)
