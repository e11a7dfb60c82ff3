"""What does somebody's csv say as a whole, before any row becomes a Record: columns, paths, and what is unclear?"""

import os
import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from datasets_io.schema import ArchiveError, known_view
from datasets_io.sources.parts.csv_paths import LOOKED_AT, with_slashes
from datasets_io.sources.reading.archive import read_header, read_table, sex_code, whole_number
from datasets_io.sources.reading.cells import text_of
from datasets_io.sources.reading.headings import sections_in_any_form, sections_in_capitals
from datasets_io.sources.reading.reports import one_line, sections_of
from datasets_io.sources.reading.views import view_code
from datasets_io.untrusted import printable

# Corrections, see registry.Source: names that enter the key of a csv which they touch.
BACKSLASHES = "paths with backslashes are read"
VIEWS = "view positions in more words are read"
HEADINGS = "headings of reports in more forms are read"
CLINICAL = "a clinical impression is not the impression of a report"
CONTROLS = "ids with control characters are rejected"
BLANKS = "blanks, nan and None are no ids or reports"
ACCENTS = "letters with accents are those without in names of findings"

IDS = ("image_id", "study_id", "patient_id", "path")
TEXTS = ("image_id", "study_id", "report", "report_findings", "report_impression")  # optional; `text_of` reads them
# Columns that pandas writes without being asked: the row numbers of a frame, and those that a reset of them left.
_BY_PANDAS = re.compile(r"Unnamed: \d+(\.\d+)*(_level_\d+)?|index|level_0")


@dataclass(frozen=True)
class Scan:
    """header: all columns; left_out: those of row numbers, and those without a name or a cell; doubtful: those named
    as pandas names row numbers, whose cells may be labels. paths: some of them, evenly spaced, with slashes.
    corrections: of those above, which touch a row. rows: with any text.

    unknown_views, no_impression, unknown_sex, unknown_age: lines of rows whose view position, sex or age is not
    understood, and whose report has no impression that is found; of each, the first line and how many. no_view: how
    many rows have none at all.
    """

    header: tuple[str, ...]
    left_out: tuple[str, ...]
    doubtful: tuple[str, ...]
    paths: tuple[str, ...]
    corrections: tuple[str, ...]
    rows: int
    unknown_views: tuple[int, int]
    no_impression: tuple[int, int]
    no_view: int
    unknown_sex: tuple[int, int]
    unknown_age: tuple[int, int]

    def notes(self) -> list[str]:
        """Sentences for a manifest: no cell of the csv is quoted, which may be private."""
        said = [f"column {name!r} has row numbers, or nothing, and is left out" for name in self.left_out]
        said += [f"column {name!r} counts as a finding: take it away if it has row numbers" for name in self.doubtful]
        if BLANKS in self.corrections:
            said.append("ids and reports that are blanks, nan or None count as absent")
        if BACKSLASHES in self.corrections:
            said.append("paths with backslashes are taken as with slashes")
        line, count = self.unknown_views
        if count:
            said.append(
                f"{count} of {self.rows} rows have a view_position that is not understood (first in line {line}), which"
                " counts as frontal where frontal views are asked for: write PA, AP, FRONTAL or LATERAL"
            )
        if self.no_view and self.no_view < self.rows:
            said.append(f"{self.no_view} of {self.rows} rows have no view_position and count as frontal")
        for name, (line, count), form in (
            ("sex", self.unknown_sex, "M or F"),
            ("age", self.unknown_age, "whole years"),
        ):
            if count:
                said.append(
                    f"{count} of {self.rows} rows have a column {name} that is not understood (first in line {line}),"
                    f" which counts as blank: write {form}"
                )
        line, count = self.no_impression
        if count:
            said.append(
                f"{count} of {self.rows} rows have a report without an impression that is found (first in line {line}):"
                " a heading is IMPRESSION at the start of a line or of the text, or behind a sentence with a colon"
            )
        return said


def scan(table: Path, known: Iterable[str]) -> Scan:
    """Read a csv once; again only when it has changed. known: columns that are no findings.

    Raises ArchiveError for a column without a name that has text, and as read_table.
    """
    try:
        state = os.stat(table)
    except OSError as error:
        raise ArchiveError(f"{table} cannot be read ({error.strerror})") from error
    return _scan(table, state.st_size, state.st_mtime_ns, tuple(known))


