"""How records become one Parquet file, the same bytes whoever makes it and however many decode at once."""

import dataclasses
import hashlib
import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from queue import SimpleQueue

import pyarrow as pa
import pyarrow.parquet as pq

from datasets_io.decode_worker import DecodeWorker
from datasets_io.files import Files
from datasets_io.pixels import Decoded, PixelError, PixelSpec
from datasets_io.schema import SPLITS, Record, label_column, shard_schema

FORMAT = 1  # raise it when the layout of a shard changes
RECORDS_PER_SHARD = 1024  # at 224 x 224 a shard has 51 MB: a worker holds one
ROWS_PER_GROUP = 256
REJECT_COLUMNS = ("image_id", "path", "stage", "reason")
REJECT_SCHEMA = pa.schema([pa.field(name, pa.string(), nullable=False) for name in REJECT_COLUMNS])


@dataclass(frozen=True)
class Reject:
    """A record without a picture. bytes and mtime_ns: of the file then (-1 where absent), to see that it changed."""

    image_id: str
    path: str
    stage: str
    reason: str
    bytes: int = -1
    mtime_ns: int = -1


@dataclass(frozen=True)
class ShardTask:
    """Records of one split, to become the file `path` (relative to the corpus folder)."""

    path: str
    split: str
    records: tuple[Record, ...]


@dataclass(frozen=True)
class ShardResult:
    """What came of a task; kept as parts/<split>-<number>.json until and after the manifest is written.

    digests: 16 hex digits of the SHA-256 of every row's pixels, to count equal pictures.
    """

    path: str
    split: str
    rows: int
    row_groups: tuple[int, ...]
    sha256: str
    bytes: int
    rejects: tuple[Reject, ...]
    burned_in: int
    digests: tuple[str, ...]

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self), sort_keys=True)

    @staticmethod
    def from_json(text: str | bytes) -> "ShardResult":
        value = json.loads(text)
        value["rejects"] = tuple(Reject(**reject) for reject in value["rejects"])
        for name in ("row_groups", "digests"):
            value[name] = tuple(value[name])
        return ShardResult(**value)


@dataclass(frozen=True)
class ShardJob:
    """Where shards are made from and to; the same for all of a build."""

    raw: str
    storage: str
    folder: str
    findings: tuple[str, ...]
    pixels: PixelSpec


def plan_shards(records: list[Record]) -> list[ShardTask]:
    """Cut every split into tasks of RECORDS_PER_SHARD records, in the source's order. Rejects leave a shard shorter."""
    tasks = []
    for split in SPLITS:
        members = [record for record in records if record.split == split]
        for number, start in enumerate(range(0, len(members), RECORDS_PER_SHARD)):
            chunk = tuple(members[start : start + RECORDS_PER_SHARD])
            tasks.append(ShardTask(f"{split}/{number:05d}.parquet", split, chunk))
    return tasks


def part_path(folder: str, task_path: str) -> str:
    """Where a task's ShardResult is kept."""
    path = PurePosixPath(task_path)
    return f"{folder}/parts/{path.parent.name}-{path.stem}.json"


class Decoders:
    """Some decoding processes, used by as many threads. Use it in a `with`."""

    def __init__(self, spec: PixelSpec, workers: int):
        self._stack = ExitStack()
        self._idle: SimpleQueue[DecodeWorker] = SimpleQueue()
        for _ in range(workers):
            self._idle.put(self._stack.enter_context(DecodeWorker(spec)))
        self._pool = self._stack.enter_context(ThreadPoolExecutor(workers))

    def __enter__(self) -> "Decoders":
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def decode(self, paths: list[Path]) -> Iterator[Decoded | PixelError]:
        """One answer a path, in their order."""
        return self._pool.map(self._one, paths)

    def _one(self, path: Path) -> Decoded | PixelError:
        worker = self._idle.get()
        try:
            return worker.decode(path)
        except PixelError as error:
            return error
        finally:
            self._idle.put(worker)


