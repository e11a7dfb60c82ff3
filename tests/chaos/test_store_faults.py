"""The store under failing calls, power cuts, flipped bits and killed writers; and that planted bugs are noticed."""

import errno
import hashlib
import json
import os
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
import store_checks
from disks import FailingDisk, RecordingDisk
from store_checks import FOLDER, on

import datasets_io.storage.files
from datasets_io.storage import artefacts
from datasets_io.storage.disk import Disk
from datasets_io.storage.files import TEMPORARY, Files
from datasets_io.storage.patience import patiently

ROOT = Path(__file__).resolve().parents[2]


def test_every_call_may_fail():
    assert store_checks.assert_publish_survives_failing_calls() >= 3 * 12


def test_every_state_after_a_power_cut_is_whole():
    assert store_checks.assert_publish_survives_power_cuts() > 30
    assert store_checks.assert_replacing_survives_power_cuts() > 5


def test_every_flipped_bit_is_seen():
    store_checks.assert_every_flipped_bit_is_seen(200)


@pytest.mark.chaos
def test_five_thousand_flipped_bits_are_seen():
    store_checks.assert_every_flipped_bit_is_seen(5000, seed=1)


def test_the_first_write_wins():
    store_checks.assert_the_first_write_wins()


def test_a_killed_writer_leaves_nothing_in_the_way():
    store_checks.assert_a_killed_writer_leaves_nothing_in_the_way()


# A process that forks a publishing child, kills it after a random moment, and does so again and again.
WRITERS = """
import os, random, signal, sys, time
from datasets_io.storage import artefacts
from datasets_io.storage.files import Files
generator = random.Random(0)
ready, tell = os.pipe()
for number in range(int(sys.argv[2])):
    child = os.fork()
    if child == 0:
        files = Files(f"{sys.argv[1]}/{number}")
        for cell in range(1000000):
            if cell == number % 2:  # every other one is killed behind its first folder, also where all is slow
                os.write(tell, b"!")
            data = str(cell).encode() * 20000
            artefacts.publish(files, f"cells/c{cell}", {"a.bin": data, "b.bin": data[::-1]}, {"value": cell})
    os.read(ready, 1)
    time.sleep(generator.random() * 0.05)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
"""


def kill_writers(storage: Path, kills: int) -> int:
    """Kill publishing processes at random moments. How many finished folders there are; all must be whole."""
    storage.mkdir(exist_ok=True)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-c", WRITERS, str(storage), str(kills)], check=True, env=environment)
    finished = 0
    for number in range(kills):
        if not (storage / str(number)).is_dir():
            continue
        files = Files(str(storage / str(number)))
        done = {path.rpartition("/")[0] for path in files.list("cells") if path.endswith("/result.json")}
        assert all(artefacts.problems(files, folder) == [] for folder in done)
        files.remove_orphans()
        assert not [path for path in (storage / str(number)).rglob("*") if TEMPORARY in path.name]
        finished += len(done)
        shutil.rmtree(storage / str(number))
    return finished


def test_killed_writers_leave_whole_folders(tmp_path):
    assert kill_writers(tmp_path, 50) > 0


@pytest.mark.chaos
@pytest.mark.timeout(7200)
def test_killed_writers_by_the_thousand_leave_whole_folders(tmp_path, times):
    finished = [kill_writers(tmp_path / str(thousand), 1000) for thousand in range(times(1, 10))]
    print(f"writers killed: {1000 * len(finished)}, finished folders, all whole: {sum(finished)}")
    assert min(finished) > 100


def test_a_storage_that_is_away_for_a_moment_costs_nothing(tmp_path, monkeypatch):
    class Away(Disk):
        until = time.monotonic() + 1.5

        def create(self, path: str, data: bytes) -> None:
            if time.monotonic() < self.until:
                raise OSError(5, "Input/output error")
            super().create(path, data)

    monkeypatch.setattr(datasets_io.storage.files, "DISK", Away())
    files = Files(str(tmp_path))
    store_checks.publish(files)
    assert store_checks.assert_whole_or_open(files) and time.monotonic() > Away.until


@pytest.mark.parametrize("error", [FileNotFoundError(2, "gone"), OSError(28, "full"), PermissionError(13, "no")])
def test_what_does_not_pass_by_waiting_is_said_at_once(error):
    calls = []

    def call():
        calls.append(1)
        raise error

    with pytest.raises(OSError) as caught:
        patiently(call)
    assert caught.value is error and len(calls) == 1


