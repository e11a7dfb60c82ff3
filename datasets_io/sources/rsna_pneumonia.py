"""RSNA Pneumonia Detection Challenge 2018: which images are there, with which labels and boxes (Shih et al., 2019)?

The folder is Kaggle's stage 2: stage_2_train_labels.csv, a row for each box; stage_2_detailed_class_info.csv; the DICOM
files in stage_2_train_images/. The images of stage_2_test_images/ have no labels and are not read. Kaggle's patientId
is an image: who the patient is says pneumonia-challenge-dataset-mappings_2018.json of the RSNA's own site. With it
images have the names and patients of NIH ChestX-ray14, from which all of them were taken.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from datasets_io.schema import NEGATIVE, POSITIVE, ArchiveError, Record
from datasets_io.sources.reading.archive import (
    find_file,
    finite_numbers,
    or_packed,
    read_json,
    read_table,
    require_file,
    require_folder,
)
from datasets_io.sources.reading.renamed_pictures import refused_pictures
from datasets_io.sources.regions import BOX, Region
from datasets_io.sources.splits import hash_split

VERSION = 1
LABELS, CLASSES = "stage_2_train_labels.csv", "stage_2_detailed_class_info.csv"
MAPPING = "pneumonia-challenge-dataset-mappings_2018.json"
FOLDER = "stage_2_train_images"
# What was boxed are opacities that are suspicious for pneumonia: the two findings have the same labels.
FINDINGS = ("no_finding", "lung_opacity", "pneumonia")
NORMAL, NOT_NORMAL, OPACITY = CLASS_NAMES = ("Normal", "No Lung Opacity / Not Normal", "Lung Opacity")
SIDE = 1024  # boxes are in pixels of the challenge's files, all 1024 x 1024
SIDES = ("x", "y", "width", "height")
# Counted in stage_2_train_labels.csv: 30,227 rows of 26,684 images, of which 6,012 have an opacity.
PUBLISHED = {"images": 26_684}


@dataclass(frozen=True)
class RsnaOptions:
    """mapping: the file of the RSNA's site that names NIH's images and patients, where it is not in the folder."""

    mapping: str | None = field(default=None, metadata={"hashed": False})


def index_files(raw: Path, options: RsnaOptions) -> list[Path]:
    """The labels, and the classes and the mapping where they are there. Raises ArchiveError."""
    labels = require_file(raw, (LABELS,), "RSNA Pneumonia, Kaggle's stage 2,")
    return [labels, *(path for path in (find_file(raw, (CLASSES,)), _mapping_file(raw, options)) if path)]


def _mapping_file(raw: Path, options: RsnaOptions) -> Path | None:
    if options.mapping is None:
        return find_file(raw, or_packed((MAPPING,)))
    path = Path(options.mapping)
    if not path.is_file():
        raise ArchiveError(f"option mapping is {options.mapping}, which is no file: give the path of {MAPPING}")
    return path


def read_records(raw: Path, options: RsnaOptions) -> Iterator[Record]:
    """One Record an image, in the order of the labels; patients are cut 70-10-20 by a hash. Raises ArchiveError.

    no_finding is 1 for the class `Normal`, and blank where the file of the classes is not there.
    """
    labels = require_file(raw, (LABELS,), "RSNA Pneumonia, Kaggle's stage 2,")
    classes, names = _classes(raw), _nih_names(raw, options)
    for image, target in _targets(labels).items():
        if classes and image not in classes:
            table = find_file(raw, (CLASSES,))
            raise ArchiveError(f"{table} has no row of image {image}, which {LABELS} has: copy it again")
        code = POSITIVE if target == "1" else NEGATIVE
        if classes and (classes[image] == OPACITY) != (code == POSITIVE):
            raise ArchiveError(f"image {image} is {classes[image]!r} in {CLASSES} and has Target {target} in {LABELS}")
        normal = (POSITIVE if classes[image] == NORMAL else NEGATIVE) if classes else None
        name = names.get(image)
        patient = _patient(name) if name else image
        split = hash_split(patient, "rsna_pneumonia 70-10-20", (("train", 7), ("val", 1), ("test", 2)))
        study = name.rsplit(".", 1)[0] if name else image  # NIH has one image a visit
        path = f"{FOLDER}/{image}.dcm"
        yield Record(name or image, study, patient, split, path, (normal, code, code))


def _targets(labels: Path) -> dict[str, str]:
    """image -> "0" or "1": rows are boxes, so an image has several. Raises ArchiveError for two that differ."""
    found: dict[str, str] = {}
    for line, row in read_table(labels, ("patientId", *SIDES, "Target")):
        image, target = row["patientId"].strip(), _target(row)
        boxed = any(row[side].strip() for side in SIDES)
        if target not in ("0", "1") or boxed != (target == "1") or not image.replace("-", "").isalnum():
            raise ArchiveError(
                f"{labels} line {line} is {row}: Target must be 1 with a box or 0 without, patientId a UUID"
            )
        if found.setdefault(image, target) != target:
            raise ArchiveError(f"{labels} line {line}: image {image} has Target {target} here and another one above")
    return found


def _target(row: dict[str, str]) -> str:
    """ "0" or "1" of a row, also where pandas made floats of the column."""
    return row["Target"].strip().removesuffix(".0")


def _classes(raw: Path) -> dict[str, str]:
    """image -> its class, of a file that repeats an image's row for each of its boxes; empty without the file."""
    path = find_file(raw, (CLASSES,))
    found: dict[str, str] = {}
    for line, row in read_table(path, ("patientId", "class")) if path else ():
        image, name = row["patientId"].strip(), row["class"].strip()
        if name not in CLASS_NAMES or found.setdefault(image, name) != name:
            known = ", ".join(CLASS_NAMES)
            raise ArchiveError(f"{path} line {line}: image {image} has class {name!r}; known, one an image: {known}")
    if path and not found:
        raise ArchiveError(f"{path} has no row: copy it again, or take it away to leave no_finding blank")
    return found


