"""How is the header of a DICOM file read, whatever is written there, in little time?"""

import io
import os
import struct
import zlib
from pathlib import Path
from typing import BinaryIO

from pydicom import Dataset
from pydicom.filereader import read_partial
from pydicom.tag import BaseTag, Tag
from pydicom.valuerep import EXPLICIT_VR_LENGTH_32

from datasets_io.pixels.grey import PixelError, kind_of

# Of 146 odd files none needs a hundredth of it. Zeros are elements of 8 bytes: a file of them would take a minute.
MAX_READS = 100_000
_PIXELS = {Tag(name) for name in ("PixelData", "FloatPixelData", "DoubleFloatPixelData")}
_TOO_MANY = f"the DICOM header has more than {MAX_READS:,} parts: it is damaged, or zeros"


class _Reader(io.BufferedReader):
    """A file that can be read from so many times."""

    reads = 0

    def read(self, size: int | None = -1, /) -> bytes:
        self.reads += 1
        if self.reads > MAX_READS:
            raise PixelError("header", _TOO_MANY)
        return super().read(size)


def open_limited(path: Path) -> BinaryIO:
    """The file, to be read by read_header."""
    return _Reader(io.FileIO(os.fspath(path)))  # pydicom puts the name of the file into a text


def read_header(stream: BinaryIO, tags: list[BaseTag], stop_before_pixels: bool) -> Dataset:
    """The elements of `tags`; no other is parsed, so names and dates cannot get anywhere. Raises PixelError."""
    elements = 0

    def stop(tag: BaseTag, value_type: str | None, length: int) -> bool:
        nonlocal elements  # of deflated files too, which are not read from the stream one by one
        elements += 1
        if elements > MAX_READS:
            raise PixelError("header", _TOO_MANY)
        return stop_before_pixels and tag in _PIXELS

    try:
        return read_partial(stream, stop, force=True, specific_tags=list(tags))
    except PixelError:
        raise
    except MemoryError:
        raise PixelError("header", "an element declares more bytes than memory holds") from None
    except Exception as error:
        raise PixelError("header", f"the DICOM header cannot be read ({kind_of(error)})") from None


def deflated_is_whole(path: Path, dataset: Dataset) -> bool:
    """Whether nothing but elements follows the pixels of a deflated file: it has no checksum.

    Where a part is missing, what follows is unpacked to another length. Raises zlib.error, struct.error and others.
    """
    data = path.read_bytes()
    unpacker = zlib.decompressobj(-zlib.MAX_WBITS)
    # Behind 128 bytes, "DICM" and the 12 bytes of the element that says how long the rest of the meta header is.
    content = unpacker.decompress(data[144 + int(dataset.file_meta.FileMetaInformationGroupLength) :])
    # Behind the end there may be a byte that makes the length even, or CRC and length, as gzip has them.
    if not unpacker.eof or len(unpacker.unused_data) > 8:
        return False
    pixels = dataset["PixelData"]
    place, before = (pixels.file_tell or 0) + len(pixels.value), (0x7FE0, 0x0010)
    while place < len(content):
        group, element, kind, length = struct.unpack_from("<HH2sH", content, place)
        if (group, element) <= before or not kind.isalpha():
            return False
        place, before = place + 8 + length, (group, element)
        if kind.decode() in EXPLICIT_VR_LENGTH_32:
            (length,) = struct.unpack_from("<L", content, place - length)
            if length == 0xFFFFFFFF:
                return True  # a sequence whose end pydicom has found
            place += 4 + length
    return place == len(content)
