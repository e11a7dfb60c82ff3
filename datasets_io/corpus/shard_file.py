"""How is a Parquet file of a storage opened, so that a hostile or damaged one is refused before it takes effect?

Arrow builds the extension types that a Parquet file names while it opens the file, and with Ray's types registered
that has run code of the file's maker (CVE-2026-41486). A file of this project names none: its footer has no Arrow
schema at all. So the footer's bytes are searched first, and then a shard's columns are compared with their schema.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import pyarrow as pa
import pyarrow.parquet as pq

from datasets_io.schema import shard_schema
from datasets_io.storage.artefacts import CorruptArtefact

MAGIC = b"PAR1"
MAX_FOOTER_BYTES = 64 << 20
BUILD_AGAIN = "remove its folder and build the corpus again"
ARROW_SCHEMA = b"ARROW:"  # key of the serialised Arrow schema, and of extension types


@contextmanager
def open_shard(source: pa.NativeFile, findings: tuple[str, ...], path: str) -> Iterator[pq.ParquetFile]:
    """The shard, whose columns are those of `findings` and whose pages are checked when they are read.

    Raises ValueError for a file that is not a shard of this project, CorruptArtefact for one that is damaged.
    """
    footer = check_footer(source, path)
    with _damage_named(path):
        # Of the very bytes that were searched, and without a second look: Arrow would read 64 KiB for them.
        metadata = pq.read_metadata(pa.BufferReader(MAGIC + footer))
        parquet = pq.ParquetFile(source, metadata=metadata, page_checksum_verification=True)
        check_schema(parquet.schema_arrow, findings, path)
        yield parquet


def open_stored(source: pa.NativeFile, path: str, mend: str = BUILD_AGAIN) -> pq.ParquetFile:
    """A file that is no shard, such as one of predictions. mend: what to do where it is damaged.

    Raises what check_footer does, and OSError or ArrowException for what is damaged elsewhere.
    """
    check_footer(source, path, mend)
    return pq.ParquetFile(source)


def read_stored(
    source: pa.NativeFile, path: str, columns: list[str] | None = None, mend: str = BUILD_AGAIN
) -> pa.Table:
    """As open_stored: the whole table, or these columns of it, each of which must be there."""
    check_footer(source, path, mend)
    return pq.read_table(source, columns=columns)


def check_footer(source: pa.NativeFile, path: str, mend: str = BUILD_AGAIN) -> bytes:
    """The footer, its length and the magic number: the end of the file.

    Raises ValueError where it could hold an Arrow schema, CorruptArtefact where there is none.
    """
    # A Parquet file ends with its footer, the footer's length in 4 bytes, and the magic number.
    size = source.size()
    source.seek(max(0, size - 8))
    tail = source.read(8)
    length = int.from_bytes(tail[:4], "little")
    if tail[4:] != MAGIC or not 0 < length <= min(MAX_FOOTER_BYTES, size - 8):
        raise CorruptArtefact(f"{path} is no whole Parquet file: {mend}")
    source.seek(size - 8 - length)
    footer: bytes = source.read(length)
    if ARROW_SCHEMA in footer:
        raise ValueError(
            f"{path} was not written by this project: it has an Arrow schema, which could name types that"
            f" run code; {mend}"
        )
    source.seek(0)
    return footer + tail


def check_schema(schema: pa.Schema, findings: tuple[str, ...], path: str) -> None:
    """Raises ValueError for any column or type that the shard schema does not name."""
    if not schema.remove_metadata().equals(shard_schema(findings)):
        raise ValueError(f"{path} is not a shard of this project: its columns are {schema.names}; build it again")


@contextmanager
def _damage_named(path: str) -> Iterator[None]:
    try:
        yield
    except (OSError, pa.ArrowException) as error:
        raise CorruptArtefact(f"{path} is damaged ({error}): {BUILD_AGAIN}") from error
