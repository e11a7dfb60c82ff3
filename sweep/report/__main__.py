"""The command: python -m sweep.report makes tables, sentences, figures and report.html from a storage alone."""

if __name__ == "__main__":
    from datasets_io.interrupts import INTERRUPTS

    INTERRUPTS.install()

import time
from typing import Annotated

import typer

from datasets_io.command_line import OTHER_ENDS
from sweep.cli.exit_codes import errors_as_sentences
from sweep.cli.logging import silence_libraries
from sweep.cli.options import DEFAULT_STORAGE, DEFAULT_STUDY, Command, Only, RawOfRun, StorageOfRun, StudyOfRun
from sweep.report.other_study import FORM
from sweep.studies.bad_input import BadInput

app = typer.Typer(add_completion=False, rich_markup_mode="rich", pretty_exceptions_enable=False)


@app.command(
    cls=Command,
    epilog="Nothing is computed on a cluster and no result is changed: run it at any time, also while a sweep "
    "is going on. Exit codes: 0 the report is written, whatever it says; 2 bad input, or a folder that "
    f"cannot be written; 3 the storage is full or cannot be reached; {OTHER_ENDS}.",
)
def report(
    storage: StorageOfRun = DEFAULT_STORAGE,
    study: StudyOfRun = DEFAULT_STUDY,
    raw: RawOfRun = None,
    only: Only = None,
    to: Annotated[
        str | None, typer.Option(metavar="DIR", help="Write here instead of <storage>/reports/<study>.")
    ] = None,
    beside: Annotated[
        str | None,
        typer.Option(
            "--with",
            metavar=FORM,
            help="Set another study beside this one: of another storage, or of the same one under the name or file "
            "given after a colon, e.g. results:strict. Without it, the study of --study there.",
        ),
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="In seconds: no figures, and no statistics that read predictions.")
    ] = False,
) -> None:
    """Make every table and the report again from what a storage has.

    Reads the finished cells of a study and writes [bold]report.html[/bold]
    (open it in a browser: one file, no network), [bold]report.md[/bold] (for a
    terminal), Tables 1 to 9 as .md, .csv and .tex, results.csv and
    findings.csv. Cells that are missing, failed or damaged are marked; nothing
    is averaged over them. All files of finished items are read and compared
    with their SHA-256; with --quick, their sizes.

    Two studies, or one in two storages, side by side: --with. Rows, datasets and
    columns are matched by what they are, differences paired by seed, and over
    patients where both predicted the same test images; also side_by_side.csv.

    Example: python -m sweep.report --storage /shared/results --study paper
    """
    silence_libraries()
    started = time.monotonic()
    # Imports stand here, so that --help needs no torch and a signal is answered before libraries are loaded.
    from sweep.cli.display import Display
    from sweep.report.other_study import open_other
    from sweep.report.write import summary_lines, write_report
    from sweep.store.report_folder import ReportFolder
    from sweep.store.snapshot import open_study

    with errors_as_sentences(to or storage, BadInput, advice="; --to writes the report elsewhere"):
        opened = open_study(study, storage, tuple(raw or ()), tuple(only or ()), thorough=not quick)
        folder = ReportFolder.elsewhere(to) if to else ReportFolder.of_study(opened.store, opened.study.name)
        folder.check()  # before minutes of reading, not after
        other = open_other(beside, opened, study, tuple(only or ()), thorough=not quick) if beside is not None else None
        data = opened.read()
        paths = write_report(data, folder, quick, other)
    display = Display()
    for line in summary_lines(data, paths, time.monotonic() - started):
        display.say(line)


if __name__ == "__main__":
    app()
