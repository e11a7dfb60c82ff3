"""Parquet shards -> what training reads: a node-local array of a split, or a stream of batches."""

import hashlib
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from datasets_io.corpus.manifest import MANIFEST, Manifest, Shard
from datasets_io.corpus.node_array import CacheFull, local_cache, open_array
from datasets_io.corpus.order import window_groups, windows, worker_rows
from datasets_io.corpus.shard_file import BUILD_AGAIN, open_shard
from datasets_io.corpus.whole_shards import check_shards
from datasets_io.granted import cores, memory_of_node
from datasets_io.schema import label_column, shard_schema, stored_shape
from datasets_io.storage.artefacts import CorruptArtefact
from datasets_io.storage.files import ReadFiles
from datasets_io.storage.folder_key import is_of_another

BLANK = -2  # the code of a blank label in arrays, which cannot hold null
FITTED_LIMIT = 1 << 20  # the same for pictures that are fitted to a network
MEMORY_LIMIT = 64 << 20  # a split below this many bytes is read straight into memory
FALLBACK_LIMIT = 1 << 30  # and one below this where the node's cache has no room,
FALLBACK_SHARE = 32  # or below this part of the node's memory: a cell each GPU, and what reads it beside


@dataclass(frozen=True)
class ImageSet:
    """One split. pixels: (N, S, S) uint8, perhaps a read-only map of a file; labels: (N, F) int8 raw codes.

    Where pictures were fitted (`open_split`), pixels are as that left them. shapes: (N, 2), rows and columns of the
    archive's files.

    Codes are 1, 0, -1 (uncertain) and BLANK. image_ids, study_ids, patient_ids, view_positions: (N,) object arrays of
    texts, a view position is None where it is unknown; impressions: N texts, None where a report has none.
    """

    pixels: np.ndarray
    labels: np.ndarray
    findings: tuple[str, ...]
    image_ids: np.ndarray
    study_ids: np.ndarray
    patient_ids: np.ndarray
    view_positions: np.ndarray
    impressions: list[str | None]
    shapes: np.ndarray

    def __len__(self) -> int:
        return len(self.pixels)

    def take(self, rows: np.ndarray) -> "ImageSet":
        """The rows at K places, (K,) integers, in that order; pixels are copied."""
        return ImageSet(
            self.pixels[rows],
            self.labels[rows],
            self.findings,
            self.image_ids[rows],
            self.study_ids[rows],
            self.patient_ids[rows],
            self.view_positions[rows],
            [self.impressions[i] for i in rows],
            self.shapes[rows],
        )


@dataclass(frozen=True)
class CorpusBatch:
    """One worker's share of a step. pixels: (b, S, S) uint8; reports: the impressions, "" where there is none."""

    pixels: np.ndarray
    reports: list[str]


def read_manifest(files: ReadFiles, folder: str) -> Manifest:
    """The manifest of a built data folder.

    Raises FileNotFoundError, ValueError with its path where it is damaged or that of another folder.
    """
    path = f"{folder}/{MANIFEST}"
    try:
        manifest = Manifest.from_json(files.read(path))
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    if is_of_another(folder, manifest.key):
        raise ValueError(f"{path}: it is the manifest of {manifest.source}-{manifest.key}: build the corpus again")
    return manifest


def shards_of(manifest: Manifest, split: str) -> list[Shard]:
    """The shards of a split, in the manifest's order."""
    return [shard for shard in manifest.shards if shard.split == split]


def read_table(files: ReadFiles, folder: str, manifest: Manifest, split: str, columns: list[str]) -> pa.Table:
    """Some columns of a whole split, in the shards' order; an empty table of these columns where there is no shard.

    Raises CorruptArtefact for a damaged shard, ValueError for one of another project.
    """
    tables = []
    for place in shards_of(manifest, split):
        path = f"{folder}/{place.path}"
        with files.fs.open_input_file(files.full(path)) as source, open_shard(source, manifest.findings, path) as shard:
            tables.append(shard.read(columns=columns))
    # Joined to an empty table, so that a split without shards has the columns too.
    schema = shard_schema(manifest.findings)
    empty = pa.schema([schema.field(name) for name in columns]).empty_table()
    table = pa.concat_tables([empty, *tables])
    try:
        table.validate(full=True)  # that text is UTF-8: Arrow reads any bytes as text
    except pa.ArrowInvalid as error:
        raise CorruptArtefact(f"a shard of {folder} is damaged ({error}): {BUILD_AGAIN}") from error
    return table


