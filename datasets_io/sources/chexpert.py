"""CheXpert v1.0 and v1.0-small: which images are there, with which labels (Irvin et al., 2019)?

The folder holds train.csv, valid.csv and the JPG tree that their Path column names. train.csv gives the
split train, valid.csv val, and the public test labels (test.csv, test_labels.csv or groundtruth.csv) test.
Raw codes 1, 0, -1 and blank are kept, and all views: a recipe decides what they mean.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from datasets_io.archive import (
    find_file,
    known_view,
    label_code,
    read_table,
    require_file,
    sex_code,
    snake_case,
    whole_number,
)
from datasets_io.schema import ArchiveError, Record

VERSION = 1
COLUMNS = (
    "No Finding", "Enlarged Cardiomediastinum", "Cardiomegaly", "Lung Opacity", "Lung Lesion", "Edema",
    "Consolidation", "Pneumonia", "Atelectasis", "Pneumothorax", "Pleural Effusion", "Pleural Other",
    "Fracture", "Support Devices",
)
FINDINGS = tuple(snake_case(column) for column in COLUMNS)
TEST_NAMES = ("test.csv", "test_labels.csv", "groundtruth.csv")


@dataclass(frozen=True)
class ChexpertOptions:
    """Nothing to choose: views and the uncertain policy belong to the recipe."""


def index_files(raw: Path, options: ChexpertOptions) -> list[Path]:
    train = require_file(raw, ("train.csv",), "CheXpert")
    valid = require_file(raw, ("valid.csv",), "CheXpert")
    test = find_file(raw, TEST_NAMES)
    return [train, valid] + ([test] if test else [])


def notes(raw: Path, options: ChexpertOptions) -> list[str]:
    if find_file(raw, TEST_NAMES):
        return []
    return [f"none of {', '.join(TEST_NAMES)} is there: the test split is empty"]


def read_records(raw: Path, options: ChexpertOptions) -> Iterator[Record]:
    """One Record a row of train.csv, valid.csv and the test csv, in their order."""
    train, valid, *test = index_files(raw, options)
    for path, split in ((train, "train"), (valid, "val")):
        for line, row in read_table(path, ("Path", "Sex", "Age", "Frontal/Lateral", "AP/PA", *COLUMNS)):
            yield _record(row, row["Path"], split, path, line)
    for path in test:
        yield from _test_records(raw, path)


def _test_records(raw: Path, path: Path) -> Iterator[Record]:
    """Rows of images (column Path) or of studies (column Study, whose JPGs are then listed from the disk)."""
    for line, row in read_table(path, ()):
        if row.get("Path"):
            yield _record(row, row["Path"], "test", path, line)
        elif row.get("Study"):
            folder = _below_root(row["Study"])
            if ".." in PurePosixPath(folder).parts:
                raise ArchiveError(f"{path} line {line}: study {row['Study']!r} leaves the archive")
            images = sorted(image.name for image in (raw / folder).glob("*.jpg")) or ["view1_frontal.jpg"]
            for image in images:
                yield _record(row, f"{folder}/{image}", "test", path, line)
        else:
            raise ArchiveError(f"{path} line {line} has neither a Path nor a Study: is it the CheXpert test labels?")


def _below_root(path: str) -> str:
    """The csv names the archive's own folder first ('CheXpert-v1.0-small/train/...'); it may be renamed on disk."""
    first, _, rest = path.strip().strip("/").partition("/")
    return rest if first.startswith("CheXpert") else f"{first}/{rest}"


def _record(row: dict[str, str], path: str, split: str, table: Path, line: int) -> Record:
    relative = _below_root(path)
    parts = PurePosixPath(relative).parts
    if len(parts) != 4 or not parts[1].startswith("patient"):
        raise ArchiveError(f"{table} line {line}: {path!r} is not like train/patient00001/study1/view1_frontal.jpg")
    return Record(
        image_id=str(PurePosixPath(relative).with_suffix("")),
        study_id=f"{parts[1]}/{parts[2]}",
        patient_id=parts[1],
        split=split,
        path=relative,
        labels=tuple(label_code(row.get(column) or "", table, line, column) for column in COLUMNS),
        view_position=_view(row, parts[3]),
        sex=sex_code(row.get("Sex") or ""),
        age=whole_number(row.get("Age") or ""),
    )


def _view(row: dict[str, str], name: str) -> str:
    """AP or PA where the csv says so, else FRONTAL; LATERAL. Without the columns, the file name tells."""
    lateral = (row.get("Frontal/Lateral") or name).lower()
    if "lateral" in lateral:
        return "LATERAL"
    return known_view(row.get("AP/PA")) or "FRONTAL"
