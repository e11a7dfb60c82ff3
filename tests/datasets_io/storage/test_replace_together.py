"""Files that belong together are all of one state, whatever fails or is killed meanwhile."""

import errno
import json
import os
import shutil
import zipfile
from contextlib import suppress
from pathlib import Path

import pytest
from disks import FailingDisk
from store_checks import on

from datasets_io.storage.disk import Disk, WrongKind
from datasets_io.storage.files import TEMPORARY, Files
from datasets_io.storage.replace_together import RECORD, finish_replacing, replace_together
from sweep.store.cleanup import clean_up

OLD = {name: b"old" for name in ("results.csv", "report.html", "figures/a.svg")}
NEW = {**{name: b"new" for name in OLD}, "figures/b.svg": b"new"}


class Killed(BaseException):
    pass


class Dying(FailingDisk):
    """Is killed at its n-th call: nothing that the process does afterwards reaches a file."""

    def __getattribute__(self, name: str):
        try:
            return super().__getattribute__(name)
        except OSError:
            raise Killed from None


class Dead(Dying):
    def __getattribute__(self, name: str):
        if name in ("create", "rename", "link", "unlink", "sync_folder", "make_folder") and self.failed:
            raise Killed
        return super().__getattribute__(name)


def files_in(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and TEMPORARY not in path.name
    }


def begun(folder: Path) -> Files:
    files = Files(str(folder))
    replace_together(files, OLD)
    (folder / "mine.txt").write_bytes(b"the user's")
    (folder / "results.csv.tmp-draft").write_bytes(b"the user's too")
    os.utime(folder / "results.csv.tmp-draft", (0, 0))
    return files


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EIO])
def test_a_call_that_fails_leaves_all_old_or_the_next_command_makes_all_new(tmp_path, error):
    seen = set()
    for number in range(1, 80):
        files = begun(tmp_path / str(number))
        with on(FailingDisk(number, error)) as disk:
            try:
                replace_together(files, NEW)
                raised = False
            except OSError as caught:
                assert caught.errno == error
                raised = True
        if raised and RECORD not in files_in(Path(files.root)):
            assert files_in(Path(files.root)) == {**OLD, "mine.txt": b"the user's"}, f"call {number}: {disk.failed}"
            seen.add("old")
        elif raised:
            seen.add("on the way")
        replace_together(files, NEW)
        assert files_in(Path(files.root)) == {**NEW, "mine.txt": b"the user's"}
        left = [path.name for path in Path(files.root).rglob("*") if TEMPORARY in path.name]
        assert left == ["results.csv.tmp-draft"] or disk.failed == "unlink"
        if not disk.failed:
            break
    assert seen == {"old", "on the way"} and number < 79


def test_a_kill_at_any_call_leaves_all_old_or_all_new_once_the_next_command_was_there(tmp_path):
    seen = set()
    for number in range(1, 80):
        files = begun(tmp_path / str(number))
        with on(Dead(number, errno.EIO)) as disk, suppress(Killed):
            replace_together(files, NEW)
        went_on = finish_replacing(files)
        found = files_in(Path(files.root))
        assert found in ({**OLD, "mine.txt": b"the user's"}, {**NEW, "mine.txt": b"the user's"}), f"{number}: {found}"
        seen.add((went_on, found["report.html"]))
        replace_together(files, NEW)
        assert files_in(Path(files.root)) == {**NEW, "mine.txt": b"the user's"}
        if not disk.failed:
            break
    assert {(True, b"new"), (False, b"old")} <= seen and number < 79


def test_of_two_commands_at_once_all_files_are_of_one(tmp_path):
    """The second one begins while the first has renamed half."""
    files = begun(tmp_path)
    other = {name: b"other" for name in NEW}

    class Beside(Disk):
        renames = 0

        def rename(self, path, target):
            super().rename(path, target)
            Beside.renames += 1
            if Beside.renames == 2:
                replace_together(files, other)

    with on(Beside()):
        replace_together(files, NEW)
    assert files_in(tmp_path) == {**other, "mine.txt": b"the user's"}


def test_a_folder_in_the_way_is_named_and_nothing_has_changed(tmp_path):
    files = begun(tmp_path)
    (tmp_path / "report.md").mkdir()
    with pytest.raises(WrongKind, match="folder stands where a file belongs"):
        replace_together(files, {**NEW, "report.md": b"new"})
    assert files_in(tmp_path) == {**OLD, "mine.txt": b"the user's"}


ENDING = ".tmp-0123abcd-1.2-0123456789abcdef0123456789abcdef"


@pytest.mark.parametrize(
    "record",
    [
        b"", b"{", b"[]", b'{"a": 1}', b'{"a": "mine.txt"}', b'{"report.html": "results.csv.tmp-draft"}',
        *(
            json.dumps({path: f"{path}{ENDING}"}).encode()
            for path in ("../x", "/etc/x", "a\0", "\ud800", "", "a//b", "./a")
        ),
    ],
)  # fmt: skip
def test_a_record_that_no_command_has_written_moves_nothing(tmp_path, record):
    files = begun(tmp_path)
    files.write(RECORD, record)
    assert finish_replacing(files)
    assert files_in(tmp_path) == {**OLD, "mine.txt": b"the user's"}