def make_shard(
    job: ShardJob, task: ShardTask, decoders: Decoders, advance: Callable[[int], None] | None = None
) -> ShardResult:
    """Decode, write the Parquet file, then its part; `advance(n)` is told of every n records."""
    sink, schema = pa.BufferOutputStream(), shard_schema(job.findings)
    groups: list[int] = []
    rows: list[tuple[Record, Decoded]] = []
    rejects: list[Reject] = []
    digests: list[str] = []
    burned_in = 0
    writer = pq.ParquetWriter(
        sink, schema, compression="none", use_dictionary=False, write_statistics=False, store_schema=False
    )
    with writer:
        for start in range(0, len(task.records), ROWS_PER_GROUP):
            records = task.records[start : start + ROWS_PER_GROUP]
            answers = decoders.decode([Path(job.raw) / record.path for record in records])
            for record, answer in zip(records, answers, strict=True):
                if isinstance(answer, PixelError):
                    rejects.append(_reject(job, record, answer))
                    continue
                rows.append((record, answer))
                digests.append(hashlib.sha256(answer.pixels).hexdigest()[:16])
                burned_in += answer.burned_in
            last = start + ROWS_PER_GROUP >= len(task.records)
            while len(rows) >= ROWS_PER_GROUP or (last and rows):
                group, rows = rows[:ROWS_PER_GROUP], rows[ROWS_PER_GROUP:]
                writer.write_table(_table(group, job.findings, schema), row_group_size=ROWS_PER_GROUP)
                groups.append(len(group))
            if advance:
                advance(len(records))
    data = memoryview(sink.getvalue())
    result = ShardResult(
        task.path, task.split, sum(groups), tuple(groups), hashlib.sha256(data).hexdigest(), len(data),
        tuple(rejects), burned_in, tuple(digests),
    )
    _store(job, result, data)
    return result


def make_shard_row(row: dict[str, str]) -> dict[str, str]:
    """make_shard for a row of a ray.data.Dataset: JSON texts in and out, one decoding process."""
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

    A shard is made again where its file is not there in full, or where a file that was refused has changed.
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
    unchanged = all(_file_state(job, reject.path) == (reject.bytes, reject.mtime_ns) for reject in result.rejects)
    return result if unchanged else None


def reject_bytes(rejects: list[Reject]) -> bytes:
    """rejects.parquet: one row a reject."""
    columns = {name: [getattr(reject, name) for reject in rejects] for name in REJECT_COLUMNS}
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table(columns, schema=REJECT_SCHEMA), sink, compression="none")
    return sink.getvalue().to_pybytes()


def _store(job: ShardJob, result: ShardResult, data: memoryview) -> None:
    files = Files(job.storage)
    if result.rows:
        files.write(f"{job.folder}/{result.path}", data)
    files.write(part_path(job.folder, result.path), result.to_json().encode())


def _reject(job: ShardJob, record: Record, error: PixelError) -> Reject:
    return Reject(record.image_id, record.path, error.stage, error.reason, *_file_state(job, record.path))


def _file_state(job: ShardJob, path: str) -> tuple[int, int]:
    try:
        state = (Path(job.raw) / path).stat()
    except OSError:
        return -1, -1
    return state.st_size, state.st_mtime_ns


def _table(rows: list[tuple[Record, Decoded]], findings: tuple[str, ...], schema: pa.Schema) -> pa.Table:
    names = ("image_id", "study_id", "patient_id", "sex", "age", "report_findings", "report_impression")
    columns = {name: [getattr(record, name) for record, _ in rows] for name in names}
    columns["view_position"] = [record.view_position or decoded.view_position for record, decoded in rows]
    columns["original_rows"] = [decoded.rows for _, decoded in rows]
    columns["original_columns"] = [decoded.columns for _, decoded in rows]
    for place, finding in enumerate(findings):
        columns[label_column(finding)] = [record.labels[place] for record, _ in rows]
    columns["pixels"] = [decoded.pixels.tobytes() for _, decoded in rows]
    return pa.table(columns, schema=schema)