def test_a_late_write_of_a_writer_that_was_given_up_is_harmless(tmp_path):
    """A partition: the old writer comes back after another computed the cell; and the other way round, damaged."""
    files = Files(str(tmp_path))
    store_checks.publish(files)
    before = files.read(f"{FOLDER}/result.json")
    store_checks.publish(files)
    assert files.read(f"{FOLDER}/result.json") == before
    files.write(f"{FOLDER}/result.json", before[:-20])
    store_checks.publish(files)
    assert store_checks.assert_whole_or_open(files), "a damaged first result does not stand against a valid second"
    assert files.list(artefacts.QUARANTINE)


# -- planted bugs: each must be noticed by the checks above ------------------------------------------


class PlainWrite(RecordingDisk):
    """Bytes are not brought to the disk before the rename."""

    def create(self, path, data, sync=False):
        super().create(path, data, sync=False)


class NoFolderSync(RecordingDisk):
    def sync_folder(self, path):
        pass


class NoParentSync(RecordingDisk):
    """Only the folder of the file itself is synced, not the one in which that folder was made."""

    def sync_folder(self, path):
        if path.endswith("/c"):
            super().sync_folder(path)


class RemoveThenRename(RecordingDisk):
    def rename(self, path, target):
        if os.path.exists(target):
            self.unlink(target)
        super().rename(path, target)


def marker_first(files, folder, contents, result, *, recipe=None, parents=None):
    entries = {n: {"path": n, "sha256": hashlib.sha256(d).hexdigest(), "bytes": len(d)} for n, d in contents.items()}
    sealed = artefacts.seal({**result, "files": entries, "recipe": recipe, "parents": parents})
    written = files.write_once(f"{folder}/result.json", sealed)
    for name, data in contents.items():
        files.write(f"{folder}/{name}", data)
    files.remove(f"{folder}/failed.json")
    return written


def swallowed(files, folder, contents, result, *, recipe=None, parents=None, original=artefacts.publish):
    try:
        return original(files, folder, contents, result, recipe=recipe, parents=parents)
    except OSError:
        return False


def overwriting(files, folder, contents, result, *, recipe=None, parents=None, original=artefacts.publish):
    files.remove(f"{folder}/result.json")
    return original(files, folder, contents, result, recipe=recipe, parents=parents)


def forgets_to_clean(target, data):
    datasets_io.storage.files._make_folders(os.path.dirname(target))
    temporary = f"{target}{TEMPORARY}{random.random()}"
    datasets_io.storage.files.DISK.create(temporary, data)
    return temporary


def fixed_name(target, data):
    datasets_io.storage.files._make_folders(os.path.dirname(target))
    datasets_io.storage.files.DISK.create(f"{target}{TEMPORARY}", data)
    return f"{target}{TEMPORARY}"


def unchecked_read(self, name):
    return self.files.read(f"{self.folder}/{self.result['files'][name]['path']}")


def unsealed(data, path):
    try:
        return json.loads(data)
    except ValueError as error:
        raise artefacts.CorruptArtefact("no JSON", path.rpartition("/")[0]) from error


ARTEFACTS, FILES = artefacts, datasets_io.storage.files
PLANTED = {
    "plain write": (None, "", None, lambda: store_checks.assert_publish_survives_power_cuts(PlainWrite)),
    "no sync of the folder": (None, "", None, lambda: store_checks.assert_publish_survives_power_cuts(NoFolderSync)),
    "no sync of the parent": (None, "", None, lambda: store_checks.assert_publish_survives_power_cuts(NoParentSync)),
    "remove, then rename": (
        None,
        "",
        None,
        lambda: store_checks.assert_replacing_survives_power_cuts(RemoveThenRename),
    ),
    "replaced without a sync": (None, "", None, lambda: store_checks.assert_replacing_survives_power_cuts(PlainWrite)),
    "marker before artefacts": (ARTEFACTS, "publish", marker_first, store_checks.assert_publish_survives_power_cuts),
    "marker before artefacts, by failing calls": (
        ARTEFACTS,
        "publish",
        marker_first,
        store_checks.assert_publish_survives_failing_calls,
    ),
    "exception swallowed": (ARTEFACTS, "publish", swallowed, store_checks.assert_publish_survives_failing_calls),
    "a result is overwritten": (ARTEFACTS, "publish", overwriting, store_checks.assert_the_first_write_wins),
    "temporary files stay": (FILES, "_discard", lambda path: None, store_checks.assert_publish_survives_failing_calls),
    "fixed temporary name": (
        FILES,
        "_temporary",
        fixed_name,
        store_checks.assert_a_killed_writer_leaves_nothing_in_the_way,
    ),
    "temporary files are listed": (
        FILES,
        "TEMPORARY",
        ".other-",
        store_checks.assert_a_killed_writer_leaves_nothing_in_the_way,
    ),
    "no checksum on read": (
        artefacts.Artefacts,
        "read",
        unchecked_read,
        lambda: store_checks.assert_every_flipped_bit_is_seen(60),
    ),
    "no seal on the result": (ARTEFACTS, "unseal", unsealed, lambda: store_checks.assert_every_flipped_bit_is_seen(60)),
    "quarantine takes whole folders": (
        ARTEFACTS,
        "problems",
        lambda files, folder: ["always"],
        lambda: store_checks.assert_every_flipped_bit_is_seen(3),
    ),
    "the folder counts as done": (
        ARTEFACTS,
        "is_done",
        lambda files, folder: files.exists(folder),
        store_checks.assert_publish_survives_power_cuts,
    ),
}


