"""What is in a JPEG file: its markers, read from the first to the end marker (ITU-T T.81, Annex B).

libjpeg fills up with grey what is missing of a scan, and Pillow does not ask for the end marker: a file of which a part
was never copied, and is zeros or not there, decodes to a picture. So the markers are followed here first.
"""

import struct
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from datasets_io.pixels.grey import PixelError, check_size

CUT = "the JPEG stream has no end: the file is cut short"
_BROKEN = "the JPEG stream has a segment that ends nowhere: the file is damaged"
SOI, EOI, SOS, DQT, DHT, DRI, APP0, APP1, APP14 = 0xD8, 0xD9, 0xDA, 0xDB, 0xC4, 0xDD, 0xE0, 0xE1, 0xEE
FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # start of frame, one for each kind of coding
PROGRESSIVE, LOSSLESS = (0xC2, 0xCA), (0xC3, 0xCB)
JPEG_LS, LSE = 0xF7, 0xF8
_KEPT = {APP0, APP14, DQT, DHT, DRI, 0xDC, 0xDE, 0xDF, 0xCC, *FRAMES}  # what decoding depends on


class Component(NamedTuple):
    """One colour of a frame: its name, and how many samples across and down it has in the smallest block."""

    name: int
    across: int
    down: int


@dataclass(frozen=True)
class Frame:
    """Start of frame. kind: its marker, which says how the picture is coded; bits: of a sample."""

    kind: int
    bits: int
    rows: int
    columns: int
    components: tuple[Component, ...]


@dataclass(frozen=True)
class Scan:
    """Coded data from `start` to the marker at `stop`, and what it is decoded by.

    components: (its place in the frame, its DC table, its AC table) of each. first, last: of the spectrum; high, low:
    which bits of a coefficient (T.81, G.1.1.1). tables: {(class, number): lengths and symbols}. restarts: places of
    the restart markers. interval: blocks between them, 0 for none.
    """

    start: int
    stop: int
    components: tuple[tuple[int, int, int], ...]
    first: int
    last: int
    high: int
    low: int
    tables: dict[tuple[int, int], bytes]
    restarts: np.ndarray
    interval: int


@dataclass
class Stream:
    """A JPEG stream as its markers say. kept: what decoding depends on, without the end marker."""

    frame: Frame | None = None
    scans: list[Scan] = field(default_factory=list)
    kept: list[memoryview] = field(default_factory=list)
    exif: bytes = b""
    end: int = 0


def read_markers(data: bytes | memoryview) -> Stream:
    """Follow the markers to the end marker; what lies behind it is padding, or another picture.

    Text and profiles are skipped by their length, however long or odd they are. Raises PixelError where the stream
    has no end, no picture, or restart markers that are not in their order.
    """
    view, stream = memoryview(data), Stream()
    tables: dict[tuple[int, int], bytes] = {}
    interval, place = 0, 2
    if bytes(view[:2]) != b"\xff\xd8":
        raise PixelError("decode", "the JPEG stream does not begin as one")
    stream.kept.append(view[:2])
    while True:
        marker, place = _next_marker(view, place)
        if marker == EOI:
            stream.end = place - 2
            if stream.frame is None or not stream.scans:
                raise PixelError("decode", "the JPEG stream has no picture: the file is damaged")
            return stream
        stop = place + int.from_bytes(view[place : place + 2], "big")
        if not place + 2 <= stop <= len(view):
            raise PixelError("decode", CUT if stop > len(view) else _BROKEN)
        content = view[place + 2 : stop]
        if marker in FRAMES or marker == JPEG_LS:
            if stream.frame is not None:
                raise PixelError("decode", "the JPEG stream has two frames: the file is damaged")
            stream.frame = _frame(marker, content)
        elif marker == DHT:
            tables = {**tables, **_huffman_tables(content)}
        elif marker == DRI and len(content) >= 2:
            interval = int.from_bytes(content[:2], "big")
        elif marker == APP1 and bytes(content[:6]) == b"Exif\0\0":
            stream.exif = stream.exif or bytes(content[6:])
        if marker == SOS:
            scan = _scan(view, stop, content, stream.frame, tables, interval)
            stream.scans.append(scan)
            stream.kept.append(view[place - 2 : scan.stop])
            place = scan.stop
        else:
            if marker in _KEPT:
                stream.kept.append(view[place - 2 : stop])
            place = stop


