"""How a DICOM, PNG or JPEG file becomes image_size x image_size grey bytes.

DICOM: stored values -> modality LUT -> VOI (only with intensity "voi") -> MONOCHROME1 inverted -> grey by ITU-R 601
luma where there are colours -> resize -> scaled so that the smallest value of the full picture is 0 and the
largest 255. With intensity "jpg" the full picture is scaled to 8 bits and histogram-equalised before the resize,
as in the official MIMIC-CXR-JPG recipe. A windowed picture is scaled by its own smallest and largest value too.
PNG and JPEG: 8-bit greys are kept as they are, colours turned to luma, transparency dropped, 16 bits, with or without
colours, scaled as above.
Resize: directly to image_size x image_size (the ratio is not kept), or with shape "aspect" in the picture's own ratio
(schema.stored_shape), Pillow's BILINEAR filter, which widens its
support by the scale factor when it shrinks (antialiased): in exact integers for DICOM and PNG of up to 16 bits, with
intensity "minmax" (shrink.py), in float32 for other types, in uint8 for 8-bit pictures.

Refused by policy: more than one frame, a constant picture (it shows nothing), a modality that the source does not
list, more than MAX_PIXELS pixels or MAX_FILE_BYTES bytes.

EXIF orientation is applied, as every viewer does: a network must not see a chest on its side. Pixels of a DICOM file
that are PixelPaddingValue are left out of the smallest and largest value, and shown as what is darkest in the picture;
with intensity "jpg" they are scaled like others, as in that recipe.
"""

from dataclasses import dataclass

import numpy as np
from PIL import Image

from datasets_io.schema import SHAPES, stored_shape

VERSION = 2  # in all keys of corpora: raise it when the bytes of common pictures change, else schema.PIXEL_RULES
INTENSITIES = ("minmax", "jpg", "voi")
MAX_PIXELS = 6_000 * 6_000  # the largest chest detectors have about 4,300 x 3,500
MAX_FILE_BYTES = 256 << 20
MIN_SIZE, MAX_SIZE = 8, 2048  # allowed sides of a stored picture, in pixels
STAGES = ("index", "read", "header", "policy", "decode", "pixels")


class PixelError(Exception):
    """A file that gives no picture. `stage` is one of STAGES, `reason` a sentence without any text of the file."""

    def __init__(self, stage: str, reason: str):
        super().__init__(f"{stage}: {reason}")
        self.stage, self.reason = stage, reason


@dataclass(frozen=True)
class PixelSpec:
    """What the bytes of a picture depend on. modalities: the DICOM modalities accepted; empty for all.

    image_size: side of the square picture in pixels, with shape "aspect" the shorter side of one that keeps its ratio.
    dicom_only: PNG and JPEG are refused. Raises ValueError for a size, intensity or shape that is not allowed.
    """

    image_size: int
    intensity: str = "minmax"
    modalities: tuple[str, ...] = ()
    shape: str = "square"
    dicom_only: bool = False

    def __post_init__(self) -> None:
        if not MIN_SIZE <= self.image_size <= MAX_SIZE:
            raise ValueError(f"image_size is {self.image_size}; allowed: {MIN_SIZE} to {MAX_SIZE} pixels")
        if self.shape not in SHAPES:
            raise ValueError(f"shape is {self.shape!r}; allowed: {', '.join(SHAPES)}")
        if self.intensity not in INTENSITIES:
            raise ValueError(f"intensity is {self.intensity!r}; allowed: {', '.join(INTENSITIES)}")

    def stored(self, rows: int, columns: int) -> tuple[int, int]:
        """Rows and columns of the picture that is made of a file of this many."""
        return stored_shape(rows, columns, self.image_size, self.shape)


@dataclass(frozen=True)
class Decoded:
    """pixels: uint8 of the spec's shape. rows, columns: of the file's picture, as it is shown.

    burned_in: the header says that text is burned in. turned: EXIF says that the picture lies on its side, on its head
    or mirrored, and it was put right. padded: the smallest and largest value are those without the padding.
    uncopied: rows stop half way and zeros follow, as where a part of a file without a checksum was never copied.
    unknown_view: the header has a view position in words that view_position does not know.
    """

    pixels: np.ndarray
    rows: int
    columns: int
    view_position: str | None = None
    burned_in: bool = False
    turned: bool = False
    padded: bool = False
    uncopied: bool = False
    unknown_view: bool = False


