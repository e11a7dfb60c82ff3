"""Which files lie below a folder of a local storage?

A link to a folder outside of the storage is followed, once: parts of it may lie on another disk. One that leads to a
folder within is not, since that is listed where it lies, and may be the one in which the link is.
"""

import os
from collections.abc import Iterator
from contextlib import suppress
from typing import NamedTuple

from datasets_io.storage.disk import STILL_OPEN

TEMPORARY = ".tmp-"  # in the name of a file that is still being written


class Entry(NamedTuple):
    """A stored file. path: relative to the root. modified: seconds since 1970, None where the storage does not say."""

    path: str
    bytes: int
    modified: float | None


def names_below(root: str, prefix: str) -> Iterator[str]:
    """Files below root/prefix, relative to the root, sorted; only names are read, no size or time of a file.

    Nothing where the folder is gone, or its path goes through a file.
    """
    # A walk in depth with a stack, not recursion: os.walk gives a folder's files before its folders, out of order.
    followed: set[str] = set()
    waiting = _names_in(root, f"{prefix}/" if prefix else "", followed)
    while waiting:
        path = waiting.pop()
        if path.endswith("/"):
            waiting += _names_in(root, path, followed)
        else:
            yield path


def entries_below(root: str, prefix: str) -> Iterator[Entry]:
    """Every file below root/prefix, temporary ones left out; in no order."""
    waiting, followed = [f"{prefix}/" if prefix else ""], set[str]()
    while waiting:
        folder = waiting.pop()
        with suppress(FileNotFoundError, NotADirectoryError), os.scandir(f"{root}/{folder}") as found:
            for one in found:
                if _is_folder(root, one, followed):
                    waiting.append(f"{folder}{one.name}/")
                elif TEMPORARY not in one.name and _is_file(one):
                    with suppress(FileNotFoundError):  # removed in between
                        state = one.stat()
                        yield Entry(folder + one.name, state.st_size, state.st_mtime)


def folders_in(root: str, prefix: str) -> list[str]:
    """Folders directly in root/prefix, relative to the root, in no order; links as everywhere here."""
    followed: set[str] = set()
    with suppress(FileNotFoundError, NotADirectoryError), os.scandir(f"{root}/{prefix}") as entries:
        return [f"{prefix}/{entry.name}" for entry in entries if _is_folder(root, entry, followed)]
    return []


def _names_in(root: str, folder: str, followed: set[str]) -> list[str]:
    """Files and folders of a folder, these with a / at their end, the last one first: a stack of them pops in order."""
    found = []
    with suppress(FileNotFoundError, NotADirectoryError), os.scandir(f"{root}/{folder}") as entries:
        for entry in entries:
            if _is_folder(root, entry, followed):
                found.append(f"{folder}{entry.name}/")
            elif _is_file(entry):
                found.append(folder + entry.name)
    found.sort(reverse=True)
    return found


def _is_folder(root: str, entry: "os.DirEntry[str]", followed: set[str]) -> bool:
    """Whether it is a folder to be listed. followed: where links led already; a new one is added."""
    if entry.is_dir(follow_symlinks=False):
        return True
    try:
        if not entry.is_symlink() or not entry.is_dir():
            return False
    except OSError:  # links in a circle
        return False
    target = os.path.realpath(entry.path)
    within = os.path.commonpath((os.path.realpath(root), target)) == os.path.realpath(root)
    new = not within and target not in followed
    followed.add(target)
    return new


def _is_file(entry: "os.DirEntry[str]") -> bool:
    try:
        return entry.is_file() and not entry.name.startswith(STILL_OPEN)  # those are removed
    except OSError:  # as above
        return False
