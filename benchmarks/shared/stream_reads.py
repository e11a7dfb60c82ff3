"""What does a stream read from storage, and hold in memory, by the kernel's and by Python's own account?"""

import os
import tracemalloc
from collections import deque
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

import numpy as np

from benchmarks.shared.process_tree import processes_below
from datasets_io.corpus.read import CorpusBatch, CorpusIndex, StreamPlan

IMAGES_OF_ALL = 3_700_000  # about as many chest radiographs as all public archives have together


def bytes_read() -> int:
    """By all processes of this program, in calls that read, from files above all. The kernel adds what a process read
    to its parent's when that has waited for it, so what ends meanwhile takes nothing off."""
    total = 0
    for pid in processes_below(os.getpid()):
        try:
            total += int(Path(f"/proc/{pid}/io").read_text().split()[1])  # rchar: of the page cache too
        except OSError:
            continue
    return total


def read_per_epoch(streams: list[Iterator[CorpusBatch]], steps_per_epoch: int, skip: int, epochs: int) -> float:
    """Bytes an epoch, of workers that go in lockstep; after some epochs, when all processes have started."""
    for _ in zip(range(skip * steps_per_epoch), *streams, strict=False):
        pass
    before = bytes_read()
    for _ in zip(range(epochs * steps_per_epoch), *streams, strict=False):
        pass
    return (bytes_read() - before) / epochs


def column_bytes(paths: list[str], column: str) -> int:
    """Bytes of a column in Parquet files."""
    import pyarrow.parquet as pq

    total = 0
    for path in paths:
        metadata = pq.read_metadata(path)
        for group in range(metadata.num_row_groups):
            columns = (metadata.row_group(group).column(number) for number in range(metadata.num_columns))
            total += sum(each.total_compressed_size for each in columns if each.path_in_schema == column)
    return total


def peak_megabytes(make: Callable[[], object]) -> float:
    tracemalloc.start()
    try:
        make()
        return tracemalloc.get_traced_memory()[1] / 1e6
    finally:
        tracemalloc.stop()


def rows_of_epochs(images: int, epochs: int, windows: int | None) -> float:
    """Megabytes at most that a worker holds of the order of some epochs; windows: how many it draws, None for all."""
    groups = images // 256
    places = [(f"train/{group // 4:05d}.parquet", group % 4) for group in range(groups)]
    index = CorpusIndex([256] * groups, places, np.ones(256 * groups, bool), 224, [])
    plan = StreamPlan(0, 256, epochs, 16_384)
    assert index.num_kept == 256 * groups and len(index.starts) == groups + 1  # what all epochs share is there
    return peak_megabytes(lambda: deque(islice(plan.rows_by_window(index, 0), windows), maxlen=0))
