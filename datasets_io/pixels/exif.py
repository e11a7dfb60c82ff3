"""Which way up is a picture? The orientation of EXIF, which every viewer applies."""

import struct

import numpy as np

_ORIENTATION = 0x0112
_SHORT = 3
MAX_ENTRIES = 4096  # of the first directory; cameras write some dozens
# How rows and columns of the file are turned into those that are shown: transposed, then flipped up-down, left-right.
_TURNS = {
    2: (False, False, True),
    3: (False, True, True),
    4: (False, True, False),
    5: (True, False, False),
    6: (True, False, True),
    7: (True, True, True),
    8: (True, True, False),
}


def orientation_of(exif: bytes) -> int:
    """1 to 8 of a TIFF block as EXIF has it; 1, as it lies, where it says nothing or cannot be read."""
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(exif[:4])
    try:
        if order is None:
            return 1
        (place,) = struct.unpack_from(order + "I", exif, 4)
        (count,) = struct.unpack_from(order + "H", exif, place)
        for number in range(min(count, MAX_ENTRIES)):
            tag, kind, length, value = struct.unpack_from(order + "HHIH", exif, place + 2 + 12 * number)
            if tag == _ORIENTATION:
                return value if kind == _SHORT and length == 1 and value in _TURNS else 1
    except struct.error:  # a directory that ends outside of the block
        pass
    return 1


def upright(picture: np.ndarray, orientation: int) -> np.ndarray:
    """(rows, columns) as it lies in the file -> as it is shown, in an array of its own. orientation: 1 to 8."""
    if orientation == 1:
        return picture
    transposed, up_down, left_right = _TURNS[orientation]
    turned = picture.T if transposed else picture
    return np.ascontiguousarray(turned[:: -1 if up_down else 1, :: -1 if left_right else 1])
