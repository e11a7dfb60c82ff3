"""Which data of every cell does the page hold: one compact value for JSON, columns instead of rows, names once."""

import base64
import json
import zlib
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from datasets_io.fingerprint import plain
from sweep.store.records import CellResult
from sweep.store.snapshot import Snapshot
from sweep.store.status_names import Status
from sweep.studies.cell import Cell

MOST_LOG_NUMBERS = 400_000  # about 3 MB of text; beyond, logs stay in the storage
MOST_TRACEBACK = 20_000  # characters, from the end, where the error stands
MOST_IN_JSON = 50_000  # cells: 17 MB, which a browser parses in a second; of a million they were 350 MB
CHUNK = 4096  # cells whose details are unpacked together: a megabyte, some milliseconds
SQUEEZE = 4  # of deflate: half the time of its default, and one percent more bytes
LIST_COLUMNS = ("row", "dataset", "column", "pretrainSeed", "seed", "key", "status", "macro", "images")
STATUSES = (Status.DONE, Status.FAILED, Status.MISSING, Status.DAMAGED)  # as cells.js has them


class Names:
    """A table of distinct values in order of first use, so that cells hold small numbers that point into it."""

    def __init__(self) -> None:
        self.places: dict[Hashable, int] = {}

    def __call__(self, value: Hashable) -> int:
        """The value's index, a new one where the value is new."""
        return self.places.setdefault(value, len(self.places))

    def all(self) -> list[Any]:
        """The values, by their index."""
        return list(self.places)


@dataclass(frozen=True)
class PageCells:
    """inline: what is in the page's JSON of its cells; packed: id of an element -> what it holds, of many cells."""

    inline: Mapping[str, Any]
    packed: Mapping[str, str]


def page_cells(data: Snapshot) -> PageCells:
    """All cells in the page's JSON; of many only what they share; the rest is unpacked where it is shown."""
    count = len(data.plan.cells)
    if count <= MOST_IN_JSON:
        return PageCells({**list_value(data), **detail_value(data, 0, count), **shared_value(data)}, {})
    listed = list_value(data)
    columns = {name: listed.pop(name) for name in LIST_COLUMNS}
    keys = "".join(columns.pop("key"))
    packed = {"cells-list": pack({**columns, "keys": keys})}
    for chunk, start in enumerate(range(0, count, CHUNK)):
        packed[f"cells-{chunk}"] = pack(detail_value(data, start, min(count, start + CHUNK)))
    return PageCells({**listed, **shared_value(data), "count": count, "chunk": CHUNK}, packed)


def pack(value: Mapping[str, Any]) -> str:
    """JSON, deflated and in base64, which no markup can be in. A page unpacks it with DecompressionStream."""
    squeeze = zlib.compressobj(SQUEEZE, wbits=-zlib.MAX_WBITS)  # no header: `deflate-raw`
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return base64.b64encode(squeeze.compress(text.encode()) + squeeze.flush()).decode()


def list_value(data: Snapshot) -> dict[str, Any]:
    """Columns of equal length that the list shows, sorts and filters, and the tables that their numbers point into."""
    cells = data.plan.cells  # data.results are in the same order
    rows, datasets, columns = Names(), Names(), Names()
    found: dict[str, Any] = {
        "row": [rows(cell.encoder.row) for cell in cells],
        "dataset": [datasets(cell.dataset) for cell in cells],
        "column": [columns((cell.protocol, cell.label_percent)) for cell in cells],
        "pretrainSeed": [cell.encoder.pretrain_seed for cell in cells],
        "seed": [cell.seed for cell in cells],
        "key": [cell.key for cell in cells],
        "status": [STATUSES.index(result.status) for result in data.results],
        "macro": [_hundred_thousandths(result.macro_auroc) for result in data.results],
        "images": _of_details(data, cells, "num_train_images"),
    }
    displays = {row.name: row.display for row in data.study.rows}
    sources = {dataset.instance: data.study.display_of(dataset) for dataset in data.study.datasets}
    return found | {
        "rows": [[name, displays[name]] for name in rows.all()],
        "datasets": [[name, sources[name]] for name in datasets.all()],
        "columns": columns.all(),
    }


