"""How does a JPEG file become grey values, if it is all there?

Pillow decodes it, from a stream without what says nothing of the pixels: text, profiles and previews may be of any
length and kind. That stream has no end marker but some filling, and its last bytes are handed out apart: libjpeg, which
would invent what a scan lacks and skip what is too much, then asks for more than there is, or not for all.
"""

import io

import numpy as np
from PIL import Image

from datasets_io.pixels.exif import orientation_of
from datasets_io.pixels.grey import PixelError
from datasets_io.pixels.jpeg_markers import JPEG_LS, PROGRESSIVE, Stream, read_markers

ZEROS = bytes(8)  # in a row they are no data of a scan, unless black areas are coded so (jpeg_scan.zeros_are_flat)
LS_ZEROS = bytes(32)  # in JPEG-LS no code has as many as 128 bits without a 1
_AHEAD = 8  # bytes that libjpeg reads at most before it needs them: it holds 64 bits
_FILLING = b"\xfe" * _AHEAD  # mostly ones, which are no code, so that few blocks can be made of them
_SLACK = 8  # bytes behind a scan that careless writers leave there
_DAMAGED = "the JPEG stream's data are not those of one picture: a part of the file is damaged or was not copied"


def decode_jpeg(data: bytes) -> tuple[Image.Image, int]:
    """The grey picture, of mode L, colours as luma, and its EXIF orientation, 1 to 8. Raises PixelError."""
    stream = read_markers(data)
    check_scans(stream, data)
    assert stream.frame is not None  # read_markers refuses it
    # libjpeg reads a progressive picture to its end marker before it makes any pixels.
    sequential = len(stream.scans) == 1 and stream.frame.kind not in PROGRESSIVE
    kept = b"".join([*stream.kept, _FILLING if sequential else b"\xff\xd9"])
    feed = _Feed(kept, len(kept) - 3 * _AHEAD if sequential else 0)
    with Image.open(feed, formats=("JPEG",)) as image:
        try:
            image.load()
        except OSError:
            raise PixelError("decode", _DAMAGED) from None
        if not feed.asked:
            raise PixelError("decode", _DAMAGED)
        return image if image.mode == "L" else image.convert("L"), orientation_of(stream.exif)


def check_scans(stream: Stream, data: bytes) -> None:
    """Raise PixelError where zeros stand in a scan that does not hold its picture, or one of several scans does not."""
    frame, scans = stream.frame, stream.scans
    assert frame is not None
    kind = LS_ZEROS if frame.kind == JPEG_LS else ZEROS
    zeros = any(data.find(kind, scan.start, scan.stop) >= 0 for scan in scans)
    if not zeros and (len(scans) == 1 or frame.kind == JPEG_LS):
        return
    from datasets_io.pixels import jpeg_scan  # numba takes a quarter of a second to import

    if frame.kind in jpeg_scan.HUFFMAN:
        if zeros and not jpeg_scan.zeros_are_flat(frame, scans):
            raise PixelError("decode", _DAMAGED)
        coded = np.frombuffer(data, np.uint8)
        if not jpeg_scan.holds_its_picture(frame, scans, coded, 0 if zeros else _SLACK):
            raise PixelError("decode", _DAMAGED)
    elif zeros:  # arithmetic coding and JPEG-LS leave no such run
        raise PixelError("decode", _DAMAGED)


class _Feed(io.BytesIO):
    """A file that hands out what lies behind `apart` by itself. asked: whether that was wanted."""

    def __init__(self, data: bytes, apart: int):
        super().__init__(data)
        self._apart, self.asked = apart, False

    def read(self, size: int | None = -1, /) -> bytes:
        place = self.tell()
        if place >= self._apart:
            self.asked = True
        elif size is None or size < 0 or place + size > self._apart:
            size = self._apart - place
        return super().read(size)
