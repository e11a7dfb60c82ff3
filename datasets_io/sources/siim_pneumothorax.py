"""SIIM-ACR Pneumothorax Segmentation 2019: which images are there, with which masks (Zawacki et al., 2019)?

The folder has train-rle.csv and the DICOM files in dicom-images-train/<study>/<series>/ and dicom-images-test/; or
stage 2's stage_2_train.csv, whose ids are others, and stage_2_images/. A row of the csv is one mask, or -1 for an image
without a pneumothorax. The images are of NIH ChestX-ray14, but no file says which, and none says who the patients are.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from datasets_io.nearest import did_you_mean
from datasets_io.schema import NEGATIVE, POSITIVE, ArchiveError, NoImages, Record
from datasets_io.sources.reading.archive import is_below, read_table, require_file, unpacked_name
from datasets_io.sources.reading.elsewhere import moved_text, packed_in, packed_text
from datasets_io.sources.reading.renamed_pictures import SAMPLED, refused_pictures
from datasets_io.sources.regions import Region, mask_region
from datasets_io.sources.splits import hash_split

VERSION = 1
TABLES = ("train-rle.csv", "stage_2_train.csv")
TRAIN, TEST, STAGE_2 = FOLDERS = ("dicom-images-train", "dicom-images-test", "stage_2_images")
FINDINGS = ("pneumothorax",)
SPLIT_CHOICES = ("image_70_10_20", "folders")
NO_MASK = "-1"
ENDING = ".dcm"
PICTURES = (ENDING, ".dicom", ".png", ".jpg", ".jpeg")
SIDE = 1024  # masks are of the challenge's files, all 1024 x 1024
# Counted in train-rle.csv: 12,954 rows of 12,047 images, 10,675 in dicom-images-train and 1,372 in dicom-images-test.
PUBLISHED = {"images": 12_047}


@dataclass(frozen=True)
class SiimOptions:
    """split: "image_70_10_20", cut by a hash of the image, or "folders": those of dicom-images-test are test, of the
    others an eighth is val."""

    split: str = "image_70_10_20"

    def __post_init__(self) -> None:
        if self.split not in SPLIT_CHOICES:
            hint = did_you_mean(self.split, SPLIT_CHOICES)
            raise ValueError(f"split is {self.split!r}; allowed: {', '.join(SPLIT_CHOICES)}{hint}")


def index_files(raw: Path, options: SiimOptions) -> list[Path]:
    """The csv of masks. Raises ArchiveError."""
    return [require_file(raw, TABLES, "SIIM-ACR Pneumothorax")]


def read_records(raw: Path, options: SiimOptions) -> Iterator[Record]:
    """One Record an image, in the order of the csv. Raises ArchiveError.

    An image that is in none of the folders gets the place where it would be, which the build then finds empty.
    """
    (table,) = index_files(raw, options)
    places = _places(raw)
    masks = _masks(table)
    if options.split == "folders" and not any(places.get(image, "").startswith(TEST) for image in masks):
        raise (ArchiveError if places else NoImages)(
            f"{table} lists no image of {TEST}/: with split=folders there would be no test images; leave it"
        )
    for image, runs in masks.items():
        path = places.get(image, f"{STAGE_2 if unpacked_name(table) == TABLES[1] else TRAIN}/{image}.dcm")
        code = POSITIVE if runs else NEGATIVE
        yield Record(image, image, image, _split(options, image, path), path, (code,))


def _split(options: SiimOptions, image: str, path: str) -> str:
    if options.split == "image_70_10_20":
        return hash_split(image, "siim_pneumothorax 70-10-20", (("train", 7), ("val", 1), ("test", 2)))
    return "test" if path.startswith(TEST) else hash_split(image, "siim_pneumothorax train", (("train", 7), ("val", 1)))


def corrections(raw: Path, options: SiimOptions) -> tuple[str, ...]:
    """Whether PNG or JPEG copies have the names of the challenge's files."""
    # The first ones of each folder stand for all: to list 12,000 folders once more takes long over a network.
    folders = (raw / name for name in FOLDERS if (raw / name).is_dir())
    found = ((path for path in _images_below(raw, folder) if path.suffix == ENDING) for folder in folders)
    some = (path for paths in found for path in islice(paths, SAMPLED // len(FOLDERS)))
    return refused_pictures(raw, [path.relative_to(raw).as_posix() for path in some])


def _places(raw: Path) -> dict[str, str]:
    """Image -> path relative to `raw`, of the DICOM files in the folders that are there.

    Of an image that is there as another file alone, `.DCM` or a PNG copy, it is the path beside that file where the
    DICOM file would be, so that who finds it absent can name what is there instead. Raises NoImages where no folder is
    there, ArchiveError for an image that is there twice, and as _images_below.
    """
    present = [raw / name for name in FOLDERS if (raw / name).is_dir()]
    if not present:
        todo = moved_text(raw, FOLDERS) or packed_text(packed_in(raw)) or "unpack the images there"
        raise NoImages(f"{raw} has none of {', '.join(f'{name}/' for name in FOLDERS)}: {todo}")
    found: dict[str, str] = {}
    instead: dict[str, str] = {}
    capitals: list[str] = []
    for path in (path for folder in present for path in sorted(_images_below(raw, folder))):
        place = path.relative_to(raw).as_posix()
        if path.suffix != ENDING:
            instead.setdefault(path.stem, path.with_suffix(ENDING).relative_to(raw).as_posix())
            capitals += [place] if path.suffix.lower() == ENDING else []
        elif (first := found.setdefault(path.stem, place)) != place and not path.samefile(raw / first):
            raise ArchiveError(f"image {path.stem} is in {raw} twice, as {first} and {place}: keep one")
    if capitals and not found:
        raise ArchiveError(f"{raw} has no file *{ENDING}, but {capitals[0]}: write the endings in small letters")
    return instead | found


def _images_below(raw: Path, folder: Path) -> Iterator[Path]:
    """The pictures below a folder, DICOM or not, in whatever capitals. Raises ArchiveError for what may not be read.

    Links to folders are followed where they stay in `raw`, each folder once.
    """
    walked = [os.path.realpath(raw / name) for name in FOLDERS]
    followed: set[str] = set()

    def refuse(error: OSError) -> None:
        raise ArchiveError(f"{error.filename} cannot be listed ({error.strerror}): may you read it?") from error

    def enters(link: str) -> bool:
        target = os.path.realpath(link)
        # Below one of the folders it is found without the link; above one it would be found twice.
        twice = any(os.path.commonpath([target, one]) in (target, one) for one in walked)
        if twice or target in followed or not is_below(raw, Path(link)):
            return False
        followed.add(target)
        return True

    for here, folders, names in os.walk(folder, onerror=refuse, followlinks=True):
        inner = ((name, os.path.join(here, name)) for name in sorted(folders))
        folders[:] = [name for name, path in inner if not os.path.islink(path) or enters(path)]
        yield from (Path(here, name) for name in sorted(names) if name.lower().endswith(PICTURES))


def _masks(table: Path) -> dict[str, list[np.ndarray]]:
    """Image -> its masks' (pairs, 2) of start and length in pixels; none for an image without. Raises ArchiveError."""
    found: dict[str, list[np.ndarray]] = {}
    negative: set[str] = set()
    for line, row in read_table(table, ("ImageId",)):
        # The official header is `ImageId, EncodedPixels`: the second name begins with a blank, and so may the cells.
        cells = {name.strip(): (cell or "").strip() for name, cell in row.items() if name}
        if "EncodedPixels" not in cells:
            raise ArchiveError(f"{table} has no column EncodedPixels; its header is {list(row)}")
        image, text = cells["ImageId"], cells["EncodedPixels"]
        masks = found.setdefault(image, [])
        if text in (NO_MASK, f"{NO_MASK}.0"):
            negative.add(image)
        else:
            masks.append(_pairs(text, table, line))
        if masks and image in negative:
            raise ArchiveError(f"{table} line {line}: image {image} has a mask in one row and {NO_MASK} in another")
    return found


def _pairs(text: str, table: Path, line: int) -> np.ndarray:
    """`gap length gap length ...` -> (pairs, 2). A gap is counted from the end of the run before it, down the columns.

    Raises ArchiveError for other text, or runs that leave the picture.
    """
    words = text.split()
    sound = all(word.isdecimal() and len(word) <= len(str(SIDE * SIDE)) for word in words)
    pairs = np.array([int(word) for word in words] if sound else [], np.int64)
    if not len(pairs) or len(pairs) % 2 or pairs.sum() > SIDE * SIDE:
        raise ArchiveError(
            f"{table} line {line}: {text[:40]!r} is neither {NO_MASK} nor pairs of a gap and a length within"
            f" {SIDE} x {SIDE} pixels: was the file cut?"
        )
    pairs = pairs.reshape(-1, 2)
    ends = pairs.sum(axis=1).cumsum()
    return np.stack([ends - pairs[:, 1], pairs[:, 1]], axis=1)


def read_regions(raw: Path, options: SiimOptions) -> Iterator[Region]:
    """One mask an image with a pneumothorax: where any of its rows has one. Raises ArchiveError."""
    (table,) = index_files(raw, options)
    for image, masks in _masks(table).items():
        inside = np.zeros(SIDE * SIDE, bool)
        for start, length in (pair for mask in masks for pair in mask):
            inside[start : start + length] = True
        if region := mask_region(image, FINDINGS[0], inside.reshape(SIDE, SIDE).T):
            yield region


def notes(raw: Path, options: SiimOptions) -> list[str]:
    """That patients are not known, and how many images have several masks."""
    found = ["the archive names no patients: each image counts as one, though NIH's patients have several"]
    several = sum(len(masks) > 1 for masks in _masks(index_files(raw, options)[0]).values())
    if several:
        found.append(f"{several:,} images have more than one row: their masks are joined")
    return found
