"""NIH ChestX-ray14: which images are there, with which labels (Wang et al., 2017)?

The folder holds Data_Entry_2017.csv (or Data_Entry_2017_v2020.csv), train_val_list.txt, test_list.txt and the
PNGs in images/ or images_001/images/ to images_012/images/; Kaggle's copy of 224 pixels has them in
images-224/images-224/. "No Finding" means that all 14 labels are 0.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from datasets_io.nearest import did_you_mean
from datasets_io.schema import ArchiveError, NoImages, Record, known_view
from datasets_io.sources.reading.archive import (
    find_file,
    read_names,
    read_table,
    require_file,
    require_files,
    require_folder,
    sex_code,
    snake_case,
    whole_number,
)
from datasets_io.sources.reading.elsewhere import folder_of_files, packed_in, packed_text
from datasets_io.sources.splits import hash_split

VERSION = 1
CSV_NAMES = (
    "Atelectasis",
    "Cardiomegaly",
    "Effusion",
    "Infiltration",
    "Mass",
    "Nodule",
    "Pneumonia",
    "Pneumothorax",
    "Consolidation",
    "Edema",
    "Emphysema",
    "Fibrosis",
    "Pleural_Thickening",
    "Hernia",
)
FINDINGS = tuple(snake_case(name) for name in CSV_NAMES)
IMAGE_NAME = re.compile(r"\d{8}_\d{3}\.png")
DATA_ENTRY = ("Data_Entry_2017.csv", "Data_Entry_2017_v2020.csv")
SPLIT_CHOICES = ("official", "patient_70_10_20", "lists")
# The second names are those of Kaggle's copies.
OFFICIAL_LISTS = (("train_val_list.txt", "train_val_list_NIH.txt"), ("test_list.txt", "test_list_NIH.txt"))
LISTS = (
    ("train", ("train_list.txt", "train.txt")),
    ("val", ("val_list.txt", "val.txt", "valid_list.txt")),
    ("test", ("test_list.txt", "test.txt")),
)
# Rows of Data_Entry_2017.csv and lines of the two lists (Wang et al., 2017, and the page of the archive).
PUBLISHED = {"images": 112_120, "patients": 30_805, "train+val": 86_524, "test": 25_596}
PAPER_COUNTS = (78_468, 11_219, 22_433)  # train, val, test of Huang et al.: 112,120 images, cut 70-10-20


@dataclass(frozen=True)
class NihOptions:
    """split: "official" (test_list.txt is test; train_val_list.txt is cut 7:1 by patient), "patient_70_10_20"
    (by patient), or "lists" (train_list.txt, val_list.txt and test_list.txt in `lists_dir`)."""

    split: str = "official"
    lists_dir: str | None = field(default=None, metadata={"hashed": False})

    def __post_init__(self) -> None:
        if self.split not in SPLIT_CHOICES:
            hint = did_you_mean(self.split, SPLIT_CHOICES)
            raise ValueError(f"split is {self.split!r}; allowed: {', '.join(SPLIT_CHOICES)}{hint}")
        if (self.split == "lists") != (self.lists_dir is not None):
            raise ValueError(f"split is {self.split!r}, lists_dir {self.lists_dir!r}: 'lists' alone needs a lists_dir")


def index_files(raw: Path, options: NihOptions) -> list[Path]:
    """The label csv, then the lists that the split needs, in the order of its names. Raises ArchiveError."""
    lists = OFFICIAL_LISTS if options.split == "official" else ()
    table, *found = require_files(raw, (DATA_ENTRY, *lists), "NIH ChestX-ray14")
    if options.split == "lists":
        assert options.lists_dir is not None  # NihOptions refuses "lists" without a folder
        folder = Path(options.lists_dir)
        return [table] + [require_file(folder, names, "a folder of split lists") for _, names in LISTS]
    return [table, *found]


def official_split(raw: Path, options: NihOptions) -> bool:
    """Whether the archive's own lists decide."""
    return options.split == "official"


def notes(raw: Path, options: NihOptions) -> list[str]:
    """Which of two label files was taken, and whether split lists are as long as those of Huang et al."""
    found = []
    if all(find_file(raw, (name,)) for name in DATA_ENTRY):
        found.append(f"{DATA_ENTRY[0]} and {DATA_ENTRY[1]} are both there: the labels are those of {DATA_ENTRY[0]}")
    names = [folder.relative_to(raw).as_posix() for folder in _image_folders(raw)]
    found += [f"images are those of {name}/" for name in names if name.startswith("images-")]
    if options.split == "lists":
        counts = tuple(len(read_names(path)) for path in index_files(raw, options)[1:])
        same = "as" if counts == PAPER_COUNTS else "not as"
        of_paper, of_lists = (" / ".join(f"{count:,}" for count in some) for some in (PAPER_COUNTS, counts))
        found.append(f"the split lists name {of_lists} images, {same} the lists of Huang et al. ({of_paper})")
    return found


