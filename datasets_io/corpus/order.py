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


def window_groups(kept_in: np.ndarray, seed: int, epoch: int, window_rows: int) -> list[tuple[int, ...]]:
    """The row groups of each window of an epoch, as `windows` has them, without drawing the order of any row.

    kept_in: (G,), how many rows of each group take part.
    """
    generator = np.random.default_rng(derive_seed(seed, "order", epoch))
    return _cut(generator.permutation(len(kept_in)), kept_in, window_rows)


def _cut(order: np.ndarray, kept_in: np.ndarray, window_rows: int) -> list[tuple[int, ...]]:
    found: list[tuple[int, ...]] = []
    chosen: list[int] = []
    rows = 0
    for group, kept in zip(order.tolist(), kept_in[order].tolist(), strict=True):
        chosen.append(group)
        rows += kept
        # Closed at the first group that fills it, so a window is larger than asked by less than one group.
        if rows >= window_rows:
            found.append(tuple(chosen))
            chosen, rows = [], 0
    return [*found, tuple(chosen)] if chosen else found


def windows(group_rows: list[int], kept: np.ndarray, seed: int, epoch: int, window_rows: int) -> Iterator[Window]:
    """Shuffle row groups, cut them into windows of about `window_rows` kept rows, shuffle each window.

    group_rows: rows of each row group, in the split's order. kept: (N,) bool, rows that take part.
    With window_rows >= N this is one uniform permutation. The same on every worker.
    """
    if not group_rows:
        return
    generator = np.random.default_rng(derive_seed(seed, "order", epoch))
    # Group g holds the rows starts[g] .. starts[g + 1] - 1 of the split.
    starts = np.concatenate([[0], np.cumsum(group_rows)])
    kept_in = np.add.reduceat(kept, starts[:-1], dtype=np.int64)
    offset = 0
    for groups in _cut(generator.permutation(len(group_rows)), kept_in, window_rows):
        members = np.concatenate([np.arange(starts[group], starts[group + 1]) for group in groups])
        shuffled = generator.permutation(members[kept[members]])
        yield Window(groups, shuffled, offset)
        offset += len(shuffled)


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
