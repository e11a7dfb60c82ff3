"""Which of the paper's tables does a study have, and what must be said below them?"""

from collections.abc import Sequence
from dataclasses import replace

from datasets_io.pixels.grey import MAX_SIZE
from datasets_io.sources.registry import get_source
from sweep.report.precision import mixed_precision
from sweep.report.published_values import COLUMNS, GLOBAL_BATCH_SIZE
from sweep.statistics.value_names import in_sentence
from sweep.store.records import CellResult, EncoderDetail
from sweep.studies.layout import LARGE_BATCHES, TableLayout, layout_of, table1_layout, with_rows
from sweep.studies.needed_form import needed_side
from sweep.studies.plan import Plan
from sweep.studies.study import BASELINE, Dataset, Study

TABLE_OF_BATCH = {batch: number for number, batch in GLOBAL_BATCH_SIZE.items()}


def numbered_layouts(study: Study, plan: Plan) -> dict[int, TableLayout]:
    """The paper's number -> layout: Table 1, and Tables 8 and 9 where the study has rows of their batch sizes.

    Such rows leave Table 1, whose methods share one batch size, unless it has no pretrained row without them.
    """
    layout = layout_of(study, plan)
    baselines = {name for name, _, group in layout.rows if group == BASELINE}
    layouts = {1: table1_layout(layout)}
    for batch in LARGE_BATCHES:
        number, rows = TABLE_OF_BATCH[batch], {name for name, _, size in layout.paper_rows if size == batch}
        if rows:
            # The paper has no LPFT with large batches, and neither has the table in its form.
            columns = tuple(column for column in layout.columns if column in COLUMNS[number])
            layouts[number] = replace(with_rows(layout, rows | baselines, batch), columns=columns)
    return layouts


def notes_of(study: Study, results: Sequence[CellResult], encoders: Sequence[EncoderDetail] = ()) -> tuple[str, ...]:
    """Deviations of the study, mixed number formats, images that are enlarged, and findings that have no AUROC."""
    notes = [*study.deviations, *mixed_precision(study, results, encoders)]
    for dataset in study.datasets:
        notes += _enlarged(study, dataset)
        if study.in_distribution(dataset):
            notes.append(_in_distribution(study, dataset))
        if dataset.recipe.splits.selects_on_test:
            notes.append(f"{dataset.display}: the epoch is selected on the images that are reported.")
        undefined = sorted(
            {f.finding for r in results if r.dataset == dataset.instance for f in r.findings if f.auroc is None}
        )
        if undefined:
            names = ", ".join(map(in_sentence, undefined))
            notes.append(f"{dataset.display}: no AUROC for {names} (one class only in the test images).")
    return tuple(notes)


def _in_distribution(study: Study, dataset: Dataset) -> str:
    reports = get_source(study.corpus.source).has_reports and get_source(dataset.source).has_reports
    labels = ", and its labels may have been read from the reports that methods with text were pretrained on"
    return (
        f"{dataset.display}: in distribution. Encoders were pretrained on images of {study.corpus.source}, of "
        f"the same making{labels if reports else ''}: its results say nothing of other archives."
    )


def _enlarged(study: Study, dataset: Dataset) -> list[str]:
    """A note for each size to which stored images are enlarged, with the rows whose networks see them so."""
    rows: dict[tuple[int, int], list[str]] = {}
    for row in study.rows:
        backbone = row.recipe.backbone
        sides = study.build_read(backbone, dataset).spec.image_size, needed_side(backbone, dataset.recipe.eval_spec)
        rows.setdefault(sides, []).append(row.name)
    notes = []
    for (stored, wanted), names in rows.items():
        if stored >= wanted:
            continue
        whose = "" if len(names) == len(study.rows) else f" of {', '.join(names)}"
        more = f"; BuildSpec(image_size={wanted}) has it" if wanted <= MAX_SIZE else ""
        notes.append(
            f"{dataset.display}: images{whose} are stored at {stored} pixels and enlarged to {wanted} before they are "
            f"cropped or shown, so they lack fine detail{more}."
        )
    return notes
