"""The command: python -m sweep.report makes tables, findings in words, figures and report.html from a storage alone."""

import sys
import time
from typing import Annotated

import typer

from sweep.cli.options import DEFAULT_STUDY, Only, RawOfRun, StorageOfRun, StudyOfRun
from sweep.report.write import summary_lines, write_report
from sweep.store.report_folder import ReportFolder

app = typer.Typer(add_completion=False, rich_markup_mode="rich", pretty_exceptions_enable=False)


@app.command(
    epilog="Nothing is computed on a cluster and no result is changed: run it at any time, also while a sweep "
    "is going on. Exit codes: 0 the report is written, whatever it says; 2 bad input, or a folder that "
    "cannot be written; 3 the storage is full or away."
)
def report(
    storage: StorageOfRun,
    study: StudyOfRun = DEFAULT_STUDY,
    raw: RawOfRun = None,
    only: Only = None,
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
    from sweep.cli.exit_codes import EXIT_BAD_INPUT, EXIT_SOME_FAILED, not_writable, storage_error_message
    from sweep.cli.logging import silence_libraries
    from sweep.store.snapshot import open_study
    from sweep.studies.bad_input import BadInput

    silence_libraries()
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
        if (trouble := storage_error_message(error, to or storage)) is None:
            raise
        typer.echo(f"error: {trouble}; --to writes the report elsewhere", err=True)
        raise typer.Exit(EXIT_BAD_INPUT if not_writable(error) else EXIT_SOME_FAILED) from None
    from rich.console import Console

    console = Console(width=None if sys.stdout.isatty() else 200)
    for line in summary_lines(data, paths, time.monotonic() - started):
        console.print(line, highlight=False, soft_wrap=True)


if __name__ == "__main__":
    app()
