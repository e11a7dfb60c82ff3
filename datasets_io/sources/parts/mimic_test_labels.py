"""What did radiologists say of the test set of MIMIC-CXR: mimic-cxr-2.1.0-test-set-labeled.csv, of 687 studies?"""

from pathlib import Path

from datasets_io.schema import ArchiveError
from datasets_io.sources.reading.archive import label_code, read_header, read_table, require_file

TEST_LABELS = ("chexpert", "radiologists")  # MimicOptions.test_labels
TABLE = "mimic-cxr-2.1.0-test-set-labeled.csv"
OTHER_NAMES = {"Lung Opacity": "Airspace Opacity"}  # of a column of the labeller's csv


def test_labels_file(raw: Path) -> Path:
    """The csv. Raises ArchiveError where it is missing."""
    return require_file(raw, (TABLE, f"{TABLE}.gz"), "MIMIC-CXR-JPG 2.1.0")


def read_test_labels(raw: Path, columns: tuple[str, ...]) -> dict[str, tuple[int | None, ...]]:
    """Study -> a code for each of the columns, blank for one that the csv does not have.

    The csv has the study alone as its key, and -1 in a third of the studies. Raises ArchiveError.
    """
    path = test_labels_file(raw)
    labels = {}
    header = read_header(path)
    if not any(name in header or OTHER_NAMES.get(name) in header for name in columns):
        raise ArchiveError(f"{path} has no column of labels ({', '.join(columns)}); its header is {header}")
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
