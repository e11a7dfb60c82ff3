"""How does a DICOM file become grey values, and what of its header is used?

The pixels of an uncompressed little endian file, which nearly all radiographs are, are not read but mapped, and shrunk
where they lie. Other files are read as a whole and decoded by codecs.py.
"""

import mmap
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
from pydicom import Dataset
from pydicom.pixels import apply_color_lut, apply_modality_lut, apply_voi_lut
from pydicom.tag import Tag
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian

from datasets_io.pixels import shrink
from datasets_io.pixels.codecs import SYNTAXES, stored_values
from datasets_io.pixels.grey import MAX_PIXELS, Decoded, PixelError, PixelSpec, check_size, kind_of, shrunk, to_bytes
from datasets_io.pixels.header import deflated_is_whole, open_limited, read_header
from datasets_io.pixels.padding import Padding, padding_of, without_padding
from datasets_io.pixels.uncopied import lacks_a_part
from datasets_io.schema import known_view

_HEADER_TAGS = [
    Tag(name)
    for name in (
        "Modality",
        "SamplesPerPixel",
        "PhotometricInterpretation",
        "PlanarConfiguration",
        "NumberOfFrames",
        "Rows",
        "Columns",
        "BitsAllocated",
        "BitsStored",
        "HighBit",
        "PixelRepresentation",
        "PixelPaddingValue",
        "PixelPaddingRangeLimit",
        "RescaleSlope",
        "RescaleIntercept",
        "ModalityLUTSequence",
        "VOILUTSequence",
        "VOILUTFunction",
        "WindowCenter",
        "WindowWidth",
        "BurnedInAnnotation",
        "RedPaletteColorLookupTableDescriptor",
        "GreenPaletteColorLookupTableDescriptor",
        "BluePaletteColorLookupTableDescriptor",
        "RedPaletteColorLookupTableData",
        "GreenPaletteColorLookupTableData",
        "BluePaletteColorLookupTableData",
        "SegmentedRedPaletteColorLookupTableData",
        "SegmentedGreenPaletteColorLookupTableData",
        "SegmentedBluePaletteColorLookupTableData",
        "ViewPosition",
        "ExtendedOffsetTable",
        "ExtendedOffsetTableLengths",
        "PixelData",
        "FloatPixelData",
        "DoubleFloatPixelData",
    )
]
_NEEDED = ("BitsAllocated", "BitsStored", "PixelRepresentation", "SamplesPerPixel")
_COLOURS = ("PALETTE COLOR", "RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT")
_MONOCHROME = ("MONOCHROME1", "MONOCHROME2")
_IMPLICIT, _EXPLICIT = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1"  # little endian, neither compressed nor deflated
_PIXEL_NAMES = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")
_NO_PIXELS = "there is no pixel data: not an image, or the file is cut short"
_CUT = "the pixel data is cut short, or followed by bytes that are no DICOM"
_PIXEL_DATA = b"\xe0\x7f\x10\x00"  # the tag (7FE0,0010) in little endian
SLOPES = (1e-30, 1e30)  # beyond them float32, in which pictures are scaled, has nothing or infinity
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601


def decode_dicom(path: Path, spec: PixelSpec) -> Decoded:
    """One DICOM file. Raises PixelError for all that is wrong with it, MemoryError where it needs too much."""
    # The header alone first: for most files the pixels are then mapped, and nothing is read twice.
    with open_limited(path) as stream:
        dataset = read_header(stream, _HEADER_TAGS, stop_before_pixels=True)
        found = stream.read(4) == _PIXEL_DATA
        plain = _mapped(stream, dataset, spec) if found else None
        if plain is None:
            stream.seek(0)
            dataset = read_header(stream, _HEADER_TAGS, stop_before_pixels=False)
    try:
        if plain is None and not any(name in dataset for name in _PIXEL_NAMES):
            raise PixelError("header", _CUT if found else _NO_PIXELS)
        _check_header(dataset, spec)
        rows, columns = _whole(dataset, "Rows"), _whole(dataset, "Columns")
        words = _text(dataset, "ViewPosition")
        view = known_view(words)
        burned_in = _text(dataset, "BurnedInAnnotation").upper() == "YES"
        if dataset.file_meta.TransferSyntaxUID == DeflatedExplicitVRLittleEndian and not deflated_is_whole(
            path, dataset
        ):
            raise PixelError("decode", "the deflated file has more or less than its elements: it is damaged")
    except (PixelError, MemoryError):
        raise
    except Exception as error:
        raise PixelError("header", f"a value of the DICOM header is invalid ({kind_of(error)})") from None
    made = _plain_pixels(plain, dataset, spec) if plain is not None else _pixels(dataset, spec, rows, columns)
    unknown = bool(words.strip()) and view is None
    seldom = {"padded": made.padded, "uncopied": made.uncopied, "unknown_view": unknown}
    return Decoded(made.pixels, rows, columns, view, burned_in, **seldom)


