"""What did radiologists say of the test set of MIMIC-CXR: mimic-cxr-2.1.0-test-set-labeled.csv, of 687 studies?"""

from collections.abc import Collection
from pathlib import Path

from datasets_io.schema import ArchiveError
from datasets_io.sources.reading.archive import label_code, read_header, read_table, require_file

TEST_LABELS = ("chexpert", "radiologists")  # MimicOptions.test_labels
TABLE = "mimic-cxr-2.1.0-test-set-labeled.csv"
OTHER_NAMES = {"Lung Opacity": "Airspace Opacity"}  # of a column of the labeller's csv


def test_labels_file(raw: Path) -> Path:
    """The csv. Raises ArchiveError where it is missing."""
    return require_file(raw, (TABLE, f"{TABLE}.gz"), "MIMIC-CXR-JPG 2.1.0")


def absent_columns(raw: Path, columns: tuple[str, ...]) -> list[str]:
    """Those of the columns that the csv does not have."""
    header = read_header(test_labels_file(raw))
    return [name for name in columns if name not in header and OTHER_NAMES.get(name) not in header]


def check_studies(raw: Path, found: Collection[str], listed: Collection[str]) -> None:
    """Raises ArchiveError where the csv has a row of none of the listed studies: all test labels would be blank."""
    if not set(found) & set(listed):
        raise ArchiveError(
            f"{test_labels_file(raw)} has no row of any of the {len(listed):,} studies that are listed (e.g."
            f" {min(listed)}): was it cut, or were ids changed? Copy it again, or build with test_labels=chexpert"
        )


def test_label_notes(raw: Path, columns: tuple[str, ...], listed: Collection[str]) -> list[str]:
    """How many of the listed studies the csv labels, and which columns it lacks."""
    labelled = {study for study, codes in read_test_labels(raw, columns).items() if any(c is not None for c in codes)}
    name = test_labels_file(raw).name
    said = [f"{name} has labels of {len(labelled & set(listed)):,} studies that are listed: test labels are these"]
    if absent := absent_columns(raw, columns):
        said.append(f"{name} has no column {', '.join(absent)}: blank in the test split")
    return said


def read_test_labels(raw: Path, columns: tuple[str, ...]) -> dict[str, tuple[int | None, ...]]:
    """Study -> a code for each of the columns, blank for one that the csv does not have.

    The csv has the study alone as its key, and -1 in a third of the studies. Raises ArchiveError.
    """
    path = test_labels_file(raw)
    labels = {}
    if len(absent_columns(raw, columns)) == len(columns):
        raise ArchiveError(f"{path} has no column of labels ({', '.join(columns)}); its header is {read_header(path)}")
    for line, row in read_table(path, ("study_id",)):
        study = row["study_id"].strip().removesuffix(".0")
        codes = (row.get(name, row.get(OTHER_NAMES.get(name, name))) for name in columns)
        if study in labels or not study.isdecimal():
            raise ArchiveError(
                f"{path} line {line}: study {study!r} is no number or is there twice: copy the csv again"
            )
        labels[study] = tuple(
            label_code(code or "", path, line, name) for name, code in zip(columns, codes, strict=True)
        )
    return labels
