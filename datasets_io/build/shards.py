"""How records become one Parquet file, the same bytes whoever makes it and however many decode at once."""

import builtins
import dataclasses
import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from io import BufferedRandom
from pathlib import Path, PurePosixPath
from queue import SimpleQueue
from typing import BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from datasets_io.build.near_duplicates import hash_text, picture_hashes
from datasets_io.pixels.grey import Decoded, PixelError, PixelSpec, resize
from datasets_io.pixels.worker import DecodeWorker
from datasets_io.schema import MAX_RATIO, PIXEL_RULES, SPLITS, Record, label_column, shard_schema
from datasets_io.storage.files import Files
from datasets_io.untrusted import special_file

FORMAT = 2  # raise it when the layout of a shard changes
RECORDS_PER_SHARD = 1024  # at 224 x 224 a shard has 1024 x 50,176 bytes = 51 MB: a worker holds one
ROWS_PER_GROUP = 256  # 13 MB: what a reader of a stream takes at a time
# Pictures that keep their ratio may be large: of 576 x 720 a shard has 512, of 2048 x 2560 as few as 40.
ASPECT_SHARD_BYTES, ASPECT_GROUP_BYTES = 256 << 20, 64 << 20
ORDERS = ("archive", "hash")  # in which records are cut into shards; another way to order them gets another name
LEAVES = "the path leaves the raw folder"
FLAGGED = ("burned_in", "turned", "padded", "uncopied", "unknown_view")  # of Decoded, kept by place


@dataclass(frozen=True)
class Refusal:
    """A record of a task without a picture: its place in the task, and why."""

    place: int
    stage: str
    reason: str


@dataclass(frozen=True)
class ShardTask:
    """Records of one split, to become the file `path` (relative to the corpus folder)."""

    path: str
    split: str
    records: tuple[Record, ...]


@dataclass(frozen=True)
class ShardResult:
    """What came of a task; kept as parts/<split>-<number>.json until and after the manifest is written.

    digests: 16 hex digits of the SHA-256 of every row's pixels, to count equal pictures; hashes: of
    near_duplicates. burned_in: places of the records whose header says so. archive_state: see `archive_state`.
    squeezed: how many pictures are longer than MAX_RATIO times their width, of a shape that keeps the ratio.
    rules: PIXEL_RULES that the pictures were made by; 2 where a part does not say. turned, padded, uncopied: places
    of the records whose picture was turned upright, scaled without its padding, or may lack a part. unknown_view: of
    those whose view position only the file says, in unknown words.
    """

    path: str
    split: str
    rows: int
    row_groups: tuple[int, ...]
    sha256: str
    bytes: int
    refusals: tuple[Refusal, ...]
    burned_in: tuple[int, ...]
    digests: tuple[str, ...]
    hashes: tuple[str, ...]
    archive_state: str
    squeezed: int = 0
    rules: int = PIXEL_RULES
    turned: tuple[int, ...] = ()
    padded: tuple[int, ...] = ()
    uncopied: tuple[int, ...] = ()
    unknown_view: tuple[int, ...] = ()

    def to_json(self) -> str:
        """One line, as it is kept beside the shards; with what only few pictures are where some are."""
        seldom = ("squeezed", "turned", "padded", "uncopied", "unknown_view")
        values = {name: value for name, value in dataclasses.asdict(self).items() if name not in seldom or value}
        return json.dumps(values, sort_keys=True)

    @staticmethod
    def from_json(text: str | builtins.bytes) -> "ShardResult":  # `bytes` is a field here
        """The result that to_json wrote. Raises ValueError, TypeError or KeyError for any other text."""
        value = {"rules": 2, **json.loads(text)}
        value["refusals"] = tuple(Refusal(**refusal) for refusal in value["refusals"])
        several = ("row_groups", "burned_in", "digests", "hashes", "turned", "padded", "uncopied", "unknown_view")
        for name in several:
            value[name] = tuple(value.get(name, ()))
        return ShardResult(**value)


