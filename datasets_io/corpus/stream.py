"""A corpus streamed by Ray Data: one pipeline of a node for all epochs and all workers of it. [ray]

The pipeline reads row groups in the order in which windows need them, once an epoch, into the node's shared memory.
Each worker maps them and copies its own rows of each batch, in the order of datasets_io.corpus.order.
"""

import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import chain, groupby, islice, pairwise
from operator import itemgetter
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from datasets_io.corpus.manifest import Manifest
from datasets_io.corpus.read import CorpusBatch, CorpusIndex, StreamPlan, pixels_of
from datasets_io.corpus.shard_file import open_shard
from datasets_io.storage.files import Files

GROUP, PIXELS = "group", "pixels"
BYTES_PER_BLOCK = 64 << 20
BYTES_PER_ITEM = 2 << 30  # windows are read by one task up to it: a task costs some 0.1 s of a core
BYTES_READ_AHEAD = 256 << 20  # by the pipeline, of what nobody has asked for
STEP_SECONDS = 0.02
BLOCKS_AHEAD = 2
WINDOWS_KEPT = 2  # by the pipeline, for a worker that is behind the others
READS_AT_ONCE = 3
TASKS_AT_ONCE = 1  # it reads several files at once, and a second would only wait for it to end


class CalmSteps:
    """A callback of Ray Data's: its loop steps at most fifty times a second.

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
class Sharing:
    """Workers of one node that read one stream together, so that each row group is fetched once for all of them.

    token: the same on these workers, in this attempt, and nowhere else. workers: how many they are.
    """

    token: str
    workers: int


@dataclass(frozen=True)
class _Stream:
    """What is streamed: a split of a corpus, and in which order. name: of the dataset, in Ray's dashboard."""

    files: Files
    folder: str
    manifest: Manifest
    index: CorpusIndex
    plan: StreamPlan
    name: str


class _GroupReader:
    """Turns an item, which names some windows that follow each other, into their row groups. Built once in a task."""

    def __init__(self, stream: _Stream):
        self.uri, self.folder, self.findings = stream.files.uri, stream.folder, stream.manifest.findings
        self.image_size, self.plan = stream.manifest.image_size, stream.plan
        self.index = replace(stream.index, reports=[])  # the reader is pickled for each task

    def __call__(self, batch: pa.Table) -> Iterator[pa.Table]:
        for item in batch.to_pylist():
            windows = self.plan.groups_by_window(self.index, item["epoch"], item["number"])
            groups = chain.from_iterable(groups for _, _, groups in islice(windows, item["windows"]))
            for group, pixels in self._pixels(groups):
                yield pa.table({GROUP: pa.array([group], pa.int32()), PIXELS: _one_value(pixels)})

    def _pixels(self, groups: Iterator[int]) -> Iterator[tuple[int, np.ndarray]]:
        """(row group, its pixels (n, S, S)) in the order of the groups, some files ahead."""
        places = ((*self.index.group_places[group], group) for group in groups)
        reads: deque[Future[list[tuple[int, np.ndarray]]]] = deque()
        with ThreadPoolExecutor(READS_AT_ONCE) as pool:
            for path, members in groupby(places, key=itemgetter(0)):
                reads.append(pool.submit(self._of_file, path, [(number, group) for _, number, group in members]))
                if len(reads) > READS_AT_ONCE:
                    yield from reads.popleft().result()
            while reads:
                yield from reads.popleft().result()

    def _of_file(self, path: str, members: list[tuple[int, int]]) -> list[tuple[int, np.ndarray]]:
        files, path = Files(self.uri), f"{self.folder}/{path}"
        with files.fs.open_input_file(files.full(path)) as source, open_shard(source, self.findings, path) as shard:
            return [
                (group, pixels_of(shard.read_row_group(number, columns=[PIXELS])[PIXELS], self.image_size))
                for number, group in members
            ]


def _one_value(pixels: np.ndarray) -> pa.Array:
    """(n, S, S) uint8, contiguous -> one binary value, without a copy."""
    # Arrow's layout: no validity bitmap (None), two offsets, then the bytes.
    offsets = np.array([0, pixels.size], np.int64)
    return pa.Array.from_buffers(pa.large_binary(), 1, [None, pa.py_buffer(offsets), pa.py_buffer(pixels)])


def _values(column: pa.ChunkedArray, image_size: int) -> Iterator[np.ndarray]:
    """Each value as (n, S, S) uint8, without a copy."""
    for chunk in column.chunks:
        offsets = np.frombuffer(chunk.buffers()[1], np.int64)[chunk.offset : chunk.offset + len(chunk) + 1]
        flat = np.frombuffer(chunk.buffers()[2], np.uint8)
        for start, end in pairwise(offsets.tolist()):
            yield flat[start:end].reshape(-1, image_size, image_size)


