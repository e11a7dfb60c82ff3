"""CheXpert v1.0 and v1.0-small: which images are there, with which labels (Irvin et al., 2019)?

The folder holds train.csv, valid.csv and the JPG tree that their Path column names; or, as v1.0 is distributed in
four zip files, folders like "CheXpert-v1.0 batch 2 (train 1)" with the patients' folders, the first of them with the
csv files and valid/. train.csv gives the split train, valid.csv val, and the public test labels (test.csv,
test_labels.csv or groundtruth.csv) test.
Raw codes 1, 0, -1 and blank are kept, and all views: a recipe decides what they mean.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from datasets_io.schema import ArchiveError, Record, known_view
from datasets_io.sources.archive import (
    find_file,
    label_code,
    read_table,
    require_file,
    sex_code,
    snake_case,
    whole_number,
)

VERSION = 1
COLUMNS = (
    "No Finding",
    "Enlarged Cardiomediastinum",
    "Cardiomegaly",
    "Lung Opacity",
    "Lung Lesion",
    "Edema",
    "Consolidation",
    "Pneumonia",
    "Atelectasis",
    "Pneumothorax",
    "Pleural Effusion",
    "Pleural Other",
    "Fracture",
    "Support Devices",
)
FINDINGS = tuple(snake_case(column) for column in COLUMNS)
# Rows of train.csv and valid.csv; the 668 images of 500 studies came later. With them 224,316 (Irvin et al., 2019).
PUBLISHED = {"images": 223_648, "train": 223_414, "val": 234, "test": 668}
BATCHES = "CheXpert-v1.0 batch *"
TEST_NAMES = ("test.csv", "test_labels.csv", "groundtruth.csv")


@dataclass(frozen=True)
class ChexpertOptions:
    """Nothing to choose: views and the uncertain policy belong to the recipe."""


def index_files(raw: Path, options: ChexpertOptions) -> list[Path]:
    """train.csv, valid.csv and, where it is there, the csv of the test labels. Raises ArchiveError."""
    # At the top, or in one of the four unpacked folders; where in neither, require_file names the top.
    tables = next((batch for batch in _batches(raw) if find_file(batch, ("train.csv",))), raw)
    place = raw if find_file(raw, ("train.csv",)) else tables
    train = require_file(place, ("train.csv",), "CheXpert")
    valid = require_file(place, ("valid.csv",), "CheXpert")
    test = _test_table(raw)
    return [train, valid] + ([test] if test else [])


def _batches(raw: Path) -> list[Path]:
    """The folders of the four zip files of v1.0, where they were unpacked beside each other."""
    return sorted(path for path in raw.glob(BATCHES) if path.is_dir())


def _test_table(raw: Path) -> Path | None:
    return next((found for place in (raw, *_batches(raw)) if (found := find_file(place, TEST_NAMES))), None)


def notes(raw: Path, options: ChexpertOptions) -> list[str]:
    """That there is no test split, where its csv is missing."""
    if _test_table(raw):
        return []
    return [f"none of {', '.join(TEST_NAMES)} is there: the test split is empty"]


def read_records(raw: Path, options: ChexpertOptions) -> Iterator[Record]:
    """One Record a row of train.csv, valid.csv and the test csv, in their order.

    Raises ArchiveError for a row without the columns or whose path is not of CheXpert's form.
    """
    train, valid, *test = index_files(raw, options)
    places = _patient_places(raw)
    for path, split in ((train, "train"), (valid, "val")):
        for line, row in read_table(path, ("Path", "Sex", "Age", "Frontal/Lateral", "AP/PA", *COLUMNS)):
            yield _record(row, row["Path"], split, places, path, line)
    for path in test:
        yield from _test_records(raw, places, path)


def _patient_places(raw: Path) -> dict[str, str]:
    """Folder of a patient in the csv ("train/patient00001") -> in the archive, where the batches were not merged."""
    places: dict[str, str] = {}
    for batch in _batches(raw):
        for kind in ("train", "valid", "test"):
            # Batches of training patients hold their folders without train/ between; valid/ is there.
            for folder in (batch / kind, batch):
                if folder.is_dir():
                    names = (path.name for path in folder.iterdir() if path.name.startswith("patient"))
                    places.update({f"{kind}/{name}": f"{folder.relative_to(raw).as_posix()}/{name}" for name in names})
    return places


def _test_records(raw: Path, places: dict[str, str], path: Path) -> Iterator[Record]:
    """Rows of images (column Path) or of studies (column Study, whose JPGs are then listed from the disk)."""
    for line, row in read_table(path, ()):
        if row.get("Path"):
            yield _record(row, row["Path"], "test", places, path, line)
        elif row.get("Study"):
            folder = _below_root(row["Study"])
            if ".." in PurePosixPath(folder).parts:
                raise ArchiveError(f"{path} line {line}: study {row['Study']!r} leaves the archive")
            # A study that is not on the disk gives the name its image would have, which the build then finds absent.
            images = sorted(image.name for image in (raw / folder).glob("*.jpg")) or ["view1_frontal.jpg"]
            for image in images:
                yield _record(row, f"{folder}/{image}", "test", places, path, line)
        else:
            raise ArchiveError(f"{path} line {line} has neither a Path nor a Study: is it the CheXpert test labels?")


def _below_root(path: str) -> str:
    """The csv names the archive's own folder first ('CheXpert-v1.0-small/train/...'); it may be renamed on disk."""
    first, _, rest = path.strip().strip("/").partition("/")
    return rest if first.startswith("CheXpert") else f"{first}/{rest}"


def _record(row: dict[str, str], path: str, split: str, places: dict[str, str], table: Path, line: int) -> Record:
    relative = _below_root(path)
    parts = PurePosixPath(relative).parts
    if len(parts) != 4 or not parts[1].startswith("patient"):
        raise ArchiveError(f"{table} line {line}: {path!r} is not like train/patient00001/study1/view1_frontal.jpg")
    return Record(
        image_id=str(PurePosixPath(relative).with_suffix("")),
        study_id=f"{parts[1]}/{parts[2]}",  # studies are numbered anew for each patient
        patient_id=parts[1],
        split=split,
        path="/".join((places.get(f"{parts[0]}/{parts[1]}", f"{parts[0]}/{parts[1]}"), *parts[2:])),
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
