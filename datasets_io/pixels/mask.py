"""Which pixels of a mask's PNG are inside, and why can a mask not be told from it?

Masks are drawn white on black. They are compared with their checksums as pictures are, whatever their library would
take, and only PNG is read: other formats reach other decoders, such as Ghostscript for EPS.
"""

import numpy as np

from datasets_io.pixels.exif import orientation_of, upright
from datasets_io.pixels.grey import PixelError, kind_of
from datasets_io.pixels.png import SIGNATURE, check_chunks, grey_of, png_values

WHITE = 127  # of 255: what is above is inside
MAX_RUNS = 1 << 18  # lungs drawn by hand have some thousand runs down the columns; a checkerboard one a pixel
SHOWN_VALUES = 5


def decode_mask(data: bytes) -> np.ndarray:
    """(rows, columns) bool of a PNG file as viewers show it, true inside; nothing is inside of an empty mask.

    Its own EXIF orientation is applied, as to a picture. Raises PixelError for another format, a damaged file, more
    than MAX_PIXELS pixels or MAX_RUNS runs, and for a picture that says in another way than by white on black what is
    inside.
    """
    orientation = check_mask_file(data)
    try:
        values, _ = png_values(data)
        _check_transparency(values)
        grey = _eight_bits(values)
    except PixelError:
        raise
    except Exception as error:
        raise PixelError("decode", f"the PNG cannot be decoded ({kind_of(error)})") from None
    inside = upright(np.asarray(grey > WHITE), orientation)
    if not inside.any():
        _check_empty(grey)
    down = inside.T.ravel()
    if np.count_nonzero(down[1:] != down[:-1]) >= MAX_RUNS:
        raise PixelError("policy", f"it has more than {MAX_RUNS:,} runs: it is no place that somebody drew")
    return inside


def check_mask_file(data: bytes) -> int:
    """Its EXIF orientation, 1 to 8. Raises PixelError for what is no whole PNG of at most MAX_PIXELS pixels.

    No pixel is unpacked.
    """
    if not data.startswith(SIGNATURE):
        raise PixelError("read", "the file is no PNG")
    return orientation_of(check_chunks(data))


def has_transparency(data: bytes) -> bool:
    """Whether a PNG file has a sample of transparency: the colour type, byte 25, is 4 or 6."""
    return data[25:26] in (b"\4", b"\6")


def _eight_bits(values: np.ndarray) -> np.ndarray:
    grey = grey_of(values)
    if grey.dtype == np.uint8:
        return grey
    # As Pillow turns 16 bits into 8, which earlier versions did: greys are cut off at 255, colours divided.
    return np.minimum(grey, 255).astype(np.uint8) if values.ndim == 2 else (grey >> 8).astype(np.uint8)


def _check_transparency(values: np.ndarray) -> None:
    """Of one colour throughout, and of several transparencies: it says by these what is inside."""
    if values.ndim == 2 or values.shape[2] == 3:
        return
    colours, alpha = values[:, :, :-1], values[:, :, -1]
    if alpha.min() != alpha.max() and (colours == colours[0, 0]).all():
        raise PixelError("policy", "it is drawn in its transparency: save it as white on black")


def _check_empty(grey: np.ndarray) -> None:
    """Raise PixelError for a picture that is dark and not black, as one whose values are labels."""
    found = np.unique(grey).tolist()
    if found != [0]:
        shown = ", ".join(map(str, found[:SHOWN_VALUES])) + (", ..." if len(found) > SHOWN_VALUES else "")
        raise PixelError("pixels", f"its greys are {shown} of 255, all of them dark: save it as white on black")
