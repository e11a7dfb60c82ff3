"""What comes from outside, made safe to open and to print: files that are no files, and text that a terminal obeys."""

import io
import json
import os
import re
import stat
from typing import Any

# Control characters (of which ESC begins what a terminal obeys), marks that turn the direction of text around or have
# no width, line separators, tags, and the halves of characters that stand for undecodable bytes of a file's name.
_UNPRINTABLE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb\ud800-\udfff"
    "\U000e0000-\U000e007f]"
)
LONGEST = 2000  # characters of a sentence: an error may quote a cell, and a cell may hold anything
_KINDS = {
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device file",
    stat.S_IFBLK: "a device file",
    stat.S_IFDIR: "a folder",
}


class NotRegular(OSError):
    """A FIFO, socket, device file or folder where a file should be; `strerror` says which."""


def printable(text: str) -> str:
    """The text with each character that a terminal would obey, or could not show, written out: ESC as \\x1b."""
    return _UNPRINTABLE.sub(lambda found: found[0].encode("unicode_escape").decode("ascii"), text)


def printable_lines(text: str) -> str:
    """As printable, and line ends stay."""
    return "\n".join(map(printable, text.split("\n")))


def sentence(text: str) -> str:
    """As printable, and no longer than LONGEST: what is left out in the middle is counted."""
    shown = printable(text)
    if len(shown) <= LONGEST:
        return shown
    half = LONGEST // 2 - 50  # with the words between, it is short enough to pass here again as it is
    return f"{shown[:half]} [{len(shown) - 2 * half:,} characters left out] {shown[-half:]}"


def kind_of_file(mode: int) -> str | None:
    """'a FIFO' or the like, for the st_mode of what is no regular file; None for a regular one."""
    return None if stat.S_ISREG(mode) else _KINDS.get(stat.S_IFMT(mode), "no regular file")


def special_file(path: str | os.PathLike[str]) -> str | None:
    """As kind_of_file, of what is there; None, too, where nothing is or it cannot be looked at, as opening will say."""
    try:
        return kind_of_file(os.stat(path).st_mode)
    except (OSError, ValueError):
        return None


def open_regular(path: str | os.PathLike[str]) -> io.BufferedReader:
    """A regular file, opened to be read at once. Raises NotRegular for anything else, and OSError as open does.

    To open a FIFO waits for a writer that never comes, and a device may do something: so it is looked at first.
    """
    _check(os.stat(path).st_mode, path)
    # Once more when it is open: between the look and the opening somebody may have put another thing there.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        _check(os.fstat(descriptor).st_mode, path)
        return open(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def json_value(text: str | bytes) -> Any:
    """As json.loads. Raises ValueError for all that is no JSON, and for lists that are too deep in each other."""
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("lists within lists, too deep to be read") from error


def json_file(path: str | os.PathLike[str], encoding: str = "utf-8") -> Any:
    """What a regular file says. Raises OSError as open_regular, ValueError as json_value and for another encoding."""
    with open_regular(path) as stream:
        return json_value(stream.read().decode(encoding))


def _check(mode: int, path: str | os.PathLike[str]) -> None:
    if (kind := kind_of_file(mode)) is not None:
        raise NotRegular(0, f"it is {kind}: only regular files are read", os.fspath(path))