class DiesRenaming(Disk):
    """Is killed as it is to rename its n-th file: behind the record, and the renames before."""

    def __init__(self, number: int):
        self.left = number

    def rename(self, path, target):
        self.left -= 1
        if not self.left:
            raise Killed
        super().rename(path, target)


def killed_halfway(folder: Path) -> Files:
    files = begun(folder)
    with on(DiesRenaming(len(NEW))), suppress(Killed):
        replace_together(files, NEW)
    assert (folder / RECORD).exists() and not (folder / "figures/b.svg").exists()
    return files


def test_a_folder_that_was_removed_meanwhile_stops_no_later_command(tmp_path):
    files = killed_halfway(tmp_path)
    shutil.rmtree(tmp_path / "figures")
    assert finish_replacing(files) and not (tmp_path / RECORD).exists()
    replace_together(files, NEW)
    assert files_in(tmp_path) == {**NEW, "mine.txt": b"the user's"}


def test_a_folder_that_came_in_the_way_meanwhile_is_named_and_moved_away_by_a_person(tmp_path):
    files = killed_halfway(tmp_path)
    (tmp_path / "figures/b.svg").mkdir()
    with pytest.raises(WrongKind, match="folder stands where a file belongs"):
        finish_replacing(files)
    (tmp_path / "figures/b.svg").rmdir()
    assert finish_replacing(files) and files_in(tmp_path) == {**NEW, "mine.txt": b"the user's"}


def test_a_link_that_leads_nowhere_in_place_of_the_record_is_an_error_and_no_wait_for_ever(tmp_path):
    files = begun(tmp_path)
    (tmp_path / RECORD).symlink_to(tmp_path / "nowhere")
    with pytest.raises(WrongKind, match="something stands where a record of this command belongs"):
        replace_together(files, NEW)
    assert files_in(tmp_path) == {**OLD, "mine.txt": b"the user's"}
    assert [path.name for path in tmp_path.rglob("*") if TEMPORARY in path.name] == ["results.csv.tmp-draft"]


def test_names_with_two_points_are_names(tmp_path):
    replace_together(Files(str(tmp_path)), {"a..b.svg": b"1"})
    assert files_in(tmp_path) == {"a..b.svg": b"1"}


def test_a_command_taken_for_dead_before_its_record_writes_its_files_again(tmp_path):
    """It stood still for an hour; another machine has removed what it had written."""
    files = begun(tmp_path)

    class Removing(Disk):
        removed = False

        def create(self, path, data):
            if "b.svg" in path and not Removing.removed:  # the last one to be staged
                Removing.removed = True
                for found in tmp_path.rglob(f"*{TEMPORARY}*-*"):
                    found.unlink()
            super().create(path, data)

    with on(Removing()):
        replace_together(files, NEW)
    assert Removing.removed and files_in(tmp_path) == {**NEW, "mine.txt": b"the user's"}


def test_what_is_killed_between_two_looks_of_a_tidying_command_is_finished_and_not_removed(tmp_path, monkeypatch):
    """There was no record when that one looked; as it removes what dead writers left, the writer is dead."""
    folder = tmp_path / "reports" / "s"
    monkeypatch.setattr("datasets_io.storage.orphans.is_running", lambda *who: False)

    class Looking(Files):
        def list(self, prefix="", ending=""):
            found = super().list(prefix, ending)
            if ending:
                killed_halfway(folder)
            return found

    clean_up(Looking(str(tmp_path)))
    clean_up(Files(str(tmp_path)))
    assert files_in(folder) == {**NEW, "mine.txt": b"the user's"}


class ObjectStore(Files):
    """As on S3: no rename, one whole object at a time; dies at its n-th write."""

    def __init__(self, uri: str, dies_at: int = 0):
        super().__init__(uri)
        self.dies_at, self.writes = dies_at, 0
        self.is_local = False

    def write(self, path, data):
        self.writes += 1
        if self.writes == self.dies_at:
            raise Killed
        full = Path(self.full(path))
        full.parent.mkdir(parents=True, exist_ok=True)
        full.write_bytes(data)

    def _read(self, full):
        return Path(full).read_bytes()


def test_on_an_object_store_the_next_command_copies_from_the_record(tmp_path):
    for number in range(1, len(NEW) + 2):
        begun(tmp_path / str(number))
        with pytest.raises(Killed):
            replace_together(ObjectStore(str(tmp_path / str(number)), dies_at=number), NEW)
        waits: list[float] = []
        went_on = finish_replacing(ObjectStore(str(tmp_path / str(number))), sleep=waits.append)
        assert went_on == (number > 1) and len(waits) == (60 if went_on else 0)
        found = files_in(tmp_path / str(number))
        assert found == {**(NEW if went_on else OLD), "mine.txt": b"the user's"}


def test_a_record_on_an_object_store_that_names_places_elsewhere_writes_nothing(tmp_path):
    with zipfile.ZipFile(tmp_path / RECORD, "w") as archive:
        archive.writestr("../outside.txt", b"x")
    assert finish_replacing(ObjectStore(str(tmp_path)), sleep=lambda seconds: None)
    assert files_in(tmp_path) == {}