@dataclass(frozen=True)
class ShardJob:
    """Where shards are made from and to; the same for all of a build.

    raw: the archive's folder, without links; storage: URI of the root; folder: the corpus's, below that root.
    Plain values only, since a job goes as JSON to the other machines of a Ray cluster.
    """

    raw: str
    storage: str
    folder: str
    findings: tuple[str, ...]
    pixels: PixelSpec


def rows_of(pixels: PixelSpec) -> tuple[int, int]:
    """Records of a shard and rows of one of its groups."""
    if pixels.shape == "square":
        return RECORDS_PER_SHARD, ROWS_PER_GROUP
    usual = pixels.image_size**2 * 5 // 4  # bytes of a picture of the usual ratio
    shard, group = ASPECT_SHARD_BYTES // usual, ASPECT_GROUP_BYTES // usual
    return max(1, min(RECORDS_PER_SHARD, shard)), max(1, min(ROWS_PER_GROUP, group))


def plan_shards(records: list[Record], order: str, records_per_shard: int | None = None) -> list[ShardTask]:
    """Cut every split into tasks of so many records, in one of ORDERS. Rejects leave a shard shorter.

    records_per_shard: None for RECORDS_PER_SHARD.
    """
    tasks = []
    size = records_per_shard or RECORDS_PER_SHARD
    for split in SPLITS:
        members = in_order([record for record in records if record.split == split], order)
        for number, start in enumerate(range(0, len(members), size)):
            chunk = tuple(members[start : start + size])
            tasks.append(ShardTask(f"{split}/{number:05d}.parquet", split, chunk))
    return tasks


def in_order(records: list[Record], order: str) -> list[Record]:
    """The records as `archive` lists them, or by a `hash` of their image ids, which depends on nothing else.

    They are in memory in either case: the sort of 377,110 adds 40 MB of digests and takes under a second.
    """
    if order == "archive":
        return records
    # Not by the id itself: NIH's and CheXpert's begin with the patient. The prefix keeps it apart from other hashes.
    return sorted(records, key=lambda record: hashlib.sha256(f"order\n{record.image_id}".encode()).digest())


def part_path(folder: str, task_path: str) -> str:
    """Where a task's ShardResult is kept."""
    path = PurePosixPath(task_path)
    return f"{folder}/parts/{path.parent.name}-{path.stem}.json"


class Decoders:
    """Some decoding processes, used by as many threads. Use it in a `with`."""

    def __init__(self, spec: PixelSpec, workers: int):
        self._workers = [DecodeWorker(spec) for _ in range(workers)]
        self._idle: SimpleQueue[DecodeWorker] = SimpleQueue()
        for worker in self._workers:
            self._idle.put(worker)
        self._pool = ThreadPoolExecutor(workers)

    def __enter__(self) -> "Decoders":
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        if kind is not None:  # nobody waits for what is being decoded, which may take for ever
            for worker in self._workers:
                worker.end()  # its thread reads the end of a pipe, and ends too
        interrupted = kind is not None and not issubclass(kind, Exception)
        self._pool.shutdown(wait=not interrupted, cancel_futures=kind is not None)
        if not interrupted:
            for worker in self._workers:
                worker.close()

    def decode(self, raw: str, paths: list[str]) -> Iterator[Decoded | PixelError]:
        """One answer a path below `raw`, in their order."""
        return self._pool.map(self._one, [raw] * len(paths), paths)

    def _one(self, raw: str, path: str) -> Decoded | PixelError:
        if not is_inside(raw, path):
            return PixelError("index", LEAVES)
        # Before a process waits for what never comes out of a FIFO, or takes all that comes out of a device.
        if (kind := special_file(Path(raw) / path)) is not None:
            return PixelError("read", f"it is {kind}: only regular files are read")
        worker = self._idle.get()
        try:
            return worker.decode(Path(raw) / path)
        except PixelError as error:
            return error
        finally:
            self._idle.put(worker)


def leaves(path: str) -> bool:
    """Whether a path of a csv file does not stay below the archive's folder, whatever lies on the disk."""
    parts = PurePosixPath(path)
    return parts.is_absolute() or ".." in parts.parts or "\\" in path or "\0" in path


