"""Several files that belong together: how are they replaced so that a fault leaves all of the old ones or all new?

All bytes are written beside their places first: a full disk shows then, and nothing has changed. Then one small file,
the record, says what takes whose place; and then it does, by renames, which need no room. What is killed within is
finished by the next command, from the record. An object store has no renames: its record holds the contents, and they
are copied from it.
"""

import errno
import io
import json
import lzma
import time
import zipfile
import zlib
from collections.abc import Callable, Mapping

from datasets_io.storage.disk import WrongKind
from datasets_io.storage.files import Files
from datasets_io.storage.orphans import is_temporary_of

RECORD = ".being-replaced"
# On an object store two commands that copy from one record could overlap: the first one has so long to end.
COPY_SECONDS = 60
TURNS = 100  # of so many commands at once none was ever seen: a link that leads nowhere has the record's name
Sleep = Callable[[float], None]


def replace_together(files: Files, contents: Mapping[str, bytes], sleep: Sleep = time.sleep) -> None:
    """Make these files, or replace them; others of the folder stay. contents: path -> bytes.

    Raises OSError; then all are as they were, or, once the record stood, the next command makes all of them new.
    """
    assert all(map(_is_within, contents)), f"one of {sorted(contents)} would be no file of the folder"
    # Of commands that were killed. Found first: one that is dead had its record before, which may need them.
    left = files.orphans_of(contents)
    finish_replacing(files, sleep=sleep)
    files.discard(left)
    staged: dict[str, str] = {}
    record = b""
    try:
        if files.is_local:
            for path, data in contents.items():
                staged[path] = files.stage(path, data)
            for path, temporary in staged.items():
                if not files.exists(temporary):  # another machine took this process, which stood still, for dead
                    staged[path] = files.stage(path, contents[path])
            files.sync(staged)
            record = json.dumps(staged).encode()
        else:
            record = _packed(contents)
        _begin(files, record, sleep)
    except BaseException:
        if not record or _read(files, RECORD) != record:
            files.discard(staged.values())
        raise
    _put(files, "", record)


def _begin(files: Files, record: bytes, sleep: Sleep) -> None:
    """Make the record, after other commands of the same moment. Raises WrongKind for what is no command's."""
    for _ in range(TURNS):
        if files.write_once(RECORD, record):
            return
        finish_replacing(files, sleep=sleep)
    raise WrongKind(errno.EEXIST, "something stands where a record of this command belongs", files.full(RECORD))


def finish_replacing(files: Files, folder: str = "", sleep: Sleep = time.sleep) -> bool:
    """Finish what a command was killed in; whether there was something. folder: in which the files are."""
    path = _below(folder, RECORD)
    record = _read(files, path)
    if record is None:
        return False
    # On a disk both may go on at once: each file is renamed by one of them, and to the same name.
    for _ in range(0 if files.is_local else COPY_SECONDS):
        sleep(1.0)
        if _read(files, path) != record:
            return True
    _put(files, folder, record)
    return True


def _put(files: Files, folder: str, record: bytes) -> None:
    if files.is_local:
        staged = _staged(record)
        files.put_in_place({_below(folder, path): _below(folder, temporary) for path, temporary in staged.items()})
    else:
        for path, data in _unpacked(record).items():
            files.write(_below(folder, path), data)
    path = _below(folder, RECORD)
    if _read(files, path) == record:  # else another command has finished it, and has a record of its own by now
        files.remove(path)


def _below(folder: str, path: str) -> str:
    return f"{folder}/{path}" if folder else path


def _read(files: Files, path: str) -> bytes | None:
    try:
        return files.read(path)
    except FileNotFoundError:
        return None


def _staged(record: bytes) -> dict[str, str]:
    """Path -> what is to take its place. Nothing of a record that is damaged, or that no command has written."""
    try:
        staged = json.loads(record)
        ours = all(_is_staged(path, temporary) for path, temporary in staged.items())
    except (ValueError, AttributeError, TypeError, RecursionError):
        return {}
    return staged if ours else {}


def _is_staged(path: str, temporary: str) -> bool:
    folder, _, name = path.rpartition("/")
    beside, _, other = temporary.rpartition("/")
    return _is_within(path) and folder == beside and is_temporary_of(other, name)


def _is_within(path: str) -> bool:
    """Whether it is a path below the folder, of names that a file may have."""
    names = path.split("/")
    return path.isprintable() and not {"", ".", ".."} & set(names)


def _packed(contents: Mapping[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, data in contents.items():
            archive.writestr(path, data)
    return stream.getvalue()


def _unpacked(record: bytes) -> dict[str, bytes]:
    """As `_staged`: path -> bytes."""
    try:
        with zipfile.ZipFile(io.BytesIO(record)) as archive:
            return {path: archive.read(path) for path in archive.namelist() if _is_within(path)}
    except (zipfile.BadZipFile, zlib.error, lzma.LZMAError, OSError, EOFError, ValueError, RuntimeError):
        return {}
