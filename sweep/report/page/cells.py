"""What must the page know of every cell: one compact value for JSON, columns instead of rows, names once."""

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import Any

from datasets_io.fingerprint import plain
from sweep.store.records import CellResult
from sweep.store.snapshot import Snapshot
from sweep.store.status_names import Status
from sweep.studies.cell import Cell

MOST_LOG_NUMBERS = 400_000  # about 3 MB of text; beyond, logs stay in the storage
MOST_TRACEBACK = 20_000
STATUSES = (Status.DONE, Status.FAILED, Status.MISSING, Status.DAMAGED)  # as cells.js has them


class Names:
    """Values in order of first use, each once, so that cells hold small numbers."""

    def __init__(self) -> None:
        self.places: dict[Hashable, int] = {}

    def __call__(self, value: Hashable) -> int:
        return self.places.setdefault(value, len(self.places))

    def all(self) -> list:
        return list(self.places)


def cells_value(data: Snapshot) -> dict[str, Any]:
    """Columns of equal length, one entry a cell of the plan, and the tables that their numbers point into.

    aurocs are in hundred-thousandths; `counts` points to the cell's list of (finding, n_pos, n_neg).
    """
    cells = data.plan.cells
    rows, datasets, columns, subsets, counts = Names(), Names(), Names(), Names(), Names()
    details = [data.cells.get(cell.key) for cell in cells]

    def detail(field: str, change: Callable = lambda value: value) -> list:
        return [None if one is None or getattr(one, field) is None else change(getattr(one, field)) for one in details]

    value = {
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
    displays = {row.name: row.display for row in data.study.rows}
    sources = {dataset.source: dataset.display for dataset in data.study.datasets}
    return value | {
        "rows": [[name, displays[name]] for name in rows.all()],
        "datasets": [[name, sources[name]] for name in datasets.all()],
        "columns": columns.all(),
        "subsets": subsets.all(),
        "countLists": counts.all(),
        "logs": logs_value([one.history if one else () for one in details]),
        "failures": failures_value(cells, data.failures),
    }


def _hundred_thousandths(auroc: float | None) -> int | None:
    return None if auroc is None else round(auroc * 100_000)


def _counts(result: CellResult) -> tuple:
    return tuple((f.finding, f.n_pos, f.n_neg) for f in result.findings)


def logs_value(histories: Sequence[Sequence[Mapping[str, float | None]]]) -> dict[str, Any] | None:
    """Per-epoch values of each training, or None where there are too many for a page."""
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
    return value if value is None or isinstance(value, int) else float(f"{value:.5g}")


def failures_value(cells: Iterable[Cell], failures: Mapping[str, Mapping[str, str]]) -> dict[str, Any]:
    """Texts once, since thousands of cells may fail for one reason; key of a cell -> its text."""
    texts = Names()
    found = {cell.key: texts(_failure_text(failures[str(cell)])) for cell in cells if str(cell) in failures}
    return {"texts": texts.all(), "of": found}


def _failure_text(failure: Mapping[str, str]) -> tuple[str, str]:
    return failure["error"], failure.get("traceback", "")[-MOST_TRACEBACK:]


def recipes_value(data: Snapshot) -> dict[str, Any]:
    """Recipes of rows and datasets, as they are hashed."""
    return {
        "rows": {row.name: plain(row.recipe) for row in (*data.study.rows, *data.study.hidden_rows)},
        "datasets": {dataset.source: plain(dataset.recipe) for dataset in data.study.datasets},
    }