@pytest.mark.parametrize("bug", PLANTED)
def test_a_planted_bug_is_noticed(bug, monkeypatch):
    where, name, replacement, check = PLANTED[bug]
    if name == "TEMPORARY":  # the writer's name and the listing's filter disagree
        monkeypatch.setattr(FILES, "_temporary", forgets_to_clean)
        monkeypatch.setattr(FILES, name, replacement)
        monkeypatch.setitem(forgets_to_clean.__globals__, "TEMPORARY", ".tmp-")
    elif where is not None:
        monkeypatch.setattr(where, name, replacement)
    with pytest.raises((AssertionError, OSError, artefacts.CorruptArtefact)):
        check()


def test_what_was_computed_again_while_its_damage_was_read_stays(tmp_path, monkeypatch):
    """Of two processes that find one folder damaged the slower one moves what the faster one has made since."""
    files = Files(str(tmp_path))
    store_checks.publish(files)
    next((tmp_path / FOLDER).glob("a.*")).write_bytes(b"changed")
    real = artefacts._move_and_look

    def slower(*what):
        monkeypatch.undo()
        assert artefacts.quarantine(files, FOLDER) is not None
        store_checks.publish(files)
        return real(*what)

    monkeypatch.setattr(artefacts, "_move_and_look", slower)
    assert artefacts.quarantine(files, FOLDER) is None and store_checks.assert_whole_or_open(files)
    assert len([path for path in files.list(artefacts.QUARANTINE) if path.endswith("why.json")]) == 1


def moved_whole(files: Files, monkeypatch) -> list[str]:
    """A whole result that was taken for the damaged one before it; the process ends before it looks at it."""
    store_checks.publish(files)
    next((Path(files.root) / FOLDER).glob("a.*")).write_bytes(b"changed")

    def ends(files, target, path):
        raise SystemExit

    real = artefacts._move_and_look

    def slower(*what):
        monkeypatch.undo()
        assert artefacts.quarantine(files, FOLDER) is not None
        store_checks.publish(files)
        monkeypatch.setattr(artefacts, "_is_settled", ends)
        return real(*what)

    monkeypatch.setattr(artefacts, "_move_and_look", slower)
    with pytest.raises(SystemExit):
        artefacts.quarantine(files, FOLDER)
    monkeypatch.undo()
    assert not files.exists(FOLDER)
    return files.list(artefacts.QUARANTINE, "/moved.json")


def brings_back(files: Files) -> bool:
    return artefacts.bring_back_whole(files, files.list(artefacts.QUARANTINE))


def test_what_a_killed_process_moved_whole_comes_back(tmp_path, monkeypatch):
    files = Files(str(tmp_path))
    (unsure,) = moved_whole(files, monkeypatch)
    assert brings_back(files) and store_checks.assert_whole_or_open(files)
    assert not files.exists(unsure) and not brings_back(files)


def test_what_was_moved_whole_gives_way_to_what_was_begun_since_and_what_is_damaged_stays(tmp_path, monkeypatch):
    files = Files(str(tmp_path))
    (unsure,) = moved_whole(files, monkeypatch)
    store_checks.publish(files)
    assert not artefacts.bring_back_whole(
        files, files.list(artefacts.QUARANTINE)
    ) and store_checks.assert_whole_or_open(files)
    assert files.exists(unsure.replace("moved.json", "why.json")) and not files.exists(unsure)
    files.remove(FOLDER)
    (unsure,) = moved_whole(files, monkeypatch)
    next((tmp_path / unsure).parent.glob("*/a.*")).write_bytes(b"changed")
    assert not brings_back(files) and not files.exists(FOLDER)
    assert files.exists(unsure.replace("moved.json", "why.json"))


