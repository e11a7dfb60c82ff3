"""Which calls does a local file system get? All that write are here, and those that read for one who decides.

So tests can fail each one. What a process reads ahead (datasets_io/read_ahead.py) is read again by these where anything
is wrong with it.
"""

import ctypes
import errno
import os
import shutil
import stat
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO

PIECE_BYTES = 1 << 20
AT_FDCWD, RENAME_NOREPLACE = -100, 1  # of Linux
# How NFS, libfuse and lowntfs-3g call a file that was removed and is still open somewhere; it goes when it is closed.
STILL_OPEN = (".nfs", ".fuse_hidden", ".ghost-ntfs-3g-")
NO_SYNC = {errno.EINVAL, errno.ENOTSUP, errno.ENOSYS, errno.EBADF}  # of a folder, where a file system has no such call
NO_MODES = {errno.EPERM, errno.ENOTSUP, errno.ENOSYS}  # where a mount decides who may read (FAT, SMB)
Data = bytes | memoryview | BinaryIO  # an open file is read from its beginning, in pieces


class WrongKind(OSError, ValueError):
    """A folder stands under a file's name, a file under a folder's, or a pipe, or links in a circle.

    A ValueError too: whoever expects damaged content takes it for that.
    """


class Disk:
    """The calls on a local file system of which everything else is made. Tests fail or record each of them.

    Each raises OSError as the system does.
    """

    def make_folder(self, path: str) -> None:
        """Make one folder, for its owner alone or for a group (`is_of_group`); its parent must be there."""
        os.mkdir(path, 0o700)
        if is_of_group(os.path.dirname(path)):
            set_mode(path, 0o2770)  # whatever the umask takes away

    def create(self, path: str, data: Data) -> None:
        """Write a new file and bring its bytes to the disk, its readers as of `make_folder`.

        Raises FileExistsError where the name is taken.
        """
        with open(path, "xb", opener=lambda name, flags: os.open(name, flags, 0o600)) as stream:
            if is_of_group(os.path.dirname(path)):
                set_mode(stream.fileno(), 0o660)
            for piece in _pieces(data):
                stream.write(piece)
            stream.flush()
            os.fsync(stream.fileno())

    def rename(self, path: str, target: str) -> None:
        """Give a file or folder another name at once; a file of that name is replaced."""
        os.replace(path, target)

    def link(self, path: str, target: str) -> None:
        """Give a file a second name. Raises FileExistsError where it is taken: of two writers one wins."""
        os.link(path, target)

    def rename_new(self, path: str, target: str) -> None:
        """Give a file another name. Raises FileExistsError where it is taken, and OSError where there is no such call:
        EINVAL from a file system, ENOSYS from a system.
        """
        call = _renameat2()
        if call is None:
            raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS), path)
        if call(AT_FDCWD, os.fsencode(path), AT_FDCWD, os.fsencode(target), RENAME_NOREPLACE) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), path, None, target)

    def unlink(self, path: str) -> None:
        """Remove one file."""
        os.unlink(path)

    def remove_tree(self, path: str) -> None:
        """Remove a folder and all in it; where a file in it is open, some file systems keep it, with a hidden name."""
        problems: list[BaseException] = []
        shutil.rmtree(path, onerror=lambda call, place, about: problems.append(about[1]))
        if problems and not _only_still_open(path):
            raise problems[0]

    def sync_folder(self, path: str) -> None:
        """Bring a folder's names to the disk: a new file whose folder was not synced is gone after a power cut."""
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        except OSError as error:
            if error.errno not in NO_SYNC:
                raise
        finally:
            os.close(descriptor)

    def read(self, path: str) -> bytes:
        """All bytes of a file. Raises FileNotFoundError, and WrongKind."""
        try:
            # NONBLOCK: a pipe under the name of a file would be waited for, for ever. No stream of Python's around
            # it, which takes as long again as the system: a study has a hundred thousand results of two kilobytes.
            descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except NotADirectoryError as error:  # nothing can be below a file
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path) from error
        except OSError as error:
            if error.errno in (errno.ELOOP, errno.ENXIO):
                raise WrongKind(
                    error.errno, "links in a circle or a socket stand where a file belongs", path
                ) from error
            raise
        try:
            state = os.fstat(descriptor)
            if stat.S_ISDIR(state.st_mode):
                raise WrongKind(errno.EISDIR, "a folder stands where a file belongs", path)
            if not stat.S_ISREG(state.st_mode):
                raise WrongKind(errno.EINVAL, "a pipe or a device stands where a file belongs", path)
            # A byte more than it has: what gives all that it had and no more has met the end.
            first = os.read(descriptor, state.st_size + 1)
            if first and len(first) == state.st_size:
                return first
            # It is growing, has no size, as in /proc, or comes in parts, as from some file systems.
            pieces = [first]
            while pieces[-1]:
                pieces.append(os.read(descriptor, max(state.st_size + 1, PIECE_BYTES)))
            return b"".join(pieces)
        finally:
            os.close(descriptor)


def in_the_way(folder: str | Path) -> str | None:
    """What stands where a local folder, or one above it, would have to be, as `PATH is a file`; None: nothing.

    folder: as it was given: of a link to nowhere, as to a disk that is not mounted now, `resolve` tells nothing.
    """
    place = Path(folder).expanduser().absolute()
    there = next((above for above in (place, *place.parents) if os.path.lexists(above)), place)
    if os.path.isdir(there) or not os.path.lexists(there):
        return None
    return f"{there} is a {'file' if os.path.exists(there) else 'link to a place that is not there'}"


def is_of_group(folder: str) -> bool:
    """Whether what is made in a folder is for its group: after `chmod g+rwxs` of it, as teams set theirs up."""
    mode = os.stat(folder or ".").st_mode
    return bool(mode & stat.S_ISGID and mode & stat.S_IWGRP)


def set_mode(path: str | int, mode: int) -> None:
    """As os.chmod. Where the file system has no modes its mount decides who may read, and nothing is to be done."""
    try:
        os.chmod(path, mode)
    except OSError as error:
        if error.errno not in NO_MODES:
            raise


def keep_private(folder: str) -> None:
    """Leave all below a folder, which other code has written, to whom `Disk` would have left it."""
    of_group = is_of_group(os.path.dirname(os.path.abspath(folder)))
    for place, _, names in os.walk(folder):
        set_mode(place, 0o2770 if of_group else 0o700)
        for name in names:
            set_mode(os.path.join(place, name), 0o660 if of_group else 0o600)


DISK = Disk()


def _only_still_open(folder: str) -> bool:
    """Whether a folder is there with nothing in it but files that were removed and are open."""
    if not os.path.isdir(folder):
        return False
    return all(name.startswith(STILL_OPEN) for _, _, names in os.walk(folder) for name in names)


@cache
def _renameat2() -> Any:
    """The system's call; None where it has none, as on macOS."""
    return getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)


def _pieces(data: Data) -> Iterator[bytes | memoryview]:
    if isinstance(data, (bytes, memoryview)):
        yield data
        return
    data.seek(0)
    while piece := data.read(PIECE_BYTES):
        yield piece
