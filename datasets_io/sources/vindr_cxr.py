"""VinDr-CXR 1.0.0: which images are there, with which labels and boxes (Nguyen et al., 2022)?

The folder holds train/, test/ with one DICOM an image, and image_labels_train.csv, annotations_train.csv and those of
test in annotations/, beside the images or at the top. Three radiologists each read a training image; the test labels
are the consensus of five. Or it is Kaggle's VinBigData: train/ and train.csv, with 14 of the findings, and no labels of
test images. The archive names no patients.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from datasets_io.nearest import did_you_mean
from datasets_io.schema import NEGATIVE, POSITIVE, UNCERTAIN, ArchiveError, Record
from datasets_io.sources.reading.archive import (
    find_file,
    finite_numbers,
    is_label,
    label_code,
    read_header,
    read_table,
    require_files,
    snake_case,
    unpacked_name,
)
from datasets_io.sources.reading.renamed_pictures import refused_pictures
from datasets_io.sources.regions import BOX, Region
from datasets_io.sources.splits import hash_split

VERSION = 1
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
ALIASES = {"other_disease": "other_diseases"}  # as the column is called in the labels of the test images
KAGGLE_TABLE = "train.csv"
KAGGLE_FINDINGS = frozenset((*FINDINGS[:4], FINDINGS[5], *FINDINGS[9:12], *FINDINGS[15:20], FINDINGS[21], FINDINGS[27]))
TRAIN_CUT = "vindr_cxr 90-10", (("train", 9), ("val", 1))
KAGGLE_CUT = "vindr_cxr kaggle 70-10-20", (("train", 7), ("val", 1), ("test", 2))
CORNERS = ("x_min", "y_min", "x_max", "y_max")
READER_CHOICES = ("majority", "any", "uncertain")
# physionet.org/content/vindr-cxr/1.0.0: 15,000 images for training, of which val is cut, and 3,000 for testing.
PUBLISHED = {"images": 18_000, "train+val": 15_000, "test": 3_000}


@dataclass(frozen=True)
class VindrOptions:
    """readers, who make a finding present in a training image: the "majority" (two of three), "any" of them, or
    "uncertain": the majority, with -1 where only a minority saw it."""

    readers: str = "majority"

    def __post_init__(self) -> None:
        if self.readers not in READER_CHOICES:
            hint = did_you_mean(self.readers, READER_CHOICES)
            raise ValueError(f"readers is {self.readers!r}; allowed: {', '.join(READER_CHOICES)}{hint}")


def index_files(raw: Path, options: VindrOptions) -> list[Path]:
    """The label csv of train and of test, and those of the boxes that are there; or Kaggle's. Raises ArchiveError."""
    if kaggle := _kaggle_table(raw):
        return [kaggle]
    needed = ((*_places("image_labels", "train"), KAGGLE_TABLE), _places("image_labels", "test"))
    train, test = require_files(raw, needed, "VinDr-CXR", _is_archive)
    _check_not_annotations(raw, train)
    return [train, test, *(p for part in ("train", "test") if (p := find_file(raw, _places("annotations", part))))]


def _is_archive(folder: Path) -> bool:
    """Whether a folder has the tables: of both parts, or Kaggle's, and not another archive's train.csv."""
    if kaggle := _kaggle_table(folder):
        return "image_id" in read_header(kaggle)
    return all(find_file(folder, _places("image_labels", part)) for part in ("train", "test"))


def _check_not_annotations(raw: Path, train: Path) -> None:
    """Raises ArchiveError where `raw` is annotations/ and the images lie beside it: in it no image would be found."""
    above = raw.resolve().parent
    beside = any((above / part).is_dir() and not (raw / part).is_dir() for part in ("train", "test"))
    if train.parent == raw and raw.resolve().name == "annotations" and beside:
        raise ArchiveError(f"{raw} has the tables of VinDr-CXR and no images; did you mean --raw {above}?")


def _places(kind: str, part: str) -> tuple[str, ...]:
    name = f"{kind}_{part}.csv"
    return f"annotations/{name}", f"{part}/{name}", name


def _kaggle_table(raw: Path) -> Path | None:
    found = find_file(raw, (*_places("image_labels", "train"), KAGGLE_TABLE))
    return found if found and unpacked_name(found) == KAGGLE_TABLE else None


def official_split(raw: Path, options: VindrOptions) -> bool:
    """Whether it is the archive itself, not Kaggle's copy of its training images."""
    return _kaggle_table(raw) is None


def read_records(raw: Path, options: VindrOptions) -> Iterator[Record]:
    """One Record an image, in the order of the csv files. Raises ArchiveError for a label that is not 0 or 1."""
    kaggle = _kaggle_table(raw)
    stream, parts = KAGGLE_CUT if kaggle else TRAIN_CUT
    labelled = KAGGLE_FINDINGS if kaggle else frozenset(FINDINGS)
    for path, folder in zip([kaggle] if kaggle else index_files(raw, options)[:2], ("train", "test"), strict=False):
        for image, readers in (_kaggle_votes(path) if kaggle else _votes(path)).items():
            split = "test" if folder == "test" else hash_split(image, stream, parts)
            codes = _codes(readers, labelled, options)
            yield Record(image, image, image, split, f"{folder}/{image}.dicom", codes, "PA")


Readers = dict[str, set[str]]  # who read an image -> what they saw


