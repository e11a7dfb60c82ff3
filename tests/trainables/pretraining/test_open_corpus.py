"""A corpus is an array of the node where memory and disk take it, else a stream: of the same batches."""

import numpy as np
import pytest
from small_pretraining import recipe_of

from datasets_io import granted
from datasets_io.build import BuildSpec, build, data_folder
from datasets_io.corpus import node_array, read
from datasets_io.corpus.read import StreamPlan
from datasets_io.storage.files import Files
from datasets_io.synthetic.archives import write_archives
from datasets_io.synthetic.plan import SyntheticSpec
from trainables.pretraining import worker_group
from trainables.pretraining.encoder_job import EncoderJob
from trainables.pretraining.worker_group import open_corpus
from trainables.recipe import Resources

PLAN = StreamPlan(seed=1, global_batch_size=16, num_epochs=2, window_rows=100)


@pytest.fixture(scope="module")
def job(local_ray, tmp_path_factory) -> tuple[EncoderJob, str]:
    root = tmp_path_factory.mktemp("corpus")
    counts = {"chexpert_train": 4, "chexpert_valid": 2, "nih_train_val": 4, "nih_test": 2}
    small = SyntheticSpec(image_size=32, corpus_train=90, corpus_val=10, **counts)
    raw, spec = write_archives(small, root / "raw")["mimic_cxr"], BuildSpec("mimic_cxr", 32)
    build(spec, raw, Files(str(root / "storage")))
    recipe = recipe_of("simclr", require_impression=False)
    return EncoderJob("simclr", "key", "encoders/simclr", recipe, 0, data_folder(spec, raw)), str(root / "storage")


@pytest.fixture
def cache(monkeypatch, tmp_path):
    """Even a small split is a file in the node's cache."""
    monkeypatch.setenv("RADSWEEP_CACHE", str(tmp_path))
    monkeypatch.setattr(read, "MEMORY_LIMIT", 0)
    return tmp_path


def arrays(cache) -> set[str]:
    return {path.stem.rpartition("-")[2] for path in cache.glob("*.npy")}


def test_an_array_where_it_fits_and_the_same_batches_where_it_does_not(job, cache, monkeypatch):
    said: list[str] = []
    resident = list(open_corpus(*job, Resources(), say=said.append).train_batches(PLAN, 0))
    assert arrays(cache) == {"train", "val"} and len(resident) == 2 * (90 // 16) and said == []
    for path in cache.iterdir():
        path.unlink()
    # A disk without room: one sentence, and the stream. What is small is held in memory.
    monkeypatch.setattr(node_array, "RESERVE", 1.0)
    monkeypatch.setattr(node_array, "MOST_RESERVED", 1 << 60)
    with pytest.warns(UserWarning, match="this process holds it in its memory"):
        corpus = open_corpus(*job, Resources(), say=said.append)
    monkeypatch.setattr(read, "FALLBACK_LIMIT", 0)
    monkeypatch.setattr(read, "memory_of_node", lambda: 0)
    streamed = list(corpus.train_batches(PLAN, 0))
    assert arrays(cache) == set() and len(said) == 1 and "the corpus is streamed in every epoch" in said[0]
    assert len(streamed) == len(resident)
    for a, b in zip(streamed, resident, strict=True):
        assert a.reports == b.reports and np.array_equal(a.pixels, b.pixels)


@pytest.mark.parametrize(("limit", "memory", "wanted"), [(0, 1 << 40, {"val"}), (None, 1 << 10, {"val"})])
def test_no_array_of_what_is_larger_than_the_limit(job, cache, monkeypatch, limit, memory, wanted):
    """The limit is the study's, or half of the node's memory."""
    monkeypatch.setattr(worker_group, "memory_of_node", lambda: memory)
    corpus = open_corpus(*job, Resources(resident_bytes=limit), say=pytest.fail)
    assert len(next(corpus.train_batches(PLAN, 0)).pixels) == 16
    assert arrays(cache) == wanted


def test_the_memory_of_a_node_is_what_it_has():
    assert 1 << 28 < granted.memory_of_node() < 1 << 50