def _items(index: CorpusIndex, plan: StreamPlan, epoch: int, number: int, most: int) -> list[dict[str, int]]:
    """Windows from one to the end of the last epoch, cut where they would have more than `most` rows together."""
    items: list[dict[str, int]] = []
    total = 0
    for now, place, groups in plan.groups_by_window(index, epoch, number):
        rows = sum(index.group_rows[group] for group in groups)
        if not items or total + rows > most:
            items.append({"epoch": now, "number": place, "windows": 0})
            total = 0
        items[-1]["windows"] += 1
        total += rows
    return items


def streamed_batches(
    files: Files,
    folder: str,
    manifest: Manifest,
    index: CorpusIndex,
    plan: StreamPlan,
    start_step: int,
    name: str,
    sharing: Sharing | None = None,
) -> Iterator[CorpusBatch]:
    """Batches straight from storage, from `start_step` on: the same as resident_batches, bit for bit.

    Where the pipeline's own process dies, a new one goes on behind the last batch. `name` is the dataset's in Ray.
    sharing: with the other workers of this node; None: this worker has a pipeline of its own.

    Raises:
        CorruptArtefact: a shard is not what was written.
        ray.exceptions.RayError: the pipeline died, and once more before it gave a batch.
    """
    stream = _Stream(files, folder, manifest, index, plan, name)
    first = True
    while start_step < plan.num_epochs * plan.steps_per_epoch(index):
        begun_at = start_step
        try:
            for batch in _batches(stream, start_step, sharing):
                start_step += 1
                yield batch
        except _Gone:
            sharing = None  # the others are too far ahead: this worker reads for itself
        except (ray.exceptions.RayActorError, ray.exceptions.ObjectLostError):
            if start_step == begun_at and not first:
                raise
        first = False