def check_size(rows: int, columns: int) -> None:
    """Raise PixelError for a size that is no radiograph's, before anything is allocated."""
    if rows < 1 or columns < 1:
        raise PixelError("header", "rows or columns are missing or zero")
    if rows * columns > MAX_PIXELS:
        raise PixelError("policy", f"more than {MAX_PIXELS:,} pixels are declared")


def resize(grey: np.ndarray, size: int | tuple[int, int]) -> np.ndarray:
    """(rows, columns) uint8 or float32 -> another shape of the same type, antialiased. size: of a square, or both."""
    shape = (size, size) if isinstance(size, int) else size
    if grey.shape == shape:
        return grey
    return np.asarray(Image.fromarray(grey).resize(shape[::-1], Image.Resampling.BILINEAR))


def equalise(grey: np.ndarray) -> np.ndarray:
    """Histogram equalisation of a uint8 picture (rows, columns) that has two greys or more: of the same shape and type.

    As OpenCV's equalizeHist, which the official MIMIC-CXR-JPG recipe uses: the lowest grey that occurs becomes 0.
    """
    cumulative = np.cumsum(np.bincount(grey.ravel(), minlength=256))
    first = cumulative[grey.min()]
    table = np.rint((cumulative - first) * (255.0 / (cumulative[-1] - first)))
    return np.clip(table, 0, 255).astype(np.uint8)[grey]


def to_bytes(grey: np.ndarray, spec: PixelSpec, inverted: bool = False) -> np.ndarray:
    """(rows, columns) of any real type -> uint8 of the spec's shape, smallest 0 and largest 255.

    inverted: MONOCHROME1. It is done on the full picture in the type of its values, so that the MONOCHROME1
    and the MONOCHROME2 file of one picture give equal bytes. Raises PixelError for a constant picture and for values
    that are not finite.
    """
    if spec.intensity != "jpg" and grey.dtype.kind in "iu" and grey.dtype.itemsize <= 2:
        unsigned = np.ascontiguousarray(grey, grey.dtype.newbyteorder("=")).view(f"u{grey.dtype.itemsize}")
        if (small := shrunk(unsigned, spec, inverted, grey.dtype.kind == "i", 8 * grey.dtype.itemsize)) is not None:
            return small
    low, high = grey.min(), grey.max()
    if not (np.isfinite(low) and np.isfinite(high)):
        raise PixelError("pixels", "values are not finite")
    if low == high:
        raise PixelError("pixels", "all pixels have the same value")
    # A difference of two int16 needs 17 bits, of two int32 33.
    wide = np.float64 if grey.dtype.kind == "f" else np.int64 if grey.dtype.itemsize > 2 else np.int32
    values = np.subtract(high, grey, dtype=wide) if inverted else np.subtract(grey, low, dtype=wide)
    span = np.float32(float(high) - float(low))
    if spec.intensity == "jpg":  # 8 bits and equalised at full size, before the resize
        full = np.rint(values * (255.0 / float(span))).astype(np.uint8)
        return resize(equalise(full), spec.stored(*grey.shape))
    small = resize(values.astype(np.float32), spec.stored(*grey.shape))
    return np.clip(np.rint(small * (np.float32(255) / span)), 0, 255).astype(np.uint8)


def shrunk(stored: np.ndarray, spec: PixelSpec, inverted: bool, signed: bool, bits: int) -> np.ndarray | None:
    """As to_bytes, in exact integers; None where the picture is too long or too thin for that.

    stored: (rows, columns) uint8 or uint16 whose lowest `bits` count, in two's complement where `signed`.
    Raises PixelError for a constant picture.
    """
    from datasets_io.pixels import (
        shrink,  # numba takes a quarter of a second to import: only where pixels are shrunk by it
    )

    rows, columns = stored.shape
    if not shrink.fits(rows, columns, spec.stored(rows, columns)):
        return None
    sums, low, high = shrink.shrink_sums(stored, spec.stored(rows, columns), signed=signed, bits=bits)
    if low == high:
        raise PixelError("pixels", "all pixels have the same value")
    # Sums are 2^32 times a value (2^16 for the rows, 2^16 for the columns), so low and high are shifted alike.
    above = (high << 32) - sums if inverted else sums - (low << 32)
    return np.rint(above * (255.0 / ((high - low) << 32))).astype(np.uint8)


def kind_of(error: BaseException) -> str:
    """The name of an error's class, for a reason that is stored: its message may quote the file."""
    name = type(error).__name__
    return f"{type(error).__module__}.{name}" if name == "error" else name  # zlib.error, struct.error