def read_records(raw: Path, options: NihOptions) -> Iterator[Record]:
    """One Record a row of Data_Entry, in its order.

    Raises ArchiveError for an unknown label, an image that no list names, or one that two lists name.
    """
    table, *lists = index_files(raw, options)
    places = _image_places(raw)
    named = _named_splits(options, lists)
    unlisted: list[str] = []  # gathered, so that the error can say how many there are
    for line, row in read_table(table, ("Image Index", "Finding Labels", "Patient ID")):
        name, patient = row["Image Index"].strip(), row["Patient ID"].strip()
        split = _split(options, named, name, patient)
        if split is None:
            unlisted.append(name)
            continue
        yield Record(
            image_id=name,
            study_id=name.rsplit(".", 1)[0],  # one image a visit
            patient_id=patient,
            split=split,
            path=places.get(name, f"images/{name}"),
            labels=_labels(row["Finding Labels"], table, line),
            view_position=known_view(row.get("View Position")),
            sex=sex_code(row.get("Patient Gender") or ""),
            age=whole_number(row.get("Patient Age") or ""),
        )
    if unlisted:
        raise ArchiveError(
            f"{len(unlisted)} images of {table.name} are in none of {', '.join(p.name for p in lists)}"
            f" (e.g. {unlisted[0]}): the lists must name every image; are they of this archive?"
        )


def _image_places(raw: Path) -> dict[str, str]:
    """Image name -> path relative to `raw`, from the folders that are there. Raises NoImages."""
    require_folder(raw, "NIH ChestX-ray14")
    folders = _image_folders(raw)
    if not folders:
        packed = packed_text(packed_in(raw))
        if not packed and (deeper := folder_of_files(raw, IMAGE_NAME)) is not None:
            packed = f"images lie in {deeper}/: move them to images/"
        raise NoImages(
            f"{raw} has neither images/ nor images_001/images/ to images_012/images/: {packed or 'unpack them there'}"
        )
    return {path.name: path.relative_to(raw).as_posix() for folder in folders for path in folder.iterdir()}


def _image_folders(raw: Path) -> list[Path]:
    """Folders of images: the archive's own, else those of the one smaller copy that is there (`images-224`)."""
    official = [raw / "images", raw / "images" / "images", *map(_inner, sorted(raw.glob("images_*")))]
    present = [folder for folder in official if folder.is_dir()]
    if any(IMAGE_NAME.fullmatch(path.name) for folder in present for path in folder.iterdir()):
        return present
    copies = [folder for folder in map(_inner, sorted(raw.glob("images-*"))) if folder.is_dir()]
    if len(copies) > 1:
        names = " and in ".join(folder.relative_to(raw).as_posix() for folder in copies)
        raise ArchiveError(f"images of {raw} are in {names}: give a folder that has one of these copies only")
    return copies or present


def _inner(folder: Path) -> Path:
    """images_001/images or images-224/images-224, where it is there; else the folder itself, unpacked without it."""
    return next((folder / name for name in ("images", folder.name) if (folder / name).is_dir()), folder)


def _named_splits(options: NihOptions, lists: list[Path]) -> dict[str, str]:
    """Image name -> "train", "val", "test", or "train_val" which is yet to be cut."""
    names = ("train_val", "test") if options.split == "official" else tuple(split for split, _ in LISTS)
    named: dict[str, str] = {}
    for split, path in zip(names, lists, strict=False):  # without lists, where patients are cut by a hash
        for name in read_names(path):
            if named.setdefault(name, split) != split:
                raise ArchiveError(f"image {name} is in the list of {named[name]} and in {path}: keep it in one")
    return named


def _split(options: NihOptions, named: dict[str, str], name: str, patient: str) -> str | None:
    if options.split == "patient_70_10_20":
        return hash_split(patient, "nih_cxr14 70-10-20", (("train", 7), ("val", 1), ("test", 2)))
    split = named.get(name)
    # The official lists have no val: an eighth of the train_val patients (10 of 70 + 10) is cut off.
    if split == "train_val":
        return hash_split(patient, "nih_cxr14 train_val", (("train", 7), ("val", 1)))
    return split


def _labels(text: str, table: Path, line: int) -> tuple[int, ...]:
    present = {part.strip() for part in text.split("|")}
    unknown = present - set(CSV_NAMES) - {"No Finding"}
    if unknown or ("No Finding" in present and len(present) > 1):
        known = ", ".join(("No Finding", *CSV_NAMES))
        raise ArchiveError(f"{table} line {line}: Finding Labels is {text!r}; known: {known}")
    return tuple(int(name in present) for name in CSV_NAMES)
