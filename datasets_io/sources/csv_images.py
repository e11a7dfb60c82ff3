"""Any other set of images: bring your own, described by one csv, without writing code.

Columns: path (relative to the folder) and patient_id; optional split, image_id, study_id, view_position, sex,
age, report (a whole report with FINDINGS: and IMPRESSION: headings), report_findings and report_impression
(ready-made sections). Every other column is a finding, whose cells are 1, 0, -1 (uncertain) or blank; a column of row
numbers without a name, as pandas writes it, is left out. Blanks, nan and None are neither ids nor reports.

Ids go into the shards as they stand in the csv, and a path serves as image_id where there is none. Where these tell
who somebody is, give a salt_file: ids are then replaced by salted hashes, the same for the same id.
"""

import hashlib
import hmac
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from datasets_io.schema import ArchiveError, Record
from datasets_io.sources.parts.csv_paths import PathForm, path_form, unnamed_among, with_slashes
from datasets_io.sources.parts.csv_scan import Scan, scan, without_accents
from datasets_io.sources.reading.archive import (
    find_file,
    label_code,
    read_header,
    read_table,
    require_file,
    require_folder,
    sex_code,
    snake_case,
    whole_number,
)
from datasets_io.sources.reading.cells import text_of
from datasets_io.sources.reading.headings import sections_in_any_form
from datasets_io.sources.reading.reports import one_line
from datasets_io.sources.reading.views import view_code
from datasets_io.sources.splits import case_notes, check_forms, hash_split
from datasets_io.untrusted import open_regular

VERSION = 1
MIN_SALT_BYTES = 16
REQUIRED = ("path", "patient_id")
OPTIONAL = (
    "split",
    "image_id",
    "study_id",
    "view_position",
    "sex",
    "age",
    "report",
    "report_findings",
    "report_impression",
)
OTHER_ENDINGS = (".gz", ".xz", ".bz2", ".zip", ".tsv", ".tab", ".txt", ".xlsx", ".xls", ".parquet")
SPLIT_WORDS = {
    **{word: "train" for word in ("train", "training")},
    **{word: "val" for word in ("val", "valid", "validate", "validation", "dev", "development")},
    **{word: "test" for word in ("test", "testing")},
}
MOST_FOLDERS = 2000  # of the table's images, that are looked into for others: over a network each takes a millisecond


@dataclass(frozen=True)
class CsvOptions:
    """table: the csv's name in the folder. salt_file: a file of random bytes, kept secret, for hashed ids."""

    table: str = "images.csv"
    salt_file: str | None = field(default=None, metadata={"hashed": False})


def index_files(raw: Path, options: CsvOptions) -> list[Path]:
    """The csv, and the salt: another one gives other ids. Raises ArchiveError where the salt could be guessed."""
    table = _table(raw, options)
    _check_header(table)
    if options.salt_file is None:
        return [table]
    salt = Path(options.salt_file)
    if not salt.is_file() or salt.stat().st_size < MIN_SALT_BYTES:
        raise ArchiveError(
            f"salt_file {salt} must be a file of {MIN_SALT_BYTES} random bytes or more, so that nobody can guess it:"
            f" head -c 32 /dev/urandom > {salt}"
        )
    return [table, salt]


def _table(raw: Path, options: CsvOptions) -> Path:
    require_folder(raw, "a csv_images set")
    if (found := find_file(raw, (options.table,))) is not None:
        return found
    stem = Path(options.table).stem
    names = [f"{base}{ending}" for base in (options.table, stem) for ending in OTHER_ENDINGS]
    if (other := find_file(raw, names)) is not None:
        # Whether it can be read, read_table says; it takes packed tables as they are.
        raise ArchiveError(
            f"{raw} has no {options.table}, but {other.name}: say --option table={other.name} if that is the table"
        )
    return require_file(raw, (options.table,), "a csv_images set")


def _check_header(table: Path) -> None:
    """Raises ArchiveError where a known column is there twice: which of the two counts, nobody could tell.

    Or where one that is needed is there under another spelling alone.
    """
    header = read_header(table)
    for name, meant in _respelled(header):
        if meant in REQUIRED:
            raise ArchiveError(f"{table} has a column {name!r} and none {meant!r}: rename it to {meant}")
    if double := [name for name in REQUIRED + OPTIONAL if header.count(name) > 1]:
        raise ArchiveError(f"{table} has {header.count(double[0])} columns {double[0]!r}: keep one of them")


def _respelled(header: Sequence[str]) -> list[tuple[str, str]]:
    """Columns that are a known one but for capitals, blanks and such, where that one is not there; and that one."""
    known = {name.replace("_", ""): name for name in REQUIRED + OPTIONAL}
    pairs = [(name, known.get(snake_case(name).replace("_", ""))) for name in header]
    return [(name, meant) for name, meant in pairs if meant is not None and meant not in header]


def _ids(options: CsvOptions) -> Callable[[str, str], str]:
    """(kind, id) -> the id for the shards. 64 bits: two of a million ids are equal with probability 3e-8."""
    if options.salt_file is None:
        return lambda kind, text: text
    with open_regular(options.salt_file) as stream:
        salt = stream.read()
    return lambda kind, text: hmac.new(salt, f"{kind}\n{text}".encode(), hashlib.sha256).hexdigest()[:16]


