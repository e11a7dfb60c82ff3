"""Where did radiologists see a finding: the boxes of NIH ChestX-ray14's BBox_List_2017.csv (Wang et al., 2017)."""

import csv
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from datasets_io.schema import ArchiveError
from datasets_io.sources.nih_cxr14 import FINDINGS, NihOptions
from datasets_io.sources.reading.archive import find_file, snake_case
from datasets_io.sources.reading.table_text import open_lines
from datasets_io.sources.regions import BOX, Region

BOX_LIST = "BBox_List_2017.csv"
NAMES = {"infiltrate": "infiltration"}  # the list's own spelling of a label
SIDE = 1024  # boxes are in pixels of NIH's PNGs, all 1024 x 1024, whatever the size of a smaller copy


@dataclass(frozen=True)
class Box:
    """A finding's box, as shares of the image's sides: left, top, width and height in [0, 1]."""

    image_id: str
    finding: str
    left: float
    top: float
    width: float
    height: float


def looked_for(raw: Path, options: NihOptions) -> dict[str, tuple[Path, list[str]]]:
    """The list of boxes, whether it is there or not. Raises ArchiveError as find_file."""
    found = find_file(raw, (BOX_LIST,))
    return {"boxes": (raw, [found.name if found else BOX_LIST])}


def read_boxes(raw: Path) -> tuple[Box, ...]:
    """The boxes of an archive, in the list's order; empty where it has no list. Raises ArchiveError for a bad row.

    The header's last name has commas in its brackets, so columns are taken by place: image, label, x, y, w, h.
    """
    path = find_file(Path(raw), (BOX_LIST,))
    if path is None:
        return ()
    boxes = []
    with open_lines(path) as lines:
        for line, row in enumerate(csv.reader(lines), start=1):
            if line > 1 and any(row):
                boxes.append(_box(row, path, line))
    return tuple(boxes)


def read_regions(raw: Path, options: NihOptions) -> Iterator[Region]:
    """The boxes as every source gives its own. Raises ArchiveError as read_boxes."""
    for box in read_boxes(raw):
        yield Region(box.image_id, box.finding, BOX, "", box.left, box.top, box.width, box.height)


def _box(row: list[str], path: Path, line: int) -> Box:
    try:
        image_id, label = row[0].strip(), snake_case(row[1].strip())
        left, top, width, height = (float(value) / SIDE for value in row[2:6])
    except (IndexError, ValueError) as error:
        raise ArchiveError(f"{path} line {line} is no box: image, label, x, y, width and height are needed") from error
    finding = NAMES.get(label, label)
    inside = all(math.isfinite(v) for v in (left, top, width, height)) and width > 0 and height > 0
    if finding not in FINDINGS or not inside or not (0 <= left < 1 and 0 <= top < 1):
        raise ArchiveError(f"{path} line {line}: {row[:6]} is no box of a known finding within {SIDE} x {SIDE} pixels")
    return Box(image_id, finding, left, top, min(width, 1 - left), min(height, 1 - top))
