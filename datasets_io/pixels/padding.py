"""Which pixels of a DICOM file are padding and no picture? Those of PixelPaddingValue (PS3.3 C.7.5.1.1.2).

A detector that is no rectangle, or was turned, is filled up with a value that no tissue has, often the largest or the
smallest of the type. Scaled from there to the other end, the picture itself would have a few greys. So padding is left
out of the smallest and largest value, and shown as what is darkest in the picture.
"""

from typing import NamedTuple

import numpy as np
from pydicom import Dataset

from datasets_io.compiled import compiled
from datasets_io.pixels.grey import PixelError


class Padding(NamedTuple):
    """The values from low to high are padding, as the file stores them."""

    low: int
    high: int


def padding_of(dataset: Dataset, signed: bool) -> Padding | None:
    """What the header says of a file whose values are `signed`; None where it says nothing, or nothing readable."""
    ends = [_stored(dataset, name, signed) for name in ("PixelPaddingValue", "PixelPaddingRangeLimit")]
    known = [end for end in ends if end is not None]
    return Padding(min(known), max(known)) if ends[0] is not None else None


def _stored(dataset: Dataset, name: str, signed: bool) -> int | None:
    try:
        value = dataset.get(name)
        if value in (None, ""):
            return None
        number = int.from_bytes(value[:2], "little") if isinstance(value, bytes) else int(value)
        width = int(dataset.BitsAllocated)
    except Exception:  # pydicom reads a value when it is asked for, and raises what it likes
        return None
    # US or SS, and writers take the wrong one: 63,536 in a file of signed values is -2,000.
    number %= 1 << width
    return number - (1 << width) if signed and number >> (width - 1) else number


def without_padding(values: np.ndarray, padding: Padding, inverted: bool) -> np.ndarray | None:
    """(rows, columns) of integers, with what is darkest in the picture in the place of padding; None without any.

    inverted: MONOCHROME1, where large values are dark. Raises PixelError where all is padding.
    """
    low, high = padding
    count, lowest, highest = _ends(values, low, high)
    if count == 0:
        return None
    if count == values.size:
        raise PixelError("pixels", "all pixels are padding")
    return _filled(values, low, high, values.dtype.type(highest if inverted else lowest))


@compiled
def _ends(values: np.ndarray, low: int, high: int) -> tuple[int, int, int]:
    """How many values are padding; the smallest and largest of the others."""
    count, lowest, highest = 0, 1 << 62, -(1 << 62)
    for i in range(values.shape[0]):
        for j in range(values.shape[1]):
            value = int(values[i, j])
            if low <= value <= high:
                count += 1
            else:
                lowest, highest = min(lowest, value), max(highest, value)
    return count, lowest, highest


@compiled
def _filled(values: np.ndarray, low: int, high: int, fill: np.generic) -> np.ndarray:
    found = np.empty_like(values)
    for i in range(values.shape[0]):
        for j in range(values.shape[1]):
            found[i, j] = fill if low <= int(values[i, j]) <= high else values[i, j]
    return found
