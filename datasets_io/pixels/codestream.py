"""Is a JPEG 2000 codestream all there? Its tile parts say how long they are, and it has an end marker (T.800, Annex A).

OpenJPEG decodes what there is of the data of a tile: they have no checksum. A run of zeros in them, longer than that
of a picture without any detail, is a part that was never copied.
"""

import struct

from datasets_io.pixels.grey import PixelError

CUT = "the JPEG 2000 stream has no end: the file is cut short"
_DAMAGED = "the JPEG 2000 stream's data are damaged, or were not copied in full"
_NONE = "there is no JPEG 2000 stream in the pixel data"
_SIZ, _COD, _SOT, _EOC = 0xFF51, 0xFF52, 0xFF90, 0xFFD9
_ZEROS = 8  # bytes; arithmetic coding leaves no such run
_BARE_ZEROS = 128  # where bits are stored as they are: in HTJ2K and with "bypass"
_BYPASS = 1  # of a block's style


def check_codestream(data: bytes, high_throughput: bool) -> None:
    """Raise PixelError where the stream has no end, its parts do not follow each other, or zeros stand in them."""
    place = data.find(b"\xff\x4f\xff\x51") + 2  # DICOM has the bare stream; some files have it in the boxes of JP2
    if place == 1:
        raise PixelError("decode", _NONE)
    try:
        start, packets, bare = _main_header(data, place)
        stop = _parts(data, start)
    except struct.error:
        raise PixelError("decode", CUT) from None
    zeros = packets + (_BARE_ZEROS if bare or high_throughput else _ZEROS)  # an empty packet is a byte of zeros
    if data.find(bytes(zeros), start, stop) >= 0:
        raise PixelError("decode", _DAMAGED)


def _main_header(data: bytes, place: int) -> tuple[int, int, bool]:
    """Where the first tile part begins, how many packets there are, and whether some bits are stored as they are."""
    size, packets, bare = (0, 0, 1, 1, 1), 1, False
    while True:
        marker, length = struct.unpack_from(">HH", data, place)
        if marker == _SOT:
            return place, packets, bare
        if marker < 0xFF00 or length < 2:
            raise PixelError("decode", _DAMAGED)
        if marker == _SIZ:
            columns, rows, left, top, wide, tall = struct.unpack_from(">6I", data, place + 6)
            (components,) = struct.unpack_from(">H", data, place + 38)
            size = (max(0, columns - left), max(0, rows - top), max(1, wide), max(1, tall), components)
        elif marker == _COD:
            cod = data[place + 4 : place + 2 + length]
            packets, bare = _packets(cod, *size), bool(cod[8:9] and cod[8] & _BYPASS)
        place += 2 + length


def _packets(cod: bytes, columns: int, rows: int, wide: int, tall: int, components: int) -> int:
    """Layers x components x precincts of all resolutions, of all tiles, about."""
    style, _, layers, _, levels = struct.unpack_from(">BBHBB", cod)
    tiles = _ceil(columns, wide) * _ceil(rows, tall)
    precincts = 0
    for level in range(levels + 1):
        exponents = cod[10 + level] if style & 1 and len(cod) > 10 + level else 0xFF
        sides = (min(columns, wide), exponents & 15), (min(rows, tall), exponents >> 4)
        across, down = (_ceil(_ceil(side, 1 << levels - level), 1 << exponent) for side, exponent in sides)
        precincts += across * down
    return min(layers * components * precincts * tiles, 1 << 20)


def _ceil(length: int, unit: int) -> int:
    """How many units cover a length."""
    return -(-length // unit)


def _parts(data: bytes, place: int) -> int:
    """Where the end marker is: behind the last tile part."""
    while True:
        (marker,) = struct.unpack_from(">H", data, place)
        if marker == _EOC:
            return place
        if marker != _SOT:
            raise PixelError("decode", _DAMAGED if any(data[place : place + 64]) else CUT)
        (length,) = struct.unpack_from(">I", data, place + 6)
        if length == 0:  # up to the end marker, which is the last thing but for padding
            stop = len(data.rstrip(b"\0")) - 2
            if stop < place or data[stop : stop + 2] != b"\xff\xd9":
                raise PixelError("decode", CUT)
            return stop
        if length < 14:
            raise PixelError("decode", _DAMAGED)
        place += length
