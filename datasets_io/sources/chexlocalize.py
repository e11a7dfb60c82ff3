"""CheXlocalize: where radiologists saw ten findings in CheXpert's val and test images (Saporta et al., 2022)?

The folder holds CheXpert/ with val/, test/, val_labels.csv and test_labels.csv, and CheXlocalize/ with
gt_segmentations_val.json and gt_segmentations_test.json. The images are CheXpert's and have its ids. There is no train
split. Images that are not in the JSON files have no mask for any finding, and an empty mask is none either.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Any

from datasets_io.schema import ArchiveError, Record
from datasets_io.sources import chexpert
from datasets_io.sources.reading.archive import (
    find_file,
    label_code,
    or_packed,
    read_json,
    read_table,
    require_files,
    sex_code,
    snake_case,
    whole_number,
)
from datasets_io.sources.regions import MASK, MAX_SIDE, Region, runs_from_text

VERSION = 1
FINDINGS = chexpert.FINDINGS
NAME = "CheXlocalize"
IMAGES, MASKS = "CheXpert", "CheXlocalize"  # the two folders of the download
TABLES = {
    "val": ("val_labels.csv", "valid_labels.csv", "valid.csv", "val.csv"),
    "test": ("test_labels.csv", "test.csv"),
}
FOLDERS = {"val": ("val", "valid"), "test": ("test",)}  # of the images; in ids `valid` and `test`, as CheXpert has them
OPACITY = {"airspace_opacity": "lung_opacity"}  # CheXpert's earlier name for it, in the masks and in some labels
# The repository's README: 234 images of 200 patients, and 668 of 500; masks for 187 and 499 of them.
PUBLISHED = {"images": 902, "patients": 700, "val": 234, "test": 668}


@dataclass(frozen=True)
class ChexlocalizeOptions:
    """Nothing to choose."""


def index_files(raw: Path, options: ChexlocalizeOptions) -> list[Path]:
    """The labels, then the masks, of the splits that are there; those of test must be. Raises ArchiveError."""
    needed = (_places(IMAGES, TABLES["test"]), _mask_places("test"))
    labels, masks = require_files(raw, needed, NAME)
    others = (find_file(raw, _places(IMAGES, TABLES["val"])), find_file(raw, _mask_places("val")))
    return [labels, masks, *(path for path in others if path)]


def _places(folder: str, names: tuple[str, ...]) -> tuple[str, ...]:
    return *(f"{folder}/{name}" for name in names), *names


def _mask_places(split: str) -> tuple[str, ...]:
    return or_packed(_places(MASKS, (_masks_name(split),)))


def _masks_name(split: str) -> str:
    return f"gt_segmentations_{split}.json"


def notes(raw: Path, options: ChexlocalizeOptions) -> list[str]:
    """That nothing can be trained on it, what of val is not there, and which file has no mask."""
    found = ["the archive has no train split: it is for evaluation without training"]
    if not find_file(raw, _places(IMAGES, TABLES["val"])):
        found.append(f"none of {', '.join(TABLES['val'])} is there: the val split is empty")
    if not find_file(raw, _mask_places("val")):
        found.append(f"{_masks_name('val')} is not there: no masks of val images")
    for split in TABLES:
        path = find_file(raw, _mask_places(split))
        if path and not any(True for _ in _regions(path, split)):
            found.append(f"{path.name} has no mask, or only empty ones: no masks of {split} images")
    return found


def read_records(raw: Path, options: ChexlocalizeOptions) -> Iterator[Record]:
    """One Record a row of the label files, val before test. Raises ArchiveError for a path of another form."""
    index_files(raw, options)  # for its check of what must be there
    for split, names in TABLES.items():
        if table := find_file(raw, _places(IMAGES, names)):
            top = table.parent.parent if table.parent.name == table.name else table.parent  # in a folder of its name
            folder = (top.relative_to(raw) / _image_folder(top, split)).as_posix()
            for line, row in read_table(table, ("Path",)):
                yield _record(row, split, folder, table, line)


def _image_folder(top: Path, split: str) -> str:
    """The name of the folder of a split's images: of several that are there the first one that has a patient."""
    present = [name for name in FOLDERS[split] if (top / name).is_dir()]
    full = (name for name in present if next((top / name).glob("patient*"), None))
    return next(full, (*present, FOLDERS[split][0])[0])


