"""How do the processes of a node share an array on its disk, so that it holds what was written or is made again?"""

import errno
import fcntl
import hashlib
import io
import json
import os
import shutil
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import numpy as np

from datasets_io.granted import cores
from datasets_io.untrusted import json_file, open_regular

CHUNK = 16 << 20  # bytes of the file under one digest
RESERVE = 0.02  # share of the cache's disk that is left to others,
MOST_RESERVED = 10 << 30  # and its bytes at most: of 10 TB a share would be more than any corpus
SETTLED_SECONDS = 0.1  # a file system's clock ticks in up to 10 ms: a later change within a tick shows in no time
FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
FORBIDDEN = {errno.EROFS, errno.EACCES, errno.EPERM, errno.ELOOP, errno.ENOTDIR, errno.EEXIST}
UNLOCKABLE = {errno.ENOSYS, errno.ENOLCK, errno.ENOTSUP}  # a network's file system that is mounted without locks


class CacheFull(OSError):
    """The node's cache takes no array of this size. Its text is one sentence."""


def local_cache() -> Path:
    """Where a node keeps its arrays: $RADSWEEP_CACHE or the user's cache folder; readable by the owner only.

    Raises CacheFull where there is no such folder and none can be made.
    """
    place = os.environ.get("RADSWEEP_CACHE")
    if not place:
        caches = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
        if caches.startswith("~"):  # a container's user who is in no list of users
            raise CacheFull("the node has no cache, since this user has no home: set RADSWEEP_CACHE to a folder")
        place = os.path.join(caches, "radsweep")
    folder = Path(place)
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        text = f"the node's cache {folder} cannot be made ({error.strerror}): set RADSWEEP_CACHE to another folder"
        raise CacheFull(text) from error
    return folder


def open_array(
    target: Path, shape: tuple[int, ...], dtype: type, blocks: Callable[[], Iterator[np.ndarray]], of_free: float = 1.0
) -> np.ndarray:
    """A read-only map of the file `target`, a .npy of this shape; written from `blocks` where there is none.

    of_free: the share of the disk's free room that a new one may take.
    The first process that opens it compares it with the digests of what was written, and makes it again where a byte
    differs or is missing; the others look whether it has changed since. SHA-256 takes 0.5 s of a core for a gigabyte,
    so 2.7 s for NIH's training images at 224 pixels (5.6 GB), once after each start of the machine.

    Raises CacheFull where the disk has no room for it, or the folder may not be written to and has none.
    """
    try:
        # The trials of a node start together: one writes or compares, the others wait. A writer's death frees the lock.
        with locked(target):
            if not _is_whole(target, shape, dtype):
                _write(target, shape, dtype, blocks(), of_free)
            return _mapped(target)
    except CacheFull:
        # A folder that may only be read has no lock; nobody changes a file in its place, so none is needed to compare.
        if _is_whole(target, shape, dtype):
            return _mapped(target)
        raise


def _mapped(target: Path) -> np.ndarray:
    return np.load(target, mmap_mode="r", allow_pickle=False)


@contextmanager
def locked(target: Path) -> Iterator[None]:
    """One process of the node at a time, for a file of the cache. Raises CacheFull where the folder takes no lock."""
    with ExitStack() as stack:
        with _asked_of(target.parent):
            lock = stack.enter_context(open(target.with_suffix(".lock"), "ab", opener=_owners))
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextmanager
def _asked_of(folder: Path) -> Iterator[None]:
    """Turns what a disk without room, or a folder without rights, answers into one sentence."""
    try:
        yield
    except OSError as error:
        if error.errno in FULL:
            free = shutil.disk_usage(folder).free
            why, wanted = f"{error.strerror}; {free / 1e9:.2f} GB are free", "on a disk with more"
        elif error.errno in FORBIDDEN:
            why, wanted = str(error.strerror), "that this user may write to"
        elif error.errno in UNLOCKABLE:
            why, wanted = f"its file system gives no locks: {error.strerror}", "on a disk of the node"
        else:
            raise
        text = f"the node's cache {folder} takes no array ({why}): set RADSWEEP_CACHE to a folder {wanted}"
        raise CacheFull(text) from error


def _owners(path: str, flags: int) -> int:
    """Radiographs are nobody else's to read, whatever the umask says; and nothing is written through another's link."""
    return os.open(path, flags | os.O_NOFOLLOW, 0o600)