def is_inside(raw: str, path: str) -> bool:
    """Whether the file is below `raw` (itself without links) when all links in its path are followed."""
    # The empty part adds a separator at the end, so that /data/raw2 is not below /data/raw.
    return os.path.realpath(os.path.join(raw, path)).startswith(os.path.join(raw, ""))


def archive_state(job: ShardJob, task: ShardTask) -> str:
    """16 hex digits over the task's records, and size and time of their files: another value where one has changed.

    The records too: texts and labels come from other files than the pictures, and go into the shard as well.
    """
    digest = hashlib.sha256()
    for record in task.records:
        digest.update(repr(record).encode(errors="surrogateescape"))
        try:
            state = os.stat(os.path.join(job.raw, record.path))
            digest.update(b"%d %d\n" % (state.st_size, state.st_mtime_ns))
        except OSError:
            digest.update(b"absent\n")
    return digest.hexdigest()[:16]


def make_shard(
    job: ShardJob, task: ShardTask, decoders: Decoders, advance: Callable[[int], None] | None = None
) -> ShardResult:
    """Decode, write the Parquet file, then its part; `advance(n)` is told of every n records."""
    with tempfile.TemporaryFile() as sink:  # 51 MB are better there than in the memory of each process
        result = _fill(sink, job, task, decoders, advance)
        _store(job, result, sink)
    return result


def _fill(
    sink: BufferedRandom, job: ShardJob, task: ShardTask, decoders: Decoders, advance: Callable[[int], None] | None
) -> ShardResult:
    """Decode and write row groups of ROWS_PER_GROUP accepted rows; only the last of a shard may be shorter."""
    state = archive_state(job, task)  # before any file is read: a later change shows
    schema, (_, rows_per_group) = shard_schema(job.findings), rows_of(job.pixels)
    groups: list[int] = []
    rows: list[tuple[Record, Decoded]] = []
    refusals: list[Refusal] = []
    flagged: dict[str, list[int]] = {name: [] for name in FLAGGED}
    digests: list[str] = []
    hashes: list[str] = []
    squeezed = 0
    with _writer(sink, schema) as writer:
        for start in range(0, len(task.records), rows_per_group):
            records = task.records[start : start + rows_per_group]
            answers = decoders.decode(job.raw, [record.path for record in records])
            for place, (record, answer) in enumerate(zip(records, answers, strict=True), start):
                if isinstance(answer, PixelError):
                    refusals.append(Refusal(place, answer.stage, answer.reason))
                    continue
                rows.append((record, answer))
                _flag(flagged, place, record, answer)
                digests.append(hashlib.sha256(answer.pixels.data).hexdigest()[:16])
                hashes.append(hash_text(picture_hashes(squared(answer.pixels)[None])[0]))
                squeezed += job.pixels.shape == "aspect" and is_long(answer.rows, answer.columns)
            # Refusals leave a chunk short: rows wait until a group is full, or no more are to come.
            last = start + rows_per_group >= len(task.records)
            while len(rows) >= rows_per_group or (last and rows):
                groups.append(min(len(rows), rows_per_group))
                writer.write_table(_table(rows[:rows_per_group], job.findings, schema), row_group_size=rows_per_group)
                del rows[:rows_per_group]  # no name may keep them while the next ones are decoded
            if advance:
                advance(len(records))
    size = sink.tell()
    sink.seek(0)
    return ShardResult(
        path=task.path,
        split=task.split,
        rows=sum(groups),
        row_groups=tuple(groups),
        sha256=hashlib.file_digest(sink, "sha256").hexdigest(),
        bytes=size,
        refusals=tuple(refusals),
        digests=tuple(digests),
        hashes=tuple(hashes),
        archive_state=state,
        squeezed=squeezed,
        burned_in=tuple(flagged["burned_in"]),
        turned=tuple(flagged["turned"]),
        padded=tuple(flagged["padded"]),
        uncopied=tuple(flagged["uncopied"]),
        unknown_view=tuple(flagged["unknown_view"]),
    )


