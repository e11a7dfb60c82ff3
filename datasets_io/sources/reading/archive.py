"""How the csv files, lists and folders of a raw archive are read, with errors that a user can act on."""

import csv
import itertools
import math
import os
import re
import stat
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import Any

from datasets_io.schema import NEGATIVE, POSITIVE, UNCERTAIN, ArchiveError
from datasets_io.sources.reading.elsewhere import PACKED, PACKED_TABLE, Starts, hint
from datasets_io.sources.reading.table_text import open_lines, open_unpacked
from datasets_io.untrusted import json_value, kind_of_file

DELIMITERS = (",", ";", "\t", "|")


def require_folder(raw: Path, what: str) -> None:
    """Raises ArchiveError unless `raw` is a folder."""
    if not raw.is_dir():
        raise ArchiveError(f"{raw} is not a folder: --raw must be the folder of {what} as it was downloaded")


def find_file(raw: Path, names: Iterable[str]) -> Path | None:
    """The first of some names that is a file in the folder, or in a folder of its own name, as some programs unpack.

    Where none is, the first one that is there packed, as `train.csv.gz`; of JSON files only where or_packed names it,
    since a source may read its own line by line. Raises ArchiveError for one that a link leads out of the folder with,
    and for a FIFO, socket or device file.
    """
    given = tuple(names)
    wanted = dict.fromkeys((*given, *or_packed(name for name in given if not name.endswith(".json"))))
    places = (place for name in wanted for place in (raw / name, raw / name / PurePosixPath(name).name))
    return next((place for place in places if is_own_file(raw, place)), None)


def or_packed(names: Iterable[str]) -> tuple[str, ...]:
    """Names of tables, then those that each has when it is packed, but for names of what is packed already."""
    given = tuple(names)
    bare = (name for name in given if not name.lower().endswith(PACKED))
    return *given, *(f"{name}{ending}" for name in bare for ending in PACKED_TABLE)


def unpacked_name(path: Path) -> str:
    """The name of a table as it is without being packed: `train.csv` of `train.csv.gz`."""
    return path.stem if path.suffix in PACKED_TABLE else path.name


def is_own_file(raw: Path, path: Path) -> bool:
    """Whether a regular file is there. Raises ArchiveError as find_file."""
    try:
        mode = os.stat(path).st_mode
    except (FileNotFoundError, NotADirectoryError):
        return False
    except (OSError, ValueError) as error:  # no right to look, a circle of links; a zero byte in the name
        raise ArchiveError(f"{path} cannot be looked at ({error})") from error
    if stat.S_ISDIR(mode):
        return False
    if not is_below(raw, path):
        raise ArchiveError(
            f"{path} is a link out of {raw}: nothing outside of that folder is read; put the file itself there"
        )
    if (kind := kind_of_file(mode)) is not None:
        raise ArchiveError(f"{path} is {kind}: only regular files are read")
    return True


def is_stray(name: str) -> bool:
    """Whether a file is one that a file manager leaves in a folder: .DS_Store, ._view1_frontal.jpg, Thumbs.db."""
    return name.startswith(".") or name.lower() in ("thumbs.db", "desktop.ini")


def is_below(raw: Path, path: Path) -> bool:
    """Whether a path is below the folder when all links in both are followed."""
    # The empty part adds a separator at the end, so that /data/raw2 is not below /data/raw.
    return os.path.realpath(path).startswith(os.path.join(os.path.realpath(raw), ""))


def require_file(raw: Path, names: tuple[str, ...], what: str) -> Path:
    """As find_file. Raises ArchiveError, which lists the names and a folder that has one, where there is none."""
    return require_files(raw, (names,), what)[0]


