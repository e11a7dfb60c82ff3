"""A corpus streamed by Ray Data: one long pipeline for all epochs, in the order of datasets_io.order. [ray]"""

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import ray

from datasets_io.files import Files
from datasets_io.manifest import Manifest
from datasets_io.read import CorpusBatch, CorpusIndex, StreamPlan, pixels_of
from datasets_io.shard_file import open_shard

PIXELS, REPORT = COLUMNS = ("pixels", "report_impression")
ROW_TYPE = np.dtype("<i4")
ROWS_PER_BLOCK, BYTES_PER_BLOCK = 1024, 256 << 20
WINDOWS_AT_ONCE = 2  # one that is delivered and one that is read: memory for two windows of pixels


def _read_window(files: Files, folder: str, findings: tuple[str, ...], groups: list[tuple[str, int]]) -> list[pa.Table]:
    """The row groups in the order asked for; each file is opened once."""
    numbers: dict[str, list[int]] = {}
    for path, number in groups:
        numbers.setdefault(path, []).append(number)
    parts = {}
    for path, wanted in numbers.items():
        with files.fs.open_input_file(files.full(f"{folder}/{path}")) as source, \
                open_shard(source, findings, path) as shard:
            for number in wanted:
                parts[path, number] = shard.read_row_group(number, columns=list(COLUMNS))
    return [parts[group] for group in groups]


class _WindowReader:
    """Turns one item of the plan into rows. Built once in a task; holds no state between items."""

    def __init__(self, uri: str, folder: str, manifest: Manifest, index: CorpusIndex):
        self.uri, self.folder, self.findings = uri, folder, manifest.findings
        self.image_size = manifest.image_size
        self.places = index.group_places
        self.starts = np.concatenate([[0], np.cumsum(index.group_rows)])

    def __call__(self, batch: pa.Table) -> Iterator[pa.Table]:
        files = Files(self.uri)
        for groups, packed in zip(batch["groups"].to_pylist(), batch["rows"].to_pylist(), strict=True):
            rows = np.frombuffer(packed, ROW_TYPE)
            parts = _read_window(files, self.folder, self.findings, [self.places[g] for g in groups])
            pixels = [pixels_of(part["pixels"], self.image_size) for part in parts]
            members = np.concatenate([np.arange(self.starts[g], self.starts[g + 1]) for g in groups])
            by_row = np.argsort(members)
            local = by_row[np.searchsorted(members[by_row], rows)]
            part_of = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
            within = np.concatenate([np.arange(len(part)) for part in parts])
            reports = pa.concat_tables([part.select([REPORT]) for part in parts])[REPORT]
            step = max(1, min(ROWS_PER_BLOCK, BYTES_PER_BLOCK // self.image_size**2))
            for start in range(0, len(local), step):
                now = local[start : start + step]
                block = _gathered(pixels, part_of[now], within[now])
                yield pa.table({PIXELS: block, REPORT: reports.take(pa.array(now)).combine_chunks()})


def _gathered(parts: list[np.ndarray], part_of: np.ndarray, within: np.ndarray) -> pa.Array:
    """Rows of several (n, S, S) arrays as one binary array: copied once, the window as a whole never."""
    size = parts[0][0].size
    out = np.empty((len(part_of), *parts[0].shape[1:]), np.uint8)
    for part in np.unique(part_of):
        rows = np.flatnonzero(part_of == part)
        out[rows] = parts[part][within[rows]]
    offsets = np.arange(len(out) + 1, dtype=np.int32) * size
    return pa.Array.from_buffers(pa.binary(), len(out), [None, pa.py_buffer(offsets), pa.py_buffer(out)])


def streamed_batches(
    files: Files, folder: str, manifest: Manifest, index: CorpusIndex, plan: StreamPlan, start_step: int, name: str
) -> Iterator[CorpusBatch]:
    """Batches straight from storage, from `start_step` on: the same as resident_batches, bit for bit."""
    # All epochs of 377,110 images are 19 million rows: 75 MB as int32, ten times that as Python's numbers.
    items = [
        {"groups": list(groups), "rows": rows.astype(ROW_TYPE).tobytes()}
        for groups, rows in plan.rows_by_window(index, start_step)
    ]
    if not items:
        return
    dataset = ray.data.from_items(items, override_num_blocks=len(items)).map_batches(
        _WindowReader(files.uri, folder, manifest, index),
        batch_size=1,
        batch_format="pyarrow",
        compute=ray.data.TaskPoolStrategy(size=min(WINDOWS_AT_ONCE, len(items))),
        num_cpus=0.01,  # the pipeline must run beside training that holds every core
    )
    dataset.set_name(name)
    dataset.context.execution_options.preserve_order = True
    dataset.context.enable_progress_bars = False
    share = plan.global_batch_size // plan.world_size
    for table in dataset.iter_batches(batch_size=share, batch_format="pyarrow", prefetch_batches=2):
        reports = [report or "" for report in table[REPORT].to_pylist()]
        # A copy can be written to, as torch wants it, and lets go of Ray's shared memory.
        yield CorpusBatch(pixels_of(table[PIXELS], manifest.image_size).copy(), reports)

