"""Any other set of images: bring your own, described by one csv, without writing code.

Columns: path (relative to the folder) and patient_id; optional split, image_id, study_id, view_position, sex,
age, report (a whole report with FINDINGS: and IMPRESSION: headings), report_findings and report_impression
(ready-made sections). Every other column is a finding, whose cells are 1, 0, -1 (uncertain) or blank.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from datasets_io.archive import (
    known_view,
    label_code,
    read_header,
    read_table,
    require_file,
    sex_code,
    snake_case,
    whole_number,
)
from datasets_io.reports import one_line, sections_of
from datasets_io.schema import ArchiveError, Record
from datasets_io.splits import hash_split

VERSION = 1
REQUIRED = ("path", "patient_id")
OPTIONAL = (
    "split", "image_id", "study_id", "view_position", "sex", "age", "report", "report_findings", "report_impression",
)
SPLIT_WORDS = {"train": "train", "val": "val", "valid": "val", "validate": "val", "validation": "val", "test": "test"}


@dataclass(frozen=True)
class CsvOptions:
    """table: the csv's name in the folder."""

    table: str = "images.csv"


def index_files(raw: Path, options: CsvOptions) -> list[Path]:
    return [require_file(raw, (options.table,), "a csv_images set")]


def findings_in(raw: Path, options: CsvOptions) -> tuple[str, ...]:
    """The label columns of the csv, in its order, in snake_case."""
    (table,) = index_files(raw, options)
    findings = tuple(snake_case(name) for name in _label_columns(table))
    if "" in findings or len(set(findings)) != len(findings):
        raise ArchiveError(f"{table} has label columns {', '.join(findings)}: each needs a name of its own")
    return findings


def notes(raw: Path, options: CsvOptions) -> list[str]:
    (table,) = index_files(raw, options)
    if "split" in read_header(table):
        return []
    return [f"{table.name} has no column split: patients were cut 70-10-20 into train, val and test by a hash"]


def read_records(raw: Path, options: CsvOptions) -> Iterator[Record]:
    """One Record a row of the csv, in its order."""
    (table,) = index_files(raw, options)
    label_columns = _label_columns(table)
    for line, row in read_table(table, REQUIRED + tuple(label_columns)):
        path, patient = row["path"].strip(), row["patient_id"].strip()
        if not path or not patient:
            raise ArchiveError(f"{table} line {line} has an empty path or patient_id: both are needed in every row")
        findings, impression = sections_of(row.get("report") or "")
        yield Record(
            image_id=(row.get("image_id") or path).strip(),
            study_id=(row.get("study_id") or path).strip(),
            patient_id=patient,
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
