"""How is one cell computed again: its result is superseded, compared with the new one, or restored."""

import re
import uuid
from dataclasses import dataclass

from datasets_io.storage.artefacts import (
    RESULT,
    Artefacts,
    CorruptArtefact,
    open_artefacts,
    quarantine,
    quarantine_result,
)
from sweep.store.lease import Holder, Lease
from sweep.store.store import CELLS, SUPERSEDED, Store
from sweep.studies.cell import Cell, EncoderRun
from sweep.studies.plan import Plan, starts_from

# superseded/<name of the cell's folder>.<of one command>.json, once without what is of the command. No cell's name has
# spaces, or bytes that are no text: a lease, which lists names, could not say it.
_COPY = re.compile(rf"{SUPERSEDED}/([^/\s\ud800-\udfff]+-[0-9a-f]{{12}})(?:\.[0-9a-f]{{8}})?\.json")


@dataclass(frozen=True)
class Redo:
    """A cell that is to be computed again.

    before: its earlier result; None where there was none that is whole. kept: where its copy lies, which is this
    command's alone: another one, that took it for dead, may compute the cell again as well.
    """

    cell: Cell
    before: Artefacts | None
    kept: str


def find_cell(plan: Plan, key: str) -> Cell:
    """The cell of a key, as reports and results.csv print it. Raises ValueError."""
    for cell in plan.cells:
        if cell.key == key:
            return cell
    raise ValueError(
        f"this study has no cell with key {key!r} (it has {len(plan.cells)}): take a key of its report or of "
        "results.csv; a changed recipe or changed data gives other keys"
    )


def part_of(plan: Plan, cell: Cell) -> Plan:
    """The plan of one cell: with the cell and the encoders that it starts from."""
    start = starts_from(plan.cells).get(cell.key)
    cells = tuple(other for other in plan.cells if other in (start, cell))
    needed: set[str] = set()
    encoder: EncoderRun | None = cell.encoder
    while encoder is not None:  # its weights, what they started from, and so on
        needed.add(encoder.key)
        encoder = encoder.parent
    return Plan(tuple(run for run in plan.encoders if run.key in needed), cells)


def supersede(store: Store, cell: Cell) -> Redo:
    """Make a cell one that is left to do. Its result is kept elsewhere until the new one is there.

    Hold `claim_of` this cell meanwhile, so that no other driver brings the earlier result back.
    """
    folder = store.folder(cell)
    kept = f"{SUPERSEDED}/{folder.removeprefix(f'{CELLS}/')}.{uuid.uuid4().hex[:8]}.json"
    store.forget_failure(cell)
    try:
        before = store.open(cell)
    except FileNotFoundError:
        before = None
    except CorruptArtefact:
        before = None
        quarantine(store.files, folder)
    if before is None:
        return Redo(cell, None, kept)  # nothing is removed: another driver may have made one since
    try:
        data = store.files.read(f"{folder}/{RESULT}")
    except FileNotFoundError:  # another driver has found a file of it damaged since, and moved it to quarantine
        return Redo(cell, None, kept)
    # The copy comes first: wherever this process may be killed, one of the two is there.
    store.files.write(kept, data)
    store.files.remove(f"{folder}/{RESULT}")
    return Redo(cell, before, kept)


@dataclass(frozen=True)
class Settled:
    """What came out. computed: whether there is a new result; changed: whether reports have another one, or none."""

    sentence: str
    computed: bool = True
    changed: bool = False


def settle(store: Store, redo: Redo) -> Settled:
    """What came out. Without a new result the earlier one comes back."""
    from trainables.evaluation.agreement import cell_difference  # here: every command imports this file, few come here

    try:
        after = store.open(redo.cell)
    except (FileNotFoundError, CorruptArtefact):
        return Settled(_restore(store, redo), computed=False)
    store.files.remove(redo.kept)
    if redo.before is None:
        return Settled(f"{redo.cell}: computed; there was no earlier result", changed=True)
    old, new = redo.before.result.get("macro_auroc"), after.result.get("macro_auroc")
    same = _predictions(redo.before) == _predictions(after)
    if same and old == new:
        return Settled(
            f"{redo.cell}: computed again and equal: macro AUROC {new}, the same predictions to the last bit"
        )
    stands = "The new result stands; cells that started from the earlier one were not computed again"
    why = cell_difference(redo.before, after)
    if why is None:
        return Settled(
            f"{redo.cell}: computed again and equal within what the order of a GPU's sums may change: macro AUROC "
            f"{new}, before {old}. {stands}",
            changed=True,
        )
    compared = "the same predictions" if same else "other predictions"
    if str(after.result.get("device")).startswith("cuda"):
        compared += f" ({why})"
    return Settled(
        f"{redo.cell}: computed again and not equal: macro AUROC {new}, before {old}; {compared}. {stands}",
        changed=True,
    )


def _predictions(artefacts: Artefacts) -> str | None:
    """Their SHA-256; None of a result from elsewhere that has none."""
    entry = artefacts.result["files"].get("predictions.parquet")
    return entry and entry["sha256"]


def restore_interrupted(store: Store, lease: Lease) -> tuple[list[str], dict[str, Holder]]:
    """Bring back the results of cells whose computation again was killed; in sentences, of none where it still runs.

    lease: of this driver, which holds nothing yet. Second, key of a cell whose earlier result still lies aside -> the
    driver that computes it again, or that did and is not known to have ended: nobody else begins such a cell.
    """
    kept = {path: found[1] for path in store.files.list(SUPERSEDED) if (found := _COPY.fullmatch(path))}
    if not kept:
        return [], {}
    said = []
    free, held = lease.claim({claim_of(name) for name in kept.values()})
    for path, name in kept.items():
        if claim_of(name) in free and (earlier := _bring_back(store, name, path)):
            said.append(f"{name}: computing it again was cut off; {earlier}")
    lease.keep(())
    return said, {claimed.rpartition("-")[2]: holder for claimed, holder in held.items()}


def _bring_back(store: Store, name: str, path: str) -> str | None:
    """The result of a cell from its copy, which goes: what became of it; None where another one was there and whole."""
    folder = f"{CELLS}/{name}"
    try:
        copy = store.files.read(path)
    except FileNotFoundError:  # since it was listed, the command that computed the cell again has come to its end
        return None
    if _is_damaged(store, name):
        quarantine_result(store.files, folder, "damaged while it was computed again")
    brought_back = store.files.write_once(f"{folder}/{RESULT}", copy)
    store.files.remove(path)
    if not brought_back:
        return None
    # --retry-failed has read every file of what stood before this, and the bytes of this one nobody has.
    if quarantine(store.files, folder) is not None:
        return "its earlier result is damaged, and lies in quarantine"
    return "its earlier result stands"


def _is_damaged(store: Store, name: str) -> bool:
    try:
        open_artefacts(store.files, f"{CELLS}/{name}")
    except FileNotFoundError:
        return False
    except CorruptArtefact:
        return True
    return False


def claim_of(folder: str) -> str:
    """What the lease of a driver names that computes a cell again. folder: of the cell, without its parents."""
    return f"again:{folder}"


def _restore(store: Store, redo: Redo) -> str:
    failure = store.failure(redo.cell)
    why = f": {failure['error']}" if failure else ""
    if redo.before is None:
        return f"{redo.cell}: not computed{why}"
    store.forget_failure(redo.cell)
    earlier = _bring_back(store, store.folder(redo.cell).removeprefix(f"{CELLS}/"), redo.kept)
    return f"{redo.cell}: not computed again{why}; {earlier or 'another command has computed it'}"
