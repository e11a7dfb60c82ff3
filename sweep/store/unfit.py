"""Which items did a run leave out because their row does not fit: kept as failures, told from others by their text."""

from collections.abc import Collection, Iterable, Mapping

from datasets_io.storage.artefacts import record_failure
from sweep.store.store import ReadStore, Store
from sweep.studies.cell import Cell, Item
from sweep.studies.plan import Pending, Plan

UNFIT = "does not fit: "  # how the error of such a failure begins


def unfit_keys(failed: Iterable[Item], store: ReadStore) -> set[str]:
    """Keys of those failed items that were left out so."""
    return {item.key for item in failed if _reason(store, item) is not None}


def unfit_reasons(failures: Mapping[str, Mapping[str, str]]) -> tuple[str, ...]:
    """The distinct sentences among a snapshot's failures that say what was left out."""
    errors = (failure["error"] for failure in failures.values())
    return tuple(dict.fromkeys(error.removeprefix(UNFIT) for error in errors if error.startswith(UNFIT)))


def leave_out(left: Pending, store: Store, sentences: Mapping[str, str]) -> None:
    """Record what is left of these rows as failed. sentences: row -> why, beginning with `row NAME`."""
    to_make = {run.key for run in left.encoders}
    for item in left.items:
        row = item.encoder.row if isinstance(item, Cell) else item.row
        # The cells of an encoder that is left out wait for it in vain, and need no record of their own.
        if row in sentences and not (isinstance(item, Cell) and item.encoder.key in to_make):
            record_failure(store.files, store.folder(item), UNFIT + sentences[row], "")


def take_back(plan: Plan, store: Store, keys: Collection[str]) -> None:
    """Let items that were left out be computed: their rows fit now, or are to be tried again."""
    for item in plan.items:
        if item.key in keys:
            store.forget_failure(item)


def _reason(store: ReadStore, item: Item) -> str | None:
    failure = store.failure(item)
    return failure["error"] if failure is not None and failure["error"].startswith(UNFIT) else None
