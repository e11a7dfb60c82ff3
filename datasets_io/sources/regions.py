"""Where in an image is a finding: boxes and masks as archives have them, and masks as run lengths.

A mask is kept as COCO keeps it: the lengths of runs of pixels outside and inside in turn, down the columns one after
the other, the first one outside (Lin et al., 2014), as the text that pycocotools reads as `counts`.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

BOX, MASK = "box", "mask"
KINDS = (BOX, MASK)
MAX_SIDE = 1 << 15  # of a mask, in pixels: the largest films have 5,000
# COCO's text: five bits a character, the lowest first; the sixth says that more follow. "0" is 48.
BITS, MORE, SIGN, FIRST_CHARACTER = 5, 0x20, 0x10, 48


@dataclass(frozen=True, slots=True)
class Region:
    """One place in one image. finding: one of the source's, or what a mask shows else, such as `left_lung`.

    A box has left, top, width and height as shares of the image's sides in [0, 1], or with `in_pixels` in pixels of
    the archive's file, which the build then divides by its size; it may reach beyond the border. A mask has rows,
    columns and counts. reader: who drew it, where an archive has several; else "". problem: a few words on why the
    archive's file does not tell the place, which the build then leaves out and counts; else "". upright: whether the
    archive's file of a mask says which way up it is, as EXIF does, and it was turned so.
    """

    image_id: str
    finding: str
    kind: str
    reader: str = ""
    left: float | None = None
    top: float | None = None
    width: float | None = None
    height: float | None = None
    in_pixels: bool = False
    rows: int | None = None
    columns: int | None = None
    counts: str | None = None
    problem: str = ""
    upright: bool = False


def mask_region(image_id: str, finding: str, mask: np.ndarray, reader: str = "") -> Region | None:
    """The region of a mask (rows, columns), true inside; None where nothing is."""
    if not mask.any():
        return None
    rows, columns = mask.shape
    return Region(image_id, finding, MASK, reader, rows=rows, columns=columns, counts=counts_text(runs_of(mask)))


def mask_of(region: Region) -> np.ndarray:
    """(rows, columns) bool of a mask's region. Raises ValueError where its counts do not fill them."""
    assert region.rows is not None and region.columns is not None and region.counts is not None, "it is a box"
    runs = runs_from_text(region.counts, region.rows * region.columns)
    inside = np.arange(len(runs)) % 2 == 1
    return np.repeat(inside, runs).reshape(region.columns, region.rows).T


def runs_of(mask: np.ndarray) -> np.ndarray:
    """Run lengths (int64) of a mask (rows, columns), column after column: outside, inside, outside, ..."""
    flat = np.asarray(mask, bool).T.ravel()
    ends = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    begins_inside = [0] if flat.size and flat[0] else []
    return np.diff(np.concatenate([[0], begins_inside, ends, [flat.size]]).astype(np.int64))


def counts_text(runs: ArrayLike) -> str:
    """COCO's text of run lengths: from the fourth on each is the difference to the one two before."""
    lengths = np.asarray(runs, np.int64)
    values = lengths.copy()
    values[3:] -= lengths[1:-2]
    # A number of n characters lies in [-2^(5n-1), 2^(5n-1)): with its sign turned away, below 2^(5n-1).
    size, characters = np.where(values < 0, ~values, values), np.ones(len(values), np.int64)
    while (longer := size >= 1 << (BITS * characters - 1)).any():
        characters += longer
    starts = np.cumsum(characters) - characters
    text = np.empty(int(characters.sum()), np.uint8)
    for place in range(int(characters.max(initial=0))):
        of = characters > place
        low = (values[of] >> (BITS * place)) & ((1 << BITS) - 1)  # an arithmetic shift: negative numbers end at -1
        text[starts[of] + place] = FIRST_CHARACTER + low + np.where(characters[of] > place + 1, MORE, 0)
    return text.tobytes().decode("ascii")


def runs_from_text(text: str, pixels: int) -> list[int]:
    """The run lengths of COCO's text. Raises ValueError where they are not those of a mask of so many pixels."""
    runs: list[int] = []
    value, shift = 0, 0
    for character in text:
        code = ord(character) - FIRST_CHARACTER
        if not 0 <= code < 2 * MORE or shift > 8 * BITS:
            raise ValueError(f"its counts have {character!r} at an impossible place: they are no COCO run lengths")
        value |= (code & (MORE - 1)) << shift
        shift += BITS
        if code & MORE:
            continue
        if code & SIGN:
            value -= 1 << shift
        runs.append(value + runs[-2] if len(runs) > 2 else value)
        value, shift = 0, 0
    if shift or min(runs, default=0) < 0 or sum(runs) != pixels:
        raise ValueError(f"its counts fill {sum(runs):,} pixels of {pixels:,}: were they cut?")
    return runs
