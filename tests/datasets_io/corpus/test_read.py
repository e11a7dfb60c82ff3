"""The array that a node's processes share: written once, whole, from verified shards."""

import multiprocessing
from pathlib import Path

import numpy as np
import pytest

from datasets_io.build import BuildSpec, build, data_folder
from datasets_io.corpus import node_array, read
from datasets_io.corpus.manifest import Manifest
from datasets_io.storage.artefacts import CorruptArtefact
from datasets_io.storage.files import Files

SPEC = BuildSpec("csv_images", image_size=16)


@pytest.fixture
def corpus(make_csv_archive, tmp_path, monkeypatch) -> tuple[Files, str, Manifest]:
    monkeypatch.setenv("RADSWEEP_CACHE", str(tmp_path / "cache"))
    raw, files = make_csv_archive(60), Files(str(tmp_path / "storage"))
    return files, data_folder(SPEC, raw), build(SPEC, raw, files)


def test_a_large_split_is_a_map_of_one_file_and_equals_the_small_one(corpus, tmp_path, monkeypatch):
    small = read.open_split(*corpus, "train")
    monkeypatch.setattr(read, "MEMORY_LIMIT", 0)
    cache = tmp_path / "cache"
    cache.mkdir()
    (cache / f".csv_images-{corpus[2].fingerprint}-train.npy-killed").write_bytes(b"half")
    large = read.open_split(*corpus, "train")
    assert isinstance(large.pixels, np.memmap) and not large.pixels.flags.writeable
    assert np.array_equal(large.pixels, small.pixels) and np.array_equal(large.labels, small.labels)
    (path,) = cache.glob("*.npy")
    assert not list(cache.glob(".*")), "what a killed writer left is removed"
    written = path.stat().st_mtime_ns
    assert np.array_equal(read.open_split(*corpus, "train").pixels, small.pixels)
    assert path.stat().st_mtime_ns == written


def _open(storage: str, folder: str, manifest: Manifest, start, written) -> None:
    read.MEMORY_LIMIT = 0
    real = node_array._write

    def counted(*arguments) -> None:
        with written.get_lock():
            written.value += 1
        real(*arguments)

    node_array._write = counted
    start.wait()
    assert len(read.open_split(Files(storage), folder, manifest, "train").pixels) > 0


def test_processes_that_start_together_write_it_once(corpus):
    files, folder, manifest = corpus
    context = multiprocessing.get_context("fork")
    start, written = context.Event(), context.Value("i", 0)
    arguments = (files.root, folder, manifest, start, written)
    processes = [context.Process(target=_open, args=arguments) for _ in range(4)]
    for process in processes:
        process.start()
    start.set()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0] * 4 and written.value == 1


def test_a_damaged_shard_gives_no_array(corpus, tmp_path, monkeypatch):
    files, folder, manifest = corpus
    picture = read.open_split(files, folder, manifest, "train").pixels[3].tobytes()
    monkeypatch.setattr(read, "MEMORY_LIMIT", 0)
    path = Path(files.full(f"{folder}/train/00000.parquet"))
    data = bytearray(path.read_bytes())
    data[data.index(picture) + 7] ^= 4
    path.write_bytes(data)
    with pytest.raises(CorruptArtefact, match="its sha256 differs"):
        read.open_split(files, folder, manifest, "train")
    assert not (tmp_path / "cache").exists()
    monkeypatch.setattr(read, "check_shards", lambda *whole: None)  # as if it had changed since
    with pytest.raises(CorruptArtefact, match="its sha256 differs"):
        read.open_split(files, folder, manifest, "train")
    assert [path.suffix for path in (tmp_path / "cache").iterdir()] == [".lock"]