def _writer(sink: BufferedRandom, schema: pa.Schema) -> pq.ParquetWriter:
    # No compression, dictionary or statistics: greys hardly compress, and the bytes depend on no library's heuristics.
    return pq.ParquetWriter(
        sink,
        schema,
        compression="none",
        use_dictionary=False,
        write_statistics=False,
        store_schema=False,
        write_page_checksum=True,
    )


def _flag(flagged: dict[str, list[int]], place: int, record: Record, decoded: Decoded) -> None:
    for name, places in flagged.items():
        # What a csv says of a view goes before the header's words.
        if getattr(decoded, name) and not (name == "unknown_view" and record.view_position):
            places.append(place)


def squared(picture: np.ndarray) -> np.ndarray:
    """(rows, columns) uint8 -> a square: that of a square store, so that near-duplicates are found as there."""
    return resize(picture, min(picture.shape)) if len(set(picture.shape)) > 1 else picture


def is_long(rows: int, columns: int) -> bool:
    """Whether a file's longer side is more than MAX_RATIO times the shorter one."""
    return max(rows, columns) > MAX_RATIO * min(rows, columns)


def make_shard_row(row: dict[str, str]) -> dict[str, str]:
    """make_shard for a row of a ray.data.Dataset: JSON texts in and out, one decoding process."""
    # What JSON turned into lists becomes the tuples of frozen dataclasses again.
    value = json.loads(row["job"])
    value["findings"] = tuple(value["findings"])
    value["pixels"]["modalities"] = tuple(value["pixels"]["modalities"])
    job = ShardJob(**{**value, "pixels": PixelSpec(**value["pixels"])})
    task = json.loads(row["task"])
    records = tuple(Record(**{**record, "labels": tuple(record["labels"])}) for record in task["records"])
    with Decoders(job.pixels, 1) as decoders:
        return {"result": make_shard(job, ShardTask(task["path"], task["split"], records), decoders).to_json()}


def shard_row(job: ShardJob, task: ShardTask) -> dict[str, str]:
    """The row that make_shard_row takes."""
    return {"job": json.dumps(dataclasses.asdict(job)), "task": json.dumps(dataclasses.asdict(task))}


def finished_shard(job: ShardJob, task: ShardTask, files: Files) -> ShardResult | None:
    """The result of an earlier, interrupted build, where it still holds.

    A shard is made again where its file is not there in full, where its pictures were made by other rules, or where a
    file of the archive that it was made from, accepted or refused, has another size or time.
    """
    part = part_path(job.folder, task.path)
    if not files.exists(part):
        return None
    try:
        result = ShardResult.from_json(files.read(part))
    except (ValueError, TypeError, KeyError):  # damaged: make the shard again
        return None
    if result.rows:
        info = files.fs.get_file_info(files.full(f"{job.folder}/{task.path}"))
        if not info.is_file or info.size != result.bytes:
            return None
    if result.rules != PIXEL_RULES:  # a corpus has pictures made in one way
        return None
    return result if result.archive_state == archive_state(job, task) else None


def _store(job: ShardJob, result: ShardResult, data: BinaryIO) -> None:
    """The shard first, then its part, whose existence tells a later build that the shard is finished."""
    files = Files(job.storage)
    if result.rows:
        files.write(f"{job.folder}/{result.path}", data)
    files.write(part_path(job.folder, result.path), result.to_json().encode())


def _table(rows: list[tuple[Record, Decoded]], findings: tuple[str, ...], schema: pa.Schema) -> pa.Table:
    # Columns by name; the schema gives their order.
    names = ("image_id", "study_id", "patient_id", "sex", "age", "report_findings", "report_impression")
    columns = {name: [getattr(record, name) for record, _ in rows] for name in names}
    columns["view_position"] = [record.view_position or decoded.view_position for record, decoded in rows]
    columns["original_rows"] = [decoded.rows for _, decoded in rows]
    columns["original_columns"] = [decoded.columns for _, decoded in rows]
    for place, finding in enumerate(findings):
        columns[label_column(finding)] = [record.labels[place] for record, _ in rows]
    columns["pixels"] = [decoded.pixels.tobytes() for _, decoded in rows]
    return pa.table(columns, schema=schema)
