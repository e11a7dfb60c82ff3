"""The command: python -m sweep.report makes tables, findings in words, figures and report.html from a storage alone."""

import json
import sys
import time
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Annotated

import typer
from rich.markup import escape

from datasets_io.fingerprint import plain
from sweep.aggregate import CellResult, findings_csv, results_csv
from sweep.comparisons import compare_methods
from sweep.damage import Damage
from sweep.display import TableRows
from sweep.figures.drawing import Drawing
from sweep.finding_tables import finding_tables, narrowed, paper_columns
from sweep.layout import notes_of, numbered_layouts
from sweep.plan import Plan
from sweep.report_data import ReportData, software
from sweep.report_extras import FIGURES, QUICK, extras_of
from sweep.report_files import ReportFolder
from sweep.report_html import report_page
from sweep.report_md import report_markdown
from sweep.status_names import Status
from sweep.studies import Study, study_fingerprint
from sweep.summaries import Summaries, study_summaries
from sweep.tables import Table, live_table, table1
from sweep.words import findings_in_words

MOST_DAMAGE_LINES = 8

app = typer.Typer(add_completion=False, rich_markup_mode="rich", pretty_exceptions_enable=False)


def macro_tables(data: ReportData, means: Summaries) -> tuple[Table, ...]:
    """Table 1, and Tables 8 and 9 where the study has their rows."""
    notes = notes_of(data.study, data.results)
    return tuple(
        table1(means, layout, data.study.show_published, notes, number)
        for number, layout in numbered_layouts(data.study, data.plan).items()
    )


def write_report(data: ReportData, folder: ReportFolder, quick: bool = False) -> dict[str, str]:
    """Make everything; file name -> where it lies. quick: without figures and what is made from predictions."""
    comparisons = compare_methods(study_summaries(data.study, data.plan, data.results))
    means = comparisons.summaries
    tables = macro_tables(data, means)
    everything = finding_tables(means, data.study.show_published)
    per_finding = [narrowed(table, paper_columns(means.layout)) for table in everything]
    words = findings_in_words(comparisons)
    contents: dict[str, str | bytes] = {
        "results.csv": results_csv(data.results),
        "findings.csv": findings_csv(data.results),
        "study.json": json.dumps(provenance(data), indent=1, sort_keys=True),
        "failures.json": json.dumps(data.failures, indent=1, sort_keys=True),
    }
    for table in tables:
        stem = f"table{table.number}"
        contents |= {f"{stem}.md": table.markdown(), f"{stem}.csv": table.csv(), f"{stem}.tex": table.latex()}
    for shown, whole in zip(per_finding, everything, strict=True):
        stem = shown.file_stem
        contents |= {f"{stem}.md": shown.markdown(), f"{stem}.csv": whole.csv(), f"{stem}.tex": shown.latex()}
    extras = extras_of(data, comparisons, folder, quick)
    contents |= extras.contents()
    figures = [_figure_line(drawing) for drawing in extras.drawings.values()] or [QUICK]
    contents["report.md"] = report_markdown(data, words, tables, per_finding, figures, extras)
    contents["report.html"] = report_page(data, comparisons, words, tables, per_finding, everything, extras)
    return {name: folder.write(name, content) for name, content in contents.items()}


def _figure_line(drawing: Drawing) -> str:
    where = f"{FIGURES}/{drawing.name}.svg" if drawing.missing is None else f"not drawn: {drawing.missing}"
    return f"{drawing.title}: {where}"


def provenance(data: ReportData) -> dict:
    """What decides the numbers: recipes, data fingerprints and versions."""
    study = data.study
    return {
        "study": study.name,
        "fingerprint": study_fingerprint(study),
        "deviations": list(study.deviations),
        "recipes": {row.name: plain(row.recipe) for row in study.rows},
        "datasets": {dataset.source: plain(dataset.recipe) for dataset in study.datasets},
        "data": {
            source: {
                "fingerprint": m.fingerprint, "counts": m.counts, "notes": list(m.notes), "rejects": m.reject_reasons,
            }
            for source, m in data.manifests.items()
        },
        "resources": plain(study.resources) if study.resources else None,
        "versions": software(),
    }


