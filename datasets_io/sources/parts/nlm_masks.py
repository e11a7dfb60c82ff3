"""How are the masks of the NLM's two tuberculosis sets read, each a PNG that is white inside?

A mask that does not say what is inside costs that mask: it is a region with a `problem`, which the build leaves out and
counts. One that leads out of the archive ends the build, as whoever linked it must decide.
"""

import dataclasses
import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path

from datasets_io.pixels.grey import MAX_FILE_BYTES, PixelError
from datasets_io.pixels.mask import check_mask_file, decode_mask, has_transparency
from datasets_io.schema import ArchiveError
from datasets_io.sources.reading.elsewhere import FEW_FOLDERS, folders_below
from datasets_io.sources.regions import MASK, Region, mask_region
from datasets_io.untrusted import open_regular

# A correction, see registry.Source: the name enters the key of an archive with such a mask.
WHOLE_MASKS = "masks that are damaged, no PNG, too large or drawn in their transparency are left out"
TURNED_MASKS = "masks are turned upright, as their own EXIF orientation says"

NO_FOLDER = re.compile(r"(?!)")  # that is not looked into
Place = tuple[str, str, Path]  # image id, finding, file


def regions_of(raw: Path, places: Iterable[Place]) -> Iterator[Region]:
    """A region of each mask, with its `problem` where it cannot be told; none of an empty one. Raises ArchiveError."""
    for image, finding, path in places:
        try:
            data = _bytes(raw, path)
            region = mask_region(image, finding, decode_mask(data))
            if region is not None and check_mask_file(data) != 1:
                region = dataclasses.replace(region, upright=True)
        except PixelError as error:
            region = Region(image, finding, MASK, problem=f"its mask cannot be used: {error.reason}")
        if region is not None:
            yield region


def mask_corrections(raw: Path, places: Iterable[Place]) -> tuple[str, ...]:
    """WHOLE_MASKS and TURNED_MASKS where a mask was read otherwise by earlier versions. Raises ArchiveError.

    A key is asked for often: checksums are compared, and only masks with transparency, which no set has, are decoded.
    """
    found = {_correction(raw, path) for _, _, path in places}
    return tuple(name for name in (WHOLE_MASKS, TURNED_MASKS) if name in found)


def _correction(raw: Path, path: Path) -> str | None:
    try:
        data = _bytes(raw, path)
        orientation = check_mask_file(data)
        if has_transparency(data):
            decode_mask(data)
    except PixelError:
        return WHOLE_MASKS
    return TURNED_MASKS if orientation != 1 else None


def misnamed_masks(folder: Path) -> list[str]:
    """A note on files that end in .PNG or the like, which no mask of an archive does; empty where there are none."""
    names = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    others = [name for name in names if name.lower().endswith(".png") and not name.endswith(".png")]
    if not others:
        return []
    return [
        f"{len(others)} masks of {folder.name}/ are not read, as their names end otherwise than in .png: {others[0]}"
    ]


def stray_masks(raw: Path, form: re.Pattern[str], read: Sequence[str], what: str) -> list[str]:
    """A note on each folder that has masks of a form and is none of those that are `read`, as one unzipped too deep.

    what: they show, in the plural.
    """
    found = []
    for folder, seen in islice(folders_below(raw, NO_FOLDER), FEW_FOLDERS):
        place = folder.relative_to(raw).as_posix()
        if place not in read and (masks := sum(form.fullmatch(name) is not None for name in seen)):
            where = " or ".join(f"{name}/" for name in read)
            found.append(f"{masks} masks of {what} in {place}/ are not read: move them to {where}")
    return found


def check_file(raw: Path, path: Path) -> None:
    """Raises ArchiveError for what is no regular file, and for a link that leads out of `raw`."""
    if not path.is_file() or not path.resolve().is_relative_to(raw.resolve()):
        raise ArchiveError(f"{path} is no file of {raw}: nothing else is read; copy it again")


def _bytes(raw: Path, path: Path) -> bytes:
    """Raises ArchiveError as check_file, PixelError where the file is too large or cannot be read."""
    check_file(raw, path)
    try:
        with open_regular(path) as stream:
            data = stream.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise PixelError("read", f"the file cannot be read ({error.strerror})") from None
    if len(data) > MAX_FILE_BYTES:
        raise PixelError("read", f"the file is larger than {MAX_FILE_BYTES >> 20} MiB")
    return data
