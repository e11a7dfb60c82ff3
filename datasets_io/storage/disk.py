"""Which calls does a local file system get? All of them are here, so that tests can fail each one."""

import errno
import os
import shutil
import stat
from collections.abc import Iterator
from typing import BinaryIO

PIECE_BYTES = 1 << 20
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
            os.chmod(path, 0o2770)  # whatever the umask takes away

    def create(self, path: str, data: Data) -> None:
        """Write a new file and bring its bytes to the disk, its readers as of `make_folder`.

        Raises FileExistsError where the name is taken.
        """
        with open(path, "xb", opener=lambda name, flags: os.open(name, flags, 0o600)) as stream:
            if is_of_group(os.path.dirname(path)):
                os.fchmod(stream.fileno(), 0o660)
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

    def unlink(self, path: str) -> None:
        """Remove one file."""
        os.unlink(path)

    def remove_tree(self, path: str) -> None:
        """Remove a folder and all in it."""
        shutil.rmtree(path)

    def sync_folder(self, path: str) -> None:
        """Bring a folder's names to the disk: a new file whose folder was not synced is gone after a power cut."""
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def read(self, path: str) -> bytes:
        """All bytes of a file. Raises FileNotFoundError, and WrongKind."""
        try:
            # NONBLOCK: a pipe under the name of a file would be waited for, for ever.
            stream = open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK))  # noqa: SIM115
        except IsADirectoryError as error:
            raise WrongKind(error.errno, "a folder stands where a file belongs", path) from error
        except NotADirectoryError as error:  # nothing can be below a file
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path) from error
        except OSError as error:
            if error.errno in (errno.ELOOP, errno.ENXIO):
                raise WrongKind(
                    error.errno, "links in a circle or a socket stand where a file belongs", path
                ) from error
            raise
        with stream:
            if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
                raise WrongKind(errno.EINVAL, "a pipe or a device stands where a file belongs", path)
            return stream.read()


def is_of_group(folder: str) -> bool:
    """Whether what is made in a folder is for its group: after `chmod g+rwxs` of it, as teams set theirs up."""
    mode = os.stat(folder or ".").st_mode
    return bool(mode & stat.S_ISGID and mode & stat.S_IWGRP)


DISK = Disk()


def _pieces(data: Data) -> Iterator[bytes | memoryview]:
    if isinstance(data, (bytes, memoryview)):
        yield data
        return
    data.seek(0)
    while piece := data.read(PIECE_BYTES):
        yield piece