def findings_in(raw: Path, options: CsvOptions) -> tuple[str, ...]:
    """The label columns of the csv, in its order, in snake_case. Raises ArchiveError where two become one name."""
    table = _table(raw, options)
    columns: dict[str, str] = {}
    for column in _label_columns(_scan(table)):
        finding = snake_case(without_accents(column))
        if not finding:
            raise ArchiveError(f"{table} has a column {column!r}: name the finding with letters from a to z, or digits")
        if (other := columns.setdefault(finding, column)) != column:
            raise ArchiveError(f"{table} has columns {other!r} and {column!r}, both {finding}: rename one of them")
    return tuple(columns)


def notes(raw: Path, options: CsvOptions) -> list[str]:
    """How patients were split, where the csv does not say, and what was taken for something else than it says."""
    table = _table(raw, options)
    found = _scan(table)
    form = path_form(raw, found.paths)
    said = [*found.notes(), *form.notes(), *_unnamed_notes(raw, table, form)]
    said += [
        f"column {name!r} counts as a finding: rename it to {meant} if that is meant"
        for name, meant in _respelled(found.header)
    ]
    if "split" not in found.header:
        said.insert(
            0, f"{table.name} has no column split: patients were cut 70-10-20 into train, val and test by a hash"
        )
    if options.salt_file is not None:  # of ids that are not hashed, the build says it with an example
        rows = read_table(table, REQUIRED)
        ids = {row["patient_id"].strip(): _split(row, row["patient_id"].strip(), table, line) for line, row in rows}
        said += case_notes(ids, named=False)
    return said


def _unnamed_notes(raw: Path, table: Path, form: PathForm) -> list[str]:
    """A sentence where files lie beside the table's images, of their kinds, that no row names."""
    rows = read_table(table, REQUIRED)
    named = {os.path.normpath(form.below(with_slashes(row["path"].strip()))) for _, row in rows}
    named = {path for path in named if "\0" not in path}  # no file has such a name
    left, folders = unnamed_among(raw, named, MOST_FOLDERS)
    if left == 0:
        return []
    where = f" in the first {folders} folders that were looked into" if folders == MOST_FOLDERS else ""
    return [f"files among its images that no row of {table.name} names, left out: {left}{where}"]


def corrections(raw: Path, options: CsvOptions) -> tuple[str, ...]:
    """What is read otherwise than before in this csv: names that enter its key, see registry.Source."""
    return _scan(_table(raw, options)).corrections


def read_records(raw: Path, options: CsvOptions) -> Iterator[Record]:
    """One Record a row of the csv, in its order. Raises ArchiveError for an empty path or id, a bad label or split."""
    table = _table(raw, options)
    found = _scan(table)
    label_columns = _label_columns(found)
    index_files(raw, options)  # for its check of the salt, before the first id is hashed
    hashed = _ids(options)
    other_names = dict(_respelled(found.header))
    form = path_form(raw, found.paths)
    split_of: dict[str, str] = {}
    for line, row in read_table(table, REQUIRED + tuple(label_columns)):
        path, patient = form.below(with_slashes(row["path"].strip())), text_of(row, "patient_id")
        if not path or not patient:
            raise ArchiveError(f"{table} line {line} has an empty path or patient_id: both are needed in every row")
        findings, impression = sections_in_any_form(text_of(row, "report"))
        split = split_of[patient] = _split(row, patient, table, line)
        # The kind is hashed too, so that a patient and a study of the same id do not share a hash.
        yield Record(
            image_id=hashed("image", text_of(row, "image_id") or path),
            study_id=hashed("study", text_of(row, "study_id") or path),
            patient_id=hashed("patient", patient),
            split=split,
            path=path,
            labels=tuple(_label(row[column], table, line, column, other_names) for column in label_columns),
            view_position=view_code(row.get("view_position")),
            sex=sex_code(row.get("sex") or ""),
            age=whole_number(row.get("age") or ""),
            report_findings=one_line(text_of(row, "report_findings")) or findings,
            report_impression=one_line(text_of(row, "report_impression")) or impression,
        )
    if options.salt_file is not None:
        check_forms(split_of)  # here, where ids are not hashed yet


def _label(text: str, table: Path, line: int, column: str, other_names: Mapping[str, str]) -> int | None:
    """As label_code, and says what to do with a column that is no finding."""
    try:
        return label_code(text, table, line, column)
    except ArchiveError as error:
        if (meant := other_names.get(column)) is None:
            raise
        raise ArchiveError(f"{error}; rename the column to {meant} if that is meant") from None


def _scan(table: Path) -> Scan:
    return scan(table, REQUIRED + OPTIONAL)


def _label_columns(found: Scan) -> list[str]:
    known = {*REQUIRED, *OPTIONAL, *found.left_out}
    return [name for name in found.header if name not in known]


def _split(row: dict[str, str], patient: str, table: Path, line: int) -> str:
    if "split" not in row:
        return hash_split(patient, "csv_images 70-10-20", (("train", 7), ("val", 1), ("test", 2)))
    word = row["split"].strip().lower()
    if word not in SPLIT_WORDS:
        raise ArchiveError(f"{table} line {line}: split is {row['split']!r}; allowed: train, val, test")
    return SPLIT_WORDS[word]
