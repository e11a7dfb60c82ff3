"""A reader never sees half a file, the first write wins, and a failing file call leaves nothing behind."""

import errno
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

from datasets_io.storage.artefacts import (
    ConflictingResult,
    CorruptArtefact,
    is_done,
    open_artefacts,
    publish,
    record_failure,
)
from datasets_io.storage.disk import Disk, in_the_way
from datasets_io.storage.files import Files


@pytest.fixture
def files(tmp_path) -> Files:
    return Files(str(tmp_path / "store with spaces and ü"))


def test_write_read_list_remove(files):
    files.write("a/b/one.txt", b"1")
    files.write("a/b/one.txt", b"2")
    files.write("a/two.txt", b"3")
    assert files.read("a/b/one.txt") == b"2"
    assert files.list("a") == ["a/b/one.txt", "a/two.txt"] and files.list("nothing") == []
    files.remove("a/b")
    files.remove("a/b")
    assert files.list() == ["a/two.txt"]


def test_the_first_write_wins(files):
    assert files.write_once("x.json", b"first") is True
    assert files.write_once("x.json", b"second") is False
    assert files.read("x.json") == b"first"


def test_publish_is_done_only_with_its_result_and_detects_damage(files):
    files.write("cells/c/leftover.bin", b"from a killed writer")
    assert not is_done(files, "cells/c")
    record_failure(files, "cells/c", "boom", "traceback")
    assert publish(files, "cells/c", {"a.bin": b"abc"}, {"value": 1.0}) is True
    assert publish(files, "cells/c", {"a.bin": b"abc"}, {"value": 1.0}) is False
    with pytest.raises(ConflictingResult, match="the first one stands"):
        publish(files, "cells/c", {"a.bin": b"other"}, {"value": 2.0})
    assert not files.exists("cells/c/failed.json")
    artefacts = open_artefacts(files, "cells/c")
    assert artefacts.result["value"] == 1.0 and artefacts.read("a.bin") == b"abc"
    path = artefacts.result["files"]["a.bin"]["path"]
    files.write(f"cells/c/{path}", b"abd")
    with pytest.raises(CorruptArtefact, match="damaged"):
        artefacts.read("a.bin")
    files.remove(f"cells/c/{path}")
    with pytest.raises(CorruptArtefact, match="missing"):
        artefacts.read("a.bin")


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EIO, errno.EACCES])
@pytest.mark.parametrize("call", ["open", "fsync", "replace", "link"])
def test_a_failing_call_leaves_the_old_state_and_no_temporary_file(files, monkeypatch, call, error):
    files.write("old.txt", b"old")

    def fail(*args, **kwargs):
        raise OSError(error, os.strerror(error))

    with monkeypatch.context() as patch:
        patch.setattr("datasets_io.storage.patience.RETRY_SECONDS", 0)
        if call == "open":
            patch.setattr("builtins.open", fail)
        else:
            patch.setattr(os, call, fail)
        for write in (files.write, files.write_once):
            with suppress(OSError):
                write("old.txt" if write == files.write else "new.txt", b"new")
    everything = [name for _, _, names in os.walk(files.root) for name in names]
    assert not any(".tmp-" in name for name in everything)
    assert files.read("old.txt") in (b"old", b"new")
    if files.exists("new.txt"):
        assert files.read("new.txt") == b"new"


def test_leftovers_of_dead_writers_are_removed_and_those_of_living_ones_are_not(files, monkeypatch):
    """A child is killed between the write and the rename; this process and another machine are still writing."""
    script = (
        "import os, signal, sys; from datasets_io.storage.files import Files\n"
        "os.replace = lambda *paths: os.kill(os.getpid(), signal.SIGKILL)\n"
        "Files(sys.argv[1]).write('a/killed.bin', b'half')"
    )
    assert subprocess.run([sys.executable, "-c", script, files.root]).returncode == -signal.SIGKILL
    monkeypatch.setattr(os, "replace", lambda *paths: None)
    monkeypatch.setattr(Path, "unlink", lambda *args, **kwargs: None)
    files.write("a/living.bin", b"half")
    monkeypatch.undo()
    foreign, old = (Path(files.full(f"a/x.tmp-0123456{digit}-1-{'0' * 32}")) for digit in "ab")
    for path in (foreign, old):
        path.touch()
    os.utime(old, (0, 0))
    left = {name.partition(".tmp-")[0] for name in os.listdir(files.full("a"))}
    assert left == {"killed.bin", "living.bin", "x"}
    assert files.remove_orphans("a") == 2
    left = os.listdir(files.full("a"))
    assert len(left) == 2 and foreign.name in left and any(name.startswith("living.bin") for name in left)
    assert files.remove_orphans("nowhere") == 0


