"""How does a PNG file become grey values, with every checksum in it compared?

A file whose copy stopped has zeros where the rest should be, and Pillow, which reads no checksum of pixels, fills up
with black. Here the CRC-32 of every chunk, the Adler-32 of the pixels, their number and the last chunk must be right.
Chunks that say nothing of the pixels (text, colour profiles) are compared with their CRC and never unpacked, so that
they may be of any length and cannot be bombs.
"""

import struct
import zlib
from typing import NamedTuple

import numpy as np

from datasets_io.compiled import compiled
from datasets_io.pixels.exif import orientation_of
from datasets_io.pixels.grey import PixelError, check_size

SIGNATURE = b"\x89PNG\r\n\x1a\n"
MAX_CHUNKS = 1_000_000  # as many as 256 MiB have of 268 bytes; writers take 8 KiB and more
_CUT = "the PNG has no end (IEND): the file is cut short"
_DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}  # bits, by colour type
_GREY, _RGB, _PALETTE, _GREY_ALPHA, _RGBA = _DEPTHS
_SAMPLES = {_GREY: 1, _RGB: 3, _PALETTE: 1, _GREY_ALPHA: 2, _RGBA: 4}
_ADAM7 = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))
_MORE = 1 << 20  # bytes behind the last row that a careless writer may have packed too


class _Header(NamedTuple):
    """IHDR. bits: of a sample, of which a pixel has `samples`."""

    columns: int
    rows: int
    bits: int
    colour: int
    interlaced: bool

    @property
    def samples(self) -> int:
        return _SAMPLES[self.colour]

    def line(self, columns: int) -> int:
        """Bytes of so many pixels."""
        return (columns * self.bits * self.samples + 7) // 8


class _Chunks(NamedTuple):
    """What of the file is used."""

    header: _Header
    palette: bytes
    packed: bytes
    exif: bytes


def decode_png(data: bytes) -> tuple[np.ndarray, int]:
    """The grey picture (rows, columns), uint8 or uint16, and its EXIF orientation, 1 to 8.

    Colours become luma, transparency is dropped, 1, 2 and 4 bits are spread over 8. Raises PixelError.
    """
    chunks = _read(data)
    header = chunks.header
    areas = _areas(header)
    raw = _unpacked(chunks.packed, sum(rows * (1 + header.line(columns)) for *_, rows, columns in areas))
    whole = np.empty((header.rows, header.columns * header.samples), np.uint16 if header.bits == 16 else np.uint8)
    start = 0
    for row, column, row_step, column_step, rows, columns in areas:
        stop = start + rows * (1 + header.line(columns))
        part = _samples(raw[start:stop], rows, columns, header)
        if header.interlaced:
            whole.reshape(header.rows, header.columns, -1)[row::row_step, column::column_step] = part.reshape(
                rows, columns, -1
            )
        else:
            whole = part
        start = stop
    return _grey(whole.reshape(header.rows, header.columns, -1), chunks), orientation_of(chunks.exif)


def _read(data: bytes) -> _Chunks:
    """The chunks, all of which have the CRC that they say. Raises PixelError."""
    view, place, header = memoryview(data), len(SIGNATURE), None
    palette, exif, packed = b"", b"", []
    for _ in range(MAX_CHUNKS):
        if place + 12 > len(data):
            raise PixelError("decode", _CUT)
        length, kind = struct.unpack_from(">I4s", data, place)
        stop = place + 8 + length
        if stop + 4 > len(data):
            raise PixelError("decode", _CUT)
        if zlib.crc32(view[place + 4 : stop]) != int.from_bytes(view[stop : stop + 4], "big"):
            raise PixelError("decode", "a chunk of the PNG has another checksum (CRC): the file is damaged")
        content, place = view[place + 8 : stop], stop + 4
        if header is None:
            header = _header(kind, content)
        elif kind == b"IDAT":
            packed.append(content)
        elif kind == b"PLTE":
            palette = bytes(content)
        elif kind == b"eXIf":
            exif = bytes(content)
        elif kind == b"acTL" and int.from_bytes(content[:4], "big") > 1:
            raise PixelError("policy", "more than one frame")
        elif kind == b"IEND":
            return _Chunks(header, palette, b"".join(packed), exif)
    raise PixelError("policy", f"the PNG has more than {MAX_CHUNKS:,} chunks")


def _header(kind: bytes, content: memoryview) -> _Header:
    if kind != b"IHDR" or len(content) != 13:
        raise PixelError("decode", "the PNG does not begin with its header (IHDR)")
    columns, rows, bits, colour, packing, filtering, interlaced = struct.unpack(">IIBBBBB", content)
    check_size(rows, columns)
    if bits not in _DEPTHS.get(colour, ()) or packing or filtering or interlaced > 1:
        raise PixelError("decode", "the PNG's header names a depth, colour or method that PNG does not have")
    return _Header(columns, rows, bits, colour, bool(interlaced))


