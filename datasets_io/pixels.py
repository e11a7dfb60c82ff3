"""How a DICOM, PNG or JPEG file becomes image_size x image_size grey bytes.

DICOM: stored values -> modality LUT -> VOI (only with intensity "voi") -> MONOCHROME1 inverted -> grey by ITU-R 601
luma where there are colours -> resize -> scaled so that the smallest value of the full picture is 0 and the
largest 255. With intensity "jpg" the full picture is scaled to 8 bits and histogram-equalised before the resize,
as in the official MIMIC-CXR-JPG recipe. A windowed picture is scaled by its own smallest and largest value too.
PNG and JPEG: 8-bit greys are kept as they are, colours turned to luma, transparency dropped, 16 bits scaled as above.
Resize: directly to image_size x image_size (the shape is not kept), Pillow's BILINEAR filter, which widens its
support by the scale factor when it shrinks (antialiased), in float32 for DICOM and 16 bits, in uint8 otherwise.

Refused by policy: more than one frame, a constant picture (it shows nothing), a modality that the source does not
list, more than MAX_PIXELS pixels or MAX_FILE_BYTES bytes. Pixel padding values and EXIF orientation are ignored.
"""

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from datasets_io.archive import known_view

if TYPE_CHECKING:
    from pydicom import Dataset

VERSION = 1  # raise it when the bytes of any picture change
INTENSITIES = ("minmax", "jpg", "voi")
MAX_PIXELS = 6_000 * 6_000  # the largest chest detectors have about 4,300 x 3,500
MAX_FILE_BYTES = 256 << 20
STAGES = ("index", "read", "header", "policy", "decode", "pixels")

_HEADER_TAGS = [
    "Modality", "SamplesPerPixel", "PhotometricInterpretation", "PlanarConfiguration", "NumberOfFrames", "Rows",
    "Columns", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "RescaleSlope", "RescaleIntercept",
    "ModalityLUTSequence", "VOILUTSequence", "VOILUTFunction", "WindowCenter", "WindowWidth", "BurnedInAnnotation",
    "RedPaletteColorLookupTableDescriptor", "GreenPaletteColorLookupTableDescriptor",
    "BluePaletteColorLookupTableDescriptor", "RedPaletteColorLookupTableData", "GreenPaletteColorLookupTableData",
    "BluePaletteColorLookupTableData", "SegmentedRedPaletteColorLookupTableData",
    "SegmentedGreenPaletteColorLookupTableData", "SegmentedBluePaletteColorLookupTableData", "ViewPosition",
    "ExtendedOffsetTable", "ExtendedOffsetTableLengths", "PixelData", "FloatPixelData", "DoubleFloatPixelData",
]
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)


class PixelError(Exception):
    """A file that gives no picture. `stage` is one of STAGES, `reason` a sentence without any text of the file."""

    def __init__(self, stage: str, reason: str):
        super().__init__(f"{stage}: {reason}")
        self.stage, self.reason = stage, reason


@dataclass(frozen=True)
class PixelSpec:
    """What the bytes of a picture depend on. modalities: the DICOM modalities accepted; empty for all."""

    image_size: int
    intensity: str = "minmax"
    modalities: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not 8 <= self.image_size <= 2048:
            raise ValueError(f"image_size is {self.image_size}; allowed: 8 to 2048 pixels")
        if self.intensity not in INTENSITIES:
            raise ValueError(f"intensity is {self.intensity!r}; allowed: {', '.join(INTENSITIES)}")


@dataclass(frozen=True)
class Decoded:
    """pixels: (image_size, image_size) uint8. rows, columns: of the file. burned_in: the header says so."""

    pixels: np.ndarray
    rows: int
    columns: int
    view_position: str | None = None
    burned_in: bool = False


def decode_file(path: Path, spec: PixelSpec) -> Decoded:
    """Read one file. Raises PixelError for all that is wrong with it, whatever the libraries raise."""
    try:
        if os.path.getsize(path) > MAX_FILE_BYTES:
            raise PixelError("read", f"the file is larger than {MAX_FILE_BYTES >> 20} MiB")
        with open(path, "rb") as stream:
            start = stream.read(132)
    except FileNotFoundError:
        raise PixelError("read", "the file is absent") from None
    except OSError as error:
        raise PixelError("read", f"the file cannot be read ({error.strerror})") from None
    if not start:
        raise PixelError("read", "the file is empty")
    if start.startswith((b"\x89PNG", b"\xff\xd8")):
        return _decode_picture(path, spec)
    if start[128:] == b"DICM" or path.suffix.lower() in (".dcm", ".dicom"):
        return _decode_dicom(path, spec)
    raise PixelError("read", "the file is no DICOM, PNG or JPEG")


