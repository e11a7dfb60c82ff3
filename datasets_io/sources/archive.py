"""How the csv files, lists and folders of a raw archive are read, with errors that a user can act on."""

import csv
import gzip
import re
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath

from datasets_io.schema import NEGATIVE, POSITIVE, UNCERTAIN, ArchiveError
from datasets_io.sources.elsewhere import hint


def require_folder(raw: Path, what: str) -> None:
    """Raises ArchiveError unless `raw` is a folder."""
    if not raw.is_dir():
        raise ArchiveError(f"{raw} is not a folder: --raw must be the folder of {what} as it was downloaded")


def find_file(raw: Path, names: Iterable[str]) -> Path | None:
    """The first of some names that is a file in the folder, or in a folder of its own name, as some programs unpack."""
    places = (place for name in names for place in (raw / name, raw / name / name))
    return next((place for place in places if place.is_file()), None)


def require_file(raw: Path, names: tuple[str, ...], what: str) -> Path:
    """As find_file. Raises ArchiveError, which lists the names and a sub-folder that has one, where there is none."""
    require_folder(raw, what)
    found = find_file(raw, names)
    if found is None:
        what_to_do = hint(raw, names, "is the archive copied in full?")
        raise ArchiveError(f"{raw} has no {' or '.join(names)}, which {what} has at its top{what_to_do}")
    return found


def read_table(path: Path, columns: tuple[str, ...]) -> Iterator[tuple[int, dict[str, str]]]:
    """(line number, row) of a csv or csv.gz file whose header must have `columns`.

    Raises ArchiveError for a missing column, a row without those fields or with more than the header
    has, or bytes that are not gzip or UTF-8.
    """
    try:
        opener = gzip.open if _is_gzip(path) else open
        # utf-8-sig: a csv saved by a spreadsheet begins with a byte order mark, which would join the first name.
        with opener(path, "rt", encoding="utf-8-sig", newline="") as stream:
            reader = csv.DictReader(stream, strict=True)
            missing = [name for name in columns if name not in (reader.fieldnames or [])]
            if missing:
                raise ArchiveError(f"{path} has no column {', '.join(missing)}; its header is {reader.fieldnames}")
            for row in reader:
                # DictReader fills missing fields with None, and puts those beyond the header under the key None.
                if any(row[name] is None for name in columns) or any(row.pop(None, ())):
                    raise ArchiveError(f"{path} line {reader.line_num} does not have the header's fields: cut short?")
                yield reader.line_num, row
    except (OSError, EOFError, UnicodeDecodeError, csv.Error) as error:
        raise ArchiveError(f"{path} cannot be read ({error}): copy it again") from error


def _is_gzip(path: Path) -> bool:
    """Whether a file is compressed, whatever its name says: browsers and tools unpack a .gz and keep the name."""
    with open(path, "rb") as stream:
        return stream.read(2) == b"\x1f\x8b"


def read_header(path: Path) -> list[str]:
    """Column names of a csv file; empty where the file is. Raises OSError or UnicodeDecodeError."""
    with open(path, encoding="utf-8-sig", newline="") as stream:
        return next(csv.reader(stream), [])


def read_names(path: Path) -> list[str]:
    """File names of a list: one a line, alone or followed by labels ('name 0 1 0 ...'); folders are cut off.

    Raises ArchiveError where the file cannot be read.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise ArchiveError(f"{path} cannot be read ({error}): copy it again") from error
    return [PurePosixPath(line.split()[0]).name for line in lines if line.strip()]


# Whole numbers beside blanks are floats to pandas, which then writes "1.0"; other programs, and people, write "1".
LABEL_CODES: dict[str, int | None] = {
    **{text: POSITIVE for text in ("1", "1.0")},
    **{text: NEGATIVE for text in ("0", "0.0")},
    **{text: UNCERTAIN for text in ("-1", "-1.0")},
    "": None,
}


def label_code(text: str, path: Path, line: int, finding: str) -> int | None:
    """1, 0, -1 or None (blank). Raises ArchiveError for anything else."""
    try:
        return LABEL_CODES[text.strip()]
    except KeyError:
        raise ArchiveError(
            f"{path} line {line}: label {finding} is {text!r}; allowed: 1, 0, -1 (uncertain) or blank"
        ) from None


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
