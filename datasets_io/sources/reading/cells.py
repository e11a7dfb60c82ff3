"""What does a cell of a table say: nothing, as `nan` does, or something else than another row for the same image?"""

import os
from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import TypeVar

from datasets_io.schema import ArchiveError

K = TypeVar("K")
V = TypeVar("V")

# A correction, see registry.Source, of sources that took these for texts or ids.
NAN = "nan and None are no ids or reports"
NAN_NOTE = "reports that are nan or None, as pandas writes a blank, count as blank"
_NO_TEXT = frozenset({"nan", "NaN", "None", "<NA>", "NaT"})  # what pandas writes where a column was made text


def text_of(row: Mapping[str, str], name: str) -> str:
    """A cell without the spaces around it; "" where it is absent, blank, or what pandas writes for that."""
    cell = row.get(name, "").strip()
    return "" if cell in _NO_TEXT else cell


def has_nan(row: Mapping[str, str], columns: tuple[str, ...]) -> bool:
    """Whether a cell of these columns has what pandas writes for a blank one."""
    return any(row[name].strip() in _NO_TEXT for name in columns)


def keep_one(found: dict[K, V], key: K, value: V, where: str) -> None:
    """found[key] = value. Raises ArchiveError where a row before said something else: nobody can tell which is right.

    where: the table and its line, for the error.
    """
    before = found.setdefault(key, value)
    if before != value:
        name = "/".join(key) if isinstance(key, tuple) else key
        values = f"first with {before!r} and here with {value!r}" if isinstance(value, str) else "with other labels"
        raise ArchiveError(
            f"{where}: {name} is there twice, {values}: copy the table again, or take the row away that is wrong"
        )


def once(read: Callable[[Path], V], table: Path) -> V:
    """What a function says of a table, which is read again only when it has changed: keys are often asked for."""
    try:
        state = os.stat(table)
    except OSError as error:
        raise ArchiveError(f"{table} cannot be read ({error.strerror})") from error
    found: V = _once(read, table, state.st_size, state.st_mtime_ns)
    return found


@lru_cache(maxsize=16)
def _once(read: Callable[[Path], V], table: Path, size: int, time_ns: int) -> V:
    return read(table)