class _Picture(NamedTuple):
    """As Decoded has it."""

    pixels: np.ndarray
    padded: bool
    uncopied: bool


class _Plain(NamedTuple):
    """stored: (rows, columns) unsigned, in the mapped file; the lowest `bits` of each value are the pixel's."""

    stored: np.ndarray
    signed: bool
    bits: int

    def values(self, padding: Padding) -> np.ndarray:
        """What is stored, as signed or unsigned numbers of the `bits` that count.

        Padding may use the bits above those, such as -2,000 in a file of 12 bits: then all count.
        """
        wide = self.stored.view(f"i{self.stored.itemsize}") if self.signed else self.stored
        fits = -(1 << self.bits - 1) if self.signed else 0, (1 << self.bits - self.signed) - 1
        unused = 8 * self.stored.itemsize - self.bits
        if not unused or padding.low < fits[0] or padding.high > fits[1]:
            return wide
        return (wide << unused) >> unused  # shifted to the left end and back: the sign too


def _mapped(stream: BinaryIO, dataset: Dataset, spec: PixelSpec) -> _Plain | None:
    """The pixels of a file that is as simple as nearly all are; None for any other, whatever is wrong with it.

    The stream is behind the tag of the pixel data, which the reader of the header stopped at. Should the file become
    shorter while it is mapped, the kernel ends this process: one that may end (worker.py).
    """
    try:
        allocated, bits, signed = int(dataset.BitsAllocated), int(dataset.BitsStored), int(dataset.PixelRepresentation)
        rows, columns, syntax = int(dataset.Rows), int(dataset.Columns), str(dataset.file_meta.TransferSyntaxUID)
        simple = (
            spec.intensity == "minmax"
            and syntax in (_IMPLICIT, _EXPLICIT)
            and int(dataset.SamplesPerPixel) == 1
            and dataset.PhotometricInterpretation in _MONOCHROME
            and not dataset.get("ModalityLUTSequence")
            and allocated in (8, 16)
            and 1 <= bits <= allocated
            and signed in (0, 1)
            and min(rows, columns) > 0
            and rows * columns <= MAX_PIXELS
        )
    except Exception:  # the reader of whole files says what is wrong
        return None
    if not simple or not shrink.fits(rows, columns, spec.stored(rows, columns)):
        return None
    # Behind the tag: explicit syntaxes have two letters for the type and two zeros, both have the length in 4 bytes.
    known = syntax == _IMPLICIT or stream.read(4) in (b"OW\0\0", b"OB\0\0")
    length, place = int.from_bytes(stream.read(4), "little"), stream.tell()
    last = place + length == os.fstat(stream.fileno()).st_size  # what follows may be padding, or say that it is broken
    # Some padding is no harm, as many bytes as another frame are: the reader of whole files takes them for one.
    one_frame = rows * columns * allocated <= length * 8 < 2 * rows * columns * allocated
    if not known or not last or not one_frame or place * 8 % allocated:
        return None
    file = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
    stored = np.frombuffer(file, f"<u{allocated // 8}", rows * columns, place).reshape(rows, columns)
    return _Plain(stored, bool(signed), _bits_used(dataset, lambda: stored))


def _bits_used(dataset: Dataset, cells: Callable[[], np.ndarray]) -> int:
    """How many of the lowest bits of a cell count: BitsStored, or more where a file stores them further to the left.

    HighBit says so, in old files rightly and in some wrongly: it is believed where a cell has bits above BitsStored.
    The bits below the picture's then count too, as less than one of its steps.
    """
    bits, high, allocated = (_whole(dataset, name) for name in ("BitsStored", "HighBit", "BitsAllocated"))
    if not 1 <= bits <= high < allocated:
        return bits
    return high + 1 if (cells() >> bits).any() else bits