def _write(target: Path, shape: tuple[int, ...], dtype: type, blocks: Iterator[np.ndarray], of_free: float) -> None:
    """Write blocks as one .npy, which appears when it is whole, and its digests. The caller holds the lock."""
    for orphan in target.parent.glob(f".{target.name}-*"):
        orphan.unlink()  # of a writer that was killed
    with _asked_of(target.parent):
        target.unlink(missing_ok=True)  # it is not what it should be: its room is needed
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": np.lib.format.dtype_to_descr(np.dtype(dtype)), "fortran_order": False, "shape": shape}
    )
    size = len(header.getvalue()) + int(np.prod(shape)) * np.dtype(dtype).itemsize
    temporary, digests = target.with_name(f".{target.name}-{uuid.uuid4().hex}"), _Digests()
    try:
        with ExitStack() as stack:
            with _asked_of(target.parent):
                file = stack.enter_context(open(temporary, "wb", buffering=0, opener=_owners))
                _take_space(file.fileno(), target.parent, size, of_free)
            for data in _with_header(header, blocks):
                digests.update(data)
                with _asked_of(target.parent):
                    _write_all(file, data)
            if file.tell() != size:
                raise ValueError(f"{target.name}: its blocks have {file.tell()} bytes, not {size}")
        recorded = {"name": target.name, "bytes": size, "sha256": digests.ended()}
        with _asked_of(target.parent):
            put_note(_digests_of(target), json.dumps(recorded))
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)


def _write_all(file: io.FileIO, data: memoryview) -> None:
    while data:
        data = data[file.write(data) :]


def _with_header(header: io.BytesIO, blocks: Iterator[np.ndarray]) -> Iterator[memoryview]:
    yield header.getbuffer()
    for block in blocks:
        yield np.ascontiguousarray(block).reshape(-1).view(np.uint8).data


def _take_space(descriptor: int, folder: Path, size: int, of_free: float) -> None:
    """All of it before the first byte: a disk without room is found at once, and not by whoever maps the file."""
    usage = shutil.disk_usage(folder)
    if size > of_free * (usage.free - min(RESERVE * usage.total, MOST_RESERVED)):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    os.posix_fallocate(descriptor, 0, size)


class _Digests:
    """SHA-256 of each CHUNK bytes of what it is given."""

    def __init__(self) -> None:
        self.found: list[str] = []
        self.now, self.room = hashlib.sha256(), CHUNK

    def update(self, data: memoryview) -> None:
        while data:
            part, data = data[: self.room], data[self.room :]
            self.now.update(part)
            self.room -= len(part)
            if not self.room:
                self.found.append(self.now.hexdigest())
                self.now, self.room = hashlib.sha256(), CHUNK

    def ended(self) -> list[str]:
        """All of them; the last one's chunk may be shorter."""
        return self.found if self.room == CHUNK else [*self.found, self.now.hexdigest()]


def _digests_of(target: Path) -> Path:
    return target.with_suffix(".digests")


def read_note(path: Path) -> str:
    """A small file of the cache. Raises OSError and ValueError, also where it is no file or no text."""
    with open_regular(path) as file:
        return file.read().decode()


def put_note(path: Path, text: str) -> None:
    """Replace a small file of the cache as a whole."""
    temporary = path.with_name(f".{path.stem}.npy-{uuid.uuid4().hex}")  # named as what the next writer removes
    try:
        with open(temporary, "w", opener=_owners) as file:
            file.write(text)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _is_whole(target: Path, shape: tuple[int, ...], dtype: type) -> bool:
    """Whether the file is there and has the bytes that were written, of this shape. The caller holds the lock."""
    try:
        recorded = json_file(_digests_of(target))
        before = state_of(target)
        if recorded["name"] != target.name or os.stat(target).st_size != recorded["bytes"]:
            return False
        checked = target.with_suffix(".checked")
        if not (checked.exists() and read_note(checked) == before):
            if _sha256(target, recorded["bytes"]) != recorded["sha256"] or state_of(target) != before:
                return False
            if time.time() - os.stat(target).st_ctime > SETTLED_SECONDS:
                with suppress(OSError):  # a note that saves time: without it the next process compares again
                    put_note(checked, before)
        found = _mapped(target)
    except (OSError, ValueError, KeyError, TypeError):
        return False
    return found.shape == shape and found.dtype == np.dtype(dtype)


def state_of(target: Path) -> str:
    """Of a file: another text after every write to it, whatever times it is given, and after a start of the machine."""
    found = os.stat(target)
    boot = Path("/proc/sys/kernel/random/boot_id")
    started = boot.read_text().strip() if boot.exists() else "unknown"
    return f"{started} {found.st_ino} {found.st_size} {found.st_mtime_ns} {found.st_ctime_ns}"


def _sha256(target: Path, size: int) -> list[str]:
    """As _Digests, by all cores of this process: the hash leaves the interpreter to others."""

    def of_chunk(start: int) -> str:
        digest = hashlib.sha256()
        with open(target, "rb", buffering=0) as file:
            file.seek(start)
            left = min(CHUNK, size - start)
            while left and (data := file.read(min(left, 1 << 20))):
                digest.update(data)
                left -= len(data)
        return digest.hexdigest()

    with ThreadPoolExecutor(cores()) as pool:
        return list(pool.map(of_chunk, range(0, size, CHUNK)))