def detail_value(data: Snapshot, start: int, stop: int) -> dict[str, Any]:
    """What one cell's dialog shows besides, of the cells from start to stop, and the tables that it points into.

    aurocs are in hundred-thousandths; epoch is counted from 0, of so many epochs; `counts` points to the cell's list of
    (finding, n_pos, n_neg).
    """
    cells, results = data.plan.cells[start:stop], data.results[start:stop]
    subsets, counts = Names(), Names()
    found = {
        "counts": [counts(_counts(result)) if result.findings else None for result in results],
        "aurocs": [[_hundred_thousandths(f.auroc) for f in result.findings] for result in results],
        "epoch": _of_details(data, cells, "best_epoch"),
        "epochs": _of_details(data, cells, "history", len),
        "seconds": _of_details(data, cells, "seconds", lambda seconds: round(seconds, 2)),
        "device": _of_details(data, cells, "device"),
        "subset": _of_details(data, cells, "subset_sha256", subsets),
        "without": _of_details(data, cells, "without_positives", list),
    }
    return found | {"subsets": subsets.all(), "countLists": counts.all()}


def shared_value(data: Snapshot) -> dict[str, Any]:
    """Logs of all trainings, where they are few enough, and why cells failed."""
    details = [data.cells.get(cell.key) for cell in data.plan.cells]
    return {
        "logs": logs_value([one.history if one else () for one in details]),
        "failures": failures_value(data.plan.cells, data.failures),
    }


def _of_details(
    data: Snapshot, cells: Sequence[Cell], field: str, change: Callable[[Any], Any] = lambda value: value
) -> list[Any]:
    """One field of each cell's training; None where it has none or does not say."""
    values = (getattr(data.cells.get(cell.key), field, None) for cell in cells)
    return [None if value is None else change(value) for value in values]


# 81234 for 0.81234: two characters less for each of up to millions of values. The page shows at most 81.234%.
def _hundred_thousandths(auroc: float | None) -> int | None:
    return None if auroc is None else round(auroc * 100_000)


def _counts(result: CellResult) -> tuple[tuple[str, int, int], ...]:
    return tuple((f.finding, f.n_pos, f.n_neg) for f in result.findings)


def logs_value(histories: Sequence[Sequence[Mapping[str, float | None]]]) -> dict[str, Any] | None:
    """Per-epoch values of each training, or None where there are too many for a page."""
    # Like cells: the names of an epoch's values once, then numbers alone.
    if sum(len(epoch) for history in histories for epoch in history) > MOST_LOG_NUMBERS:
        return None
    names = Names()
    entries = []
    for history in histories:
        fields = tuple(history[0]) if history else ()
        epochs = [[_short(epoch.get(field)) for field in fields] for epoch in history]
        entries.append([names(fields), epochs] if history else None)
    return {"fields": names.all(), "entries": entries}


def _short(value: float | None) -> float | None:
    return value if value is None or isinstance(value, int) else float(f"{value:.5g}")  # the page shows four digits


def failures_value(cells: Iterable[Cell], failures: Mapping[str, Mapping[str, str]]) -> dict[str, Any]:
    """texts: each distinct (error, traceback), since thousands of cells may fail alike; of: cell's key -> its index."""
    texts = Names()
    found = {cell.key: texts(_failure_text(failures[str(cell)])) for cell in cells if str(cell) in failures}
    return {"texts": texts.all(), "of": found}


def _failure_text(failure: Mapping[str, str]) -> tuple[str, str]:
    return failure["error"], failure.get("traceback", "")[-MOST_TRACEBACK:]


def recipes_value(data: Snapshot) -> dict[str, Any]:
    """Recipes of rows and datasets by name, with all their fields as plain values."""
    return {
        "rows": {row.name: plain(row.recipe) for row in (*data.study.rows, *data.study.hidden_rows)},
        "datasets": {dataset.instance: plain(dataset.recipe) for dataset in data.study.datasets},
    }
