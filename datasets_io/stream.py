"""A corpus streamed by Ray Data: one long pipeline for all epochs, in the order of datasets_io.order. [ray]"""

import threading
import time
from collections.abc import Iterable, Iterator
from itertools import groupby
from operator import itemgetter

import numpy as np
import pyarrow as pa
import ray

from datasets_io.files import Files
from datasets_io.manifest import Manifest
from datasets_io.read import CorpusBatch, CorpusIndex, StreamPlan, pixels_of
from datasets_io.shard_file import open_shard

PIXELS, REPORT = COLUMNS = ("pixels", "report_impression")
ROW_TYPE = np.dtype("<i4")
ROWS_PER_BLOCK, BYTES_PER_BLOCK = 1024, 256 << 20
STEP_SECONDS = 0.05
QUICK_SECONDS, MOST_QUICK = 0.02, 20  # a step that waits for something takes longer; so many that do not are spinning
WINDOWS_AT_ONCE = 2  # one that is delivered and one that is read: memory for two windows of pixels


_wanted = threading.Event()  # while this process waits for a batch


class CalmSteps:
    """A callback of Ray Data's: while no batch is waited for, a loop that spins steps at most twenty times a second.

    While a block is ready that nothing takes yet, the loop does not wait for anything: its thread, which is one of the
    training process, then holds the interpreter for 88% of a core, and everything else there is up to ten times slower.
    """

    def __init__(self):
        self.ended, self.quick = 0.0, 0

    def before_execution_starts(self, executor) -> None: ...

    def on_execution_step(self, executor) -> None:
        self.quick = self.quick + 1 if time.monotonic() - self.ended < QUICK_SECONDS else 0
        if self.quick > MOST_QUICK:
            _wanted.wait(STEP_SECONDS)
        self.ended = time.monotonic()

    def after_execution_succeeds(self, executor) -> None: ...

    def after_execution_fails(self, executor, error: Exception) -> None: ...


class _WindowReader:
    """Turns one item of the plan into rows. Built once in a task; holds no state between items."""

    def __init__(self, uri: str, folder: str, manifest: Manifest, index: CorpusIndex):
        self.uri, self.folder, self.findings = uri, folder, manifest.findings
        self.image_size = manifest.image_size
        self.places = index.group_places
        self.starts = np.concatenate([[0], np.cumsum(index.group_rows)])

    def __call__(self, batch: pa.Table) -> Iterator[pa.Table]:
        step = max(1, min(ROWS_PER_BLOCK, BYTES_PER_BLOCK // self.image_size**2))
        for groups, packed in zip(batch["groups"].to_pylist(), batch["rows"].to_pylist(), strict=True):
            pixels, reports = self._window(groups, np.frombuffer(packed, ROW_TYPE))
            for start in range(0, len(pixels), step):
                block = slice(start, start + step)
                yield pa.table({PIXELS: _binary(pixels[block]), REPORT: pa.array(reports[block], pa.string())})

    def _window(self, groups: list[int], rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Pixels (n, S, S) and reports (n,) of rows that lie in the groups, in the order of the rows.

        Every group is put in its places as it comes, so that the window is in memory once.
        """
        pixels = np.empty((len(rows), self.image_size, self.image_size), np.uint8)
        reports = np.empty(len(rows), object)
        by_row = np.argsort(rows)
        firsts, ends = (np.searchsorted(rows[by_row], self.starts[np.add(groups, side)]) for side in (0, 1))
        for group, first, end, part in zip(groups, firsts, ends, self._parts(groups), strict=True):
            places = by_row[first:end]
            within = rows[places] - self.starts[group]
            pixels[places] = pixels_of(part[PIXELS], self.image_size)[within]
            reports[places] = part[REPORT].to_numpy(zero_copy_only=False)[within]
        return pixels, reports

    def _parts(self, groups: list[int]) -> Iterator[pa.Table]:
        """The row groups as they come in `groups`; a file is opened once where its groups follow each other."""
        files = Files(self.uri)
        for name, members in groupby((self.places[group] for group in groups), key=itemgetter(0)):
            path = f"{self.folder}/{name}"
            with files.fs.open_input_file(files.full(path)) as source, open_shard(source, self.findings, path) as shard:
                for _, number in members:
                    yield shard.read_row_group(number, columns=list(COLUMNS))


def _binary(pixels: np.ndarray) -> pa.Array:
    """(n, S, S) uint8, contiguous -> n binary values, without a copy."""
    offsets = np.arange(len(pixels) + 1, dtype=np.int32) * pixels[0].size
    return pa.Array.from_buffers(pa.binary(), len(pixels), [None, pa.py_buffer(offsets), pa.py_buffer(pixels)])


def streamed_batches(
    files: Files, folder: str, manifest: Manifest, index: CorpusIndex, plan: StreamPlan, start_step: int, name: str
) -> Iterator[CorpusBatch]:
    """Batches straight from storage, from `start_step` on: the same as resident_batches, bit for bit."""
    # All epochs of 377,110 images are 19 million rows: 75 MB as int32, ten times that as Python's numbers.
    items = [
        {"groups": sorted(groups), "rows": rows.astype(ROW_TYPE).tobytes()}
        for groups, rows in plan.rows_by_window(index, start_step)
    ]
    if not items:
        return
    dataset = ray.data.from_items(items, override_num_blocks=len(items)).map_batches(
        _WindowReader(files.uri, folder, manifest, index),
        batch_size=1,
        batch_format="pyarrow",
        compute=ray.data.TaskPoolStrategy(size=min(WINDOWS_AT_ONCE, len(items))),
        num_cpus=0.01,  # the pipeline must run beside training that holds every core
    )
    dataset.set_name(name)
    dataset.context.execution_options.preserve_order = True
    dataset.context.enable_progress_bars = False
    dataset.context.custom_execution_callback_classes = [CalmSteps]
    share = plan.global_batch_size // plan.world_size
    for table in _waited_for(dataset.iter_batches(batch_size=share, batch_format="pyarrow", prefetch_batches=2)):
        reports = [report or "" for report in table[REPORT].to_pylist()]
        # A copy can be written to, as torch wants it, and lets go of Ray's shared memory.
        yield CorpusBatch(pixels_of(table[PIXELS], manifest.image_size).copy(), reports)


def _waited_for(batches: Iterable[pa.Table]) -> Iterator[pa.Table]:
    iterator = iter(batches)
    while True:
        _wanted.set()
        try:
            table = next(iterator, None)
        finally:
            _wanted.clear()
        if table is None:
            return
        yield table
