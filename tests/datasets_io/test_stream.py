"""Ray Data's stream and the resident array give the same batches, bit for bit, from any step and for any worker."""

import threading
from types import SimpleNamespace

import numpy as np
import pytest
import ray

import datasets_io.stream
from datasets_io.build import BuildSpec, build, data_folder
from datasets_io.files import Files
from datasets_io.read import StreamPlan, corpus_index, open_split, resident_batches
from datasets_io.stream import MOST_QUICK, STEP_SECONDS, CalmSteps, streamed_batches
from datasets_io.synthetic.archives import SyntheticSpec, write_archives


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    root = tmp_path_factory.mktemp("stream")
    small = SyntheticSpec(
        image_size=32, corpus_train=600, corpus_val=20, chexpert_train=30, chexpert_valid=20, nih_train_val=30,
        nih_test=20,
    )
    raw = write_archives(small, root / "raw")["mimic_cxr"]
    files, spec = Files(str(root / "store")), BuildSpec("mimic_cxr", 32)
    manifest = build(spec, raw, files)
    ray.init(address="local", num_cpus=2, log_to_driver=False, include_dashboard=False)
    yield files, data_folder(spec, raw), manifest
    ray.shutdown()


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


def test_rays_loop_is_held_by_its_callback(corpus, monkeypatch):
    steps, original = [], CalmSteps.on_execution_step
    monkeypatch.setattr(CalmSteps, "on_execution_step", lambda *given: (steps.append(1), original(*given)))
    files, folder, manifest = corpus
    index = corpus_index(files, folder, manifest, "train", require_impression=True)
    plan = StreamPlan(seed=5, global_batch_size=32, num_epochs=1, window_rows=300, rank=0, world_size=1)
    assert list(streamed_batches(files, folder, manifest, index, plan, 0, "test")) and steps


@pytest.mark.parametrize(
    ("step_seconds", "wanted", "held"), [(0.001, False, 30), (0.001, True, 0), (0.05, False, 0)],
    ids=["it spins", "it spins and a batch is waited for", "it waits by itself"],
)
def test_a_loop_that_spins_is_held_and_no_other(step_seconds, wanted, held, monkeypatch):
    clock, pauses, event = [100.0], [], threading.Event()

    def wait(seconds: float) -> None:
        if not event.is_set():
            pauses.append(seconds)
            clock[0] += seconds

    monkeypatch.setattr(event, "wait", wait)
    monkeypatch.setattr(datasets_io.stream, "_wanted", event)
    monkeypatch.setattr(datasets_io.stream, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    if wanted:
        event.set()
    calm = CalmSteps()
    for _ in range(1 + MOST_QUICK + 30):
        clock[0] += step_seconds
        calm.on_execution_step(None)
    assert pauses == [STEP_SECONDS] * held