def pixels_of(column: pa.ChunkedArray, image_size: int) -> np.ndarray:
    """A binary column as (n, S, S) uint8, without a copy where it is one chunk."""
    chunks = []
    for chunk in column.chunks:
        if len(chunk):
            # Arrow's buffers of a binary column: validity, int32 offsets, bytes. A slice begins at chunk.offset.
            offsets = np.frombuffer(chunk.buffers()[1], np.int32)[chunk.offset : chunk.offset + len(chunk) + 1]
            flat = np.frombuffer(chunk.buffers()[2], np.uint8)[offsets[0] : offsets[-1]]
            chunks.append(flat.reshape(len(chunk), image_size, image_size))
    if not chunks:
        return np.empty((0, image_size, image_size), np.uint8)
    return chunks[0] if len(chunks) == 1 else np.concatenate(chunks)


class Fitting(Protocol):
    """What turns a stored picture into an array of one size, the same for all pictures of a split.

    key: names what it does. keeps: whether a square picture of this side is left as it is.
    """

    @property
    def key(self) -> str:
        """12 hex digits."""
        ...

    @property
    def size(self) -> int:
        """The side of what it makes, in pixels."""
        ...

    @property
    def dtype(self) -> type:
        """Of what it makes."""
        ...

    def keeps(self, side: int) -> bool:
        """Whether it leaves a square picture of this side as it is."""
        ...

    def __call__(self, picture: np.ndarray) -> np.ndarray:
        """(H, W) uint8 -> (size, size) of its type."""
        ...


def open_split(
    files: ReadFiles, folder: str, manifest: Manifest, split: str, fit: Fitting | None = None, of_free: float = 1.0
) -> ImageSet:
    """A split as arrays, of which the pixels are a file map that all processes of a node share, if they are large.

    fit: what is done to each picture first, once on each node; None: squares as they are stored. of_free: the share of
    the free room of the node's cache that a new file may take. Raises ValueError
    where pictures of several shapes are to be read without it, CorruptArtefact where a shard is not what its manifest
    says.
    """
    if fit is None and manifest.shape != "square":
        raise ValueError(f"{folder} keeps the ratio of its pictures: they need a size to be brought to")
    check_shards(files, folder, shards_of(manifest, split))
    schema = shard_schema(manifest.findings)
    table = read_table(files, folder, manifest, split, [name for name in schema.names if name != "pixels"])
    raw = [table[label_column(finding)].fill_null(BLANK).to_numpy() for finding in manifest.findings]
    return ImageSet(
        pixels=_shared_pixels(files, folder, manifest, split, table.num_rows, fit, of_free),
        labels=np.stack(raw, axis=1).astype(np.int8) if raw else np.empty((table.num_rows, 0), np.int8),
        findings=manifest.findings,
        image_ids=table["image_id"].to_numpy(zero_copy_only=False),
        study_ids=table["study_id"].to_numpy(zero_copy_only=False),
        patient_ids=table["patient_id"].to_numpy(zero_copy_only=False),
        view_positions=table["view_position"].to_numpy(zero_copy_only=False),
        impressions=table["report_impression"].to_pylist(),
        shapes=np.stack([table[name].to_numpy() for name in ("original_rows", "original_columns")], axis=1),
    )


