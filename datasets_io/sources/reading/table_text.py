"""How the bytes of a table become lines of text: compressed or not, in which encoding, and never without a bound.

What a file is, its first bytes say, not its name: tables come unpacked under the name of a packed one, and packed
under a plain one. No line and no unpacked file may be larger than tables are, so that a small file cannot take all
memory or hours.
"""

import bz2
import codecs
import gzip
import io
import lzma
import os
import sys
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Any, BinaryIO, Protocol

from datasets_io.schema import ArchiveError
from datasets_io.untrusted import NotRegular, open_regular

MAX_LINE = 1 << 20  # characters; the longest line of a table is a report of some ten thousand
# Tables shrink to a fifth or a tenth, and a row that is not as the one before it takes some bytes: what unpacks to a
# hundred times its size, or to a row for each byte or two, is no table of images. Small files may do as they like.
MAX_RATIO, ALWAYS_ALLOWED = 100, 16 << 20
BYTES_A_LINE, LINES_ALLOWED = 2, 200_000
XZ_MEMORY = 256 << 20  # bytes; `xz -9` asks for 65 MiB, a hostile header for 1.5 GiB
UNPACK = "unpack it, and look whether it is the table"
BOMS = (  # UTF-32 first: its mark begins with that of UTF-16
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
UNREAD = {
    b"\xd0\xcf\x11\xe0": "an Excel workbook: save it as CSV UTF-8",
    b"\x28\xb5\x2f\xfd": "packed with zstd: unpack it with `zstd -d`",
    b"PAR1": "a Parquet file: save it as csv",
    b"%PDF": "a PDF file",
    b"<!DO": "a web page, perhaps of a login: download the table itself",
    b"<htm": "a web page, perhaps of a login: download the table itself",
}
PACKED = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ\0", b"PK\3\4")
TAR, TAR_PLACE = b"ustar", 257  # in the header of a tar file's first member
DAMAGED = (OSError, EOFError, zlib.error, lzma.LZMAError, zipfile.BadZipFile, NotImplementedError, RuntimeError)


@contextmanager
def open_lines(path: Path) -> Iterator[Iterator[str]]:
    """The lines of a table with their ends, in a `with`.

    Raises ArchiveError for a file that is not regular, cannot be read, unpacked or decoded, or has a line that is
    longer than MAX_LINE, also while the lines are taken.
    """
    try:
        with open_unpacked(path) as data, io.TextIOWrapper(data, encoding=_encoding(data, path), newline="") as text:
            packed = isinstance(data.raw, _Counted)
            most = LINES_ALLOWED + os.stat(path).st_size // BYTES_A_LINE if packed else sys.maxsize
            yield _bounded(text, path, most)
    except UnicodeDecodeError as error:
        raise ArchiveError(_undecodable(path, error)) from None


@contextmanager
def open_unpacked(path: Path) -> Iterator[io.BufferedReader]:
    """The bytes of a file, packed or not, in a `with`. Raises ArchiveError as open_lines, whatever the text is."""
    try:
        with ExitStack() as stack:
            data = _unpacked(stack, path)
            _check_no_archive(data, path)
            yield data
    except NotRegular as error:
        raise ArchiveError(f"{path} cannot be read: {error.strerror}") from None
    except DAMAGED as error:
        # A number of C's errors has no place in a sentence; OSError of a file that is gone has its name already.
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise ArchiveError(f"{path} cannot be read ({reason}): copy it again") from error


def _bounded(text: io.TextIOWrapper, path: Path, most: int) -> Iterator[str]:
    number = 0
    while line := text.readline(MAX_LINE + 1):
        number += 1
        if len(line) > MAX_LINE:
            raise ArchiveError(f"{path} line {number} has more than {MAX_LINE:,} characters: is it a table?")
        if number > most:
            raise ArchiveError(f"{path} has more than {most:,} lines, which is more than its bytes can tell: {UNPACK}")
        yield line


class _Source(Protocol):
    """Unpacked bytes, some at a time."""

    def read(self, size: int, /) -> bytes: ...


class _Counted(io.RawIOBase):
    """Bytes of a packed table, of which there may be MAX_RATIO times those of the file."""

    def __init__(self, source: _Source, path: Path, packed: int):
        super().__init__()
        self._source, self._path, self._left = source, path, max(ALWAYS_ALLOWED, MAX_RATIO * packed)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._source.read(len(buffer))
        self._left -= len(data)
        if self._left < 0:
            raise ArchiveError(f"{self._path} unpacks to more than {MAX_RATIO} times its size: {UNPACK}")
        buffer[: len(data)] = data
        return len(data)


class _Xz:
    """An xz file that is unpacked as it is read, with a bound of its memory, which lzma.LZMAFile has not."""

    def __init__(self, packed: BinaryIO):
        self._packed, self._stream = packed, lzma.LZMADecompressor(memlimit=XZ_MEMORY)

    def read(self, size: int) -> bytes:
        """Up to `size` bytes; none at the end. Raises EOFError where the file is cut, LZMAError."""
        rest = b""
        while True:
            if self._stream.eof:  # another stream may follow, and zeros that fill a block
                rest = (self._stream.unused_data or self._packed.read(1 << 16)).lstrip(b"\0")
                if not rest:
                    return b""
                self._stream = lzma.LZMADecompressor(memlimit=XZ_MEMORY)
            elif self._stream.needs_input and not rest:
                rest = self._packed.read(1 << 16)
                if not rest:
                    raise EOFError("the file ended before its end marker")
            if data := self._stream.decompress(rest, size):
                return data
            rest = b""


def _unpacked(stack: ExitStack, path: Path) -> io.BufferedReader:
    """The table's own bytes. Raises ArchiveError for what no table is kept in."""
    packed = stack.enter_context(open_regular(path))
    start = packed.read(8)
    size = packed.seek(0, io.SEEK_END)
    packed.seek(0)
    source: _Source
    if start.startswith(b"\x1f\x8b"):
        source = stack.enter_context(gzip.GzipFile(fileobj=packed, mode="rb"))
    elif start.startswith(b"BZh"):
        source = stack.enter_context(bz2.BZ2File(packed))
    elif start.startswith(b"\xfd7zXZ\0"):
        source = _Xz(packed)
    elif start.startswith(b"PK\3\4"):
        source = stack.enter_context(_only_member(stack.enter_context(zipfile.ZipFile(packed)), path))
    else:
        if what := UNREAD.get(start[:4]):
            raise ArchiveError(f"{path} is no table but {what}")
        return packed
    return stack.enter_context(io.BufferedReader(_Counted(source, path, size), 1 << 16))


def _check_no_archive(data: io.BufferedReader, path: Path) -> None:
    """Raises ArchiveError where what was unpacked is packed once more, a tar file or otherwise no table."""
    start = data.peek(TAR_PLACE + len(TAR))
    if start[TAR_PLACE:].startswith(TAR) and b"\0" in start[:TAR_PLACE]:
        raise ArchiveError(f"{path} is no table but a tar file: unpack it with `tar xf`, and take the table in it")
    if isinstance(data.raw, _Counted):
        if start.startswith(PACKED):
            raise ArchiveError(f"{path} is packed twice: unpack it once")
        if what := UNREAD.get(start[:4]):
            raise ArchiveError(f"{path} is no table but {what}")


def _only_member(archive: zipfile.ZipFile, path: Path) -> IO[bytes]:
    names = [name for name in archive.namelist() if not name.endswith("/") and not name.startswith("__MACOSX/")]
    if any(name.startswith("xl/") for name in names):
        raise ArchiveError(f"{path} is no table but an Excel workbook: save it as CSV UTF-8")
    if len(names) != 1:
        raise ArchiveError(f"{path} is a zip file of {len(names)} files; a packed table is one file: unpack it")
    return archive.open(names[0])


def _encoding(data: io.BufferedReader, path: Path) -> str:
    """UTF-8 where no mark says otherwise. Raises ArchiveError for UTF-16 without its mark."""
    start = data.peek(4)[:4]
    for mark, encoding in BOMS:
        if start.startswith(mark):
            return encoding
    if len(start) > 1 and 0 in start[:2]:
        raise ArchiveError(f"{path} is not UTF-8 (a zero byte in line 1; UTF-16 without its mark?): save it as UTF-8")
    # utf-8-sig: a csv saved by a spreadsheet begins with a byte order mark, which would join the first name.
    return "utf-8-sig"


def _undecodable(path: Path, error: UnicodeDecodeError) -> str:
    """Which byte is it, and in which line? The decoder knows its place in a block alone, so the file is read again."""
    encoding = error.encoding.upper() if error.encoding.startswith(("utf-16", "utf-32")) else "UTF-8"
    where = f"byte 0x{error.object[error.start]:02x}"
    if encoding == "UTF-8":
        with ExitStack() as stack:
            data = _unpacked(stack, path)
            number = 0
            while line := data.readline(4 * MAX_LINE):
                number += 1
                try:
                    line.decode()
                except UnicodeDecodeError as found:
                    where = f"byte 0x{line[found.start]:02x} in line {number}"
                    break
    return f"{path} is not {encoding} ({where}): save it as UTF-8, in a spreadsheet as 'CSV UTF-8'"
