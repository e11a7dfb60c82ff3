"""What must hold of the store whatever fails, as functions: the tests run them on the code, and on planted bugs."""

import errno
import random
import tempfile
from collections.abc import Callable
from contextlib import contextmanager, suppress
from pathlib import Path

from disks import FailingDisk, RecordingDisk, crash_states, lay_out

import datasets_io.storage.files
import datasets_io.storage.patience
from datasets_io.storage import artefacts
from datasets_io.storage.artefacts import CorruptArtefact
from datasets_io.storage.disk import Disk
from datasets_io.storage.files import Files

FOLDER, CONTENTS, RESULT = "cells/c", {"a.bin": b"abc" * 50, "b.txt": b"some text"}, {"macro_auroc": 0.75, "key": "k"}
FAST = "/dev/shm" if Path("/dev/shm").is_dir() else None  # thousands of small files, each synced
ERRORS = (errno.ENOSPC, errno.EIO, errno.EACCES)


@contextmanager
def on(disk: Disk):
    """Everything in this process on that disk, without patience."""
    before = datasets_io.storage.files.DISK, datasets_io.storage.patience.RETRY_SECONDS
    datasets_io.storage.files.DISK, datasets_io.storage.patience.RETRY_SECONDS = disk, 0.0
    try:
        yield disk
    finally:
        datasets_io.storage.files.DISK, datasets_io.storage.patience.RETRY_SECONDS = before


def publish(files: Files) -> None:
    artefacts.publish(files, FOLDER, CONTENTS, RESULT, recipe="r", parents={"encoders/e": "0" * 64})


def assert_whole_or_open(files: Files) -> bool:
    """A folder that counts as done is whole and says what was published. Whether it is done."""
    if not artefacts.is_done(files, FOLDER):
        return False
    assert artefacts.problems(files, FOLDER) == []
    found = artefacts.open_artefacts(files, FOLDER)
    assert found.result["macro_auroc"] == 0.75 and found.result["recipe"] == "r"
    assert {name: found.read(name) for name in found.result["files"]} == CONTENTS
    return True


def assert_publish_survives_failing_calls(make: Callable[[int, int], FailingDisk] = FailingDisk) -> int:
    """Fail the n-th call for every n: a publish that did not raise is done; one that raised can be done again."""
    tried = 0
    for error in ERRORS:
        for number in range(1, 100):
            with tempfile.TemporaryDirectory(dir=FAST) as folder:
                files = Files(f"{folder}/store")
                artefacts.record_failure(files, FOLDER, "an earlier failure", "traceback")
                with on(make(number, error)) as disk:
                    try:
                        publish(files)
                        raised = False
                    except OSError as caught:
                        raised = True
                        assert caught.errno == error, "the error that happened is the error that is seen"
                done = assert_whole_or_open(files)
                assert raised or done, f"publish said nothing of a failed {disk.failed}, and the cell is not done"
                left = [path for path in Path(folder).rglob("*") if datasets_io.storage.files.TEMPORARY in path.name]
                assert not left or disk.failed == "unlink"
                publish(files)
                assert assert_whole_or_open(files)
                assert not files.exists(f"{FOLDER}/failed.json")
                tried += 1
                if not disk.failed:
                    break
        else:
            raise AssertionError("publish makes no end of calls")
    return tried


def assert_publish_survives_power_cuts(make: Callable[[], RecordingDisk] = RecordingDisk) -> int:
    """Every state after a power cut at every moment: whole or open, and done once publish has returned."""
    tried = 0
    with tempfile.TemporaryDirectory(dir=FAST) as folder:
        root = Path(folder) / "root"
        root.mkdir()
        with on(make()) as disk:
            publish(Files(str(root / "store")))
        for count in range(len(disk.operations) + 1):
            for state in crash_states(disk.operations, count):
                where = Path(folder) / f"state{tried}"
                where.mkdir()
                lay_out(state, root, where)
                files = Files(str(where / "store"))
                done = assert_whole_or_open(files)
                assert done or count < len(disk.operations), "publish had returned, and the cell is lost"
                if not done:
                    publish(files)
                    assert assert_whole_or_open(files)
                tried += 1
    return tried


def assert_replacing_survives_power_cuts(make: Callable[[], RecordingDisk] = RecordingDisk) -> int:
    """A file that is written anew is the old or the new one at every moment, and the new one afterwards."""
    tried = 0
    with tempfile.TemporaryDirectory(dir=FAST) as folder:
        root = Path(folder) / "root"
        root.mkdir()
        with on(make()) as disk:
            files = Files(str(root))
            files.write("checkpoint.pt", b"old" * 40)
            first = len(disk.operations)
            files.write("checkpoint.pt", b"new" * 40)
        for count in range(first, len(disk.operations) + 1):
            for state in crash_states(disk.operations, count):
                found = state.get(f"{root}/checkpoint.pt")
                allowed = [b"new" * 40] if count == len(disk.operations) else [b"old" * 40, b"new" * 40]
                assert found in allowed, f"after {count} calls the file holds {found!r}"
                tried += 1
    return tried


def assert_every_flipped_bit_is_seen(flips: int, seed: int = 0) -> int:
    """Flip one bit anywhere in a finished folder: reading what it names raises, and quarantine makes it open again."""
    generator = random.Random(seed)
    for _ in range(flips):
        with tempfile.TemporaryDirectory(dir=FAST) as folder:
            files = Files(folder)
            publish(files)
            path = Path(generator.choice([p for p in Path(folder).rglob("*") if p.is_file()]))
            data = bytearray(path.read_bytes())
            data[generator.randrange(len(data))] ^= 1 << generator.randrange(8)
            path.write_bytes(data)
            try:
                found = artefacts.open_artefacts(files, FOLDER)
                for name in found.result["files"]:
                    found.read(name)
            except CorruptArtefact as error:
                assert error.path == FOLDER
            else:
                raise AssertionError(f"a flipped bit in {path.name} was not seen")
            assert artefacts.quarantine(files, FOLDER) is not None
            assert not artefacts.is_done(files, FOLDER) and files.list(artefacts.QUARANTINE)
            publish(files)
            assert assert_whole_or_open(files)
            assert artefacts.quarantine(files, FOLDER) is None, "a whole folder stays where it is"
    return flips


def assert_the_first_write_wins() -> None:
    with tempfile.TemporaryDirectory(dir=FAST) as folder:
        files = Files(folder)
        publish(files)
        try:
            artefacts.publish(files, FOLDER, {"a.bin": b"other"}, {"macro_auroc": 0.1})
        except artefacts.ConflictingResult:
            pass
        else:
            raise AssertionError("a second result with other content was taken without a word")
        assert assert_whole_or_open(files)


def assert_a_killed_writer_leaves_nothing_in_the_way() -> None:
    """A writer that dies before its rename: nobody reads its file, and the next writer is not stopped by it."""

    class Killed(BaseException):
        pass

    class Dying(Disk):
        def rename(self, path: str, target: str) -> None:
            raise Killed

        def unlink(self, path: str) -> None:
            raise Killed

    with tempfile.TemporaryDirectory(dir=FAST) as folder:
        files = Files(folder)
        with on(Dying()), suppress(Killed):
            files.write(f"{FOLDER}/a.bin", b"half")
        assert files.list() == [] and not artefacts.is_done(files, FOLDER)
        files.write(f"{FOLDER}/a.bin", b"whole")
        publish(files)
        assert assert_whole_or_open(files)
