"""Which rows and columns does a study's table have, in which order, against which row?"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from sweep.studies.part import part_of
from sweep.studies.plan import Plan
from sweep.studies.study import BASELINE, EncoderRow, Study
from trainables.objectives.joint import JointConfig
from trainables.protocols.registry import PROTOCOLS
from trainables.recipe import PretrainRecipe, RandomInit
from trainables.registry import IMAGE_IMAGE, IMAGE_TEXT

PAPER_BATCH_SIZE = 256  # Huang et al. 2023
LARGE_BATCHES = (1024, 2048)  # their appendix E, Tables 8 and 9


@dataclass(frozen=True)
class TableLayout:
    """Rows and columns of a table, in order.

    rows: (name, display name, group) of encoders; datasets: (name, display name); columns: (protocol,
    label_percent). seeds, pretrain_seeds: what was asked for, so that what is missing can be marked.
    paper_rows: (row name, the paper's method, global batch size) of rows that the paper has under another name or
    with another batch than 256. part: a sentence where this is a part of the study alone, else empty. drawn_rows: names
    of rows whose network each downstream seed draws anew.
    """

    rows: tuple[tuple[str, str, str], ...]
    datasets: tuple[tuple[str, str], ...]
    columns: tuple[tuple[str, int], ...]
    seeds: tuple[int, ...]
    pretrain_seeds: tuple[int, ...] = (0,)
    study: str = ""
    interval: str = "t"
    paper_rows: tuple[tuple[str, str, int], ...] = ()
    part: str = ""
    drawn_rows: tuple[str, ...] = ()

    def paper_names(self, names: Iterable[str]) -> dict[str, tuple[str, int]]:
        """Row -> the paper's method and global batch size that it is compared with; by default its own name and 256."""
        known = {row: (method, batch) for row, method, batch in self.paper_rows}
        return {name: known.get(name, (name, PAPER_BATCH_SIZE)) for name in names}

    def column_title(self, protocol: str, label_percent: int) -> str:
        """`LP` for a protocol that knows no other percentage, else `FT (1%)`."""
        return protocol if PROTOCOLS[protocol].label_percents == (label_percent,) else f"{protocol} ({label_percent}%)"

    @property
    def column_titles(self) -> tuple[str, ...]:
        """One for each of `columns`, in their order."""
        return tuple(self.column_title(*column) for column in self.columns)


def layout_of(study: Study, plan: Plan) -> TableLayout:
    """All rows and columns that were asked for, in the paper's order: the study's, not that of the plan's cells."""
    # --only may leave out rows and columns: what no cell of the plan has is not shown as missing.
    asked_rows = {cell.encoder.row for cell in plan.cells}
    asked_datasets = {cell.dataset for cell in plan.cells}
    asked_columns = {(cell.protocol, cell.label_percent) for cell in plan.cells}
    columns = [(name, percent) for name in study.protocols for percent in PROTOCOLS[name].label_percents]
    rows = [row for row in study.rows if row.name in asked_rows]
    return TableLayout(
        rows=tuple((row.name, row.display, row.group) for row in rows),
        datasets=tuple((d.instance, study.display_of(d)) for d in study.datasets if d.instance in asked_datasets),
        columns=tuple(column for column in columns if column in asked_columns),
        seeds=tuple(sorted({cell.seed for cell in plan.cells})),
        pretrain_seeds=tuple(sorted({cell.encoder.pretrain_seed for cell in plan.cells})),
        study=study.name,
        interval=study.interval,
        paper_rows=tuple((row.name, *_paper_row(row)) for row in rows),
        part=part_of(study, plan),
        drawn_rows=tuple(row.name for row in rows if isinstance(row.recipe, RandomInit)),
    )


def table1_layout(layout: TableLayout) -> TableLayout:
    """Without the rows of Appendix E's batch sizes: Table 1's methods share one, and have every column.

    Of a study that has no pretrained row beside those, all rows: baselines alone would be no comparison.
    """
    large = {name for name, _, batch in layout.paper_rows if batch in LARGE_BATCHES}
    main = [(name, group) for name, _, group in layout.rows if name not in large]
    return layout if all(group == BASELINE for _, group in main) else with_rows(layout, (name for name, _ in main))


def with_rows(layout: TableLayout, names: Iterable[str], baseline_batch: int = PAPER_BATCH_SIZE) -> TableLayout:
    """The layout with these rows only. A baseline has no batch size: the paper repeats it under `baseline_batch`."""
    names = set(names)
    groups = {name: group for name, _, group in layout.rows}
    paper_rows = tuple(
        (name, method, baseline_batch if groups[name] == BASELINE else batch)
        for name, method, batch in layout.paper_rows
        if name in names
    )
    return replace(layout, rows=tuple(row for row in layout.rows if row[0] in names), paper_rows=paper_rows)


def _paper_row(row: EncoderRow) -> tuple[str, int]:
    """The paper's name for a row's objective, and the row's global batch size."""
    if not isinstance(row.recipe, PretrainRecipe):
        return row.name, PAPER_BATCH_SIZE
    return method_of(row.recipe.objective) or row.name, row.recipe.global_batch_size


def method_of(objective: object) -> str | None:
    """The registry's name of an objective's configuration: `clip`, `clip+simclr`; None for an unknown one."""
    # The registry maps names to configurations; a row is known by its recipe, whatever the study calls it.
    names: dict[type, str] = {kind: name for name, kind in (IMAGE_TEXT | IMAGE_IMAGE).items()}
    if isinstance(objective, JointConfig):
        text, image = names.get(type(objective.image_text)), names.get(type(objective.image_image))
        return None if text is None or image is None else f"{text}+{image}"
    return names.get(type(objective))


MOST_LISTED = 30  # seeds that are named one by one


def what_varies(layout: TableLayout) -> str:
    """Over which seeds a mean and its interval are taken: part of a sentence, for captions."""
    seeds, pretrain_seeds = _listed(layout.seeds), _listed(layout.pretrain_seeds)
    drawn = "; without any pretraining each seed draws a network" if layout.drawn_rows else ""
    if len(layout.pretrain_seeds) == 1:
        return (
            f"n = {len(layout.seeds)} downstream seeds ({seeds}); every method was pretrained once (seed "
            f"{pretrain_seeds}), so the intervals do not cover the variance of pretraining{drawn}"
        )
    return (
        f"n = {len(layout.pretrain_seeds)} pretraining seeds ({pretrain_seeds}), each the mean over "
        f"{len(layout.seeds)} downstream seeds ({seeds}){drawn}"
    )


def _listed(seeds: tuple[int, ...]) -> str:
    """`0, 1, 2`; of many `0 to 769`: a caption of ten thousand numbers fits no page."""
    if len(seeds) <= MOST_LISTED:
        return ", ".join(map(str, seeds))
    runs: list[tuple[int, int]] = []
    for seed in seeds:
        follows = bool(runs) and seed == runs[-1][1] + 1
        runs = [*runs[:-1], (runs[-1][0], seed)] if follows else [*runs, (seed, seed)]
        if len(runs) > MOST_LISTED:
            return f"{', '.join(map(str, seeds[:MOST_LISTED]))} and {len(seeds) - MOST_LISTED:,} more"
    return ", ".join(str(first) if first == last else f"{first} to {last}" for first, last in runs)


def reference_row(rows: Sequence[tuple[str, str]]) -> str | None:
    """The row that others are compared with: `imagenet` where it is one, else the first baseline, else None.

    rows: (name, group) in the table's order.
    """
    baselines = [name for name, group in rows if group == BASELINE]
    return "imagenet" if "imagenet" in baselines else next(iter(baselines), None)