def check_size(rows: int, columns: int) -> None:
    """Refuse before anything is allocated."""
    if rows < 1 or columns < 1:
        raise PixelError("header", "rows or columns are missing or zero")
    if rows * columns > MAX_PIXELS:
        raise PixelError("policy", f"more than {MAX_PIXELS:,} pixels are declared")


def resize(grey: np.ndarray, image_size: int) -> np.ndarray:
    """(rows, columns) uint8 or float32 -> (image_size, image_size) of the same type, antialiased."""
    if grey.shape == (image_size, image_size):
        return grey
    return np.asarray(Image.fromarray(grey).resize((image_size, image_size), Image.Resampling.BILINEAR))


def equalise(grey: np.ndarray) -> np.ndarray:
    """Histogram equalisation of a uint8 picture that has two greys or more."""
    cumulative = np.cumsum(np.bincount(grey.ravel(), minlength=256))
    first = cumulative[grey.min()]
    table = np.rint((cumulative - first) * (255.0 / (cumulative[-1] - first)))
    return np.clip(table, 0, 255).astype(np.uint8)[grey]


def to_bytes(grey: np.ndarray, spec: PixelSpec, inverted: bool = False) -> np.ndarray:
    """(rows, columns) of any real type -> (image_size, image_size) uint8, smallest 0 and largest 255.

    inverted: MONOCHROME1. It is done on the full picture in the type of its values, so that the MONOCHROME1
    and the MONOCHROME2 file of one picture give equal bytes.
    """
    low, high = grey.min(), grey.max()
    if not (np.isfinite(low) and np.isfinite(high)):
        raise PixelError("pixels", "values are not finite")
    if low == high:
        raise PixelError("pixels", "all pixels have the same value")
    wide = np.float64 if grey.dtype.kind == "f" else np.int64 if grey.dtype.itemsize > 2 else np.int32
    values = np.subtract(high, grey, dtype=wide) if inverted else np.subtract(grey, low, dtype=wide)
    span = np.float32(float(high) - float(low))
    if spec.intensity == "jpg":
        full = np.rint(values * (255.0 / float(span))).astype(np.uint8)
        return resize(equalise(full), spec.image_size)
    small = resize(values.astype(np.float32), spec.image_size)
    return np.clip(np.rint(small * (np.float32(255) / span)), 0, 255).astype(np.uint8)


def _decode_picture(path: Path, spec: PixelSpec) -> Decoded:
    Image.MAX_IMAGE_PIXELS = None  # check_size refuses, with a sentence, what this would warn about
    try:
        with Image.open(path, formats=("PNG", "JPEG")) as image:
            check_size(image.height, image.width)
            if getattr(image, "n_frames", 1) > 1:
                raise PixelError("policy", "more than one frame")
            image.load()
            rows, columns = image.height, image.width
            grey = _grey_picture(image)
    except (PixelError, MemoryError):
        raise
    except Exception as error:
        # Pillow raises OSError, SyntaxError, ValueError, struct.error and zlib.error for broken files
        raise PixelError("decode", f"Pillow cannot decode the PNG or JPEG ({_kind(error)})") from None
    if grey.dtype != np.uint8:
        pixels = to_bytes(grey, PixelSpec(spec.image_size))
    elif grey.min() == grey.max():
        raise PixelError("pixels", "all pixels have the same value")
    else:
        pixels = resize(grey, spec.image_size)
    return Decoded(pixels, rows, columns)


def _grey_picture(image: Image.Image) -> np.ndarray:
    if image.mode.startswith("I") or image.mode == "F":
        return np.asarray(image)
    if image.mode == "P":
        image = image.convert("RGB")
    return np.asarray(image if image.mode == "L" else image.convert("L"))


def _decode_dicom(path: Path, spec: PixelSpec) -> Decoded:
    import pydicom  # only a set of DICOM files needs it, and it is slow to import

    try:
        # Other tags are never parsed, so names and dates cannot get anywhere.
        dataset = pydicom.dcmread(path, force=True, specific_tags=_HEADER_TAGS)
    except MemoryError:
        raise PixelError("header", "an element declares more bytes than memory holds") from None
    except Exception as error:
        raise PixelError("header", f"the DICOM header cannot be read ({_kind(error)})") from None
    try:
        _check_header(dataset, spec)
        rows, columns = int(dataset.Rows), int(dataset.Columns)
        view = known_view(str(dataset.get("ViewPosition") or ""))
        burned_in = str(dataset.get("BurnedInAnnotation") or "").strip().upper() == "YES"
    except (PixelError, MemoryError):
        raise
    except Exception as error:
        raise PixelError("header", f"a value of the DICOM header is invalid ({_kind(error)})") from None
    grey = _stored_grey(dataset, rows, columns)
    values = _looked_up(grey, dataset, spec.intensity == "voi")
    inverted = dataset.PhotometricInterpretation == "MONOCHROME1"
    return Decoded(to_bytes(values, spec, inverted), rows, columns, view, burned_in)