def require_files(raw: Path, groups: Sequence[tuple[str, ...]], what: str, starts: Starts | None = None) -> list[Path]:
    """Of each group of names the first that is a file, as find_file. Raises ArchiveError as require_file.

    starts: whether a folder that the error may name has what is needed; one that has a file of every group, if None.
    """
    require_folder(raw, what)

    def has_all(folder: Path) -> bool:
        return all(find_file(folder, names) for names in groups)

    found = []
    for names in groups:
        path = find_file(raw, names)
        if path is None:
            what_to_do = hint(raw, or_packed(names), "is the archive copied in full?", starts or has_all)
            bare = [name for name in names if not name.endswith(PACKED_TABLE)]
            raise ArchiveError(f"{raw} has no {' or '.join(bare or names)}, which {what} has at its top{what_to_do}")
        found.append(path)
    return found


def read_table(path: Path, columns: tuple[str, ...]) -> Iterator[tuple[int, dict[str, str]]]:
    """(line number, row) of a table whose header must have `columns`, each once; rows without any text are left out.

    The table is a csv file in UTF-8, or in UTF-16 with its mark, whose cells `,`, `;`, tab or `|` parts, and may be
    packed with gzip, xz, bzip2 or zip, whatever its name says. Raises ArchiveError for a missing column, a row
    without those fields or with more than the header has, and as open_lines.
    """
    with open_lines(path) as lines:
        reader = _Reader(path, lines, columns)
        header = reader.header
        places = [header.index(name) for name in columns]
        width = max(places, default=-1) + 1
        for line, cells in reader:
            if not any(map(str.strip, cells)):
                continue
            if len(cells) < width or any(cells[len(header) :]):
                raise ArchiveError(f"{path} line {line} does not have the header's fields: cut short?")
            # Spreadsheets leave out blank cells at the end of a row.
            yield line, dict(zip(header, cells + [""] * (len(header) - len(cells)), strict=False))


def read_header(path: Path) -> list[str]:
    """Column names of a table as read_table has them; empty where the file is. Raises ArchiveError as open_lines."""
    with open_lines(path) as lines:
        return _Reader(path, lines, ()).header


class _Reader:
    """Rows of a table behind its header. Raises ArchiveError where the columns are not there, each once."""

    def __init__(self, path: Path, lines: Iterator[str], columns: tuple[str, ...]):
        self._path, self._skipped = path, 0
        first = next(lines, "")
        delimiter = None
        if said := re.fullmatch(r"\s*sep=(.)\s*", first, re.IGNORECASE):  # a line that spreadsheets write and read
            delimiter, self._skipped = said[1], 1
            first = next(lines, "")
        delimiter = delimiter or _delimiter(first, columns)
        self._rows = csv.reader(itertools.chain([first], lines), delimiter=delimiter, strict=True)
        names = self._take()
        # A column without a name gets that which pandas gives it, so that no two are one.
        self.header = [name.strip() or f"Unnamed: {place}" for place, name in enumerate(names or [])]
        missing = [name for name in columns if name not in self.header]
        if missing and not any(map(str.strip, names or [])):
            what = (
                "is blank: take it away, so that the header comes first" if first else "is not there: the file is empty"
            )
            raise ArchiveError(f"{path} has no column {', '.join(missing)}: its line {self._skipped + 1} {what}")
        if missing:
            raise ArchiveError(f"{path} has no column {', '.join(missing)}; its header is {self.header}")
        if double := [name for name in columns if self.header.count(name) > 1]:
            raise ArchiveError(f"{path} has {self.header.count(double[0])} columns {double[0]!r}: keep one of them")

    def __iter__(self) -> Iterator[tuple[int, list[str]]]:
        """(line number, cells) of each row behind the header."""
        while (cells := self._take()) is not None:
            yield self._rows.line_num + self._skipped, cells

    def _take(self) -> list[str] | None:
        try:
            return next(self._rows, None)
        except csv.Error as error:
            line = self._rows.line_num + self._skipped
            mend = "is a quote not closed there?" if "field larger" in str(error) else "copy it again"
            raise ArchiveError(f"{self._path} line {line} cannot be read ({error}): {mend}") from error


