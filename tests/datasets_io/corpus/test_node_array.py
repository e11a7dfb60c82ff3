"""An array on a node's disk holds what was written, or is made again; a disk without room is a sentence."""

import errno
import multiprocessing
import os
import stat
import time
from pathlib import Path

import numpy as np
import pytest

from datasets_io.build import BuildSpec, build, data_folder
from datasets_io.corpus import node_array, read
from datasets_io.corpus.node_array import CacheFull, open_array
from datasets_io.storage.files import Files

SHAPE = (50, 8, 8)
WANTED = np.random.default_rng(0).integers(0, 256, SHAPE, dtype=np.uint8)


class Maker:
    """Opens WANTED in a folder; counts how often it had to be made and compared."""

    def __init__(self, folder: Path):
        self.target, self.made = folder / "corpus-0123-train.npy", 0

    def blocks(self):
        self.made += 1
        yield WANTED[:20]
        yield WANTED[20:]

    def open(self) -> np.ndarray:
        return open_array(self.target, SHAPE, np.uint8, self.blocks)


@pytest.fixture
def maker(tmp_path, monkeypatch) -> Maker:
    monkeypatch.setattr(node_array, "CHUNK", 1000)  # several digests of which the last is of a shorter chunk
    monkeypatch.setattr(node_array, "SETTLED_SECONDS", 0.0)
    return Maker(tmp_path)


def compared(monkeypatch) -> list[Path]:
    """Grows by one where all bytes are read."""
    found, real = [], node_array._sha256

    def noted(target: Path, size: int) -> list[str]:
        found.append(target)
        return real(target, size)

    monkeypatch.setattr(node_array, "_sha256", noted)
    return found


def test_what_was_written_is_mapped_and_compared_once(maker, monkeypatch):
    digests = compared(monkeypatch)
    for _ in range(4):
        pixels = maker.open()
        assert isinstance(pixels, np.memmap) and not pixels.flags.writeable and np.array_equal(pixels, WANTED)
    assert maker.made == 1 and len(digests) == 1


def changed_byte(path: Path, place: int) -> None:
    with open(path, "r+b") as file:
        file.seek(place)
        byte = file.read(1)[0]
        file.seek(place)
        file.write(bytes([byte ^ 1]))


