"""Where in an image is a finding: boxes and masks as archives have them, and masks as run lengths.

A mask is kept as COCO keeps it: the lengths of runs of pixels outside and inside in turn, down the columns one after
the other, the first one outside (Lin et al., 2014), as the text that pycocotools reads as `counts`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

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
    columns and counts. reader: who drew it, where an archive has several; else "".
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


def runs_of(mask: np.ndarray) -> list[int]:
    """Run lengths of a mask (rows, columns), column after column: outside, inside, outside, ..."""
    flat = np.asarray(mask, bool).T.ravel()
    ends = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    runs: list[int] = np.diff(np.concatenate([[0], ends, [flat.size]])).tolist()
    return [0, *runs] if flat.size and flat[0] else runs


def counts_text(runs: Sequence[int]) -> str:
    """COCO's text of run lengths: from the fourth on each is the difference to the one two before."""
    characters = []
    for place, run in enumerate(runs):
        left = run - runs[place - 2] if place > 2 else run
        while True:
            low, left = left & ((1 << BITS) - 1), left >> BITS  # an arithmetic shift: negative numbers end at -1
            last = left == (-1 if low & SIGN else 0)
            characters.append(chr(FIRST_CHARACTER + low + (0 if last else MORE)))
            if last:
                break
    return "".join(characters)


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