def _delimiter(header: str, columns: tuple[str, ...]) -> str:
    """What parts the cells of a header: that which finds all columns, else that which finds most; a comma first."""
    found: dict[str, list[str]] = {}
    for delimiter in DELIMITERS:
        with suppress(csv.Error):
            found[delimiter] = [name.strip() for name in next(csv.reader([header], delimiter=delimiter), [])]
    whole = (delimiter for delimiter, names in found.items() if columns and set(columns) <= set(names))
    most = max(found, key=lambda delimiter: len(found[delimiter]), default=",")  # the first of equals
    return next(whole, most)


def read_names(path: Path) -> list[str]:
    """File names of a list: one a line, alone or followed by labels ('name 0 1 0 ...'); folders are cut off.

    Raises ArchiveError where the file cannot be read.
    """
    with open_lines(path) as lines:
        return [PurePosixPath(line.split()[0]).name for line in lines if line.strip()]


def read_json(path: Path) -> Any:
    """The value of a JSON file, which may be packed as tables are. Raises ArchiveError where it cannot be read."""
    with open_unpacked(path) as stream:
        content = stream.read()
    try:
        return json_value(content.decode("utf-8-sig"))
    except ValueError as error:  # in the text, or in its encoding
        raise ArchiveError(f"{path} cannot be read ({error}): copy it again") from error


def finite_numbers(row: dict[str, str], columns: tuple[str, ...], path: Path, line: int) -> tuple[float, ...]:
    """The cells of some columns as numbers. Raises ArchiveError where one is none, or is infinite."""
    try:
        values = tuple(float(row[name]) for name in columns)
    except ValueError:
        values = (math.nan,)
    if not all(math.isfinite(value) for value in values):
        cells = ", ".join(f"{name} {row[name]!r}" for name in columns)
        raise ArchiveError(f"{path} line {line} has {cells}: numbers are needed; was the file cut or edited?")
    return values


# Whole numbers beside blanks are floats to pandas, which then writes "1.0", or as many places as it is told.
LABEL_CODES: dict[str, int | None] = {
    **{text: POSITIVE for text in ("1", "1.0")},
    **{text: NEGATIVE for text in ("0", "0.0")},
    **{text: UNCERTAIN for text in ("-1", "-1.0")},
    "": None,
}
_MORE_PLACES = re.compile(r"(-?[01])\.0*")


def label_code(text: str, path: Path, line: int, finding: str) -> int | None:
    """1, 0, -1 or None (blank). Raises ArchiveError for anything else."""
    try:
        return LABEL_CODES[text.strip()]
    except KeyError:
        pass
    if match := _MORE_PLACES.fullmatch(text.strip()):
        return LABEL_CODES[match[1].replace("-0", "0")]
    word = text.strip().lower()
    hint = ""
    if word in ("nan", "none", "null", "na", "n/a", "<na>", "nat", "-", "?"):
        hint = ": for no label leave the cell blank"
    elif word in ("true", "false", "yes", "no", "y", "n", "t", "f", "positive", "negative"):
        hint = ": write 1 for yes and 0 for no"
    raise ArchiveError(f"{path} line {line}: label {finding} is {text!r}; allowed: 1, 0, -1 (uncertain) or blank{hint}")


def is_label(text: str) -> bool:
    """Whether label_code takes it."""
    return text.strip() in LABEL_CODES or _MORE_PLACES.fullmatch(text.strip()) is not None


def whole_number(text: str) -> int | None:
    """An age as csv files write it ('54', '054Y', '54.0'); None where there is none that int16 can hold."""
    match = re.fullmatch(r"\s*(\d{1,4})(?:\.0*)?\s*Y?\s*", text)
    return int(match[1]) if match else None


def sex_code(text: str) -> str | None:
    """'M', 'F' or None."""
    return {"m": "M", "male": "M", "f": "F", "female": "F"}.get(text.strip().lower())


def snake_case(name: str) -> str:
    """'Pleural Effusion' -> 'pleural_effusion'."""
    return re.sub(r"[^a-z0-9]+", "_", name.strip().lower()).strip("_")
