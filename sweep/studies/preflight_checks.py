"""Which preflight checks does a plan need: one for each network that it would load, feed or train. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import replace

from sweep.studies.cell import Cell, EncoderRun
from sweep.studies.plan import Pending
from sweep.studies.study import Study
from trainables.preflight.verdict import EncoderCheck, PreflightCheck, PretrainingCheck
from trainables.protocols.registry import PROTOCOLS
from trainables.recipe import EncoderSource, ImageNetInit, InitialRecipe, PretrainRecipe, RandomInit


def checks_of(study: Study, left: Pending) -> dict[str, tuple[PreflightCheck, ...]]:
    """Row -> its checks, of the rows that something is left of; rows of one network share an equal check.

    The weights of an encoder that is stored already were checked when it was made: of it only the network is.
    """
    open_rows: dict[str, list[Cell]] = {}
    for cell in left.cells:
        open_rows.setdefault(cell.encoder.row, []).append(cell)
    to_make: dict[str, EncoderRun] = {run.row: run for run in left.encoders}
    found: dict[str, tuple[PreflightCheck, ...]] = {}
    for row in dict.fromkeys((*to_make, *open_rows)):
        run = to_make.get(row)
        recipe = run.recipe if run is not None else open_rows[row][0].encoder.recipe
        checks: list[PreflightCheck] = [_of_features(recipe, open_rows.get(row, ()), run is not None)]
        if run is not None and isinstance(recipe, PretrainRecipe):
            checks.append(_of_pretraining(study, run, recipe))
        found[row] = tuple(checks)
    return found


def _of_features(recipe: InitialRecipe, cells: Iterable[Cell], to_make: bool) -> EncoderCheck:
    shown = {cell.dataset: cell.recipe.eval_spec for cell in cells}
    trained = [c.recipe.batch_size for c in cells if PROTOCOLS[c.protocol].last_phase.trains == "all"]
    loaded = recipe if to_make and isinstance(recipe, EncoderSource | ImageNetInit) else RandomInit(recipe.backbone)
    return EncoderCheck(loaded, tuple(shown.items()), max(trained, default=None))


def _of_pretraining(study: Study, run: EncoderRun, recipe: PretrainRecipe) -> PretrainingCheck:
    start = run.parent.recipe.backbone if run.parent is not None else None
    on_a_worker = recipe.global_batch_size // (study.resources.pretrain_workers or 1)
    # Images are stored at their size, and views at their own: no number of a check depends on how long it trains.
    alike = replace(recipe, num_epochs=1, patience=None, initial="")
    return PretrainingCheck(alike, study.corpus.image_size, start, recipe.gradient_cache_chunk or on_a_worker)


def with_starts(left: Pending, misfits: Mapping[str, str]) -> dict[str, str]:
    """The misfits of rows, and of every row that would start from one of them. Parents come first in `left`."""
    unfit = dict(misfits)
    to_make = {run.key for run in left.encoders}
    for run in left.encoders:
        parent = run.parent
        if parent is not None and parent.key in to_make and parent.row in unfit and run.row not in unfit:
            unfit[run.row] = f"starts from row {parent.row}, which does not fit"
    return unfit


def without_rows(left: Pending, rows: Iterable[str]) -> Pending:
    """What is left of the other rows."""
    out = set(rows)
    return replace(
        left,
        encoders=tuple(run for run in left.encoders if run.row not in out),
        cells=tuple(cell for cell in left.cells if cell.encoder.row not in out),
    )
