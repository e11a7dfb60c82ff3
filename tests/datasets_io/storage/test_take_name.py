"""Whether the first write stands on file systems that lack hard links, lose answers or keep files that are open."""

import errno
import os
from pathlib import Path

import pytest

import datasets_io.storage.files
from datasets_io.storage import artefacts
from datasets_io.storage.artefacts import ConflictingResult
from datasets_io.storage.disk import Disk
from datasets_io.storage.files import Files
from datasets_io.storage.patience import is_passing


def refuse(number: int) -> OSError:
    return OSError(number, os.strerror(number))


class WithoutLinks(Disk):
    """As FAT (EPERM), Samba (ENOTSUP), a pool of disks (EXDEV) or rclone (EIO) answers a hard link."""

    def __init__(self, number: int):
        self.number = number

    def link(self, path: str, target: str) -> None:
        raise refuse(self.number)


class WithoutEither(WithoutLinks):
    """As FUSE file systems that also have no rename that replaces nothing."""

    def rename_new(self, path: str, target: str) -> None:
        raise refuse(errno.EINVAL)


class LosesAnswers(Disk):
    """A server that links, whose answer is lost: the client asks again and hears that the name is taken."""

    def link(self, path: str, target: str) -> None:
        super().link(path, target)
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))


class FailsOnce(Disk):
    """Hard links work; one of them meets an error of the disk."""

    def __init__(self, number: int):
        self.number, self.failed = number, False

    def link(self, path: str, target: str) -> None:
        if not self.failed:
            self.failed = True
            raise refuse(self.number)
        super().link(path, target)


@pytest.fixture
def files(tmp_path, monkeypatch):
    """A storage on a disk of the test's choice."""
    monkeypatch.setattr("datasets_io.storage.patience.RETRY_SECONDS", 0.0)

    def on(disk: Disk) -> Files:
        monkeypatch.setattr(datasets_io.storage.files, "DISK", disk)
        return Files(str(tmp_path / "storage"))

    return on


def names(files: Files) -> list[str]:
    return sorted(path.name for path in Path(files.root).rglob("*") if path.is_file())


@pytest.mark.parametrize("kind", [WithoutLinks, WithoutEither])
@pytest.mark.parametrize("number", [errno.EPERM, errno.ENOTSUP, errno.EXDEV, errno.EIO, errno.ENOSYS, errno.EMLINK])
def test_the_first_write_stands_without_hard_links(files, kind, number):
    storage = files(kind(number))
    assert storage.write_once("cells/c/result.json", b"first") is True
    assert storage.write_once("cells/c/result.json", b"second") is False
    assert storage.read("cells/c/result.json") == b"first"
    assert names(storage) == ["result.json"], "no temporary file is left"


@pytest.mark.parametrize("kind", [WithoutLinks, WithoutEither])
def test_a_result_is_published_once_without_hard_links(files, kind):
    storage = files(kind(errno.EPERM))
    result = {"macro_auroc": 0.5, "findings": []}
    assert artefacts.publish(storage, "cells/c", {"a.bin": b"abc"}, result)
    assert not artefacts.publish(storage, "cells/c", {"a.bin": b"abc"}, result)
    with pytest.raises(ConflictingResult):
        artefacts.publish(storage, "cells/c", {"a.bin": b"other"}, result)
    assert artefacts.problems(storage, "cells/c") == []


def test_a_rename_that_replaces_nothing_is_what_the_system_does(tmp_path):
    disk = Disk()
    (tmp_path / "a").write_bytes(b"a")
    (tmp_path / "b").write_bytes(b"b")
    with pytest.raises(FileExistsError):
        disk.rename_new(str(tmp_path / "a"), str(tmp_path / "b"))
    disk.rename_new(str(tmp_path / "a"), str(tmp_path / "c"))
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"b": b"b", "c": b"a"}


