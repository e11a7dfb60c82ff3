"""Ray Data's stream and the resident array give the same batches, bit for bit, from any step and for any worker."""

import hashlib
import os
import shutil
import signal
import time
import tracemalloc
from collections import deque
from collections.abc import Callable
from itertools import islice

import numpy as np
import pyarrow as pa
import pytest
import ray

import datasets_io.corpus.stream
from datasets_io.build import BuildSpec, build, data_folder
from datasets_io.corpus.read import CorpusBatch, CorpusIndex, StreamPlan, corpus_index, open_split, resident_batches
from datasets_io.corpus.stream import STEP_SECONDS, CalmSteps, Sharing, _items, streamed_batches
from datasets_io.storage.artefacts import CorruptArtefact
from datasets_io.storage.files import Files
from datasets_io.synthetic.archives import write_archives
from datasets_io.synthetic.plan import SyntheticSpec


@pytest.fixture(scope="module")
def corpus(local_ray, tmp_path_factory):
    root = tmp_path_factory.mktemp("stream")
    small = SyntheticSpec(
        image_size=32,
        corpus_train=600,
        corpus_val=20,
        chexpert_train=30,
        chexpert_valid=20,
        nih_train_val=30,
        nih_test=20,
    )
    raw = write_archives(small, root / "raw")["mimic_cxr"]
    files, spec = Files(str(root / "store")), BuildSpec("mimic_cxr", 32)
    manifest = build(spec, raw, files)
    return files, data_folder(spec, raw), manifest


