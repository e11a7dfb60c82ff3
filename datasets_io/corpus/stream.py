"""A corpus streamed by Ray Data: one long pipeline for all epochs, in the order of datasets_io.corpus.order. [ray]"""

import time
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from typing import Protocol

import numpy as np
import pyarrow as pa
import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from datasets_io.corpus.manifest import Manifest
from datasets_io.corpus.read import CorpusBatch, CorpusIndex, StreamPlan, pixels_of
from datasets_io.corpus.shard_file import open_shard
from datasets_io.storage.files import Files

PIXELS, REPORT = COLUMNS = ("pixels", "report_impression")
ROW_TYPE = np.dtype("<i4")
BYTES_PER_BLOCK = 64 << 20
BYTES_PER_ITEM = 64 << 20  # short windows are read together up to it: a task costs some 0.1 s of a core
STEP_SECONDS = 0.01
BLOCKS_AHEAD = 2
WINDOWS_AT_ONCE = 2  # one that is delivered and one that is read: memory for two windows of pixels


class CalmSteps:
    """A callback of Ray Data's: its loop steps at most a hundred times a second.

    While a block is ready that nothing takes yet, the loop does not wait for anything and takes 88% of a core.
    The methods are those of Ray's ExecutionCallback, which lies in a private module; Ray only calls them by name.
    """

    def __init__(self) -> None:
        self.ended = 0.0  # of the last step, by the monotonic clock

    def before_execution_starts(self, executor: object) -> None:
        """Nothing is needed."""

    def on_execution_step(self, executor: object) -> None:
        """Wait until STEP_SECONDS have passed since the last step."""
        time.sleep(max(0.0, self.ended + STEP_SECONDS - time.monotonic()))
        self.ended = time.monotonic()

    def after_execution_succeeds(self, executor: object) -> None:
        """Nothing is needed."""

    def after_execution_fails(self, executor: object, error: Exception) -> None:
        """Nothing is needed."""


@dataclass(frozen=True)
class _Stream:
    """What one worker streams: a split of a corpus, and in which order. name: of the dataset, in Ray's dashboard."""

    files: Files
    folder: str
    manifest: Manifest
    index: CorpusIndex
    plan: StreamPlan
    name: str


