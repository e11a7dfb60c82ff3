"""How are the NLM's two tuberculosis sets read, which have no csv: names, readings and masks (Jaeger et al., 2014)?

Both hold CXR_png/<stem>.png and ClinicalReadings/<stem>.txt, and the stem ends with _0 for normal or _1 for
tuberculosis. The readings list the images, so that a copy that stopped half way does not pass for a smaller set.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from datasets_io.schema import ArchiveError, NoImages, Record
from datasets_io.sources.reading.archive import require_folder
from datasets_io.sources.reading.elsewhere import folders_with, hint, moved_text
from datasets_io.sources.regions import MAX_SIDE, Region, mask_region
from datasets_io.sources.splits import hash_split

IMAGES, READINGS = "CXR_png", "ClinicalReadings"
SOURCES = {"CHNCXR": "shenzhen", "MCUCXR": "montgomery"}  # prefix of a set's files -> the source that reads it
LONGEST_READING = 1 << 16  # bytes; the real ones have some lines
# "male 45yrs", "Female, 30 yrs", "female20yrs" and "male 11months" of one set; "Patient's Sex: F" and "Patient's Age:
# 027Y" of the other.
SEX = re.compile(r"(fe)?male|sex\s*:\s*([fm])", re.IGNORECASE)
AGE = re.compile(r"(?<!\d)(\d{1,3})(?:\.\d+)?\s*([ymwd]?)(?!\d)", re.IGNORECASE)


@dataclass(frozen=True)
class NlmSet:
    """name: in messages; prefix: of the stems; stream: of the hash that cuts patients."""

    name: str
    prefix: str
    stream: str


def index_files_of(kind: NlmSet, raw: Path, masks: tuple[str, ...] = ()) -> list[Path]:
    """The folder of the readings, then those of `masks` that are there: what is in them identifies the archive.

    Raises ArchiveError where the readings, or that of an image, are not there; the folder of images may be gone.
    """
    require_folder(raw, kind.name)
    there = (raw / IMAGES).is_dir()
    if not (raw / READINGS).is_dir():
        raise ArchiveError(_no_folder(kind, raw, READINGS if there else IMAGES))
    readings = set(_stems(kind.prefix, raw / READINGS, ".txt"))
    unread = [stem for stem in _stems(kind.prefix, raw / IMAGES, ".png") if stem not in readings] if there else []
    if not readings and not unread:
        what_to_do = _other_set(kind, raw) or f": finish copying {kind.name}"
        raise ArchiveError(f"{raw} has no reading such as {READINGS}/{kind.prefix}_0001_0.txt{what_to_do}")
    if unread:
        raise ArchiveError(
            f"{len(unread)} images of {raw / IMAGES} have no reading in {READINGS}/, which lists {len(readings)}"
            f" (e.g. {unread[0]}): finish copying {kind.name}"
        )
    return [raw / READINGS, *(raw / name for name in masks if (raw / name).is_dir())]


def _no_folder(kind: NlmSet, raw: Path, name: str) -> str:
    def starts(folder: Path) -> bool:
        return bool(_stems(kind.prefix, folder / READINGS, ".txt"))

    others = (_other_set(kind, folder) for folder in folders_with(raw, (READINGS,)))
    what_to_do = hint(raw, (READINGS,), "is the archive copied in full?", starts)
    if "--raw" not in what_to_do:
        what_to_do = next((other for other in others if other), what_to_do)
    return f"{raw} has no folder {name}/, which {kind.name} has at its top{what_to_do}"


def _other_set(kind: NlmSet, raw: Path) -> str:
    """That a folder has the files of the other set, as the end of a sentence; "" where it has not."""
    for prefix, source in SOURCES.items() if (raw / READINGS).is_dir() else ():
        found = _stems(prefix, raw / READINGS, ".txt") if prefix != kind.prefix else []
        if found:
            return f", but {raw / READINGS} has {found[0]}.txt: this is the archive of {source}; build {source} from it"
    return ""


def _stems(prefix: str, folder: Path, suffix: str) -> list[str]:
    """In order, of the files that are named as the set's: there are strays beside them, such as Thumbs.db."""
    form = re.compile(rf"{prefix}_\d{{4}}_[01]{re.escape(suffix)}")
    return sorted(path.stem for path in folder.iterdir() if form.fullmatch(path.name))


def read_records_of(kind: NlmSet, raw: Path) -> Iterator[Record]:
    """One Record a reading, in the order of their names; images are cut 70-10-20 by a hash.

    Raises ArchiveError, NoImages where their folder is not there.
    """
    folder, *_ = index_files_of(kind, raw)
    if not (raw / IMAGES).is_dir():
        moved = moved_text(raw, (IMAGES,))
        raise NoImages(f"{raw} has no folder {IMAGES}/: {moved}" if moved else _no_folder(kind, raw, IMAGES))
    for stem in _stems(kind.prefix, folder, ".txt"):
        sex, age = _sex_and_age(_reading(raw, folder / f"{stem}.txt"))
        split = hash_split(stem, kind.stream, (("train", 7), ("val", 1), ("test", 2)))
        label = int(stem[-1])
        yield Record(stem, stem, stem, split, f"{IMAGES}/{stem}.png", (label,), "FRONTAL", sex, age)


def _reading(raw: Path, path: Path) -> str:
    _check_file(raw, path)
    with open(path, "rb") as stream:
        return stream.read(LONGEST_READING).decode("utf-8", "replace")  # nothing of it is kept but sex and age


def _check_file(raw: Path, path: Path) -> None:
    if not path.is_file() or not path.resolve().is_relative_to(raw.resolve()):
        raise ArchiveError(f"{path} is no file of {raw}: nothing else is read; copy it again")


def _sex_and_age(text: str) -> tuple[str | None, int | None]:
    """'M' or 'F', and years: 0 for months, weeks or days; None where the first two lines do not say."""
    head = "\n".join([line for line in text.splitlines() if line.strip()][:2])
    sex, age = SEX.search(head), AGE.search(head)
    letter = (sex[2] or ("f" if sex[1] else "m")).upper() if sex else None
    years = (0 if age[2].lower() in ("m", "w", "d") else int(age[1])) if age else None
    return letter, years


def regions_of(raw: Path, places: Iterable[tuple[str, str, Path]]) -> Iterator[Region]:
    """Masks from (image id, finding, file); those that are empty give none. Raises ArchiveError."""
    for image, finding, path in places:
        _check_file(raw, path)
        if region := mask_region(image, finding, read_mask(path)):
            yield region


def read_mask(path: Path) -> np.ndarray:
    """(rows, columns) bool of a picture that is white inside. Raises ArchiveError where it cannot be read."""
    try:
        with Image.open(path) as picture:
            if max(picture.size) > MAX_SIDE:
                raise OSError(f"it has {picture.size[0]} x {picture.size[1]} pixels")
            return np.asarray(picture.convert("L")) > 127
    # Pillow raises SyntaxError for some broken PNG files, and an error of its own for a picture of 180 megapixels.
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ArchiveError(f"mask {path} cannot be read ({error}): copy it again") from error


def notes_of(kind: NlmSet, raw: Path) -> list[str]:
    """That there are no patients and no split."""
    return [f"{kind.name} names no patients and has no split: images were cut 70-10-20 into train, val and test"]