def _shared_pixels(
    files: ReadFiles, folder: str, manifest: Manifest, split: str, num_rows: int, fit: Fitting | None, of_free: float
) -> np.ndarray:
    """(N, S, S) of a split: in memory where it is small, else mapped from the node's cache."""
    if fit is not None and manifest.shape == "square" and fit.keeps(manifest.image_size):
        fit = None
    size, dtype = (manifest.image_size, np.uint8) if fit is None else (fit.size, fit.dtype)
    # What is fitted is kept from a smaller size on: to make it again for each cell costs more than to read a file.
    limit = MEMORY_LIMIT if fit is None else FITTED_LIMIT

    def blocks() -> Iterator[np.ndarray]:
        return _verified_pixels(files, folder, manifest, split, fit)

    num_bytes = num_rows * size * size * np.dtype(dtype).itemsize
    if num_bytes > limit:
        # The fingerprint is over every shard's sha256: a file of that name should hold these pixels.
        name = f"{manifest.source}-{manifest.fingerprint}-{split}" + ("" if fit is None else f"-{fit.key}")
        try:
            return open_array(local_cache() / f"{name}.npy", (num_rows, size, size), dtype, blocks, of_free)
        except CacheFull as error:
            if num_bytes > max(FALLBACK_LIMIT, memory_of_node() // FALLBACK_SHARE):
                raise
            warnings.warn(f"{error}; meanwhile this process holds it in its memory", stacklevel=2)
    found = list(blocks())
    return found[0] if len(found) == 1 else np.concatenate([np.empty((0, size, size), dtype), *found])


def _verified_pixels(
    files: ReadFiles, folder: str, manifest: Manifest, split: str, fit: Fitting | None
) -> Iterator[np.ndarray]:
    """Every shard's (n, S, S). Raises CorruptArtefact where its bytes are not those that the manifest names."""
    for place in shards_of(manifest, split):
        path = f"{folder}/{place.path}"
        data = files.read(path)
        if hashlib.sha256(data).hexdigest() != place.sha256:
            raise CorruptArtefact(f"{path} is damaged (its sha256 differs): remove {folder} and build the corpus again")
        with open_shard(pa.BufferReader(data), manifest.findings, path) as shard:
            if fit is None:
                yield pixels_of(shard.read(columns=["pixels"])["pixels"], manifest.image_size)
            else:
                yield _fitted(shard, manifest, fit)


def _fitted(shard: pq.ParquetFile, manifest: Manifest, fit: Fitting) -> np.ndarray:
    """(n, size, size): every picture of a shard, one row group in memory at a time."""
    columns = ["pixels", "original_rows", "original_columns"]
    found = np.empty((shard.metadata.num_rows, fit.size, fit.size), fit.dtype)
    done = 0
    # Libraries that resize let other threads run meanwhile.
    with ThreadPoolExecutor(cores()) as pool:
        for group in range(shard.num_row_groups):
            for picture in pool.map(fit, pictures_of(shard.read_row_group(group, columns=columns), manifest)):
                found[done] = picture
                done += 1
    return found


def pictures_of(table: pa.Table, manifest: Manifest) -> Iterator[np.ndarray]:
    """(rows, columns) uint8 of each row, whose columns are pixels, original_rows and original_columns."""
    originals = (table[name].to_pylist() for name in ("original_rows", "original_columns"))
    for value, rows, columns in zip(table["pixels"], *originals, strict=True):
        shape = stored_shape(rows, columns, manifest.image_size, manifest.shape)
        yield np.frombuffer(value.as_buffer(), np.uint8).reshape(shape)


@dataclass(frozen=True)
class CorpusIndex:
    """Where every row of a corpus split lies, and which rows take part.

    group_rows, group_places: of each row group, in the split's order. kept: (N,) bool; reports: N impressions, ""
    where there is none; image_size in pixels.
    """

    group_rows: list[int]
    group_places: list[tuple[str, int]]  # (shard path, row group within it)
    kept: np.ndarray
    image_size: int
    reports: list[str]

    @cached_property
    def kept_in_groups(self) -> np.ndarray:
        """(G,) how many rows of each row group take part."""
        empty = np.empty(0, np.int64)
        return np.add.reduceat(self.kept, self.starts[:-1], dtype=np.int64) if self.group_rows else empty

    @cached_property
    def starts(self) -> np.ndarray:
        """(G + 1,) int64: row group g holds the rows starts[g] .. starts[g + 1] - 1 of the split."""
        return np.cumsum([0, *self.group_rows], dtype=np.int64)

    @property
    def num_kept(self) -> int:
        """How many rows take part."""
        return int(self.kept.sum())

    @property
    def num_bytes(self) -> int:
        """Bytes of the pixels of the whole split, rows that do not take part included."""
        return len(self.kept) * self.image_size**2


def corpus_index(
    files: ReadFiles, folder: str, manifest: Manifest, split: str, require_impression: bool
) -> CorpusIndex:
    """The index of a split: reads reports, not pixels. require_impression: rows without one do not take part.

    Raises CorruptArtefact for a damaged shard, ValueError where its pictures are no squares.
    """
    if manifest.shape != "square":
        raise ValueError(f"{folder} keeps the ratio of its pictures: encoders are pretrained on squares; build it anew")
    check_shards(files, folder, shards_of(manifest, split))
    table = read_table(files, folder, manifest, split, ["report_impression"])
    reports = table["report_impression"].to_pylist()
    kept = np.array([bool(report) or not require_impression for report in reports], dtype=bool)
    groups, places = [], []
    for shard in shards_of(manifest, split):
        for number, rows in enumerate(shard.row_groups):
            groups.append(rows)
            places.append((shard.path, number))
    return CorpusIndex(groups, places, kept, manifest.image_size, [report or "" for report in reports])


@dataclass(frozen=True)
class StreamPlan:
    """What a worker's stream needs to know. One epoch has floor(kept / global_batch_size) steps.

    global_batch_size is a multiple of world_size. window_rows: about how many rows are shuffled together and held in
    memory; rank: of this worker, from 0 to world_size - 1.
    """

    seed: int
    global_batch_size: int
    num_epochs: int
    window_rows: int
    rank: int = 0
    world_size: int = 1

    def steps_per_epoch(self, index: CorpusIndex) -> int:
        """Whole batches of an epoch; the rows left over at its end are not used in that epoch."""
        return index.num_kept // self.global_batch_size

    def groups_by_window(self, index: CorpusIndex, epoch: int, number: int = 0) -> Iterator[tuple[int, int, list[int]]]:
        """(epoch, number of the window in it, its row groups, sorted) from one window to the end of the last epoch.

        These are the windows of `rows_by_window`, of any worker, without the order of their rows.
        """
        end = self.steps_per_epoch(index) * self.global_batch_size
        for now in range(epoch, self.num_epochs):
            offset = 0
            for place, groups in enumerate(window_groups(index.kept_in_groups, self.seed, now, self.window_rows)):
                size = int(index.kept_in_groups[list(groups)].sum())
                if size and offset < end and (now > epoch or place >= number):
                    yield now, place, sorted(groups)
                offset += size

    def first_window(self, index: CorpusIndex, start_step: int) -> tuple[int, int]:
        """(epoch, number in it) of the window in which the batch of a step begins."""
        epoch, within = divmod(start_step, self.steps_per_epoch(index))
        offset = 0
        for place, groups in enumerate(window_groups(index.kept_in_groups, self.seed, epoch, self.window_rows)):
            offset += int(index.kept_in_groups[list(groups)].sum())
            if offset > within * self.global_batch_size:
                return epoch, place
        raise ValueError(f"step {start_step} has no rows")

    def rows_by_window(self, index: CorpusIndex, start_step: int) -> Iterator[tuple[list[int], np.ndarray]]:
        """(row groups, sorted; this worker's rows in their order) from `start_step` to the end of the last epoch.

        Rows are (K,) int64 indices into the split; of a window smaller than a batch a worker may have none. One epoch's
        order is in memory at a time, and no more of it than a window.
        """
        steps = self.steps_per_epoch(index)
        end = steps * self.global_batch_size
        for epoch in range(start_step // steps, self.num_epochs):
            first = start_step % steps * self.global_batch_size if epoch == start_step // steps else 0
            # The first epoch may begin in its middle, after a resume; its windows are drawn from its start anyway.
            for window in windows(index.group_rows, index.kept, self.seed, epoch, self.window_rows):
                size = len(window.rows)
                if size and window.offset < end and window.offset + size > first:
                    place = window.offset + np.arange(size)
                    mine = worker_rows(place, self.global_batch_size, self.rank, self.world_size)
                    mine &= (place >= first) & (place < end)
                    yield sorted(window.groups), window.rows[mine]


def resident_batches(
    pixels: np.ndarray, index: CorpusIndex, plan: StreamPlan, start_step: int
) -> Iterator[CorpusBatch]:
    """Batches from `start_step` on, of an array (N, S, S) uint8 of the whole split, in the same order as the stream."""
    share = plan.global_batch_size // plan.world_size
    waiting = np.empty(0, dtype=np.int64)
    for _, rows in plan.rows_by_window(index, start_step):
        waiting = np.concatenate([waiting, rows])
        while len(waiting) >= share:
            now, waiting = waiting[:share], waiting[share:]
            yield CorpusBatch(pixels[now], [index.reports[i] for i in now])