class _WindowReader:
    """Turns one item of the plan into rows. Built once in a task; holds no state between items."""

    def __init__(self, stream: _Stream):
        # Only what a task needs: the reader is pickled for each, and an index also has every report.
        self.uri, self.folder, self.findings = stream.files.uri, stream.folder, stream.manifest.findings
        self.image_size = stream.manifest.image_size
        self.places = stream.index.group_places
        self.starts = np.concatenate([[0], np.cumsum(stream.index.group_rows)])

    def __call__(self, batch: pa.Table) -> Iterator[pa.Table]:
        step = max(1, BYTES_PER_BLOCK // self.image_size**2)
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
        # Sorted, the rows of a group are one slice: rows[by_row[first:end]] lie between the group's start and end.
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


def _together(
    windows: Iterable[tuple[tuple[int, ...], np.ndarray]], most: int
) -> Iterator[tuple[set[int], np.ndarray]]:
    """Windows that follow each other as one, while they have no more than `most` rows in all; each group once."""
    groups: set[int] = set()
    parts: list[np.ndarray] = []
    for more, rows in windows:
        if parts and sum(map(len, parts)) + len(rows) > most:
            yield groups, np.concatenate(parts)
            groups, parts = set(), []
        groups |= set(more)
        parts.append(rows)
    if parts:
        yield groups, np.concatenate(parts)


def _binary(pixels: np.ndarray) -> pa.Array:
    """(n, S, S) uint8, contiguous -> n binary values, without a copy."""
    # Arrow's layout: no validity bitmap (None), n + 1 offsets, then all bytes; value i is bytes[offset i: offset i+1].
    offsets = np.arange(len(pixels) + 1, dtype=np.int32) * pixels[0].size
    return pa.Array.from_buffers(pa.binary(), len(pixels), [None, pa.py_buffer(offsets), pa.py_buffer(pixels)])


def streamed_batches(
    files: Files, folder: str, manifest: Manifest, index: CorpusIndex, plan: StreamPlan, start_step: int, name: str
) -> Iterator[CorpusBatch]:
    """Batches straight from storage, from `start_step` on: the same as resident_batches, bit for bit.

    Where the pipeline's own process dies, a new one goes on behind the last batch. `name` is the dataset's in Ray.

    Raises:
        CorruptArtefact: a shard is not what was written.
        ray.exceptions.RayError: the pipeline died, and once more before it gave a batch.
    """
    stream = _Stream(files, folder, manifest, index, plan, name)
    first = True
    while start_step < plan.num_epochs * plan.steps_per_epoch(index):
        begun_at = start_step
        try:
            for table in _tables(stream, start_step):
                reports = [report or "" for report in table[REPORT].to_pylist()]
                start_step += 1
                # A copy can be written to, as torch wants it, and lets go of Ray's shared memory.
                yield CorpusBatch(pixels_of(table[PIXELS], manifest.image_size).copy(), reports)
        except (ray.exceptions.RayActorError, ray.exceptions.ObjectLostError):
            if start_step == begun_at and not first:
                raise
        first = False


def _tables(stream: _Stream, start_step: int) -> Iterator[pa.Table]:
    """This worker's share of each batch, from one pipeline."""
    plan = stream.plan
    # All epochs of 377,110 images are 19 million rows: 75 MB as int32, ten times that as Python's numbers.
    windows = plan.rows_by_window(stream.index, start_step)
    items = [
        {"groups": sorted(groups), "rows": rows.astype(ROW_TYPE).tobytes()}
        for groups, rows in _together(windows, max(1, BYTES_PER_ITEM // stream.manifest.image_size**2))
    ]
    dataset = ray.data.from_items(items, override_num_blocks=len(items)).map_batches(
        _WindowReader(stream),
        batch_size=1,
        batch_format="pyarrow",
        compute=ray.data.TaskPoolStrategy(size=min(WINDOWS_AT_ONCE, len(items))),
        num_cpus=0.01,  # the pipeline must run beside training that holds every core
    )
    dataset.set_name(stream.name)
    dataset.context.execution_options.preserve_order = True
    dataset.context.enable_progress_bars = False
    # The base class lies in a private module of Ray; CalmSteps has its methods instead.
    dataset.context.custom_execution_callback_classes = [CalmSteps]  # type: ignore[list-item]  # see above
    # Beside the process that trains, so that batches pass through the memory of one machine.
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=True)
    pipeline = _Pipeline.options(scheduling_strategy=here).remote(dataset)  # type: ignore[attr-defined]  # ray.remote adds it
    try:
        yield from _in_batches(_blocks(pipeline), plan.global_batch_size // plan.world_size)
    finally:
        ray.kill(pipeline)


@ray.remote(num_cpus=0)
class _Pipeline:
    """Runs Ray Data's loop. In the process that trains it would hold the interpreter and cost a quarter of the views.

    Dataset.streaming_split has such an actor too, but a thread of it stays behind in the process that trains, which
    then ends with code 1 where Ray is shut down after a stream is left before its end.
    """

    def __init__(self, dataset: ray.data.Dataset):
        self.made = self._make(dataset)

    @staticmethod
    def _make(dataset: ray.data.Dataset) -> Iterator[list[ray.ObjectRef]]:
        """Starts with the first call: an error of the first block is then that call's, not the end of the actor."""
        # References, not rows: the pixels go from the task that read them to the process that trains, not through here.
        for bundle in dataset.iter_internal_ref_bundles():
            yield bundle.block_refs

    def next_blocks(self) -> list[ray.ObjectRef] | None:
        """None at the end."""
        return next(self.made, None)


class _NextBlocks(Protocol):
    def remote(self) -> "ray.ObjectRef[list[ray.ObjectRef] | None]": ...


class _PipelineHandle(Protocol):
    """What another process holds of a _Pipeline: its method is called by `remote`."""

    @property
    def next_blocks(self) -> _NextBlocks: ...


def _blocks(pipeline: _PipelineHandle) -> Iterator[pa.Table]:
    """The pipeline's blocks in order, BLOCKS_AHEAD calls always under way."""
    asked = deque(pipeline.next_blocks.remote() for _ in range(BLOCKS_AHEAD))
    while (blocks := ray.get(asked.popleft())) is not None:
        asked.append(pipeline.next_blocks.remote())
        for block in blocks:
            yield ray.get(block)


def _in_batches(blocks: Iterable[pa.Table], size: int) -> Iterator[pa.Table]:
    """Tables of `size` rows from tables of any; their rows must come to a multiple of it."""
    # What is left over is joined to the next block; concat_tables refers to both and copies nothing.
    left: pa.Table | None = None
    for block in blocks:
        table = block if left is None else pa.concat_tables([left, block])
        whole = table.num_rows - table.num_rows % size
        yield from (table.slice(start, size) for start in range(0, whole, size))
        left = table.slice(whole)