def live_tables(study: Study, plan: Plan, results: Sequence[CellResult]) -> tuple[TableRows, ...]:
    """The table as it stands, one for each dataset."""
    tables, means = [], study_summaries(study, plan, results)
    for source, display in means.layout.datasets:
        header, rows = live_table(means, source)
        tables.append(TableRows(f"{display}: macro AUROC (%) ± 95% interval over seeds", header, rows))
    return tuple(tables)


def summary_lines(data: ReportData, paths: Mapping[str, str], seconds: float) -> list[str]:
    """The last words of a command."""
    counts = Counter(result.status for result in data.results)
    lines = [
        f"{counts[Status.DONE]} of {len(data.results)} cells done in {seconds:.0f} s; report: {paths['report.html']}; "
        f"for a terminal: {paths['report.md']}"
    ]
    lines += [f"note: {note}" for note in notes_of(data.study, data.results)]
    if counts[Status.FAILED] or counts[Status.MISSING]:
        lines.append(
            f"[red]{counts[Status.FAILED]} cells failed, {counts[Status.MISSING]} are missing[/red]; "
            f"why: {paths['failures.json']}; try them again with --retry-failed"
        )
    return lines + damage_lines(data.damage.values())


def damage_lines(damage: Collection[Damage]) -> list[str]:
    """A line each, and how many more there are."""
    lines = [f"[red]damaged[/red] {escape(found.line)}" for found in list(damage)[:MOST_DAMAGE_LINES]]
    return lines + ([f"and {len(damage) - len(lines)} more that are damaged"] if len(damage) > len(lines) else [])


@app.command(epilog="Nothing is computed on a cluster and no result is changed: run it at any time, also while a sweep "
             "is going on. Exit codes: 0 the report is written, whatever it says; 2 bad input, or a folder that "
             "cannot be written; 3 the storage is full or away.")
def report(
    storage: Annotated[str, typer.Option(help="What sweep.run was given: a folder, an NFS path, s3://... or gs://...")],
    study: Annotated[
        str, typer.Option(help="demo, paper, released or strict, or the Python file that sweep.run was given.")
    ] = "demo",
    raw: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SOURCE=DIR", help="Only where the storage has several builds of a source: the archive of the one "
            "that is meant.",
        ),
    ] = None,
    only: Annotated[
        list[str] | None,
        typer.Option(metavar="FIELD=VALUE,...", help="Part of the study, as for sweep.run: e.g. method=clip,simclr."),
    ] = None,
    to: Annotated[
        str | None, typer.Option(metavar="DIR", help="Write here instead of <storage>/reports/<study>.")
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="In seconds: no figures, and no statistics that read predictions.")
    ] = False,
) -> None:
    """Make every table and the report again from what a storage has.

    Reads the finished cells of a study and writes [bold]report.html[/bold] (open it in a browser: one file, no
    network), [bold]report.md[/bold] (for a terminal), Tables 1 to 9 as .md, .csv and .tex, results.csv and
    findings.csv. Cells that are missing, failed or damaged are marked; nothing is averaged over them. All files of
    finished items are read and compared with their SHA-256; with --quick, their sizes.

    Example: python -m sweep.report --storage radsweep-results --study demo
    """
    from sweep.console import EXIT_BAD_INPUT, EXIT_SOME_FAILED, not_writable, quiet_libraries, storage_trouble
    from sweep.locate import BadInput, open_study

    quiet_libraries()
    started = time.monotonic()
    try:
        opened = open_study(study, storage, tuple(raw or ()), tuple(only or ()), thorough=not quick)
        folder = ReportFolder.elsewhere(to) if to else ReportFolder.of_study(opened.store, opened.study.name)
        folder.check()
        data = opened.read()
        paths = write_report(data, folder, quick)
    except BadInput as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(EXIT_BAD_INPUT) from None
    except OSError as error:
        if (trouble := storage_trouble(error, to or storage)) is None:
            raise
        typer.echo(f"error: {trouble}; --to writes the report elsewhere", err=True)
        raise typer.Exit(EXIT_BAD_INPUT if not_writable(error) else EXIT_SOME_FAILED) from None
    from rich.console import Console

    console = Console(width=None if sys.stdout.isatty() else 200)
    for line in summary_lines(data, paths, time.monotonic() - started):
        console.print(line, highlight=False, soft_wrap=True)


if __name__ == "__main__":
    app()