def _next_marker(view: memoryview, place: int) -> tuple[int, int]:
    """The marker at `place`, which fill bytes may precede, and where its content begins."""
    if view[place : place + 1] != b"\xff":
        # Behind a segment there is a marker, whatever wrote the file; libjpeg looks for the next one.
        raise PixelError("decode", CUT if not any(view[place : place + 64]) else _BROKEN)
    while view[place : place + 1] == b"\xff":
        place += 1
    if place >= len(view):
        raise PixelError("decode", CUT)
    return view[place], place + 1


def _frame(kind: int, content: memoryview) -> Frame:
    try:
        bits, rows, columns, count = struct.unpack_from(">BHHB", content)
        components = tuple(
            Component(content[at], content[at + 1] >> 4, content[at + 1] & 15) for at in range(6, 6 + 3 * count, 3)
        )
    except (struct.error, IndexError):
        raise PixelError("decode", "the JPEG stream's frame is cut short: the file is damaged") from None
    check_size(rows, columns)
    if not 1 <= count <= 4 or any(not (1 <= c.across <= 4 and 1 <= c.down <= 4) for c in components):
        raise PixelError("decode", "the JPEG stream has colours that JPEG does not have: the file is damaged")
    return Frame(kind, bits, rows, columns, components)


def _huffman_tables(content: memoryview) -> dict[tuple[int, int], bytes]:
    """{(0 DC or 1 AC, number): 16 counts of codes by length, then the symbols}."""
    found, place = {}, 0
    while place + 17 <= len(content):
        stop = place + 17 + sum(content[place + 1 : place + 17])
        found[content[place] >> 4, content[place] & 15] = bytes(content[place + 1 : stop])
        place = stop
    return found


def _scan(
    view: memoryview,
    start: int,
    content: memoryview,
    frame: Frame | None,
    tables: dict[tuple[int, int], bytes],
    interval: int,
) -> Scan:
    count = content[0] if len(content) else 0
    if frame is None or not 1 <= count <= 4 or len(content) < 4 + 2 * count:
        raise PixelError("decode", "the JPEG stream has a scan that JPEG does not have: the file is damaged")
    names = [component.name for component in frame.components]
    chosen = []
    for at in range(1, 1 + 2 * count, 2):
        if content[at] not in names:
            raise PixelError("decode", "the JPEG stream has a scan of a colour that it lacks: the file is damaged")
        chosen.append((names.index(content[at]), content[at + 1] >> 4, content[at + 1] & 15))
    first, last, bits = content[1 + 2 * count : 4 + 2 * count]
    stop, restarts = _end_of_scan(view, start, 0x80 if frame.kind == JPEG_LS else 1)
    return Scan(start, stop, tuple(chosen), first, last, bits >> 4, bits & 15, tables, restarts, interval)


def _end_of_scan(view: memoryview, start: int, lowest: int) -> tuple[int, np.ndarray]:
    """Where the first marker behind `start` is, and the places of the restart markers before it.

    lowest: what follows FF in a marker; less is coded data (JPEG stuffs a byte of 0, JPEG-LS a bit of 0).
    Raises PixelError where there is none, or where restart markers are not numbered 0 to 7 again and again.
    """
    coded = np.frombuffer(view, np.uint8)
    step = 1 << 20  # files with something large behind the picture are not searched to their end
    restarts: list[np.ndarray] = []
    for begin in range(start, len(coded) - 1, step):
        part = coded[begin : begin + step + 1]
        places = np.flatnonzero(part[:-1] == 0xFF)
        following = part[places + 1]
        found = (following >= lowest) & (following != 0xFF)
        places, following = places[found] + begin, following[found]
        others = np.flatnonzero((following & 0xF8) != 0xD0)
        restarts.append(places[: others[0]] if len(others) else places)
        if len(others):
            marks = np.concatenate(restarts)
            if not np.array_equal(coded[marks + 1] & 7, np.arange(len(marks)) & 7):
                raise PixelError("decode", "the JPEG stream lacks a restart marker: the file is damaged")
            return int(places[others[0]]), marks
    raise PixelError("decode", CUT)
