"""Where does an image of CheXpert Plus lie, wherever its zip files were unpacked?

path_to_image ends in .jpg, and the file is a PNG or a DICOM file of that name.
"""

import os
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

from datasets_io.schema import NoImages
from datasets_io.sources.reading.elsewhere import moved_text

KINDS = ("png", "dcm", "jpg")
# The members of the zip files begin with PNG/, so unpacking them in PNG/ gives PNG/PNG/; one folder a zip is common.
ROOTS = (
    "PNG",
    "PNG/PNG",
    ".",
    "png_chexpert_plus_chunk_*",
    "png_chexpert_plus_chunk_*/PNG",
    "PNG/png_chexpert_plus_chunk_*",
    "PNG/png_chexpert_plus_chunk_*/PNG",
    "DICOM/Uncompressed",
    "DICOM/Compressed",
    "DICOM",
    "CheXpert-v1.0",
    "CheXpert-v1.0-small",
)
SPLIT_FOLDERS = ("train", "valid")
LOOKED_AT = 50  # patients of a root, to know of which kind its files are


def image_places(raw: Path, kind: str) -> Callable[[str], str]:
    """train/patient00001/study1/view1_frontal -> path relative to `raw`. kind: one of KINDS, or "auto".

    Raises NoImages where no image of that kind is there.
    """
    roots = [path for pattern in ROOTS for path in _folders(raw, pattern)]
    kinds = {root: found for root in dict.fromkeys(roots) if (found := _kind_of(root))}
    taken = next((name for name in KINDS if name in kinds.values()), None) if kind == "auto" else kind
    places: dict[str, list[str]] = {}  # patient's folder, "train/patient00001" -> the roots that have it
    for root in (root for root, of in kinds.items() if of == taken):
        for split in SPLIT_FOLDERS:
            for patient in _names(root / split):
                places.setdefault(f"{split}/{patient}", []).append(root.relative_to(raw).as_posix())
    if not places:
        packed = sorted(path.relative_to(raw).as_posix() for path in (*raw.glob("*.zip"), *raw.glob("PNG/*.zip")))
        chunks = [name for name in packed if "chunk" in name]
        hint = f"unpack {chunks[0]} and the other chunks" if chunks else "unpack png_chexpert_plus_chunk_*.zip there"
        hint = moved_text(raw, SPLIT_FOLDERS, lambda folder: _kind_of(folder) is not None) or hint
        if other := _in_capitals(roots, KINDS if kind == "auto" else (kind,)):
            hint = f"{other.relative_to(raw).as_posix()} is there: write the endings in small letters"
        what = "image" if kind == "auto" else f"{kind.upper()} file"
        raise NoImages(f"{raw} has no {what} such as PNG/train/patient00001/study1/view1_frontal.png: {hint}")
    usual = next(iter(places.values()))[0]

    def place_of(image: str) -> str:
        found = places.get("/".join(image.split("/")[:2]), [usual])
        names = [f"{image}.{taken}" if root == "." else f"{root}/{image}.{taken}" for root in found]
        # Chunks may share a patient; then the file says which of them has it.
        return names[0] if len(names) == 1 else next((name for name in names if (raw / name).is_file()), names[0])

    return place_of


def _folders(raw: Path, pattern: str) -> list[Path]:
    found = sorted(raw.glob(pattern)) if "*" in pattern else [raw / pattern]
    return [path for path in found if path.is_dir()]


def _names(folder: Path) -> list[str]:
    """Patients of a folder; none where it is not there."""
    try:
        with os.scandir(folder) as entries:
            return [entry.name for entry in entries if entry.name.startswith("patient")]
    except (FileNotFoundError, NotADirectoryError):
        return []


def _kind_of(root: Path) -> str | None:
    """The suffix of the first image below some folders of patients; downloads that broke off have others."""
    return next((suffix for path in _some_files(root) if (suffix := path.suffix[1:]) in KINDS), None)


def _in_capitals(roots: list[Path], kinds: tuple[str, ...]) -> Path | None:
    """The first file that would be an image of one of the kinds if its ending had small letters."""
    files = (path for root in roots for path in _some_files(root))
    return next((path for path in files if path.suffix[1:] not in KINDS and path.suffix[1:].lower() in kinds), None)


def _some_files(root: Path) -> Iterator[Path]:
    """The files of views of the first patients of a root."""
    for split in SPLIT_FOLDERS:
        for patient in islice(_names(root / split), LOOKED_AT):
            yield from sorted((root / split / patient).glob("study*/view*"))