def test_an_answer_that_was_lost_is_no_other_writer(files):
    storage = files(LosesAnswers())
    assert storage.write_once("a.json", b"mine") is True and names(storage) == ["a.json"]


@pytest.mark.parametrize("number", [errno.EIO, errno.EPERM, errno.ENOSPC, errno.EMLINK])
def test_an_error_of_a_disk_is_no_lack_of_hard_links(files, number):
    storage = files(FailsOnce(number))
    with pytest.raises(OSError) as error:
        storage.write_once("a.json", b"mine")
    assert error.value.errno == number and names(storage) == []


def test_a_disk_on_which_nothing_can_be_made_says_nothing_of_hard_links(files, tmp_path):
    """A look and a rename would give the name, and a later one would stand."""

    class Failing(Disk):
        linking = False

        def link(self, path, target):
            self.linking = True
            raise refuse(errno.EIO)

        def create(self, path, data):
            if self.linking:
                raise refuse(errno.EIO)
            super().create(path, data)

        def rename_new(self, path, target):
            raise refuse(errno.EIO)

    storage = files(Failing())
    with pytest.raises(OSError) as error:
        storage.write_once("a.json", b"mine")
    assert error.value.errno == errno.EIO and names(storage) == []


def keeps_what_is_open(monkeypatch, name: str) -> None:
    """As NFS and FUSE do: a file that is open somewhere gets a hidden name, and its folder cannot be removed."""

    def rmdir(path, *, dir_fd=None):
        raise refuse(errno.ENOTEMPTY)

    unlink = os.unlink

    def hide(path, *, dir_fd=None):
        if path == name:
            os.rename(path, f".nfs0000{path}", src_dir_fd=dir_fd, dst_dir_fd=dir_fd)
        else:
            unlink(path, dir_fd=dir_fd)

    monkeypatch.setattr(os, "rmdir", rmdir)
    monkeypatch.setattr(os, "unlink", hide)


def test_a_folder_with_an_open_file_is_removed_as_far_as_it_can_be(files, monkeypatch):
    storage = files(Disk())
    for path in ("ray/a/open.txt", "ray/a/b.txt", "ray/c.txt"):
        storage.write(path, b"1")
    keeps_what_is_open(monkeypatch, "open.txt")
    storage.remove("ray")
    assert storage.list("ray") == [] and names(storage) == [".nfs0000open.txt"]
    assert storage.sizes("ray") == {}


def test_a_folder_that_cannot_be_removed_is_an_error(files, monkeypatch):
    storage = files(Disk())
    storage.write("ray/a.txt", b"1")

    def unlink(path, *, dir_fd=None):
        raise refuse(errno.EACCES)

    monkeypatch.setattr(os, "unlink", unlink)
    with pytest.raises(PermissionError):
        storage.remove("ray")


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOTSUP])
def test_a_folder_that_cannot_be_synced_is_no_error(files, monkeypatch, number):
    """SMB and some of FUSE have no fsync of folders."""
    fsync = os.fsync

    def of_files(descriptor):
        if os.path.isdir(f"/proc/self/fd/{descriptor}"):
            raise refuse(number)
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", of_files)
    storage = files(Disk())
    storage.write("a/b.txt", b"1")
    assert storage.read("a/b.txt") == b"1"


def test_a_folder_of_a_group_is_made_where_there_are_no_modes(files, monkeypatch):
    storage = files(Disk())
    Path(storage.root).mkdir()
    os.chmod(storage.root, 0o2770)

    def chmod(path, mode):
        raise refuse(errno.EPERM)

    monkeypatch.setattr(os, "chmod", chmod)
    storage.write("a/b.txt", b"1")
    assert storage.read("a/b.txt") == b"1"


@pytest.mark.parametrize("number", [errno.ESTALE, errno.ENOTCONN, errno.ESHUTDOWN, errno.EREMOTEIO])
def test_a_server_that_is_away_is_waited_for(number):
    assert is_passing(refuse(number))