@pytest.mark.parametrize("place", [0, 60, 127, 128, 999, 1000, 1128, 3000, 3327])
@pytest.mark.parametrize("seen", [False, True])
def test_a_changed_byte_gives_the_same_pictures(maker, place, seen):
    """Before the array was ever compared, and after; the file keeps its size and is given its old time."""
    maker.open()
    if seen:
        maker.open()
    times = os.stat(maker.target)
    time.sleep(0.02)  # the clock of a file system
    changed_byte(maker.target, place)
    os.utime(maker.target, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert np.array_equal(maker.open(), WANTED) and maker.made == 2
    assert np.array_equal(maker.open(), WANTED) and maker.made == 2


@pytest.mark.parametrize("size", [0, 5, 127, 128, 2000, 3327, 3400])
def test_a_file_of_another_length_is_made_again(maker, size):
    maker.open(), maker.open()
    os.truncate(maker.target, size)
    assert np.array_equal(maker.open(), WANTED) and maker.made == 2


def test_another_array_under_its_name_is_made_again(maker, tmp_path):
    maker.open()
    other = tmp_path / "corpus-9999-train.npy"
    open_array(other, SHAPE, np.uint8, lambda: iter([255 - WANTED]))
    for suffix in (".npy", ".digests"):
        os.replace(other.with_suffix(suffix), maker.target.with_suffix(suffix))
    assert np.array_equal(maker.open(), WANTED) and maker.made == 2
    shorter = open_array(maker.target, (49, 8, 8), np.uint8, lambda: iter([WANTED[1:]]))
    assert np.array_equal(shorter, WANTED[1:])


@pytest.mark.parametrize("digests", [b"", b"{", b"[]", b"\xff", b'{"name": "corpus-0123-train.npy"}', None])
def test_an_array_without_its_digests_is_made_again(maker, digests):
    maker.open()
    path = maker.target.with_suffix(".digests")
    path.unlink() if digests is None else path.write_bytes(digests)
    assert np.array_equal(maker.open(), WANTED) and maker.made == 2


def test_after_a_start_of_the_machine_it_is_compared_again(maker, monkeypatch):
    maker.open(), maker.open()
    real, digests = node_array.state_of, compared(monkeypatch)
    monkeypatch.setattr(node_array, "state_of", lambda target: f"another {real(target)}")
    maker.open(), maker.open()
    assert maker.made == 1 and len(digests) == 1


def test_a_file_that_has_only_just_changed_is_not_noted_as_compared(maker, monkeypatch):
    """Two writes within one tick of the file system's clock have one time."""
    monkeypatch.setattr(node_array, "SETTLED_SECONDS", 60.0)
    digests = compared(monkeypatch)
    for _ in range(3):
        maker.open()
    assert maker.made == 1 and len(digests) == 2


def test_all_files_are_the_owners_alone(maker):
    before = os.umask(0)
    try:
        maker.open(), maker.open()
    finally:
        os.umask(before)
    modes = {path.suffix: stat.S_IMODE(path.stat().st_mode) for path in maker.target.parent.iterdir()}
    assert modes == {".npy": 0o600, ".digests": 0o600, ".checked": 0o600, ".lock": 0o600}


def test_blocks_that_are_too_few_give_no_array(tmp_path):
    with pytest.raises(ValueError, match="not 3328"):
        open_array(tmp_path / "x.npy", SHAPE, np.uint8, lambda: iter([WANTED[:49]]))
    assert [path.suffix for path in tmp_path.iterdir()] == [".lock"]


@pytest.mark.parametrize("at", ["posix_fallocate", "disk_usage", "write"])
def test_a_disk_without_room_is_a_sentence(maker, monkeypatch, at):
    def full(*arguments: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    if at == "write":
        monkeypatch.setattr(node_array, "_write_all", full)
    elif at == "posix_fallocate":
        monkeypatch.setattr(os, at, full)
    else:
        monkeypatch.setattr(node_array, "RESERVE", 1.0)
        monkeypatch.setattr(node_array, "MOST_RESERVED", 1 << 60)
    with pytest.raises(CacheFull, match=r"No space left on device.*set RADSWEEP_CACHE to a folder") as found:
        maker.open()
    assert "\n" not in str(found.value)
    assert [path.suffix for path in maker.target.parent.iterdir()] == [".lock"]
    monkeypatch.undo()
    assert np.array_equal(maker.open(), WANTED)


def test_a_large_disk_is_not_kept_for_others(maker, monkeypatch):
    """150 GB of 10 TB are free: less than the share that is left to others, and more than enough."""
    usage = type(node_array.shutil.disk_usage("/"))(10 * 10**12, 10**13 - 150 * 10**9, 150 * 10**9)
    monkeypatch.setattr(node_array.shutil, "disk_usage", lambda folder: usage)
    assert np.array_equal(maker.open(), WANTED)


def test_what_can_be_streamed_leaves_room_for_what_cannot(maker, monkeypatch):
    usage = type(node_array.shutil.disk_usage("/"))(10_000, 4_500, 5_500)
    monkeypatch.setattr(node_array.shutil, "disk_usage", lambda folder: usage)
    with pytest.raises(CacheFull):
        open_array(maker.target, SHAPE, np.uint8, maker.blocks, of_free=0.5)
    assert np.array_equal(maker.open(), WANTED)
    assert np.array_equal(open_array(maker.target, SHAPE, np.uint8, maker.blocks, of_free=0.5), WANTED)
    assert maker.made == 1


def test_errors_of_the_storage_are_not_the_caches(maker):
    def denied():
        yield WANTED[:20]
        raise PermissionError(errno.EACCES, "Permission denied", "shard")

    with pytest.raises(PermissionError, match="shard"):
        open_array(maker.target, SHAPE, np.uint8, denied)


def _open_damaged(folder: Path, start, made) -> None:
    maker = Maker(folder)
    start.wait()
    assert np.array_equal(maker.open(), WANTED)
    with made.get_lock():
        made.value += maker.made


def test_processes_that_find_it_damaged_make_it_again_once(tmp_path):
    maker = Maker(tmp_path)
    maker.open()
    changed_byte(maker.target, 1000)
    context = multiprocessing.get_context("fork")
    start, made = context.Event(), context.Value("i", 0)
    processes = [context.Process(target=_open_damaged, args=(tmp_path, start, made)) for _ in range(4)]
    for process in processes:
        process.start()
    start.set()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0] * 4 and made.value == 1


def test_what_is_damaged_gives_its_room_to_what_replaces_it(maker, monkeypatch):
    """On a disk that has room for one array and no more."""
    maker.open()
    changed_byte(maker.target, 1000)
    real = node_array._take_space

    def with_room_for_one(*given) -> None:
        assert not maker.target.exists()
        real(*given)

    monkeypatch.setattr(node_array, "_take_space", with_room_for_one)
    assert np.array_equal(maker.open(), WANTED) and maker.made == 2


def refuse(monkeypatch, number: int) -> None:
    """As a folder does that may not be written to; root may write anywhere else."""

    def refused(path: str, flags: int) -> int:
        raise OSError(number, os.strerror(number), path)

    monkeypatch.setattr(node_array, "_owners", refused)


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES])
def test_a_folder_that_may_only_be_read(maker, monkeypatch, number):
    """What lies there is compared and used; what does not is a sentence."""
    with monkeypatch.context() as patch:
        refuse(patch, number)
        with pytest.raises(CacheFull, match="set RADSWEEP_CACHE to a folder that this user may write to"):
            maker.open()
    maker.open()
    refuse(monkeypatch, number)
    pixels = maker.open()
    assert isinstance(pixels, np.memmap) and np.array_equal(pixels, WANTED) and maker.made == 1
    changed_byte(maker.target, 1000)
    with pytest.raises(CacheFull):
        maker.open()


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOLCK])
def test_a_file_system_without_locks_is_a_sentence(maker, monkeypatch, number):
    def no_lock(*arguments: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(node_array.fcntl, "flock", no_lock)
    with pytest.raises(CacheFull, match=r"gives no locks.*set RADSWEEP_CACHE to a folder on a disk of the node"):
        maker.open()


def test_nothing_is_written_through_a_link(maker, tmp_path):
    """In a folder that others may write to, a link of the name that is known could be anywhere."""
    theirs = tmp_path / "theirs"
    theirs.write_text("precious")
    maker.target.with_suffix(".lock").symlink_to(theirs)
    with pytest.raises(CacheFull, match="symbolic links"):
        maker.open()
    maker.target.with_suffix(".lock").unlink()
    maker.target.symlink_to(theirs)
    assert np.array_equal(maker.open(), WANTED) and not maker.target.is_symlink()
    assert theirs.read_text() == "precious"


def test_a_node_without_a_cache_folder_is_a_sentence(monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setenv("RADSWEEP_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(CacheFull, match=r"cannot be made .*set RADSWEEP_CACHE to another folder"):
        node_array.local_cache()
    for name in ("RADSWEEP_CACHE", "XDG_CACHE_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)  # as for a user who is in no list of users
    with pytest.raises(CacheFull, match="no home: set RADSWEEP_CACHE to a folder"):
        node_array.local_cache()


def test_a_small_split_is_held_in_memory_where_the_cache_is_full(make_csv_archive, tmp_path, monkeypatch):
    monkeypatch.setenv("RADSWEEP_CACHE", str(tmp_path / "cache"))
    spec = BuildSpec("csv_images", image_size=16)
    raw, files = make_csv_archive(60), Files(str(tmp_path / "storage"))
    corpus = (files, data_folder(spec, raw), build(spec, raw, files))
    expected = read.open_split(*corpus, "train").pixels
    monkeypatch.setattr(read, "MEMORY_LIMIT", 0)
    monkeypatch.setattr(node_array, "RESERVE", 1.0)
    monkeypatch.setattr(node_array, "MOST_RESERVED", 1 << 60)
    for of_node in (0, 1 << 40):  # below the limit, and below a part of the memory
        monkeypatch.setattr(read, "memory_of_node", lambda memory=of_node: memory)
        with pytest.warns(UserWarning, match="set RADSWEEP_CACHE"):
            found = read.open_split(*corpus, "train").pixels
        monkeypatch.setattr(read, "FALLBACK_LIMIT", 0)
    assert np.array_equal(found, expected) and not isinstance(found, np.memmap)
    monkeypatch.setattr(read, "memory_of_node", lambda: 0)
    with pytest.raises(CacheFull, match="set RADSWEEP_CACHE"):
        read.open_split(*corpus, "train")