def test_the_age_of_a_leftover_is_told_by_the_storages_clock(files, monkeypatch):
    """A machine whose clock is a day ahead removes nothing of a living writer elsewhere."""
    files.write("a/x.bin", b"x")
    living, old, ahead = (Path(files.full(f"a/x.bin.tmp-0123456{digit}-1-{'0' * 32}")) for digit in "abc")
    for path in (living, old, ahead):
        path.touch()
    now = os.stat(living).st_mtime
    os.utime(old, (now - 3700, now - 3700))
    os.utime(ahead, (now + 90_000, now + 90_000))
    monkeypatch.setattr("time.time", lambda: now + 86_400)
    assert files.remove_orphans() == 2 and living.exists()


@pytest.mark.parametrize(
    "name", ["paper.tmp-old.tex", ".tmp-", "x.csv.tmp-draft", "x.tmp-01234567-1-0", f"x.tmp-01234567-1-{'0' * 32}.bak"]
)
def test_an_old_file_whose_name_is_not_of_our_form_is_the_users(files, name):
    """Beside one that a writer of each version left. The temporary name was all that was looked for, in any form."""
    folder = Path(files.full("reports/demo"))
    folder.mkdir(parents=True)
    forms = ("-1-", "-1.-", "-1.234-")
    for path in (folder / name, *(folder / f"x.tmp-01234567{form}{'0' * 32}" for form in forms)):
        path.touch()
        os.utime(path, (0, 0))
    assert files.remove_orphans("reports") == len(forms)
    assert os.listdir(folder) == [name]


def test_a_write_whose_unfinished_file_is_removed_by_somebody_writes_it_again(files, monkeypatch):
    class Removing(Disk):
        removed = 0

        def create(self, path, data):
            super().create(path, data)
            if Removing.removed < 2:
                Removing.removed += 1
                os.unlink(path)

    monkeypatch.setattr("datasets_io.storage.files.DISK", Removing())
    files.write("a/x.bin", b"1")
    assert files.read("a/x.bin") == b"1" and Removing.removed == 2
    Removing.removed = 0
    assert files.write_once("a/y.bin", b"2") and files.read("a/y.bin") == b"2" and Removing.removed == 2


def test_a_listing_by_names_alone_is_that_with_sizes(tmp_path):
    files, other = Files(str(tmp_path / "storage")), Files(str(tmp_path / "disk"))
    paths = ["cells/a/head.bin", "cells/a/result.json", "cells/b/result.json"]
    # These sort around the folder `a/`: by whole paths, not by names.
    for path in paths:
        files.write(path, b"12")
    for path in ("x", "a/z", "a-b/z", "a.b", "a0", "a/b/z"):
        other.write(path, b"12")
    cells = tmp_path / "storage/cells"
    (cells / "a/y.tmp-1-2-3").touch()
    (cells / "empty").mkdir()
    (cells / "link").symlink_to(tmp_path / "disk")
    (cells / "broken").symlink_to(tmp_path / "nowhere")
    for prefix in ("", "cells", "cells/a", "cells/link", "nothing", "cells/link/x/below"):
        assert files.list(prefix) == sorted(files.sizes(prefix)), prefix
    linked = [f"cells/link/{name}" for name in ("a-b/z", "a.b", "a/b/z", "a/z", "a0", "x")]
    assert files.list("cells") == paths + linked
    assert files.list("cells", "/result.json") == paths[1:]
    assert files.list("cells", (".bin", "/x")) == [paths[0], linked[-1]]


@pytest.mark.parametrize("path", ["../mine", "cells/../../mine", "..", "/etc/mine"])
def test_nothing_is_read_or_written_outside_of_the_root(tmp_path, path):
    (tmp_path / "mine").write_text("x")
    files = Files(str(tmp_path / "storage"))
    for call in (lambda: files.write(path, b"y"), lambda: files.read(path), lambda: files.write_once(path, b"y")):
        with pytest.raises(ValueError, match="is not below the storage"):
            call()
    assert (tmp_path / "mine").read_text() == "x" and [p.name for p in tmp_path.iterdir()] == ["mine"]
    files.write("a..b/c..", b"y")  # names that only look like it
    assert files.list() == ["a..b/c.."]


def test_a_file_in_the_place_of_a_folder_is_found(tmp_path):
    (tmp_path / "file").write_text("x")
    assert in_the_way(tmp_path) is None and in_the_way(tmp_path / "new" / "folder") is None
    for place in (tmp_path / "file", tmp_path / "file" / "below" / "it"):
        assert in_the_way(place) == f"{tmp_path}/file is a file"