def _check_header(dataset: "Dataset", spec: PixelSpec) -> None:
    """Raise PixelError for what can be refused without decoding."""
    if not any(name in dataset for name in ("PixelData", "FloatPixelData", "DoubleFloatPixelData")):
        raise PixelError("header", "there is no pixel data: not an image, or the file is cut short")
    if not getattr(getattr(dataset, "file_meta", None), "TransferSyntaxUID", None):
        raise PixelError("header", "the transfer syntax is missing")
    check_size(int(dataset.get("Rows") or 0), int(dataset.get("Columns") or 0))
    modality = str(dataset.get("Modality") or "").strip()
    if spec.modalities and modality and modality not in spec.modalities:
        raise PixelError("policy", f"the modality is not {' or '.join(spec.modalities)}")
    if int(dataset.get("NumberOfFrames") or 1) > 1:
        raise PixelError("policy", "more than one frame")
    if not dataset.get("PhotometricInterpretation"):
        raise PixelError("header", "the photometric interpretation is missing")
    if "PixelData" in dataset:
        _check_length(dataset)


def _check_length(dataset: "Dataset") -> None:
    """Uncompressed pixel data must be as long as the header says."""
    if dataset.file_meta.TransferSyntaxUID.is_encapsulated:
        return
    if "BitsAllocated" not in dataset:
        raise PixelError("header", "the number of bits is missing")
    photometric = str(dataset.PhotometricInterpretation)
    samples = int(dataset.get("SamplesPerPixel") or 1) - (photometric == "YBR_FULL_422")
    bits = int(dataset.Rows) * int(dataset.Columns) * samples * int(dataset.BitsAllocated)
    if len(dataset.PixelData or b"") * 8 < bits:
        raise PixelError("decode", "the pixel data is shorter than rows x columns: the file is cut short")


def _stored_grey(dataset: "Dataset", rows: int, columns: int) -> np.ndarray:
    """Stored values (rows, columns); colours as luma, float32."""
    from pydicom.pixels import apply_color_lut

    try:
        array = dataset.pixel_array
        if dataset.PhotometricInterpretation == "PALETTE COLOR":
            array = apply_color_lut(array, dataset)
    except MemoryError:
        raise
    except Exception as error:
        syntax = re.sub(r"[^0-9.]", "", str(dataset.file_meta.TransferSyntaxUID))[:64]
        reason = f"no codec decodes the pixel data of transfer syntax {syntax} ({_kind(error)})"
        raise PixelError("decode", reason) from None
    if array.shape == (rows, columns, 3):
        array = array.astype(np.float32) @ _LUMA
    if array.shape != (rows, columns):
        raise PixelError("decode", "the decoded picture does not have the rows and columns of the header")
    return array


def _looked_up(grey: np.ndarray, dataset: "Dataset", with_voi: bool) -> np.ndarray:
    """Modality LUT, then VOI where it is asked for."""
    from pydicom.pixels import apply_modality_lut, apply_voi_lut

    if dataset.PhotometricInterpretation not in ("MONOCHROME1", "MONOCHROME2"):
        return grey
    what = "modality LUT or rescale slope"
    try:
        values = grey
        luts = dataset.get("ModalityLUTSequence")
        if luts and luts[0].get("LUTDescriptor"):  # elements without a value are common
            values = apply_modality_lut(grey, dataset)
        elif (slope := dataset.get("RescaleSlope")) not in (None, ""):
            intercept = dataset.get("RescaleIntercept")
            intercept = 0.0 if intercept in (None, "") else float(intercept)
            if (float(slope), intercept) != (1.0, 0.0):
                values = grey * float(slope) + intercept
        what = "VOI window or LUT"
        return apply_voi_lut(values, dataset) if with_voi else values
    except MemoryError:
        raise
    except Exception as error:
        raise PixelError("pixels", f"the {what} is invalid ({_kind(error)})") from None


def _kind(error: BaseException) -> str:
    """Only the class: a message may quote the file."""
    return type(error).__name__