@lru_cache(maxsize=4)
def _scan(table: Path, size: int, time_ns: int, known: tuple[str, ...]) -> Scan:
    header = tuple(read_header(table))
    rows = _Rows({name: _Column() for name in header if name not in known and _BY_PANDAS.fullmatch(name)})
    for line, row in read_table(table, ("path", "patient_id")):
        rows.add(line, row)
    if any(name != without_accents(name) for name in header if name not in known):
        rows.corrections.add(ACCENTS)
    numbered = tuple(name for name, column in rows.columns.items() if column.has_row_numbers())
    if nameless := [name for name in rows.columns if name not in numbered and name.startswith("Unnamed")]:
        place = 1 + header.index(nameless[0])
        raise ArchiveError(f"column {place} of {table} has no name, and cells that are no row numbers: give it one")
    return Scan(
        header=header,
        left_out=numbered,
        doubtful=tuple(name for name, column in rows.columns.items() if name not in numbered and column.numbers),
        paths=tuple(rows.paths),
        corrections=tuple(sorted(rows.corrections)),
        rows=rows.count,
        unknown_views=(rows.unknown_views.first, rows.unknown_views.count),
        no_impression=(rows.no_impression.first, rows.no_impression.count),
        no_view=rows.no_view if "view_position" in header else 0,
        unknown_sex=(rows.unknown_sex.first, rows.unknown_sex.count),
        unknown_age=(rows.unknown_age.first, rows.unknown_age.count),
    )


class _Column:
    """A column that may be row numbers: `numbers` are its cells, None as soon as one is no number. again: one is there
    twice, as where several frames were put together."""

    def __init__(self) -> None:
        self.numbers: set[str] | None = set()
        self.again = False

    def add(self, cell: str) -> None:
        if self.numbers is None or not cell:
            return
        self.again |= cell in self.numbers
        if cell.isdecimal():
            self.numbers.add(cell)
        else:
            self.numbers = None

    def has_row_numbers(self) -> bool:
        """Whether it has, or nothing: numbers, each once, or more of them than labels are."""
        return self.numbers is not None and not (self.again and self.numbers <= {"0", "1"})


def without_accents(text: str) -> str:
    """`épanchement` -> `epanchement`."""
    return "".join(letter for letter in unicodedata.normalize("NFKD", text) if not unicodedata.combining(letter))


class _Lines:
    """The first of some lines, and how many they are."""

    def __init__(self) -> None:
        self.first, self.count = 0, 0

    def add(self, line: int) -> None:
        self.first, self.count = self.first or line, self.count + 1


class _Rows:
    """What is gathered row by row."""

    def __init__(self, columns: dict[str, _Column]):
        self.columns = columns
        self.paths: list[str] = []
        self.corrections: set[str] = set()
        self.unknown_views, self.no_impression = _Lines(), _Lines()
        self.unknown_sex, self.unknown_age = _Lines(), _Lines()
        self.count, self.no_view, self.stride = 0, 0, 1

    def add(self, line: int, row: dict[str, str]) -> None:
        for name, column in self.columns.items():
            column.add(row[name].strip())
        self._add_path(row["path"].strip())
        self._add_view(line, row.get("view_position", "").strip())
        self._add_report(line, row)
        if (word := row.get("sex", "")).strip() and sex_code(word) is None:
            self.unknown_sex.add(line)
        if (word := row.get("age", "")).strip() and whole_number(word) is None:
            self.unknown_age.add(line)
        if any(cell and not text_of(row, name) for name in TEXTS if (cell := row.get(name))):
            self.corrections.add(BLANKS)
        if any(printable(cell) != cell for cell in (row.get(name, "").strip() for name in IDS)):
            self.corrections.add(CONTROLS)
        self.count += 1

    def _add_path(self, path: str) -> None:
        if "\\" in path:
            self.corrections.add(BACKSLASHES)
        # Every stride-th of them; where they become too many, every other one goes and the stride doubles.
        if self.count % self.stride == 0:
            self.paths.append(with_slashes(path))
            if len(self.paths) >= 2 * LOOKED_AT:
                self.paths, self.stride = self.paths[::2], 2 * self.stride

    def _add_view(self, line: int, word: str) -> None:
        if not word:
            self.no_view += 1
            return
        code = view_code(word)
        if code is None:
            self.unknown_views.add(line)
        if code != known_view(word):
            self.corrections.add(VIEWS)

    def _add_report(self, line: int, row: dict[str, str]) -> None:
        report = text_of(row, "report")
        if not report:
            return
        ready = (one_line(text_of(row, "report_findings")), one_line(text_of(row, "report_impression")))
        before, now = (
            tuple(own or found for own, found in zip(ready, sections, strict=True))
            for sections in (sections_of(report), sections_in_any_form(report))
        )
        if before != now:
            # Where this one touches a report, its rules of MIMIC-CXR give something else.
            self.corrections.add(HEADINGS if sections_in_capitals(report) == sections_of(report) else CLINICAL)
        if now[1] is None:
            self.no_impression.add(line)