def _areas(header: _Header) -> list[tuple[int, int, int, int, int, int]]:
    """First row and column, their steps, and how many: of the picture, or of the seven passes of an interlaced one."""
    found = []
    for row, column, row_step, column_step in _ADAM7 if header.interlaced else ((0, 0, 1, 1),):
        rows, columns = -(-(header.rows - row) // row_step), -(-(header.columns - column) // column_step)
        if rows > 0 and columns > 0:
            found.append((row, column, row_step, column_step, rows, columns))
    return found


def _unpacked(packed: bytes, size: int) -> np.ndarray:
    """(size,) uint8: the filtered rows, whose Adler-32 is right. Raises PixelError."""
    import imagecodecs  # it takes a tenth of a second, and many archives have no PNG

    try:
        data = imagecodecs.deflate_decode(packed, out=size)  # libdeflate compares the Adler-32
    except imagecodecs.DeflateError:
        data = _unpacked_slowly(packed, size)
    if len(data) < size:
        raise PixelError("decode", "the PNG has fewer pixels than its header says")
    return np.frombuffer(data, np.uint8)[:size]


def _unpacked_slowly(packed: bytes, size: int) -> bytes:
    """By zlib, which says what is wrong, and reads what is longer than it should be."""
    unpacker = zlib.decompressobj()
    try:
        data = unpacker.decompress(packed, size)
        if not unpacker.eof:
            unpacker.decompress(unpacker.unconsumed_tail, _MORE)
    except zlib.error:
        raise PixelError("decode", "the PNG's pixels cannot be unpacked, or have another checksum (Adler-32)") from None
    if not unpacker.eof:
        raise PixelError("decode", "the PNG's packed pixels have no end, or are more than its header says")
    return data


def _samples(raw: np.ndarray, rows: int, columns: int, header: _Header) -> np.ndarray:
    """(rows, columns x samples) uint8 or uint16 of rows that are filtered, each behind a byte that says how."""
    line = header.line(columns)
    values = np.empty((rows, line), np.uint8)
    if not _unfilter(raw.reshape(rows, 1 + line), values, max(1, header.bits * header.samples // 8)):
        raise PixelError("decode", "a row of the PNG has a filter that PNG does not have")
    if header.bits == 16:
        return values.view(">u2").astype(np.uint16)
    if header.bits == 8:
        return values
    bits = np.unpackbits(values, axis=1).reshape(rows, -1, header.bits)[:, :columns]  # the highest bit first
    return (bits << np.arange(header.bits - 1, -1, -1, dtype=np.uint8)).sum(axis=2, dtype=np.uint8)


def _grey(values: np.ndarray, chunks: _Chunks) -> np.ndarray:
    """(rows, columns, samples) -> (rows, columns)."""
    bits, colour = chunks.header.bits, chunks.header.colour
    if colour in (_RGB, _RGBA):
        return luma(values)
    first = values[:, :, 0]
    if colour == _PALETTE:
        colours = np.frombuffer(chunks.palette[:768], np.uint8)
        colours = colours[: len(colours) // 3 * 3].reshape(1, -1, 3)
        if first.max() >= colours.shape[1]:
            raise PixelError("decode", "a pixel of the PNG has a colour that its palette does not have")
        return luma(colours)[0][first]
    return np.ascontiguousarray(first if bits >= 8 else first * np.uint8(255 // ((1 << bits) - 1)))


def luma(colours: np.ndarray) -> np.ndarray:
    """(rows, columns, 3 or 4) uint8 or uint16 -> (rows, columns) of the same type: ITU-R 601, rounded as by Pillow.

    The weights sum to 2^16, so that a grey stored as colours is that grey, and 65,535 of them fit 32 bits.
    """
    return _luma(np.ascontiguousarray(colours))


@compiled
def _luma(colours: np.ndarray) -> np.ndarray:
    rows, columns, _ = colours.shape
    grey = np.empty((rows, columns), colours.dtype)
    for i in range(rows):
        for j in range(columns):
            red, green, blue = (np.uint32(colours[i, j, 0]), np.uint32(colours[i, j, 1]), np.uint32(colours[i, j, 2]))
            total = red * np.uint32(19595) + green * np.uint32(38470) + blue * np.uint32(7471) + np.uint32(0x8000)
            grey[i, j] = total >> np.uint32(16)
    return grey


@compiled
def _unfilter(raw: np.ndarray, values: np.ndarray, step: int) -> bool:
    """Undo the filters of rows (PNG specification, 9.2). step: bytes from pixel to pixel. False: unknown filter."""
    rows, line = values.shape
    above = np.zeros(line, np.uint8)
    for row in range(rows):
        kind, source, out = raw[row, 0], raw[row, 1:], values[row]
        if kind == 0:
            out[:] = source
        elif kind == 1:
            out[:step] = source[:step]
            for i in range(step, line):
                out[i] = source[i] + out[i - step]
        elif kind == 2:
            for i in range(line):
                out[i] = source[i] + above[i]
        elif kind == 3:
            for i in range(min(step, line)):
                out[i] = source[i] + (above[i] >> 1)
            for i in range(step, line):
                out[i] = source[i] + np.uint8((np.uint16(out[i - step]) + np.uint16(above[i])) >> 1)
        elif kind == 4:
            for i in range(min(step, line)):
                out[i] = source[i] + above[i]
            for i in range(step, line):
                left, up, corner = np.int16(out[i - step]), np.int16(above[i]), np.int16(above[i - step])
                by_left, by_up = abs(up - corner), abs(left - corner)
                by_corner = abs(left + up - corner - corner)
                best = corner
                if by_left <= by_up and by_left <= by_corner:
                    best = left
                elif by_up <= by_corner:
                    best = up
                out[i] = source[i] + np.uint8(best)
        else:
            return False
        above = out
    return True
