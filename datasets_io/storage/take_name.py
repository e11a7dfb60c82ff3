"""Giving a finished file a name that nothing may have, with hard links or on file systems that do not have them."""

import errno
import os
from collections.abc import Callable
from contextlib import suppress

from datasets_io.storage.disk import Disk

# What a call answers that a file system does not have: FAT and exFAT EPERM, Samba ENOTSUP, pooled disks EXDEV where
# the two names would lie on two of them, rclone EIO, one that allows a file a single name EMLINK.
NOT_KNOWN = {
    errno.EPERM,
    errno.ENOTSUP,
    errno.EOPNOTSUPP,
    errno.ENOSYS,
    errno.EXDEV,
    errno.EINVAL,
    errno.EIO,
    errno.EMLINK,
}


def take_name(disk: Disk, path: str, target: str) -> bool:
    """False where the name is taken, by whoever was first. `path` is left or gone; the caller removes it.

    By a hard link, else by a rename that replaces nothing; each is one call, which the file system makes atomic. Where
    it has neither (FAT by FUSE, rclone, s3fs) by a look and a rename, so that of two writers in the same moment the
    later stands, whole.
    """
    for give in (disk.link, disk.rename_new):
        try:
            give(path, target)
            return True
        except FileExistsError:
            # A request to an NFS server is sent again where its answer was lost, and then meets what it has made.
            return _is_same_file(path, target)
        except OSError as error:
            if error.errno not in NOT_KNOWN or _is_able(disk, give, path):
                raise
    if os.path.lexists(target):
        return False
    disk.rename(path, target)
    return True


def _is_same_file(path: str, target: str) -> bool:
    """Two names of one file. Not so where `path` is gone."""
    try:
        return os.path.samefile(path, target)
    except OSError:
        return False


def _is_able(disk: Disk, give: Callable[[str, str], None], path: str) -> bool:
    """Whether the call works on names that nothing else has: an error of a disk is none of a lacking call."""
    before, after = f"{path}-a", f"{path}-b"
    try:
        try:
            disk.create(before, b"")
        except OSError:  # a disk on which nothing can be made now says nothing of the call
            return True
        give(before, after)
        return True
    except OSError:
        return False
    finally:
        for name in (before, after):
            with suppress(OSError):
                disk.unlink(name)
