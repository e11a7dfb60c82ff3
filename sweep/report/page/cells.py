"""Which data of every cell does the page hold: one compact value for JSON, columns instead of rows, names once."""

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import Any

from datasets_io.fingerprint import plain
from sweep.store.records import CellResult
from sweep.store.snapshot import Snapshot
from sweep.store.status_names import Status
from sweep.studies.cell import Cell

MOST_LOG_NUMBERS = 400_000  # about 3 MB of text; beyond, logs stay in the storage
MOST_TRACEBACK = 20_000  # characters, from the end, where the error stands
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


def cells_value(data: Snapshot) -> dict[str, Any]:
    """Columns of equal length, one entry a cell of the plan, and the tables that their numbers point into.

    aurocs are in hundred-thousandths; `counts` points to the cell's list of (finding, n_pos, n_neg).
    """
    cells = data.plan.cells  # data.results are in the same order
    rows, datasets, columns, subsets, counts = Names(), Names(), Names(), Names(), Names()
    details = [data.cells.get(cell.key) for cell in cells]

    def detail(field: str, change: Callable[[Any], Any] = lambda value: value) -> list[Any]:
        return [None if one is None or getattr(one, field) is None else change(getattr(one, field)) for one in details]

    value: dict[str, Any] = {
        "row": [rows(cell.encoder.row) for cell in cells],
        "dataset": [datasets(cell.dataset) for cell in cells],
        "column": [columns((cell.protocol, cell.label_percent)) for cell in cells],
        "pretrainSeed": [cell.encoder.pretrain_seed for cell in cells],
        "seed": [cell.seed for cell in cells],
        "key": [cell.key for cell in cells],
        "status": [STATUSES.index(result.status) for result in data.results],
        "macro": [_hundred_thousandths(result.macro_auroc) for result in data.results],
        "counts": [counts(_counts(result)) if result.findings else None for result in data.results],
        "aurocs": [[_hundred_thousandths(f.auroc) for f in result.findings] for result in data.results],
        "images": detail("num_train_images"),
        "epoch": detail("best_epoch"),
        "seconds": detail("seconds", lambda seconds: round(seconds, 2)),
        "device": detail("device"),
        "subset": detail("subset_sha256", subsets),
        "without": detail("without_positives", list),
    }
    # The tables come last: each lookup above has added to them.
    displays = {row.name: row.display for row in data.study.rows}
    sources = {dataset.instance: data.study.display_of(dataset) for dataset in data.study.datasets}
    return value | {
        "rows": [[name, displays[name]] for name in rows.all()],
        "datasets": [[name, sources[name]] for name in datasets.all()],
        "columns": columns.all(),
        "subsets": subsets.all(),
        "countLists": counts.all(),
        "logs": logs_value([one.history if one else () for one in details]),
        "failures": failures_value(cells, data.failures),
    }


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