def _batches(stream: _Stream, start_step: int, sharing: Sharing | None) -> Iterator[CorpusBatch]:
    """This worker's share of each batch, from one pipeline."""
    index, plan, size = stream.index, stream.plan, stream.manifest.image_size
    share = plan.global_batch_size // plan.world_size
    with _Groups(stream, start_step, sharing) as source:
        pixels = np.empty((share, size, size), np.uint8)
        taken: list[int] = []
        for groups, rows in plan.rows_by_window(index, start_step):
            held = source.take(groups)
            # Row rows[i] is the row within[i] of the group held[which[i]].
            which = np.searchsorted(np.array([index.starts[group] for group in groups]), rows, "right") - 1
            within = rows - index.starts[np.array(groups)][which]
            for done, (place, inner, row) in enumerate(
                zip(which.tolist(), within.tolist(), rows.tolist(), strict=True), 1
            ):
                pixels[len(taken)] = held[place][inner]
                taken.append(row)
                if len(taken) == share:
                    yield CorpusBatch(pixels, [index.reports[row] for row in taken])
                    pixels, taken = np.empty((share, size, size), np.uint8), []
                    # As much of the next window as of this one is delivered: there is no wait between the two.
                    source.fetch_ahead(len(groups) * done // len(rows))


class _Groups:
    """The row groups of a pipeline, in its order, as a worker takes them. Used in a `with`."""

    def __init__(self, stream: _Stream, start_step: int, sharing: Sharing | None):
        epoch, number = stream.plan.first_window(stream.index, start_step)
        here = ray.get_runtime_context().get_node_id()
        # Beside the process that trains, so that pixels pass through the memory of one machine.
        options: dict[str, Any] = {"scheduling_strategy": NodeAffinitySchedulingStrategy(here, soft=True)}
        self.workers, self.token = (1, "") if sharing is None else (sharing.workers, sharing.token)
        if self.workers > 1:
            # Whoever comes first makes it. Its name has where it begins: after a death workers may be a window apart.
            options |= {"name": f"stream-{self.token}-{here}-{epoch}-{number}", "get_if_exists": True}
        window_bytes = min(stream.plan.window_rows * stream.manifest.image_size**2, stream.index.num_bytes)
        self.pipeline: _PipelineHandle = _Pipeline.options(**options).remote(  # type: ignore[attr-defined]  # ray.remote adds it
            _dataset(stream, epoch, number, here), self.workers, 4 + WINDOWS_KEPT * window_bytes // BYTES_PER_BLOCK
        )
        self.rank, self.image_size = stream.plan.rank, stream.manifest.image_size
        self.asked: deque[ray.ObjectRef[list[ray.ObjectRef] | None]] = deque()
        self.blocks = 0  # how many have been asked for
        self.ready: deque[tuple[int, np.ndarray]] = deque()
        self.ended = False

    def __enter__(self) -> "_Groups":
        for token in [token for token in _HELD if token != self.token]:
            del _HELD[token]
        return self

    def __exit__(self, *error: object) -> None:
        self.ready.clear()
        if not ray.is_initialized():
            return  # a stream that is left open until after Ray: any call would start another one
        if self.workers == 1:
            ray.kill(self.pipeline)  # type: ignore[arg-type]  # a handle, by what is called of it
            return
        self.pipeline.leave.remote(self.rank)
        _HELD[self.token] = self.pipeline

    def take(self, groups: list[int]) -> list[np.ndarray]:
        """Pixels (n, S, S) of these groups, which are the next; views of shared memory."""
        self.fetch_ahead(len(groups))
        assert [group for group, _ in self.ready][: len(groups)] == groups, "the pipeline gives other row groups"
        return [self.ready.popleft()[1] for _ in groups]

    def fetch_ahead(self, groups: int) -> None:
        """Have so many groups ready, if there are as many."""
        while len(self.ready) < groups and not self.ended:
            while len(self.asked) < BLOCKS_AHEAD:
                self.asked.append(self.pipeline.next_blocks.remote(self.rank, self.blocks))
                self.blocks += 1
            refs = ray.get(self.asked.popleft())
            if refs is None:
                self.ended = True
                return
            for table in ray.get(refs):
                self.ready.extend(zip(table[GROUP].to_pylist(), _values(table[PIXELS], self.image_size), strict=True))


# Shared pipelines whose stream has ended here: one ends with its maker's last handle, and others may be behind. They
# are let go of where the next stream begins, which no worker of a training comes to before all have ended the last.
_HELD: dict[str, "_PipelineHandle"] = {}


class _Gone(Exception):
    """A worker of a shared pipeline asks for what the others have left behind."""


def _dataset(stream: _Stream, epoch: int, number: int, node: str) -> ray.data.Dataset:
    """Blocks of row groups, {GROUP: its number, PIXELS: its bytes}, from one window to the end of the last epoch."""
    most = max(1, BYTES_PER_ITEM // stream.manifest.image_size**2)
    items = _items(stream.index, stream.plan, epoch, number, most)
    dataset = ray.data.from_items(items, override_num_blocks=len(items)).map_batches(
        _GroupReader(stream),
        batch_size=1,
        batch_format="pyarrow",
        compute=ray.data.TaskPoolStrategy(size=min(TASKS_AT_ONCE, len(items))),
        num_cpus=0.01,  # the pipeline must run beside training that holds every core
        label_selector={"ray.io/node-id": node},  # its blocks are in the memory of the node that maps them
    )
    dataset.set_name(stream.name)
    dataset.context.target_max_block_size = BYTES_PER_BLOCK
    dataset.context.execution_options.preserve_order = True
    # Otherwise it reads ahead until half of the shared memory is full, and memory that was never used costs most.
    limits = ray.data.ExecutionResources.for_limits(object_store_memory=BYTES_READ_AHEAD)
    dataset.context.execution_options.resource_limits = limits
    dataset.context.enable_progress_bars = False
    # The base class lies in a private module of Ray; CalmSteps has its methods instead.
    dataset.context.custom_execution_callback_classes = [CalmSteps]  # type: ignore[list-item]  # see above
    return dataset


@ray.remote(num_cpus=0)
class _Pipeline:
    """Runs Ray Data's loop. In the process that trains it would hold the interpreter and cost a quarter of the views.

    Dataset.streaming_split has such an actor too, but a thread of it stays behind in the process that trains, which
    then ends with code 1 where Ray is shut down after a stream is left before its end.
    """

    def __init__(self, dataset: ray.data.Dataset, workers: int, most_kept: int):
        self.made, self.workers, self.most_kept = self._make(dataset), workers, most_kept
        self.next_of: dict[int, int] = {}  # worker -> the first place that it may still ask for
        self.left: set[int] = set()
        self.kept: deque[list[ray.ObjectRef]] = deque()
        self.base = 0  # place of kept[0]
        self.error: Exception | None = None

    @staticmethod
    def _make(dataset: ray.data.Dataset) -> Iterator[list[ray.ObjectRef]]:
        """Starts with the first call: an error of the first block is then that call's, not the end of the actor."""
        # References, not rows: the pixels go from the task that read them to the process that trains, not through here.
        for bundle in dataset.iter_internal_ref_bundles():
            yield bundle.block_refs

    def next_blocks(self, worker: int, place: int) -> list[ray.ObjectRef] | None:
        """The blocks of a place, from 0 on; None at the end. Raises _Gone, and what the pipeline ended with."""
        if place < self.base:
            raise _Gone
        while place >= self.base + len(self.kept):
            if self.error is not None:
                raise self.error  # to every worker, not only to the first that comes to it
            try:
                refs = next(self.made, None)
            except Exception as error:
                self.error = error
                raise
            if refs is None:
                return None
            self.kept.append(refs)
        found = self.kept[place - self.base]
        self.next_of[worker] = place + 1
        # Let go of what every worker has; and of more, where one stays away.
        needed = min(self.next_of.values()) if len(self.next_of) == self.workers else 0
        while self.kept and (self.base < needed or len(self.kept) > self.most_kept):
            self.kept.popleft()
            self.base += 1
        return found

    def leave(self, worker: int) -> None:
        """Ends the pipeline when all of its workers have left."""
        self.left.add(worker)
        if len(self.left) == self.workers:
            ray.actor.exit_actor()


class _Calls(Protocol):
    def remote(self, *arguments: object) -> "ray.ObjectRef[Any]": ...


class _PipelineHandle(Protocol):
    """What another process holds of a _Pipeline: its methods are called by `remote`."""

    @property
    def next_blocks(self) -> _Calls: ...
    @property
    def leave(self) -> _Calls: ...