def _plain_pixels(plain: _Plain, dataset: Dataset, spec: PixelSpec) -> _Picture:
    """Of a mapped file."""
    inverted = _looked_up(plain.stored, dataset, False)[1]
    pixels = shrunk(plain.stored, spec, inverted, plain.signed, plain.bits)
    assert pixels is not None  # _mapped gives nothing that does not fit
    uncopied = lacks_a_part(plain.stored)
    if padding := padding_of(dataset, plain.signed):
        values = plain.values(padding)
        if (unpadded := without_padding(values, padding, inverted)) is not None:
            return _Picture(to_bytes(unpadded, spec, inverted), True, uncopied)
    return _Picture(pixels, False, uncopied)


def _pixels(dataset: Dataset, spec: PixelSpec, rows: int, columns: int) -> _Picture:
    """Of any other file."""
    shift = _shift_of(dataset)
    stored = _stored_grey(dataset, rows, columns)
    if shift and not (stored & (1 << shift) - 1).any():  # a window, and padding, are in the picture's own steps
        stored = stored >> shift
    uncopied = not dataset.file_meta.TransferSyntaxUID.is_encapsulated and lacks_a_part(stored)
    padding = padding_of(dataset, stored.dtype.kind == "i") if stored.dtype.kind in "iu" else None
    # The recipe of MIMIC-CXR-JPG, which intensity "jpg" repeats, scales padding like anything else.
    if padding is None or spec.intensity == "jpg" or dataset.PhotometricInterpretation not in _MONOCHROME:
        values, inverted = _looked_up(stored, dataset, spec.intensity == "voi")
        return _Picture(to_bytes(values, spec, inverted), False, uncopied)
    negative = _looked_up(stored[:1, :1], dataset, False)[1]
    unpadded = without_padding(stored, padding, negative)
    # Window and LUT after that: what was padding is as dark as the picture gets, whatever they do to its value.
    values, inverted = _looked_up(stored if unpadded is None else unpadded, dataset, spec.intensity == "voi")
    return _Picture(to_bytes(values, spec, inverted), unpadded is not None, uncopied)


