"""How does a PNG file become grey values, with every checksum in it compared?

A file whose copy stopped has zeros where the rest should be, and Pillow, which skips the checksums of pixels, makes a
grey or black part of them. Here the CRC-32 of every chunk and the last chunk must be right, and libpng compares the
Adler-32 of the pixels and their number. Chunks that say nothing of the pixels (text, colour profiles) are compared with
their CRC and never unpacked, so that they may be of any length and cannot be bombs.
"""

import struct
import zlib
from typing import NamedTuple

import numpy as np
from PIL import Image

from datasets_io.pixels.exif import orientation_of
from datasets_io.pixels.grey import PixelError, check_size

SIGNATURE = b"\x89PNG\r\n\x1a\n"
MAX_CHUNKS = 1_000_000  # as many as 256 MiB have of 268 bytes; writers take 8 KiB and more
_CUT = "the PNG has no end (IEND): the file is cut short"
_DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}  # bits, by colour type
_KEPT = (b"IHDR", b"PLTE", b"IDAT", b"IEND")  # what pixels depend on; transparency is dropped
_WEIGHTS = np.array([19595, 38470, 7471], np.uint32)  # ITU-R 601, of 2^16


class _Chunks(NamedTuple):
    """kept: the file without what says nothing of its pixels."""

    kept: bytes
    exif: bytes


def decode_png(data: bytes) -> tuple[np.ndarray, int]:
    """The grey picture (rows, columns), uint8 or uint16, and its EXIF orientation, 1 to 8.

    Colours become luma, transparency is dropped, 1, 2 and 4 bits are spread over 8. Raises PixelError.
    """
    values, exif = png_values(data)
    return grey_of(values), orientation_of(exif)


def png_values(data: bytes) -> tuple[np.ndarray, bytes]:
    """The stored values, (rows, columns) or with 2 to 4 samples, uint8 or uint16, and EXIF. Raises PixelError."""
    chunks = _read(data)
    import imagecodecs  # here, since not every archive has PNGs

    try:
        return imagecodecs.png_decode(chunks.kept), chunks.exif
    except imagecodecs.PngError:
        raise PixelError("decode", "the PNG's pixels are damaged, too few, or have another checksum") from None


def check_chunks(data: bytes) -> bytes:
    """EXIF. Raises PixelError where a chunk has another checksum or the end is missing; no pixel is unpacked."""
    return _read(data).exif


def grey_of(values: np.ndarray) -> np.ndarray:
    """(rows, columns) of the same type: luma of colours, without transparency."""
    if values.ndim == 2:
        return values
    return np.ascontiguousarray(values[:, :, 0]) if values.shape[2] == 2 else luma(values[:, :, :3])


def luma(colours: np.ndarray) -> np.ndarray:
    """(rows, columns, 3) uint8 or uint16 -> (rows, columns) of the same type: ITU-R 601, rounded as by Pillow.

    The weights sum to 2^16, so that a grey stored as colours is that grey, and 65,535 of them fit 32 bits.
    """
    if colours.dtype == np.uint8:
        return np.asarray(Image.fromarray(np.ascontiguousarray(colours)).convert("L"))
    total = colours[:, :, 0] * _WEIGHTS[0] + colours[:, :, 1] * _WEIGHTS[1] + colours[:, :, 2] * _WEIGHTS[2]
    return ((total + np.uint32(0x8000)) >> np.uint32(16)).astype(np.uint16)


def _read(data: bytes) -> _Chunks:
    """The chunks, all of which have the CRC that they say. Raises PixelError."""
    view, place, exif = memoryview(data), len(SIGNATURE), b""
    kept = [view[:place]]
    for number in range(MAX_CHUNKS):
        if place + 12 > len(data):
            raise PixelError("decode", _CUT)
        length, kind = struct.unpack_from(">I4s", data, place)
        stop = place + 8 + length
        if stop + 4 > len(data):
            raise PixelError("decode", _CUT)
        if zlib.crc32(view[place + 4 : stop]) != int.from_bytes(view[stop : stop + 4], "big"):
            raise PixelError("decode", "a chunk of the PNG has another checksum (CRC): the file is damaged")
        if number == 0:
            _check_header(kind, view[place + 8 : stop])
        elif kind == b"eXIf":
            exif = bytes(view[place + 8 : stop])
        elif kind == b"acTL" and int.from_bytes(view[place + 8 : place + 12], "big") > 1:
            raise PixelError("policy", "more than one frame")
        if kind in _KEPT:
            kept.append(view[place : stop + 4])
        if kind == b"IEND":
            return _Chunks(b"".join(kept), exif)
        place = stop + 4
    raise PixelError("policy", f"the PNG has more than {MAX_CHUNKS:,} chunks")


def _check_header(kind: bytes, content: memoryview) -> None:
    if kind != b"IHDR" or len(content) != 13:
        raise PixelError("decode", "the PNG does not begin with its header (IHDR)")
    columns, rows, bits, colour, packing, filtering, interlaced = struct.unpack(">IIBBBBB", content)
    check_size(rows, columns)
    if bits not in _DEPTHS.get(colour, ()) or packing or filtering or interlaced > 1:
        raise PixelError("decode", "the PNG's header names a depth, colour or method that PNG does not have")