def _nih_names(raw: Path, options: RsnaOptions) -> dict[str, str]:
    """Kaggle's id of an image -> NIH's name of it; empty without the mapping. Raises ArchiveError."""
    path = _mapping_file(raw, options)
    if path is None:
        return {}
    entries: Any = read_json(path)
    try:
        found = {entry["subset_img_id"]: entry["img_id"] for entry in entries}
        for name in found.values():
            _patient(name)
    except (TypeError, KeyError, ValueError, AttributeError) as error:
        raise ArchiveError(
            f"{path} is not a list of entries with subset_img_id and img_id such as 00000001_000.png ({error!r}):"
            " copy it again"
        ) from error
    return found


def _patient(name: str) -> str:
    """`00000013_004.png` -> `13`, as Data_Entry_2017.csv has it."""
    return str(int(name.split("_")[0]))


def corrections(raw: Path, options: RsnaOptions) -> tuple[str, ...]:
    """Whether PNG or JPEG copies have the names of the challenge's files."""
    return refused_pictures(raw, sorted(path.relative_to(raw).as_posix() for path in raw.glob(f"{FOLDER}/*.dcm")))


def read_regions(raw: Path, options: RsnaOptions) -> Iterator[Region]:
    """The boxes, of lung_opacity. Raises ArchiveError for a row that is none."""
    labels, names = index_files(raw, options)[0], _nih_names(raw, options)
    for line, row in read_table(labels, ("patientId", *SIDES, "Target")):
        if _target(row) == "1":
            left, top, width, height = (value / SIDE for value in finite_numbers(row, SIDES, labels, line))
            image = row["patientId"].strip()
            yield Region(names.get(image, image), "lung_opacity", BOX, "", left, top, width, height)


def notes(raw: Path, options: RsnaOptions) -> list[str]:
    """What is not known without the files that are not there, and how patients were cut."""
    require_folder(raw, "RSNA Pneumonia")
    found = ["the archive has no labelled test images: patients were cut 70-10-20 into train, val and test by a hash"]
    if not find_file(raw, (CLASSES,)):
        found.append(f"{CLASSES} is not there: no_finding is blank")
    names = _nih_names(raw, options)
    images = _targets(index_files(raw, options)[0])
    if unknown := sum(image not in names for image in images):
        reason = f"{MAPPING} {'is not there' if _mapping_file(raw, options) is None else 'does not name them'}"
        found.append(
            f"{unknown:,} of {len(images):,} images count as a patient each, though NIH's have several: {reason}"
        )
    return found
