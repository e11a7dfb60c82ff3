"""What thousands of results of an object store say, in a few objects, so that a command need not ask for each.

A pack holds results byte for byte, and is believed nothing. Bytes of it stand for a result only where they have the
size and, as MD5, the ETag by which the storage lists that result now: so S3 names what went up with one request. A pack
that is lost, old, damaged or made up costs requests. Where an ETag is no MD5 (own keys, uploads in parts) none is of
use.
"""

import hashlib
import json
import zlib
from collections.abc import Mapping
from contextlib import suppress

from datasets_io.storage.files import Files, ReadFiles
from datasets_io.storage.stored_sizes import ListedSizes, StoredSizes

PACKS, ENDING = "packs", ".pack"
LEAST, MOST = 200, 4096  # results in a pack: fewer are read as fast; more would be held in memory for it
MOST_BYTES = 64 << 20  # of an unpacked one: no more is unpacked, whatever it says
MOST_PACKS = 2000


def pack(results: Mapping[str, bytes]) -> bytes:
    """results: path -> bytes."""
    head = json.dumps([[path, len(data)] for path, data in results.items()]).encode()
    return zlib.compress(b"\n".join((head, b"".join(results.values()))), 1)


def unpack(data: bytes) -> dict[str, bytes]:
    """Path -> bytes; nothing of what is no pack."""
    try:
        inflate = zlib.decompressobj()
        text = inflate.decompress(data, MOST_BYTES)
        head, _, rest = text.partition(b"\n")
        found, start = {}, 0
        for path, length in json.loads(head):
            if type(path) is not str or type(length) is not int or not 0 <= length <= len(rest) - start:
                return {}
            found[path] = rest[start : start + length]
            start += length
        return found if start == len(rest) and inflate.eof else {}
    except (zlib.error, ValueError, TypeError, RecursionError):
        return {}


def packed_results(files: ReadFiles, sizes: StoredSizes) -> dict[str, bytes]:
    """Path -> bytes of the results that packs have as they are listed now."""
    if not isinstance(sizes, ListedSizes) or not sizes.etags:
        return {}
    found: dict[str, bytes] = {}
    for path in files.list(PACKS, ENDING)[:MOST_PACKS]:
        with suppress(OSError):  # removed, or not to be read: as if there were none
            found |= {name: data for name, data in unpack(files.read(path)).items() if is_listed(name, data, sizes)}
    return found


def is_listed(path: str, data: bytes, sizes: ListedSizes) -> bool:
    """Whether these are the bytes that the storage has there."""
    if sizes.get(path) != len(data):
        return False
    return hashlib.md5(data, usedforsecurity=False).hexdigest() == sizes.etags.get(path)


def write_pack(files: Files, results: Mapping[str, bytes]) -> None:
    """Keep them, under a name of their content; that it cannot be written is no error."""
    data = pack(results)
    with suppress(OSError):
        files.write(f"{PACKS}/{hashlib.sha256(data).hexdigest()[:16]}{ENDING}", data)
