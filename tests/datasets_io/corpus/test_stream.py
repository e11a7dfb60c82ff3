"""Ray Data's stream and the resident array give the same batches, bit for bit, from any step and for any worker."""

import os
import shutil
import signal
import time

import numpy as np
import pyarrow as pa
import pytest
import ray

import datasets_io.corpus.stream
from datasets_io.build import BuildSpec, build, data_folder
from datasets_io.corpus.read import StreamPlan, corpus_index, open_split, resident_batches
from datasets_io.corpus.stream import STEP_SECONDS, CalmSteps, _in_batches, _together, streamed_batches
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
    windows = list(plan.rows_by_window(index, 0))
    longest = max(len(rows) for _, rows in windows)
    for most in (1, longest, 2 * longest, 10**9):
        items = list(_together(windows, most))
        assert np.array_equal(np.concatenate([rows for _, rows in items]), np.concatenate([w[1] for w in windows]))
        assert max(len(rows) for _, rows in items) <= max(most, longest)
        starts = np.concatenate([[0], np.cumsum(index.group_rows)])
        for groups, rows in items:
            assert groups >= set((np.searchsorted(starts, rows, "right") - 1).tolist())
    assert len(items) == 1 and len(list(_together(windows, 1))) == len(windows) > 3


@pytest.mark.parametrize("sizes", [[7, 1, 20, 4], [32], [1] * 32, [0, 32, 0]])
def test_tables_of_any_length_are_cut_to_batches(sizes):
    whole = pa.table({"x": range(32)})
    blocks, start = [], 0
    for size in sizes:
        blocks.append(whole.slice(start, size))
        start += size
    batches = list(_in_batches(blocks, 8))
    assert [len(batch) for batch in batches] == [8] * 4
    assert pa.concat_tables(batches).equals(whole)


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
