"""Which tables does a study have: rows and columns of Tables 1, 8 and 9, and what must be said below them."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from sweep.aggregate import FAILED, CellResult
from sweep.plan import Plan
from sweep.published_tables import COLUMNS, GLOBAL_BATCH_SIZE
from sweep.studies import BASELINE, EncoderRow, Study
from trainables.objectives.joint import JointConfig
from trainables.recipe import PretrainRecipe
from trainables.registry import IMAGE_IMAGE, IMAGE_TEXT, PROTOCOLS

PAPER_BATCH_SIZE = 256
TABLE_OF_BATCH = {batch: number for number, batch in GLOBAL_BATCH_SIZE.items()}
LARGE_BATCHES = {batch: number for batch, number in TABLE_OF_BATCH.items() if batch != PAPER_BATCH_SIZE}


@dataclass(frozen=True)
class TableLayout:
    """Rows and columns of a table, in order.

    rows: (name, display name, group) of encoders; datasets: (source, display name); columns: (protocol,
    label_percent). seeds, pretrain_seeds: what was asked for, so that what is missing can be marked.
    paper_rows: (row name, the paper's method, global batch size) of rows that the paper has under another name or
    with another batch than 256.
    """

    rows: tuple[tuple[str, str, str], ...]
    datasets: tuple[tuple[str, str], ...]
    columns: tuple[tuple[str, int], ...]
    seeds: tuple[int, ...]
    pretrain_seeds: tuple[int, ...] = (0,)
    study: str = ""
    interval: str = "t"
    paper_rows: tuple[tuple[str, str, int], ...] = ()

    def paper_names(self, names: Iterable[str]) -> dict[str, tuple[str, int]]:
        """Row -> the paper's method and global batch size that it is laid beside."""
        known = {row: (method, batch) for row, method, batch in self.paper_rows}
        return {name: known.get(name, (name, PAPER_BATCH_SIZE)) for name in names}

    def column_title(self, protocol: str, label_percent: int) -> str:
        """`LP` for a protocol that knows no other percentage, else `FT (1%)`."""
        return protocol if PROTOCOLS[protocol].label_percents == (label_percent,) else f"{protocol} ({label_percent}%)"

    @property
    def column_titles(self) -> tuple[str, ...]:
        return tuple(self.column_title(*column) for column in self.columns)


def layout_of(study: Study, plan: Plan) -> TableLayout:
    """All rows and columns that were asked for, in the paper's order."""
    asked_rows = {cell.encoder.row for cell in plan.cells}
    asked_datasets = {cell.dataset for cell in plan.cells}
    asked_columns = {(cell.protocol, cell.label_percent) for cell in plan.cells}
    columns = [(name, percent) for name in study.protocols for percent in PROTOCOLS[name].label_percents]
    rows = [row for row in study.rows if row.name in asked_rows]
    return TableLayout(
        rows=tuple((row.name, row.display, row.group) for row in rows),
        datasets=tuple((d.source, d.display) for d in study.datasets if d.source in asked_datasets),
        columns=tuple(column for column in columns if column in asked_columns),
        seeds=tuple(sorted({cell.seed for cell in plan.cells})),
        pretrain_seeds=tuple(sorted({cell.encoder.pretrain_seed for cell in plan.cells})),
        study=study.name,
        interval=study.interval,
        paper_rows=tuple((row.name, *_paper_row(row)) for row in rows),
    )


def _paper_row(row: EncoderRow) -> tuple[str, int]:
    """The paper's name for a row's objective, and the row's global batch size."""
    if not isinstance(row.recipe, PretrainRecipe):
        return row.name, PAPER_BATCH_SIZE
    return method_of(row.recipe.objective) or row.name, row.recipe.global_batch_size


def method_of(objective: object) -> str | None:
    """The registry's name of an objective's configuration: `clip`, `clip+simclr`; None for an unknown one."""
    names = {kind: name for name, kind in (IMAGE_TEXT | IMAGE_IMAGE).items()}
    if isinstance(objective, JointConfig):
        parts = names.get(type(objective.image_text)), names.get(type(objective.image_image))
        return None if None in parts else "+".join(parts)
    return names.get(type(objective))


def numbered_layouts(study: Study, plan: Plan) -> dict[int, TableLayout]:
    """The paper's number -> layout: Table 1, and Tables 8 and 9 where the study has rows of their batch sizes.

    Such rows leave Table 1, whose methods share one batch size, unless it has no pretrained row without them.
    """
    layout = layout_of(study, plan)
    batches = {name: batch for name, _, batch in layout.paper_rows}
    baselines = {name for name, _, group in layout.rows if group == BASELINE}
    large = {name for name, batch in batches.items() if batch in LARGE_BATCHES}
    main = set(batches) - large
    layouts = {1: layout if main <= baselines else _with_rows(layout, main)}
    for batch, number in LARGE_BATCHES.items():
        rows = {name for name in large if batches[name] == batch}
        if rows:
            columns = tuple(column for column in layout.columns if column in COLUMNS[number])
            layouts[number] = replace(_with_rows(layout, rows | baselines, batch), columns=columns)
    return layouts


def _with_rows(layout: TableLayout, names: Iterable[str], baseline_batch: int = PAPER_BATCH_SIZE) -> TableLayout:
    names = set(names)
    paper_rows = tuple(
        (name, method, baseline_batch if group == BASELINE else batch)
        for (name, method, batch), (_, _, group) in zip(layout.paper_rows, layout.rows, strict=True) if name in names
    )
    return replace(layout, rows=tuple(row for row in layout.rows if row[0] in names), paper_rows=paper_rows)


def notes_of(study: Study, results: Sequence[CellResult]) -> tuple[str, ...]:
    """Deviations of the study, and findings that have no AUROC on a test set."""
    notes = list(study.deviations)
    for dataset in study.datasets:
        if dataset.recipe.splits.selects_on_test:
            notes.append(f"{dataset.display}: the epoch is selected on the images that are reported.")
        undefined = sorted(
            {f.finding for r in results if r.dataset == dataset.source for f in r.findings if f.auroc is None}
        )
        if undefined:
            notes.append(f"{dataset.display}: no AUROC for {', '.join(undefined)} (one class only in the test images).")
    return tuple(notes)


def without_nan(results: Iterable[CellResult]) -> tuple[list[CellResult], list[CellResult]]:
    """Results whose values are numbers, those with NaN turned into failed ones; and the latter, for a sentence."""
    kept, broken = [], []
    for result in results:
        values = (result.macro_auroc, *(f.auroc for f in result.findings))
        if any(value is not None and not math.isfinite(value) for value in values):
            result = replace(result, status=FAILED, findings=(), macro_auroc=None)
            broken.append(result)
        kept.append(result)
    return kept, broken


def what_varies(layout: TableLayout) -> str:
    """Over which seeds a mean and its interval are taken, in words."""
    seeds, pretrain_seeds = _listed(layout.seeds), _listed(layout.pretrain_seeds)
    if len(layout.pretrain_seeds) == 1:
        return (
            f"n = {len(layout.seeds)} downstream seeds ({seeds}); every method was pretrained once (seed "
            f"{pretrain_seeds}), so the intervals do not cover the variance of pretraining"
        )
    return (
        f"n = {len(layout.pretrain_seeds)} pretraining seeds ({pretrain_seeds}), each the mean over "
        f"{len(layout.seeds)} downstream seeds ({seeds})"
    )


def _listed(seeds: tuple[int, ...]) -> str:
    return ", ".join(map(str, seeds))