def _record(row: dict[str, str], split: str, folder: str, table: Path, line: int) -> Record:
    parts = PurePosixPath(row["Path"].strip()).parts[-4:]
    advice = ", with slashes: write / for each \\ of the column Path" if "\\" in row["Path"] else ""
    if len(parts) != 4 or parts[0] not in FOLDERS[split] or not parts[1].startswith("patient"):
        raise ArchiveError(
            f"{table} line {line}: {row['Path']!r} is not like {split}/patient00001/study1/view1_frontal.jpg{advice}"
        )
    cells = _cells(row, table)
    if not any(finding in cells for finding in FINDINGS):
        raise ArchiveError(
            f"{table} has none of the label columns {', '.join(chexpert.COLUMNS)}; its header is {list(row)}"
        )
    _, patient, study, name = parts
    return Record(
        image_id=_image_id(split, patient, study, name),
        study_id=f"{patient}/{study}",
        patient_id=patient,
        split=split,
        path=f"{folder}/{patient}/{study}/{name}",
        labels=tuple(label_code(cells.get(finding, ""), table, line, finding) for finding in FINDINGS),
        view_position=_view(cells.get("ap_pa", ""), name),
        sex=sex_code(cells.get("sex", "")),
        age=whole_number(cells.get("age", "")),
    )


def _cells(row: dict[str, str], table: Path) -> dict[str, str]:
    """Names as findings have them -> cells. Raises ArchiveError where a finding has two columns."""
    names: dict[str, str] = {}
    for name in filter(None, row):
        column = _finding(name)
        if names.setdefault(column, name) != name and column in FINDINGS:
            raise ArchiveError(f"{table} has columns {names[column]!r} and {name!r}, both {column}: keep one of them")
        names[column] = name
    return {column: row[name] or "" for column, name in names.items()}


@cache
def _finding(name: str) -> str:
    return OPACITY.get(snake_case(name), snake_case(name))


def _image_id(split: str, patient: str, study: str, name: str) -> str:
    """As the source chexpert calls the image."""
    folder = "valid" if split == "val" else split
    return f"{folder}/{patient}/{study}/{PurePosixPath(name).stem}"


def _view(side: str, name: str) -> str:
    if "lateral" in name.lower():
        return "LATERAL"
    return side.strip().upper() if side.strip().upper() in ("AP", "PA") else "FRONTAL"


def read_regions(raw: Path, options: ChexlocalizeOptions) -> Iterator[Region]:
    """The masks that are not empty. Raises ArchiveError for an entry of another form, or a mask that was cut."""
    index_files(raw, options)
    for split in TABLES:
        if path := find_file(raw, _mask_places(split)):
            yield from _regions(path, split)


def _regions(path: Path, split: str) -> Iterator[Region]:
    """As read_regions, of one file."""
    entries = read_json(path)
    if not isinstance(entries, dict) or not all(isinstance(value, dict) for value in entries.values()):
        raise ArchiveError(f"{path} is not an object of images, each an object of findings: copy it again")
    for name, masks in entries.items():
        for finding, mask in masks.items():
            if region := _region(name, finding, mask, split, path):
                yield region


def _region(name: str, finding: str, mask: Any, split: str, path: Path) -> Region | None:
    """name: such as `patient64541_study1_view1_frontal`; mask: COCO's `size`, rows and columns, and `counts`."""
    patient, _, rest = name.partition("_")
    study, _, view = rest.partition("_")
    label = _finding(finding)
    try:
        if label not in FINDINGS or not patient.startswith("patient") or not study.startswith("study") or not view:
            raise ValueError("the image or the finding is not known")
        rows, columns = (int(side) for side in mask["size"])
        if not (0 < rows <= MAX_SIDE and 0 < columns <= MAX_SIDE):
            raise ValueError(f"its size is {rows} x {columns} pixels")
        runs = runs_from_text(mask["counts"], rows * columns)
    except (TypeError, KeyError, ValueError, OverflowError) as error:  # the last one of Infinity
        raise ArchiveError(
            f"{path}: the mask {finding!r} of {name!r} cannot be read ({error}): copy the file again"
        ) from error
    if not any(runs[1::2]):
        return None
    return Region(
        _image_id(split, patient, study, view), label, MASK, rows=rows, columns=columns, counts=mask["counts"]
    )
