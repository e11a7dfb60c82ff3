"""Which decoder does a file need: DICOM, PNG or JPEG, known by its first bytes?"""

import os
from pathlib import Path

import numpy as np
from PIL import Image

from datasets_io.pixels.exif import upright
from datasets_io.pixels.grey import MAX_FILE_BYTES, Decoded, PixelError, PixelSpec, kind_of, to_bytes
from datasets_io.pixels.jpeg import decode_jpeg
from datasets_io.pixels.png import SIGNATURE, decode_png

DICOM_ONLY = "no DICOM file, in whose pixels the archive has boxes or masks"


def decode_file(path: Path, spec: PixelSpec) -> Decoded:
    """Read one file. Raises PixelError for all that is wrong with it, whatever the libraries raise.

    MemoryError passes through; worker.py, which limits memory, turns it into a PixelError.
    """
    try:
        if os.path.getsize(path) > MAX_FILE_BYTES:
            raise PixelError("read", f"the file is larger than {MAX_FILE_BYTES >> 20} MiB")
        with open(path, "rb") as stream:
            start = stream.read(132)
    except FileNotFoundError:
        raise PixelError("read", "the file is absent") from None
    except OSError as error:
        raise PixelError("read", f"the file cannot be read ({error.strerror})") from None
    # The kind is told by the first bytes: names in archives are not always right. DICOM has "DICM" after 128 bytes
    # of any content; old files lack it, and only their name tells.
    if not start:
        raise PixelError("read", "the file is empty")
    if is_picture(start):
        if spec.dicom_only:
            raise PixelError("policy", f"it is a PNG or JPEG, {DICOM_ONLY}")
        return _decode_picture(path, spec)
    if start[128:] == b"DICM" or path.suffix.lower() in (".dcm", ".dicom"):
        from datasets_io.pixels.dicom import decode_dicom  # many archives have none, and pydicom is slow to import

        return decode_dicom(path, spec)
    raise PixelError("read", "the file is no DICOM, PNG or JPEG")


def is_picture(start: bytes) -> bool:
    """Whether a file that starts so is decoded as PNG or JPEG."""
    return start.startswith((SIGNATURE, b"\xff\xd8"))


def _decode_picture(path: Path, spec: PixelSpec) -> Decoded:
    try:
        data = path.read_bytes()
        grey: np.ndarray | Image.Image
        grey, orientation = decode_png(data) if data.startswith(SIGNATURE) else decode_jpeg(data)
    except (PixelError, MemoryError):
        raise
    except Exception as error:
        # Pillow raises OSError, SyntaxError, ValueError and struct.error for broken files
        raise PixelError("decode", f"the PNG or JPEG cannot be decoded ({kind_of(error)})") from None
    if orientation != 1:
        grey = upright(np.asarray(grey), orientation)
    if isinstance(grey, np.ndarray) and grey.dtype != np.uint8:
        rows, columns = grey.shape
        pixels = to_bytes(grey, PixelSpec(spec.image_size, shape=spec.shape))
    else:
        image = Image.fromarray(grey) if isinstance(grey, np.ndarray) else grey
        rows, columns = image.height, image.width
        pixels = _shrunk(image, spec.stored(rows, columns))
    return Decoded(pixels, rows, columns, turned=orientation != 1)


def _shrunk(image: Image.Image, shape: tuple[int, int]) -> np.ndarray:
    """As grey.resize, without turning the large picture into an array: its pages are half of the work."""
    same = image.size == shape[::-1]
    small = np.asarray(image if same else image.resize(shape[::-1], Image.Resampling.BILINEAR))
    if small.min() == small.max() and len(set(image.getextrema())) == 1:
        raise PixelError("pixels", "all pixels have the same value")
    return small