def test_folders_are_those_directly_in_a_folder(tmp_path):
    files = Files(str(tmp_path))
    assert files.folders("data") == []
    for path in ("data/b/parts/x", "data/a/x", "data/file", "other/x"):
        files.write(path, b"")
    assert files.folders("data") == ["data/a", "data/b"]


def modes(files: Files) -> dict[str, str]:
    paths = [Path(files.root), *Path(files.root).rglob("*")]
    return {str(path.relative_to(Path(files.root).parent)): f"{path.stat().st_mode & 0o7777:o}" for path in paths}


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_what_is_stored_is_for_its_owner_alone_or_for_the_group_of_a_shared_folder(tmp_path, umask):
    """Whatever the umask: patients' pictures and reports are no other user's of the machine."""
    shared = tmp_path / "team"
    shared.mkdir()
    shared.chmod(0o2775)
    before = os.umask(umask)
    try:
        for parent, folder, file in ((tmp_path, "700", "600"), (shared, "2770", "660")):
            files = Files(str(parent / "storage"))
            files.write("data/a", b"x")
            files.write_once("data/b", b"x")
            files.write("data/a", b"y")
            expected = {"storage": folder, "storage/data": folder, "storage/data/a": file, "storage/data/b": file}
            assert modes(files) == expected
    finally:
        os.umask(before)


def test_links_in_a_circle_are_no_folders_without_end(tmp_path):
    """Two that lead to their own folder were 2^40 folders, and any was a folder that nobody has made."""
    files, disk = Files(str(tmp_path / "storage")), tmp_path / "disk"
    files.write("cells/a/result.json", b"{}")
    Files(str(disk)).write("b/result.json", b"{}")
    for place in (Path(files.root, "cells"), disk):
        for name in ("latest", "newest"):
            (place / name).symlink_to(".")
    for name, target in (("disk", disk), ("disk2", disk), ("back", tmp_path), ("x", "y"), ("y", "x")):
        Path(files.root, "cells", name).symlink_to(target)
    for found in (files.list("cells"), sorted(files.sizes("cells"))):
        assert len(found) <= 4, "each link out of the storage once"
        assert "cells/a/result.json" in found and len({os.path.realpath(files.full(path)) for path in found}) == 2


class WithoutLinks(Disk):
    """As vfat (EPERM), or a file system that also cannot refuse a name, as some of FUSE."""

    def __init__(self, error: int, refuses: bool):
        self.error, self.refuses = error, refuses

    def link(self, path, target):
        raise OSError(self.error, os.strerror(self.error), path)

    def rename_new(self, path, target):
        if not self.refuses:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL), path)
        super().rename_new(path, target)


@pytest.mark.parametrize("refuses", [True, False])
@pytest.mark.parametrize("error", [errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS])
def test_without_hard_links_the_first_write_wins_too(files, monkeypatch, error, refuses):
    monkeypatch.setattr("datasets_io.storage.files.DISK", WithoutLinks(error, refuses))
    assert files.write_once("a/x.json", b"first") is True
    assert files.write_once("a/x.json", b"second") is False
    assert files.read("a/x.json") == b"first"
    assert os.listdir(files.full("a")) == ["x.json"]


def test_of_writers_at_once_without_hard_links_one_wins(files, monkeypatch):
    monkeypatch.setattr("datasets_io.storage.files.DISK", WithoutLinks(errno.EPERM, refuses=True))
    with ThreadPoolExecutor(8) as pool:
        for number in range(20):
            made = list(pool.map(lambda i, number=number: files.write_once(f"a/{number}", b"%d" % i), range(8)))
            assert sum(made) == 1 and files.read(f"a/{number}") == b"%d" % made.index(True)


def test_a_name_that_cannot_be_given_is_an_error_all_the_same(files, monkeypatch):
    monkeypatch.setattr("datasets_io.storage.files.DISK", WithoutLinks(errno.EACCES, refuses=True))
    with pytest.raises(PermissionError):
        files.write_once("a/x.json", b"first")
    assert os.listdir(files.full("a")) == []


def test_certificates_that_are_not_there_are_named_at_once():
    with pytest.raises(ValueError, match=r"tls_ca_file_path is '/none\.pem', and there is no such file here") as error:
        Files("s3://key:a-secret-of-mine@bucket/x?tls_ca_file_path=/none.pem")
    assert "a-secret-of-mine" not in str(error.value)
