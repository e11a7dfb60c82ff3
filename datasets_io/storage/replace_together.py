"""Several files that belong together: how are they replaced so that a fault leaves all of the old ones or all new?

All bytes are written beside their places first: a full disk shows then, and nothing has changed. Then one small file,
the record, says what takes whose place; and then it does, by renames, which need no room. What is killed within is
finished by the next command, from the record. An object store has no renames: its record holds the contents, and they
are copied from it.
"""

import io
import json
import time
import zipfile
import zlib
from collections.abc import Callable, Mapping

from datasets_io.storage.files import Files
from datasets_io.storage.local_listing import TEMPORARY

RECORD = ".being-replaced"
# On an object store two commands that copy from one record could overlap: the first one has so long to end.
COPY_SECONDS = 60
Sleep = Callable[[float], None]


def replace_together(files: Files, contents: Mapping[str, bytes], sleep: Sleep = time.sleep) -> None:
    """Make these files, or replace them; others of the folder stay. contents: path -> bytes.

    Raises OSError; then all are as they were, or, once the record stood, the next command makes all of them new.
    """
    finish_replacing(files, sleep=sleep)
    files.remove_orphans_of(contents)  # of commands that were killed before they had a record
    staged: dict[str, str] = {}
    record = b""
    try:
        if files.is_local:
            for path, data in contents.items():
                staged[path] = files.stage(path, data)
            files.sync(staged)
            record = json.dumps(staged).encode()
        else:
            record = _packed(contents)
        while not files.write_once(RECORD, record):
            finish_replacing(files, sleep=sleep)  # another command's, of the same moment
    except BaseException:
        if not record or _read(files, RECORD) != record:
            for temporary in staged.values():
                files.discard(temporary)
        raise
    _put(files, "", record)


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
        ours = all(
            temporary.rpartition("/")[0] == path.rpartition("/")[0] and TEMPORARY in temporary and ".." not in path
            for path, temporary in staged.items()
        )
    except (ValueError, AttributeError, TypeError, RecursionError):
        return {}
    return staged if ours else {}


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
            return {path: archive.read(path) for path in archive.namelist() if ".." not in path and path[0] != "/"}
    except (zipfile.BadZipFile, zlib.error, ValueError, NotImplementedError):
        return {}