def _votes(path: Path) -> dict[str, Readers]:
    """image -> its readers; of the test labels one, who has no name. Raises ArchiveError."""
    found: dict[str, Readers] = defaultdict(dict)
    for line, row in read_table(path, ("image_id",)):
        image, reader = _who(row, path, line)
        if reader in found[image]:
            raise ArchiveError(f"{path} line {line}: image {image} has two rows {_of_one_reader(row, path)}")
        cells = {_finding(name): (cell or "").strip() for name, cell in row.items()}
        if missing := [finding for finding in FINDINGS if finding not in cells]:
            raise ArchiveError(f"{path} has no column of {', '.join(missing)}; its header is {list(row)}")
        codes = {name: label_code(cells[name], path, line, name) for name in FINDINGS if is_label(cells[name])}
        if bad := [finding for finding in FINDINGS if codes.get(finding) not in (0, 1)]:
            raise ArchiveError(f"{path} line {line}: label {bad[0]} is {cells[bad[0]]!r}; allowed: 0 or 1")
        found[image][reader] = {finding for finding in FINDINGS if codes[finding] == 1}
    return found


def _kaggle_votes(path: Path) -> dict[str, Readers]:
    """As _votes, of rows that are boxes. Raises ArchiveError."""
    found: dict[str, Readers] = defaultdict(lambda: defaultdict(set))
    for line, row in read_table(path, ("image_id", "class_name", "rad_id")):
        image, reader = _who(row, path, line)
        found[image][reader].add(_boxed(row, path, line))
    return found


def _who(row: dict[str, str], path: Path, line: int) -> tuple[str, str]:
    """Image and reader of a row."""
    image = row["image_id"].strip()
    if not image.isalnum():
        raise ArchiveError(f"{path} line {line}: image_id is {image!r}; it must be letters and digits")
    return image, (row.get("rad_id") or "").strip()


def _of_one_reader(row: dict[str, str], path: Path) -> str:
    if "rad_id" in row or unpacked_name(path).endswith("_test.csv"):  # the labels of test images never name a reader
        return "of one reader: keep one"
    return f"and no column rad_id tells of which readers: copy the file again; its header is {list(row)}"


@cache
def _finding(name: str) -> str:
    return ALIASES.get(snake_case(name), snake_case(name))


def _boxed(row: dict[str, str], path: Path, line: int) -> str:
    if (finding := _finding(row["class_name"])) not in FINDINGS:
        raise ArchiveError(f"{path} line {line}: class_name is {row['class_name']!r}; known: {', '.join(COLUMNS)}")
    return finding


def _codes(readers: Readers, labelled: frozenset[str], options: VindrOptions) -> tuple[int | None, ...]:
    seen = Counter(finding for found in readers.values() for finding in found)
    return tuple(_code(seen[name], len(readers), options) if name in labelled else None for name in FINDINGS)


def _code(seen_by: int, readers: int, options: VindrOptions) -> int:
    if seen_by == 0:
        return NEGATIVE
    if 2 * seen_by > readers or options.readers == "any":
        return POSITIVE
    return UNCERTAIN if options.readers == "uncertain" else NEGATIVE


def corrections(raw: Path, options: VindrOptions) -> tuple[str, ...]:
    """Whether PNG or JPEG copies have the names of the archive's files."""
    folders = ("train",) if _kaggle_table(raw) else ("train", "test")
    found = (path.relative_to(raw).as_posix() for folder in folders for path in raw.glob(f"{folder}/*.dicom"))
    return refused_pictures(raw, sorted(found))


def read_regions(raw: Path, options: VindrOptions) -> Iterator[Region]:
    """The boxes of every reader, in pixels of the DICOM file. Raises ArchiveError for a bad row."""
    for path in _box_tables(raw, options):
        for line, finding, row in _boxed_rows(path):
            left, top, right, bottom = finite_numbers(row, CORNERS, path, line)
            image, reader = _who(row, path, line)
            yield Region(image, finding, BOX, reader, left, top, right - left, bottom - top, in_pixels=True)


def _box_tables(raw: Path, options: VindrOptions) -> list[Path]:
    kaggle = _kaggle_table(raw)
    return [kaggle] if kaggle else index_files(raw, options)[2:]


def _boxed_rows(path: Path) -> Iterator[tuple[int, str, dict[str, str]]]:
    """(line, finding, row) of each box: rows of no finding have no coordinates."""
    for line, row in read_table(path, ("image_id", "class_name", *CORNERS)):
        if (finding := _boxed(row, path, line)) != "no_finding":
            yield line, finding, row


def notes(raw: Path, options: VindrOptions) -> list[str]:
    """That there are no patients, how readers were merged, which files are not there or have no box."""
    found = ["the archive names no patients: each image counts as one"]
    if kaggle := _kaggle_table(raw):
        found.append(f"{KAGGLE_TABLE} of Kaggle's copy labels 14 findings and no test image: images were cut 70-10-20")
        votes = _kaggle_votes(kaggle)
    else:
        votes = _votes(index_files(raw, options)[0])
        absent = [part for part in ("train", "test") if not find_file(raw, _places("annotations", part))]
        found += [f"annotations_{part}.csv is not there: no boxes of {part} images" for part in absent]
    found += [f"{path.name} lists no box" for path in _box_tables(raw, options) if not any(_boxed_rows(path))]
    rule = {"majority": "most", "any": "any", "uncertain": "most, and uncertain with fewer,"}[options.readers]
    found.append(f"a finding is present in a training image where {rule} of its readers saw it; --option readers=")
    if odd := sum(len(readers) != 3 for readers in votes.values()):
        found.append(f"{odd:,} training images had more or fewer than three readers: was the csv cut?")
    return found
