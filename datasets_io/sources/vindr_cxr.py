"""VinDr-CXR 1.0.0: which images are there, with which labels and boxes (Nguyen et al., 2022)?

The folder holds train/ and test/ with one DICOM an image, and image_labels_train.csv, image_labels_test.csv,
annotations_train.csv and annotations_test.csv in annotations/, beside the images or at the top. Each training image was
read by three radiologists apart; the test labels are the consensus of five. Or it is Kaggle's VinBigData copy: train/
and train.csv, with 14 of the findings, whose test images have no labels. The archive names no patients.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from datasets_io.nearest import did_you_mean
from datasets_io.schema import NEGATIVE, POSITIVE, UNCERTAIN, ArchiveError, Record
from datasets_io.sources.archive import find_file, finite_numbers, read_table, require_file, snake_case
from datasets_io.sources.regions import BOX, Region
from datasets_io.sources.splits import hash_split

VERSION = 1
NAME = "VinDr-CXR"
COLUMNS = (
    "Aortic enlargement",
    "Atelectasis",
    "Calcification",
    "Cardiomegaly",
    "Clavicle fracture",
    "Consolidation",
    "Edema",
    "Emphysema",
    "Enlarged PA",
    "ILD",
    "Infiltration",
    "Lung Opacity",
    "Lung cavity",
    "Lung cyst",
    "Mediastinal shift",
    "Nodule/Mass",
    "Pleural effusion",
    "Pleural thickening",
    "Pneumothorax",
    "Pulmonary fibrosis",
    "Rib fracture",
    "Other lesion",
    "COPD",
    "Lung tumor",
    "Pneumonia",
    "Tuberculosis",
    "Other diseases",
    "No finding",
)
FINDINGS = tuple(snake_case(column) for column in COLUMNS)
OTHER = ("Other diseases", "Other disease")  # as the column is called in the training labels, and in those of the test
OTHER_FINDING = {"other_disease": "other_diseases"}
KAGGLE_TABLE = "train.csv"
NOT_IN_KAGGLE = (*COLUMNS[4:5], *COLUMNS[6:9], *COLUMNS[12:15], "Rib fracture", *COLUMNS[22:27])
KAGGLE_FINDINGS = frozenset(FINDINGS) - {snake_case(name) for name in NOT_IN_KAGGLE}
CORNERS = ("x_min", "y_min", "x_max", "y_max")
READER_CHOICES = ("majority", "any", "uncertain")
# physionet.org/content/vindr-cxr/1.0.0: 15,000 images for training, of which val is cut, and 3,000 for testing.
PUBLISHED = {"images": 18_000, "train": 15_000, "test": 3_000}
PUBLISHED_KAGGLE = {"images": 15_000}


@dataclass(frozen=True)
class VindrOptions:
    """readers: what makes a finding present in a training image: "majority" (two of the three readers), "any" of them,
    or "uncertain", which is the majority with -1 where only a minority saw it."""

    readers: str = "majority"

    def __post_init__(self) -> None:
        if self.readers not in READER_CHOICES:
            hint = did_you_mean(self.readers, READER_CHOICES)
            raise ValueError(f"readers is {self.readers!r}; allowed: {', '.join(READER_CHOICES)}{hint}")


def index_files(raw: Path, options: VindrOptions) -> list[Path]:
    """The label csv of train and of test, and those of the boxes that are there; or Kaggle's. Raises ArchiveError."""
    if kaggle := _kaggle_table(raw):
        return [kaggle]
    labels = [require_file(raw, _places("image_labels", part), NAME) for part in ("train", "test")]
    return labels + [path for part in ("train", "test") if (path := find_file(raw, _places("annotations", part)))]


def _places(kind: str, part: str) -> tuple[str, ...]:
    name = f"{kind}_{part}.csv"
    return f"annotations/{name}", f"{part}/{name}", name


def _kaggle_table(raw: Path) -> Path | None:
    official = find_file(raw, _places("image_labels", "train"))
    return None if official else find_file(raw, (KAGGLE_TABLE,))


def read_records(raw: Path, options: VindrOptions) -> Iterator[Record]:
    """One Record an image, in the order of the csv files. Raises ArchiveError for a label that is not 0 or 1.

    Training images are cut 9 to 1 into train and val by a hash, Kaggle's 70-10-20 into train, val and test.
    """
    if kaggle := _kaggle_table(raw):
        for image, readers in _kaggle_votes(kaggle).items():
            split = hash_split(image, "vindr_cxr kaggle 70-10-20", (("train", 7), ("val", 1), ("test", 2)))
            yield _record(image, split, "train", _codes(readers, KAGGLE_FINDINGS, options))
        return
    train, test, *_ = index_files(raw, options)
    for path, folder in ((train, "train"), (test, "test")):
        for image, readers in _votes(path).items():
            split = hash_split(image, "vindr_cxr 90-10", (("train", 9), ("val", 1))) if folder == "train" else "test"
            yield _record(image, split, folder, _codes(readers, frozenset(FINDINGS), options))