@pytest.mark.parametrize(("rank", "world", "start"), [(0, 1, 0), (1, 2, 0), (0, 1, 13), (0, 2, 40)])
def test_the_stream_is_the_resident_order(corpus, rank, world, start):
    files, folder, manifest = corpus
    index = corpus_index(files, folder, manifest, "train", require_impression=True)
    assert len(index.group_rows) > 1 and 0 < index.num_kept < len(index.kept)
    plan = StreamPlan(seed=5, global_batch_size=32, num_epochs=3, window_rows=300, rank=rank, world_size=world)
    pixels = open_split(files, folder, manifest, "train").pixels
    expected = list(resident_batches(pixels, index, plan, start))
    streamed = list(streamed_batches(files, folder, manifest, index, plan, start, "test"))
    assert len(streamed) == len(expected) == 3 * (index.num_kept // 32) - start
    for a, b in zip(streamed, expected, strict=True):
        assert a.reports == b.reports and np.array_equal(a.pixels, b.pixels)


def test_short_windows_are_read_together_and_long_ones_are_not(corpus):
    files, folder, manifest = corpus
    index = corpus_index(files, folder, manifest, "train", require_impression=True)
    plan = StreamPlan(seed=5, global_batch_size=32, num_epochs=3, window_rows=300)
    windows = list(plan.groups_by_window(index, 0))
    sizes = {window[:2]: sum(index.group_rows[group] for group in window[2]) for window in windows}
    longest = max(sizes.values())
    for most in (1, longest, 2 * longest, 10**9):
        items = _items(index, plan, 0, 0, most)
        named = []
        for item in items:
            mine = list(islice(plan.groups_by_window(index, item["epoch"], item["number"]), item["windows"]))
            assert sum(sizes[window[:2]] for window in mine) <= max(most, longest)
            named += mine
        assert named == windows
    assert len(items) == 1 and len(_items(index, plan, 0, 0, 1)) == len(windows) > 3


def test_a_pipeline_reads_the_windows_whose_rows_each_worker_takes(corpus):
    files, folder, manifest = corpus
    index = corpus_index(files, folder, manifest, "train", require_impression=True)
    for world, window in ((1, 300), (4, 300), (4, 1), (2, 10**6)):
        for start in (0, 1, 7, 13, 20):
            plans = [StreamPlan(5, 32, 3, window, rank, world) for rank in range(world)]
            read = [groups for _, _, groups in plans[0].groups_by_window(index, *plans[0].first_window(index, start))]
            for plan in plans:
                taken = list(plan.rows_by_window(index, start))
                assert [groups for groups, _ in taken] == read
                for groups, rows in taken:
                    assert set(np.searchsorted(index.starts, rows, "right") - 1) <= set(groups)


def test_rays_loop_runs_in_another_process_and_is_held_there(corpus, monkeypatch, tmp_path):
    files, folder, manifest = corpus
    index = corpus_index(files, folder, manifest, "train", require_impression=True)
    plan = StreamPlan(seed=5, global_batch_size=32, num_epochs=20, window_rows=300)
    steps = tmp_path / "steps"

    class Noted(CalmSteps):
        def on_execution_step(self, executor) -> None:
            super().on_execution_step(executor)
            with steps.open("a") as file:
                file.write(f"{os.getpid()} {self.ended!r}\n")

    monkeypatch.setattr(datasets_io.corpus.stream, "CalmSteps", Noted)
    monkeypatch.setattr(datasets_io.corpus.stream, "BYTES_PER_ITEM", 1)  # an item for each window: there are many
    for _ in streamed_batches(files, folder, manifest, index, plan, 0, "test"):
        time.sleep(0.002)
    processes, times = zip(*(line.split() for line in steps.read_text().splitlines()), strict=True)
    assert len(times) > 20 and set(processes) != {str(os.getpid())}
    apart = np.diff([float(moment) for moment in times])
    assert apart.min() >= STEP_SECONDS - 1e-6


def pipelines() -> list[str]:
    return [name for name in ray.util.list_named_actors() if name.startswith("stream-")]


@pytest.mark.parametrize("world", [2, 4])
def test_the_workers_of_a_node_share_one_pipeline(corpus, world):
    files, folder, manifest = corpus
    index = corpus_index(files, folder, manifest, "train", require_impression=True)
    plans = [StreamPlan(5, 32, 3, 300, rank, world) for rank in range(world)]
    pixels = open_split(files, folder, manifest, "train").pixels
    sharing = Sharing(f"test{world}", world)
    # In lockstep, as workers of one training are; the later one finds the pipeline that the first has made.
    streams = [streamed_batches(files, folder, manifest, index, plan, 3, "test", sharing) for plan in plans]
    expected = [list(resident_batches(pixels, index, plan, 3)) for plan in plans]
    for step in range(len(expected[0])):
        for stream, wanted in zip(streams, expected, strict=True):
            batch = next(stream)
            assert batch.reports == wanted[step].reports and np.array_equal(batch.pixels, wanted[step].pixels)
        assert len(pipelines()) == 1
    for stream in streams:
        assert next(stream, None) is None
    until = time.monotonic() + 30
    while pipelines() and time.monotonic() < until:
        time.sleep(0.1)
    assert pipelines() == [], "it ends when all have left"


@pytest.mark.parametrize("world", [1, 2, 4])
def test_the_workers_of_a_node_read_the_pixels_once_an_epoch(corpus, monkeypatch, tmp_path, world):
    """Every byte that is asked of the storage, footers included, from the start of a stream to its end.

    What is read ahead is delivered later in the same stream, so nothing of it hides behind the last epoch.
    """
    files, folder, manifest = corpus
    index = corpus_index(files, folder, manifest, "train", require_impression=True)
    epochs, read = 6, tmp_path / "read"

    class CountedFile:
        closed = False

        def __init__(self, file):
            # No other methods: Arrow reads by read_buffer where there is one.
            self.file, self.seek, self.tell, self.close = file, file.seek, file.tell, file.close

        def read(self, size: int = -1) -> bytes:
            data = self.file.read(size)
            with open(read, "a") as log:
                log.write(f"{len(data)}\n")
            return data

    class CountedReader:
        """Runs in a task, in another process, where the module is as it was written."""

        def __init__(self, stream):
            self.stream = stream

        def __call__(self, batch):
            module = datasets_io.corpus.stream
            opened = module.open_shard

            def counted(file, *given):
                return opened(pa.PythonFile(CountedFile(file), "r"), *given)

            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(module, "open_shard", counted)
                yield from module._GroupReader(self.stream)(batch)

    monkeypatch.setattr(datasets_io.corpus.stream, "_GroupReader", CountedReader)
    sharing = Sharing(f"reads{world}", world)
    plans = [StreamPlan(5, 32, epochs, 300, rank, world) for rank in range(world)]
    streams = [streamed_batches(files, folder, manifest, index, plan, 0, "test", sharing) for plan in plans]
    batches = sum(1 for _ in zip(*streams, strict=True))
    assert batches == epochs * (index.num_kept // 32)
    an_epoch = sum(map(int, read.read_text().split())) / epochs
    assert 1.0 <= an_epoch / index.num_bytes <= 1.1


def test_workers_that_share_are_processes_and_one_of_them_dies(corpus):
    """The pipeline goes with the worker that made it; the other goes on, and a next attempt shares a new one."""
    files, folder, manifest = corpus
    index = corpus_index(files, folder, manifest, "train", require_impression=True)
    plans = [StreamPlan(5, 32, 6, 300, rank, 2) for rank in range(2)]
    pixels = open_split(files, folder, manifest, "train").pixels

    def digest(batch: CorpusBatch) -> str:
        return hashlib.sha256(batch.pixels.tobytes() + "|".join(batch.reports).encode()).hexdigest()

    wanted = [[digest(batch) for batch in resident_batches(pixels, index, plan, 0)] for plan in plans]

    class Worker:  # and digest: here, since a process of Ray does not find this module
        def __init__(self, plan: StreamPlan, start: int, token: str):
            sharing = Sharing(token, 2)
            self.stream = streamed_batches(files, folder, manifest, index, plan, start, "test", sharing)

        def take(self, count: int) -> list[str]:
            return [digest(batch) for batch in islice(self.stream, count)]

    worker = ray.remote(num_cpus=0)(Worker)
    maker = worker.remote(plans[0], 0, "first")
    assert ray.get(maker.take.remote(20)) == wanted[0][:20]
    other = worker.remote(plans[1], 0, "first")
    assert ray.get(other.take.remote(20)) == wanted[1][:20] and len(pipelines()) == 1
    ray.kill(maker)
    assert ray.get(other.take.remote(10**6), timeout=60) == wanted[1][20:]
    again = [worker.remote(plan, 20, "second") for plan in plans]
    assert ray.get([each.take.remote(10**6) for each in again], timeout=60) == [each[20:] for each in wanted]
    for each in (other, *again):
        ray.kill(each)
    until = time.monotonic() + 30
    while pipelines() and time.monotonic() < until:
        time.sleep(0.1)
    assert pipelines() == []


def test_a_worker_far_behind_the_others_reads_for_itself(corpus, monkeypatch):
    files, folder, manifest = corpus
    index = corpus_index(files, folder, manifest, "train", require_impression=True)
    monkeypatch.setattr(datasets_io.corpus.stream, "BYTES_PER_ITEM", 1)
    monkeypatch.setattr(datasets_io.corpus.stream, "BYTES_PER_BLOCK", 64 * 32**2)
    monkeypatch.setattr(datasets_io.corpus.stream, "WINDOWS_KEPT", 0)
    plans = [StreamPlan(5, 32, 8, 300, rank, 2) for rank in range(2)]
    pixels = open_split(files, folder, manifest, "train").pixels
    for plan in plans:
        expected = list(resident_batches(pixels, index, plan, 0))
        streamed = list(streamed_batches(files, folder, manifest, index, plan, 0, "test", Sharing("late", 2)))
        assert len(streamed) == len(expected)
        for a, b in zip(streamed, expected, strict=True):
            assert a.reports == b.reports and np.array_equal(a.pixels, b.pixels)


def peak_bytes(make: Callable[[], object]) -> int:
    tracemalloc.start()
    try:
        make()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_more_epochs_take_no_more_memory():
    """A corpus of 100,000: as rows, an epoch of it has 0.8 MB, as the row groups of its windows some 10 kB."""
    groups = 400
    places = [(f"train/{group // 4:05d}.parquet", group % 4) for group in range(groups)]
    index = CorpusIndex([250] * groups, places, np.ones(250 * groups, bool), 224, [])

    def told(epochs: int) -> int:
        return peak_bytes(lambda: _items(index, StreamPlan(0, 256, epochs, 16_384), 0, 0, 40_000))

    def taken(epochs: int) -> int:
        return peak_bytes(lambda: deque(StreamPlan(0, 256, epochs, 16_384).rows_by_window(index, 0), maxlen=0))

    told(1), taken(1)  # what is kept from the first call on
    assert told(12) < told(2) + 20_000 and taken(8) < taken(2) + 20_000


def test_a_stream_whose_process_dies_goes_on_behind_its_last_batch(corpus, monkeypatch, tmp_path):
    files, folder, manifest = corpus
    index = corpus_index(files, folder, manifest, "train", require_impression=True)
    plan = StreamPlan(seed=5, global_batch_size=32, num_epochs=40, window_rows=300)
    pixels = open_split(files, folder, manifest, "train").pixels
    monkeypatch.setattr(datasets_io.corpus.stream, "BYTES_PER_ITEM", 1)
    monkeypatch.setattr(datasets_io.corpus.stream, "BYTES_PER_BLOCK", 64 * 32**2)
    process = tmp_path / "process"

    class Named(CalmSteps):
        def before_execution_starts(self, executor) -> None:
            process.write_text(str(os.getpid()))

    monkeypatch.setattr(datasets_io.corpus.stream, "CalmSteps", Named)
    killed, streamed = set(), []
    for batch in streamed_batches(files, folder, manifest, index, plan, 0, "test"):
        streamed.append(batch)
        if len(streamed) in (50, 300):
            killed.add(int(process.read_text()))
            os.kill(int(process.read_text()), signal.SIGKILL)
    expected = list(resident_batches(pixels, index, plan, 0))
    assert len(killed - {os.getpid()}) == 2 and len(streamed) == len(expected)
    for a, b in zip(streamed, expected, strict=True):
        assert a.reports == b.reports and np.array_equal(a.pixels, b.pixels)


def test_a_stream_whose_process_always_dies_says_so(corpus, monkeypatch):
    files, folder, manifest = corpus
    index = corpus_index(files, folder, manifest, "train", require_impression=True)
    plan = StreamPlan(seed=5, global_batch_size=32, num_epochs=1, window_rows=300)

    class Dies(CalmSteps):
        def on_execution_step(self, executor) -> None:
            os._exit(1)

    monkeypatch.setattr(datasets_io.corpus.stream, "CalmSteps", Dies)
    with pytest.raises(ray.exceptions.RayError):
        next(streamed_batches(files, folder, manifest, index, plan, 0, "test"))


def test_a_damaged_shard_is_named(corpus, tmp_path):
    files, folder, manifest = corpus
    index = corpus_index(files, folder, manifest, "train", require_impression=True)
    shutil.copytree(files.uri, tmp_path / "store")
    for path in (tmp_path / "store" / folder).rglob("*.parquet"):
        path.write_bytes(path.read_bytes()[:-100])
    plan = StreamPlan(seed=5, global_batch_size=32, num_epochs=1, window_rows=300)
    with pytest.raises(CorruptArtefact, match="parquet"):
        next(streamed_batches(Files(str(tmp_path / "store")), folder, manifest, index, plan, 0, "test"))
