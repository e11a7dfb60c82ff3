"""Which of the paper's tables does a study have, and what must be said below them?"""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from sweep.report.precision import mixed_precision
from sweep.report.published_values import COLUMNS, GLOBAL_BATCH_SIZE
from sweep.store.records import CellResult, EncoderDetail
from sweep.studies.layout import PAPER_BATCH_SIZE, TableLayout, layout_of
from sweep.studies.plan import Plan
from sweep.studies.study import BASELINE, Study

TABLE_OF_BATCH = {batch: number for number, batch in GLOBAL_BATCH_SIZE.items()}
LARGE_BATCHES = {batch: number for batch, number in TABLE_OF_BATCH.items() if batch != PAPER_BATCH_SIZE}


def numbered_layouts(study: Study, plan: Plan) -> dict[int, TableLayout]:
    """The paper's number -> layout: Table 1, and Tables 8 and 9 where the study has rows of their batch sizes.

    Such rows leave Table 1, whose methods share one batch size, unless it has no pretrained row without them.
    """
    layout = layout_of(study, plan)
    # row -> its global batch size
    batches = {name: batch for name, _, batch in layout.paper_rows}
    baselines = {name for name, _, group in layout.rows if group == BASELINE}
    large = {name for name, batch in batches.items() if batch in LARGE_BATCHES}
    main = set(batches) - large
    # A study of large batches alone keeps them in Table 1: baselines alone would be no comparison.
    layouts = {1: layout if main <= baselines else _with_rows(layout, main)}
    for batch, number in LARGE_BATCHES.items():
        rows = {name for name in large if batches[name] == batch}
        if rows:
            # The paper has no LPFT with large batches, and neither has the table in its form.
            columns = tuple(column for column in layout.columns if column in COLUMNS[number])
            layouts[number] = replace(_with_rows(layout, rows | baselines, batch), columns=columns)
    return layouts


def _with_rows(layout: TableLayout, names: Iterable[str], baseline_batch: int = PAPER_BATCH_SIZE) -> TableLayout:
    """The layout with these rows only. A baseline has no batch size: the paper repeats it under `baseline_batch`."""
    names = set(names)
    paper_rows = tuple(
        (name, method, baseline_batch if group == BASELINE else batch)
        for (name, method, batch), (_, _, group) in zip(layout.paper_rows, layout.rows, strict=True)
        if name in names
    )
    return replace(layout, rows=tuple(row for row in layout.rows if row[0] in names), paper_rows=paper_rows)


def notes_of(study: Study, results: Sequence[CellResult], encoders: Sequence[EncoderDetail] = ()) -> tuple[str, ...]:
    """Deviations of the study, number formats that are mixed, and findings that have no AUROC on a test set."""
    notes = [*study.deviations, *mixed_precision(study, results, encoders)]
    for dataset in study.datasets:
        if dataset.recipe.splits.selects_on_test:
            notes.append(f"{dataset.display}: the epoch is selected on the images that are reported.")
        undefined = sorted(
            {f.finding for r in results if r.dataset == dataset.source for f in r.findings if f.auroc is None}
        )
        if undefined:
            notes.append(f"{dataset.display}: no AUROC for {', '.join(undefined)} (one class only in the test images).")
    return tuple(notes)