def test_a_whole_result_that_was_taken_for_the_damaged_one_before_it_comes_back(tmp_path):
    """Without the files that it names, which have not been moved."""
    files = Files(str(tmp_path))
    store_checks.publish(files)
    assert artefacts.quarantine_result(files, FOLDER, "its seal differs") is None
    assert artefacts.is_done(files, FOLDER) and store_checks.assert_whole_or_open(files)
    assert not files.list(artefacts.QUARANTINE)
    (tmp_path / FOLDER / "result.json").write_bytes(b"{")
    assert artefacts.quarantine_result(files, FOLDER, "its seal differs") is not None
    assert not artefacts.is_done(files, FOLDER)


def test_what_was_computed_again_between_the_look_and_the_move_stays(tmp_path, monkeypatch):
    files = Files(str(tmp_path))
    (unsure,) = moved_whole(files, monkeypatch)
    exists = Files.exists

    def computed_then(self, path):
        if path != FOLDER:
            return exists(self, path)
        store_checks.publish(files)
        return False

    monkeypatch.setattr(Files, "exists", computed_then)
    assert not brings_back(files) and store_checks.assert_whole_or_open(files)
    assert exists(files, unsure.replace("moved.json", "why.json"))


@pytest.mark.parametrize("text", [b"{", b"[]", b'{"path": 7}', b'{"path": "cells/other"}', b'{"path": "../../x"}'])
def test_nothing_leaves_quarantine_for_another_place_than_its_own(tmp_path, monkeypatch, text):
    files = Files(str(tmp_path / "storage"))
    (unsure,) = moved_whole(files, monkeypatch)
    files.write(unsure, text)
    before = sorted(path for path in tmp_path.rglob("*"))
    assert not brings_back(files) and sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("path", ["../outside", "cells/../outside", "", "a" * 300, "a" * 150 + "\0"])
def test_a_text_that_is_no_path_of_a_storage_stops_nobody_that_looks_at_quarantine(tmp_path, path):
    """As anybody who may write there can leave it: beside what it names, in the folder that its name asks for."""
    files = Files(str(tmp_path / "storage"))
    folder = artefacts._target(path).replace("\0", "_")
    files.write(f"{folder}/{path.rpartition('/')[2][:200].replace(chr(0), '_') or 'x'}/a.txt", b"1")
    files.write(f"{folder}/moved.json", json.dumps({"path": path}).encode())
    before = sorted(tmp_path.rglob("*"))
    assert not brings_back(files) and sorted(tmp_path.rglob("*")) == before


def test_where_the_disk_is_full_what_is_damaged_stays(tmp_path, monkeypatch):
    """Its reason is written first: nothing is moved without it."""
    files = Files(str(tmp_path))
    store_checks.publish(files)
    next((tmp_path / FOLDER).glob("a.*")).write_bytes(b"changed")
    monkeypatch.setattr(Files, "write", lambda *what: (_ for _ in ()).throw(OSError(errno.ENOSPC, "full")))
    with pytest.raises(OSError, match="full"):
        artefacts.quarantine(files, FOLDER)
    assert files.exists(f"{FOLDER}/result.json") and not files.list(artefacts.QUARANTINE)


def test_in_place_of_a_damaged_result_the_first_write_wins_too(tmp_path, monkeypatch):
    files = Files(str(tmp_path))
    files.write(f"{FOLDER}/result.json", b"{")
    real = artefacts._stands

    def then_another(*what):
        found = real(*what)  # puts the damaged one into quarantine
        monkeypatch.undo()
        artefacts.publish(files, FOLDER, {"a.bin": b"other"}, {"macro_auroc": 0.1})
        return found

    monkeypatch.setattr(artefacts, "_stands", then_another)
    with pytest.raises(artefacts.ConflictingResult):
        store_checks.publish(files)
    assert artefacts.open_artefacts(files, FOLDER).result["macro_auroc"] == 0.1


def test_a_full_disk_is_named_and_leaves_the_store_whole(tmp_path):
    """ENOSPC from the first byte on: the error comes through, nothing half-written stays."""

    class Full(Disk):
        def create(self, path, data):
            with open(path, "xb") as stream:
                stream.write(data[: len(data) // 2])
            raise OSError(28, "No space left on device")

    files = Files(str(tmp_path))
    with on(Full()), pytest.raises(OSError, match="No space left"):
        store_checks.publish(files)
    assert not artefacts.is_done(files, FOLDER) and not [p for p in tmp_path.rglob("*") if p.is_file()]
    store_checks.publish(files)
    assert store_checks.assert_whole_or_open(files)


def test_the_failing_disk_fails_once():
    disk = FailingDisk(2, 28)
    with on(disk), pytest.raises(OSError):
        for _ in range(3):
            disk.read(__file__)
    assert disk.failed == "read"
