"""Which files does a report consist of, and what does a command print about them at its end?"""

import json
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import asdict

from rich.markup import escape

from sweep.figures.drawing import Drawing
from sweep.report.cached_parts import FIGURES, QUICK, SIDE_BY_SIDE, cached_parts_of
from sweep.report.label_subsets import few_images, subset_notes, subset_sizes
from sweep.report.markdown import report_markdown
from sweep.report.narrative import CAUTION, Sentence, narrative_of
from sweep.report.numbering import notes_of, numbered_layouts
from sweep.report.page.page import report_page
from sweep.report.partial import partial_note
from sweep.report.provenance import provenance
from sweep.report.published import published_notes, shown_sections
from sweep.report.tables.finding_table import finding_tables, narrowed, paper_columns
from sweep.report.tables.main_table import Table, table1
from sweep.report.tables.second_table import second_table
from sweep.statistics.comparisons import compare_methods, with_patients
from sweep.statistics.over_patients import OverPatients, over_patients_of
from sweep.statistics.row_types import SideBySideRow, rows_csv
from sweep.statistics.side_by_side import Side, side_by_side
from sweep.statistics.summaries import Summaries, study_summaries
from sweep.store.csv_files import findings_csv, results_csv
from sweep.store.damage import Damage
from sweep.store.report_folder import ReportFolder
from sweep.store.shared_images import shared_images
from sweep.store.snapshot import Snapshot
from sweep.store.status_names import Status
from sweep.store.unfit import UNFIT, unfit_reasons
from sweep.studies.part import part_of

MOST_DAMAGE_LINES = 8  # on a terminal; the report and failures.json name all


def macro_tables(data: Snapshot, means: Summaries, patients: OverPatients) -> tuple[Table, ...]:
    """Table 1, and Tables 8 and 9 where the study has their rows; behind each what stands beside it."""
    notes = unfit_notes(data) + notes_of(data.study, data.results, data.encoders)
    notes += subset_notes(data, subset_sizes(data)) + published_notes(data.study)
    published = shown_sections(data.study)
    tables: list[Table | None] = []
    for number, layout in numbered_layouts(data.study, data.plan).items():
        tables.append(table1(means, layout, published, notes, number, patients))
        tables.append(second_table(means, layout, number, published, patients))
    return tuple(table for table in tables if table is not None)


def unfit_notes(data: Snapshot) -> tuple[str, ...]:
    """A sentence for each row that was left out because it does not fit."""
    return tuple(f"Left out, since it does not fit: {reason}." for reason in unfit_reasons(data.failures))


def write_report(
    data: Snapshot, folder: ReportFolder, quick: bool = False, beside: Snapshot | None = None
) -> dict[str, str]:
    """Write every file of a report; file name -> where it lies. Raises OSError for a folder that cannot be written.

    quick: without figures and without statistics from predictions. beside: another study to compare this one with.
    """
    # Made once and handed on: page, tables, sentences, statistics and figures print the same means and tests.
    comparisons = compare_methods(study_summaries(data.study, data.plan, data.results))
    means = comparisons.summaries
    extras = cached_parts_of(data, comparisons, folder, quick)
    patients = over_patients_of(extras.statistics)
    comparisons = with_patients(comparisons, patients)
    tables = macro_tables(data, means, patients)
    all_methods = finding_tables(means, shown_sections(data.study), patients)
    per_finding = [narrowed(table, paper_columns(means.layout)) for table in all_methods]
    shared = shared_images(data.study, data.data_folders, data.manifests, data.store.files)
    few = few_images(data, subset_sizes(data))
    narrative = [*narrative_of(comparisons), *(Sentence(CAUTION, text) for text in (*few, *(s.text for s in shared)))]
    note = partial_note(means.layout, means.results)
    shared_value = {"shared_images": [asdict(one) for one in shared]} if shared else {}
    contents: dict[str, str | bytes] = {
        "results.csv": results_csv(data.results),
        "findings.csv": findings_csv(data.results),
        "study.json": json.dumps({**provenance(data), **shared_value, "part": note}, indent=1, sort_keys=True),
        "failures.json": json.dumps(data.failures, indent=1, sort_keys=True),
    }
    for table in tables:
        stem = f"table{table.name}"
        contents |= {f"{stem}.md": table.markdown(), f"{stem}.csv": table.csv(), f"{stem}.tex": table.latex()}
    # To be read: the paper's methods. To be computed with: all of them.
    for narrow, full in zip(per_finding, all_methods, strict=True):
        stem = narrow.file_stem
        contents |= {f"{stem}.md": narrow.markdown(), f"{stem}.csv": full.csv(), f"{stem}.tex": narrow.latex()}
    contents |= extras.contents()
    both = None if beside is None else side_by_side(Side(data, means), _side(beside), predictions=not quick)
    if both is not None:
        contents[SIDE_BY_SIDE] = rows_csv(SideBySideRow, both.rows)
    figures = [_figure_line(drawing) for drawing in extras.drawings.values()] or [QUICK]
    contents["report.md"] = report_markdown(data, note, narrative, tables, per_finding, figures, extras, both)
    contents["report.html"] = report_page(data, comparisons, narrative, tables, per_finding, all_methods, extras, both)
    # Last and together: an error, or a kill, leaves the report that was there, or this one.
    return folder.write(contents)


def _side(data: Snapshot) -> Side:
    return Side(data, study_summaries(data.study, data.plan, data.results))


def _figure_line(drawing: Drawing) -> str:
    where = f"{FIGURES}/{drawing.name}.svg" if drawing.missing is None else f"not drawn: {drawing.missing}"
    return f"{drawing.title}: {where}"


def summary_lines(data: Snapshot, paths: Mapping[str, str], seconds: float) -> list[str]:
    """The last lines that a command prints, with the markup of rich. seconds: since it began."""
    counts: Counter[str] = Counter(result.status for result in data.results)
    part = part_of(data.study, data.plan)
    notes = (*unfit_notes(data), *notes_of(data.study, data.results, data.encoders))
    lines = [f"note: {escape(note)}" for note in ((part,) if part else ()) + notes]
    # A row that does not fit is named above, and --retry-failed would not mend it.
    left_out = {name for name, failure in data.failures.items() if failure["error"].startswith(UNFIT)}
    keys = {cell.key for cell in data.plan.cells if left_out & {str(cell.encoder), str(cell)}} if left_out else set()
    out = Counter(result.status for result in data.results if result.key in keys)
    failed, missing = (counts[status] - out[status] for status in (Status.FAILED, Status.MISSING))
    if left_out:
        lines.append(f"{out[Status.FAILED] + out[Status.MISSING]} cells were left out with the rows that do not fit")
    if failed or missing:
        lines.append(
            f"[red]{failed} cells failed, {missing} are missing[/red]; "
            f"why: {escape(paths['failures.json'])}; try them again with --retry-failed"
        )
    lines += damage_lines(data.damage.values())
    # Last, where a terminal is looked at: what came of it, and where to read on.
    return [
        *lines,
        f"{counts[Status.DONE]} of {len(data.results)} cells done in {seconds:.0f} s; report: "
        f"{escape(paths['report.html'])}; for a terminal: {escape(paths['report.md'])}",
    ]


def damage_lines(damage: Collection[Damage]) -> list[str]:
    """A line for each damaged item, at most MOST_DAMAGE_LINES, then how many more there are."""
    lines = [f"[red]damaged[/red] {escape(found.line)}" for found in list(damage)[:MOST_DAMAGE_LINES]]
    return lines + ([f"and {len(damage) - len(lines)} more that are damaged"] if len(damage) > len(lines) else [])