def _shift_of(dataset: Dataset) -> int:
    """How many bits of a cell lie below the picture's; BitsStored of the dataset then counts them too."""
    syntax, size = dataset.file_meta.TransferSyntaxUID, _whole(dataset, "BitsAllocated") // 8
    plain = not syntax.is_encapsulated and "PixelData" in dataset and dataset.PhotometricInterpretation in _MONOCHROME
    if not plain or size not in (1, 2, 4):
        return 0
    data, before = dataset.PixelData, _whole(dataset, "BitsStored")
    order = ">" if syntax == ExplicitVRBigEndian else "<"
    dataset.BitsStored = _bits_used(dataset, lambda: np.frombuffer(data, f"{order}u{size}", len(data) // size))
    return int(dataset.BitsStored) - before


def _check_header(dataset: Dataset, spec: PixelSpec) -> None:
    """Raise PixelError for what can be refused without decoding."""
    if not getattr(getattr(dataset, "file_meta", None), "TransferSyntaxUID", None):
        raise PixelError("header", "the transfer syntax is missing")
    check_size(_whole(dataset, "Rows"), _whole(dataset, "Columns"))
    modality = _text(dataset, "Modality")
    if spec.modalities and modality and modality not in spec.modalities:
        raise PixelError("policy", f"the modality is not {' or '.join(spec.modalities)}")
    if _whole(dataset, "NumberOfFrames") > 1:
        raise PixelError("policy", "more than one frame")
    if not dataset.file_meta.TransferSyntaxUID.is_transfer_syntax:
        raise PixelError("header", "the transfer syntax is not one of the standard's")
    if not (photometric := _text(dataset, "PhotometricInterpretation")):
        raise PixelError("header", "the photometric interpretation is missing")
    if photometric not in (*_MONOCHROME, *_COLOURS):
        raise PixelError("header", f"the photometric interpretation is not {', '.join(_MONOCHROME + _COLOURS)}")
    if missing := [name for name in _NEEDED if name not in dataset and "PixelData" in dataset]:
        raise PixelError("header", f"missing: {', '.join(missing)}")
    if "PixelData" in dataset:
        _check_length(dataset, photometric)


def _text(dataset: Dataset, name: str) -> str:
    try:
        return str(dataset.get(name) or "").strip()
    except Exception:  # pydicom reads a value when it is asked for, and raises what it likes
        raise PixelError("header", f"{name} is not readable") from None


def _whole(dataset: Dataset, name: str) -> int:
    """The value of an element that must be a whole number; 0 where it is absent or empty."""
    try:
        return int(dataset.get(name) or 0)
    except Exception:
        raise PixelError("header", f"{name} is not a whole number") from None


def _check_length(dataset: Dataset, photometric: str) -> None:
    """Uncompressed pixel data must be as long as the header says."""
    syntax, allocated, stored = dataset.file_meta.TransferSyntaxUID, *(_whole(dataset, name) for name in _NEEDED[:2])
    if not 1 <= stored <= allocated <= 64 or (allocated > 1 and allocated % 8):
        raise PixelError("header", "BitsAllocated and BitsStored do not fit each other")
    if syntax.is_encapsulated:
        return
    # YBR_FULL_422 stores each colour difference for two pixels at once: 2 samples a pixel of 3.
    samples = _whole(dataset, "SamplesPerPixel") - (photometric == "YBR_FULL_422")
    bits = _whole(dataset, "Rows") * _whole(dataset, "Columns") * samples * allocated
    if len(dataset.PixelData or b"") * 8 < bits:
        raise PixelError("decode", "the pixel data is shorter than rows x columns: the file is cut short")


def _stored_grey(dataset: Dataset, rows: int, columns: int) -> np.ndarray:
    """Stored values (rows, columns); colours as luma, float32."""
    try:
        array = stored_values(dataset)
        if dataset.PhotometricInterpretation == "PALETTE COLOR":
            array = apply_color_lut(array, dataset)
    except MemoryError:
        raise
    except PixelError as error:
        if error.reason.endswith("cut short"):
            raise
        reason = f"the pixel data is damaged: it is no {_syntax_name(dataset)} ({error.reason})"
        raise PixelError(error.stage, reason) from None
    except Exception as error:
        reason = f"no codec reads pixel data like this one: {_syntax_name(dataset)} ({kind_of(error)})"
        if dataset.file_meta.TransferSyntaxUID in SYNTAXES:
            reason = f"the pixel data is damaged: it is no {_syntax_name(dataset)} ({kind_of(error)})"
        raise PixelError("decode", reason) from None
    if array.shape == (rows, columns, 3):  # (rows, columns, 3) @ (3,) -> (rows, columns)
        array = array.astype(np.float32) @ _LUMA
    if array.shape != (rows, columns):
        raise PixelError("decode", "the decoded picture does not have the rows and columns of the header")
    return array


def _syntax_name(dataset: Dataset) -> str:
    """The standard's name, or only the digits: a file may have any text there."""
    syntax = UID(re.sub(r"[^0-9.]", "", str(dataset.file_meta.TransferSyntaxUID))[:64])
    return f"{syntax.name} ({syntax})" if syntax.is_transfer_syntax else f"transfer syntax {syntax}"


def _looked_up(grey: np.ndarray, dataset: Dataset, with_voi: bool) -> tuple[np.ndarray, bool]:
    """Modality LUT, then VOI where it is asked for; and whether the picture is to be inverted after that.

    Without VOI only the sign of a rescale slope counts: slope and intercept do not change which share of the way from
    the smallest to the largest value a pixel is at.
    """
    if dataset.PhotometricInterpretation not in _MONOCHROME:
        return grey, False
    inverted, what = dataset.PhotometricInterpretation == "MONOCHROME1", "modality LUT or rescale slope"
    try:
        luts, slope, intercept = dataset.get("ModalityLUTSequence"), *_rescale(dataset)
        if luts and luts[0].get("LUTDescriptor"):  # elements without a value are common
            grey = apply_modality_lut(grey, dataset)
        elif not with_voi:
            inverted ^= slope < 0  # inverted twice is not inverted
        elif (slope, intercept) != (1.0, 0.0):
            grey = grey * slope + intercept
        what = "VOI window or LUT"
        return apply_voi_lut(grey, dataset) if with_voi else grey, inverted
    except MemoryError:
        raise
    except Exception as error:
        raise PixelError("pixels", f"the {what} is invalid ({kind_of(error)})") from None


def _rescale(dataset: Dataset) -> tuple[float, float]:
    """Slope and intercept. Raises ValueError and others where they make no values."""
    slope, intercept = dataset.get("RescaleSlope"), dataset.get("RescaleIntercept")
    if slope in (None, ""):
        return 1.0, 0.0
    slope, intercept = float(slope), 0.0 if intercept in (None, "") else float(intercept)
    low, high = SLOPES
    if not low < abs(slope) < high or not abs(intercept) < high:  # false for NaN too
        raise ValueError("a slope that leaves nothing of the picture")
    return slope, intercept
