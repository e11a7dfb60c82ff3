"""Ray Data's stream and the resident array give the same batches, bit for bit, from any step and for any worker."""

import time

import numpy as np
import pytest
import ray

import datasets_io.stream
from datasets_io.build import BuildSpec, build, data_folder
from datasets_io.files import Files
from datasets_io.read import StreamPlan, corpus_index, open_split, resident_batches
from datasets_io.stream import streamed_batches
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


def test_rays_loop_does_not_spin_while_batches_wait_to_be_taken(corpus, monkeypatch):
    """Each step at least as far from the last as is promised; without a pause they are a millisecond apart."""
    steps = []

    class Noted(datasets_io.stream.CalmSteps):
        def on_execution_step(self, executor) -> None:
            super().on_execution_step(executor)
            steps.append(time.monotonic())

    monkeypatch.setattr(datasets_io.stream, "CalmSteps", Noted)
    files, folder, manifest = corpus
    index = corpus_index(files, folder, manifest, "train", require_impression=True)
    plan = StreamPlan(seed=5, global_batch_size=32, num_epochs=20, window_rows=300, rank=0, world_size=1)
    batches = streamed_batches(files, folder, manifest, index, plan, 0, "test")
    next(batches)
    time.sleep(2)
    batches.close()
    apart = np.diff(steps)
    assert len(apart) > 5 and apart.min() >= datasets_io.stream.STEP_SECONDS
