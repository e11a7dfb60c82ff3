"""Any other set of images: bring your own, described by one csv, without writing code.

Columns: path (relative to the folder) and patient_id; optional split, image_id, study_id, view_position, sex,
age, report (a whole report with FINDINGS: and IMPRESSION: headings), report_findings and report_impression
(ready-made sections). Every other column is a finding, whose cells are 1, 0, -1 (uncertain) or blank.

Ids go into the shards as they stand in the csv, and a path serves as image_id where there is none. Where these tell
who somebody is, give a salt_file: ids are then replaced by salted hashes, the same for the same id.
"""

import hashlib
import hmac
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from datasets_io.schema import ArchiveError, Record, known_view
from datasets_io.sources.archive import (
    label_code,
    read_header,
    read_table,
    require_file,
    sex_code,
    snake_case,
    whole_number,
)
from datasets_io.sources.reports import one_line, sections_of
from datasets_io.sources.splits import hash_split

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
SPLIT_WORDS = {"train": "train", "val": "val", "valid": "val", "validate": "val", "validation": "val", "test": "test"}


@dataclass(frozen=True)
class CsvOptions:
    """table: the csv's name in the folder. salt_file: a file of random bytes, kept secret, for hashed ids."""

    table: str = "images.csv"
    salt_file: str | None = field(default=None, metadata={"hashed": False})


def index_files(raw: Path, options: CsvOptions) -> list[Path]:
    """The csv, and the salt: another one gives other ids. Raises ArchiveError where the salt could be guessed."""
    table = _table(raw, options)
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
    return require_file(raw, (options.table,), "a csv_images set")


def _ids(options: CsvOptions) -> Callable[[str, str], str]:
    """(kind, id) -> the id for the shards. 64 bits: two of a million ids are equal with probability 3e-8."""
    if options.salt_file is None:
        return lambda kind, text: text
    salt = Path(options.salt_file).read_bytes()
    return lambda kind, text: hmac.new(salt, f"{kind}\n{text}".encode(), hashlib.sha256).hexdigest()[:16]


def findings_in(raw: Path, options: CsvOptions) -> tuple[str, ...]:
    """The label columns of the csv, in its order, in snake_case. Raises ArchiveError where two become one name."""
    table = _table(raw, options)
    findings = tuple(snake_case(name) for name in _label_columns(table))
    if "" in findings or len(set(findings)) != len(findings):
        raise ArchiveError(f"{table} has label columns {', '.join(findings)}: each needs a name of its own")
    return findings


def notes(raw: Path, options: CsvOptions) -> list[str]:
    """How patients were split, where the csv does not say."""
    table = _table(raw, options)
    if "split" in read_header(table):
        return []
    return [f"{table.name} has no column split: patients were cut 70-10-20 into train, val and test by a hash"]


def read_records(raw: Path, options: CsvOptions) -> Iterator[Record]:
    """One Record a row of the csv, in its order. Raises ArchiveError for an empty path or id, a bad label or split."""
    table = _table(raw, options)
    label_columns = _label_columns(table)
    index_files(raw, options)  # for its check of the salt, before the first id is hashed
    hashed = _ids(options)
    for line, row in read_table(table, REQUIRED + tuple(label_columns)):
        path, patient = row["path"].strip(), row["patient_id"].strip()
        if not path or not patient:
            raise ArchiveError(f"{table} line {line} has an empty path or patient_id: both are needed in every row")
        findings, impression = sections_of(row.get("report") or "")
        # The kind is hashed too, so that a patient and a study of the same id do not share a hash.
        yield Record(
            image_id=hashed("image", (row.get("image_id") or path).strip()),
            study_id=hashed("study", (row.get("study_id") or path).strip()),
            patient_id=hashed("patient", patient),
            split=_split(row, patient, table, line),
            path=path,
            labels=tuple(label_code(row[column], table, line, column) for column in label_columns),
            view_position=known_view(row.get("view_position")),
            sex=sex_code(row.get("sex") or ""),
            age=whole_number(row.get("age") or ""),
            report_findings=one_line(row.get("report_findings")) or findings,
            report_impression=one_line(row.get("report_impression")) or impression,
        )


def _label_columns(table: Path) -> list[str]:
    return [name for name in read_header(table) if name not in REQUIRED + OPTIONAL]


def _split(row: dict[str, str], patient: str, table: Path, line: int) -> str:
    if "split" not in row:
        return hash_split(patient, "csv_images 70-10-20", (("train", 7), ("val", 1), ("test", 2)))
    word = row["split"].strip().lower()
    if word not in SPLIT_WORDS:
        raise ArchiveError(f"{table} line {line}: split is {row['split']!r}; allowed: train, val, test")
    return SPLIT_WORDS[word]
