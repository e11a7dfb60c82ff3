"""A shard of a disk is compared with its manifest before anything of it is used, and its bytes are read once."""

import os
import shutil
from pathlib import Path

import pytest
from csv_archives import write_archive

from datasets_io.build import BuildSpec, build, data_folder
from datasets_io.corpus import node_array, read, whole_shards
from datasets_io.corpus.node_array import state_of
from datasets_io.corpus.read import corpus_index, open_split, shards_of
from datasets_io.corpus.whole_shards import check_shards
from datasets_io.storage.artefacts import CorruptArtefact
from datasets_io.storage.files import Files

SPEC = BuildSpec("csv_images", 16)


@pytest.fixture(autouse=True)
def node(tmp_path, monkeypatch) -> Path:
    """A node's cache of its own, in which notes are made of small splits as well."""
    monkeypatch.setenv("RADSWEEP_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(whole_shards, "SMALL", 0)
    monkeypatch.setattr(whole_shards, "SETTLED_SECONDS", -1.0)
    another_process(monkeypatch)
    return tmp_path / "cache"


def another_process(monkeypatch) -> None:
    monkeypatch.setattr(whole_shards, "_COMPARED", set())


@pytest.fixture
def corpus(tmp_path):
    raw, files = write_archive(tmp_path / "raw", 60, 0), Files(str(tmp_path / "storage"))
    return files, data_folder(SPEC, raw), build(SPEC, raw, files)


@pytest.fixture
def compared(monkeypatch) -> list[Path]:
    """Grows by each shard that is read whole."""
    found, real = [], whole_shards._sha256

    def noted(full: Path) -> str:
        found.append(full)
        return real(full)

    monkeypatch.setattr(whole_shards, "_sha256", noted)
    return found


def shard_of(corpus, split: str = "train") -> Path:
    files, folder, manifest = corpus
    return Path(files.full(f"{folder}/{shards_of(manifest, split)[0].path}"))


def test_another_whole_shard_under_the_same_name_is_refused(corpus, tmp_path, monkeypatch):
    """Also where the node has the pixels already, which are those of the manifest; and by whoever streams."""
    files, folder, manifest = corpus
    monkeypatch.setattr(read, "MEMORY_LIMIT", 0)
    open_split(files, folder, manifest, "train"), corpus_index(files, folder, manifest, "train", False)
    other, elsewhere = write_archive(tmp_path / "other", 60, 1), Files(str(tmp_path / "elsewhere"))
    built = build(SPEC, other, elsewhere)
    shutil.copy(shard_of((elsewhere, data_folder(SPEC, other), built)), shard_of(corpus))
    for use in (
        lambda: open_split(files, folder, manifest, "train"),
        lambda: corpus_index(files, folder, manifest, "train", False),
    ):
        with pytest.raises(
            CorruptArtefact, match=r"train.* is damaged \(its sha256 differs\): remove data/csv_images-"
        ):
            use()
    assert len(open_split(files, folder, manifest, "val")), "of another split"


def test_a_node_reads_each_shard_once(corpus, compared, monkeypatch, node):
    files, folder, manifest = corpus
    shards = shards_of(manifest, "train")
    for _ in range(3):
        check_shards(files, folder, shards)
        another_process(monkeypatch)
    assert len(compared) == len(shards)
    assert {path.suffix for path in node.iterdir()} == {".whole", ".lock"}
    check_shards(files, folder, shards_of(manifest, "val"))
    another_process(monkeypatch)
    check_shards(files, folder, shards)
    assert len(compared) == len(shards) + len(shards_of(manifest, "val")), "the note of one split keeps the other's"


def test_what_was_written_to_is_read_again(corpus, compared, monkeypatch):
    files, folder, manifest = corpus
    shards, path = shards_of(manifest, "train"), shard_of(corpus)
    check_shards(files, folder, shards)
    before = path.stat()
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    with pytest.raises(CorruptArtefact, match="sha256 differs"):
        check_shards(files, folder, shards)
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    check_shards(files, folder, shards)
    assert compared.count(path) == 3


def test_after_a_start_of_the_machine_all_is_read_again(corpus, compared, monkeypatch):
    files, folder, manifest = corpus
    check_shards(files, folder, manifest.shards)
    another_process(monkeypatch)
    monkeypatch.setattr(whole_shards, "state_of", lambda path: f"another {state_of(path)}")
    check_shards(files, folder, manifest.shards)
    assert len(compared) == 2 * len(manifest.shards)


@pytest.mark.parametrize("note", [b"", b"{", b"[]", b"\xff", b"[" * 100_000, b'{"a": 1}', None])
def test_a_note_that_says_nothing_costs_a_reading(corpus, compared, monkeypatch, node, note):
    files, folder, manifest = corpus
    check_shards(files, folder, manifest.shards)
    (path,) = node.glob("*.whole")
    path.unlink() if note is None else path.write_bytes(note)
    another_process(monkeypatch)
    check_shards(files, folder, manifest.shards)
    assert len(compared) == 2 * len(manifest.shards)


def test_a_file_that_has_only_just_changed_is_not_noted(corpus, compared, monkeypatch):
    files, folder, manifest = corpus
    monkeypatch.setattr(whole_shards, "SETTLED_SECONDS", 60.0)
    for _ in range(2):
        check_shards(files, folder, manifest.shards)
    assert len(compared) == 2 * len(manifest.shards)


def test_a_node_without_a_cache_compares_in_each_process(corpus, compared, monkeypatch, node):
    files, folder, manifest = corpus
    node.write_text("no folder")
    for _ in range(2):
        another_process(monkeypatch)
        for _ in range(2):
            check_shards(files, folder, manifest.shards)
    assert len(compared) == 2 * len(manifest.shards)


@pytest.mark.parametrize("odd", ["pipe", "folder", "nothing"])
def test_what_is_no_file_is_named_at_once(corpus, odd):
    files, folder, manifest = corpus
    shard_of(corpus).unlink()
    if odd == "pipe":
        os.mkfifo(shard_of(corpus))
    elif odd == "folder":
        shard_of(corpus).mkdir()
    kind, text = (FileNotFoundError, "train") if odd == "nothing" else (CorruptArtefact, "is no file")
    with pytest.raises(kind, match=text):
        open_split(files, folder, manifest, "train")


def test_small_splits_leave_nothing_in_the_cache(corpus, compared, monkeypatch, node):
    files, folder, manifest = corpus
    monkeypatch.setattr(whole_shards, "SMALL", 64 << 20)
    check_shards(files, folder, manifest.shards)
    check_shards(files, folder, manifest.shards)
    assert len(compared) == len(manifest.shards) and not node.exists()
    assert node_array.SETTLED_SECONDS > 0