Readers = dict[str, set[str]]  # who read an image -> what they saw


def _votes(path: Path) -> dict[str, Readers]:
    """image -> its readers; of the test labels one, who has no name. Raises ArchiveError."""
    found: dict[str, Readers] = defaultdict(dict)
    columns = tuple(column for column in COLUMNS if column != OTHER[0])
    for line, row in read_table(path, ("image_id", *columns)):
        other = next((name for name in OTHER if row.get(name) is not None), None)
        if other is None:
            raise ArchiveError(f"{path} has no column {' or '.join(OTHER)}; its header is {list(row)}")
        readers, reader = found[_image(row, path, line)], (row.get("rad_id") or "").strip()
        if reader in readers:
            raise ArchiveError(f"{path} line {line}: image {row['image_id']} has two rows of one reader: keep one")
        marks = {snake_case(column): row[column].strip() for column in (*columns, other)}
        if not set(marks.values()) <= {"0", "1", "0.0", "1.0"}:
            raise ArchiveError(f"{path} line {line}: a label is not 0 or 1: {marks}")
        readers[reader] = {OTHER_FINDING.get(name, name) for name, mark in marks.items() if mark.startswith("1")}
    return found


def _kaggle_votes(path: Path) -> dict[str, Readers]:
    """As _votes, of rows that are boxes. Raises ArchiveError."""
    found: dict[str, Readers] = defaultdict(lambda: defaultdict(set))
    for line, row in read_table(path, ("image_id", "class_name", "rad_id")):
        found[_image(row, path, line)][row["rad_id"].strip()].add(_finding(row, path, line))
    return found


def _image(row: dict[str, str], path: Path, line: int) -> str:
    image = row["image_id"].strip()
    if not image.isalnum():
        raise ArchiveError(f"{path} line {line}: image_id is {image!r}; it must be letters and digits")
    return image


def _finding(row: dict[str, str], path: Path, line: int) -> str:
    name = snake_case(row["class_name"])
    if OTHER_FINDING.get(name, name) not in FINDINGS:
        raise ArchiveError(f"{path} line {line}: class_name is {row['class_name']!r}; known: {', '.join(COLUMNS)}")
    return OTHER_FINDING.get(name, name)


def _record(image: str, split: str, folder: str, codes: tuple[int | None, ...]) -> Record:
    return Record(image, image, image, split, f"{folder}/{image}.dicom", codes, view_position="PA")


def _codes(readers: Readers, labelled: frozenset[str], options: VindrOptions) -> tuple[int | None, ...]:
    seen = Counter(finding for found in readers.values() for finding in found)
    return tuple(_code(seen[name], len(readers), options) if name in labelled else None for name in FINDINGS)


def _code(seen_by: int, readers: int, options: VindrOptions) -> int:
    if seen_by == 0:
        return NEGATIVE
    if 2 * seen_by > readers or options.readers == "any":
        return POSITIVE
    return UNCERTAIN if options.readers == "uncertain" else NEGATIVE


def read_regions(raw: Path, options: VindrOptions) -> Iterator[Region]:
    """The boxes of every reader, in pixels of the DICOM file. Raises ArchiveError for a bad row."""
    kaggle = _kaggle_table(raw)
    for path in [kaggle] if kaggle else index_files(raw, options)[2:]:
        for line, row in read_table(path, ("image_id", "class_name", *CORNERS)):
            if (finding := _finding(row, path, line)) == "no_finding":
                continue  # a row without coordinates
            left, top, right, bottom = finite_numbers(row, CORNERS, path, line)
            reader = (row.get("rad_id") or "").strip()
            sides = (left, top, right - left, bottom - top)
            yield Region(row["image_id"].strip(), finding, BOX, reader, *sides, in_pixels=True)


def notes(raw: Path, options: VindrOptions) -> list[str]:
    """That there are no patients, how readers were merged, which files are not there."""
    found = ["the archive names no patients: each image counts as one"]
    if kaggle := _kaggle_table(raw):
        found.append(f"{KAGGLE_TABLE} of Kaggle's copy labels 14 findings and no test image: images were cut 70-10-20")
        votes = _kaggle_votes(kaggle)
    else:
        votes = _votes(index_files(raw, options)[0])
        absent = [part for part in ("train", "test") if not find_file(raw, _places("annotations", part))]
        found += [f"annotations_{part}.csv is not there: no boxes of {part} images" for part in absent]
    rule = {"majority": "most", "any": "any", "uncertain": "most, and uncertain with fewer,"}[options.readers]
    found.append(f"a finding is present in a training image where {rule} of its readers saw it; --option readers=")
    if odd := sum(len(readers) != 3 for readers in votes.values()):
        found.append(f"{odd:,} training images had more or fewer than three readers: was the csv cut?")
    return found
