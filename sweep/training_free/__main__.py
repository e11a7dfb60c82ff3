"""The command: python -m sweep.training_free computes columns that need no training, where a study asks for them."""

if __name__ == "__main__":
    from datasets_io.interrupts import INTERRUPTS

    INTERRUPTS.install()

from typing import TYPE_CHECKING, Annotated

import typer

from sweep.cli import completion
from sweep.cli.exit_codes import EXIT_OK, EXIT_SOME_FAILED, errors_as_sentences
from sweep.cli.lines import echo
from sweep.cli.options import DEFAULT_STORAGE, DEFAULT_STUDY, RawOfRun, StorageOfRun, StudyOfRun, WorkingCommand
from sweep.studies.bad_input import BadInput

# Imports stand in functions, so that --help needs no torch and a signal is answered before libraries are loaded.
if TYPE_CHECKING:
    from sweep.store.damage import Damage
    from sweep.store.report_folder import ReportFolder
    from sweep.store.snapshot import Snapshot

EPILOG = (
    "Exit codes: 0; 2 bad input, or a storage that cannot be written; 3 something damaged or failed was left out; 130 "
    "interrupted, or its terminal was closed."
)

PAGE = "training_free.md"

app = typer.Typer(add_completion=False, rich_markup_mode="rich", pretty_exceptions_enable=False)


@app.command(cls=WorkingCommand, epilog=EPILOG)
def main(
    storage: StorageOfRun = DEFAULT_STORAGE,
    study: StudyOfRun = DEFAULT_STUDY,
    kind: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KIND", autocompletion=completion.kinds, help="knn, zero_shot, retrieval; else the study's."
        ),
    ] = None,
    raw: RawOfRun = None,
) -> None:
    """Compute what is missing and write reports/<study>/training_free.csv and .md.

    Encoders, cells and data are only read; what of them is damaged is named and left out.
    """
    from sweep.store.report_folder import ReportFolder
    from sweep.store.snapshot import open_study
    from sweep.training_free.measures import KINDS, check_kinds

    advice = "; give a --storage that can be written: numbers are kept in it"
    with errors_as_sentences(storage, BadInput, advice=advice):
        opened = open_study(study, storage, raw or [])
        kinds = tuple(kind) if kind else opened.study.training_free
        if not kinds:
            raise BadInput(f"study {study!r} asks for none: set Study.training_free, or give --kind {', '.join(KINDS)}")
        check_kinds(kinds)
        folder = ReportFolder.of_study(opened.store, opened.study.name)
        folder.check()
        damage, complete = _compute_and_write(opened.read(), kinds, folder)
    for found in damage:
        echo(f"damaged: {found.line}", err=True)
    raise typer.Exit(EXIT_OK if complete and not damage else EXIT_SOME_FAILED)


def _compute_and_write(data: "Snapshot", kinds: tuple[str, ...], folder: "ReportFolder") -> "tuple[list[Damage], bool]":
    """What was left out, since it is damaged; and whether all that could be computed is there."""
    from sweep.store.csv_files import csv_text
    from sweep.store.damage import data_name
    from sweep.training_free.measures import (
        HEADER,
        compute_all,
        damage_of,
        is_complete,
        items_of,
        rows_of,
        table_markdown,
    )

    compute_all(data, kinds, echo)
    own = damage_of(data, kinds)
    table, page = csv_text(HEADER, rows_of(data, kinds, own)), table_markdown(data, kinds, own)
    echo(folder.write({"training_free.csv": table, PAGE: page})[PAGE])
    used = {data_name(item.build) for item in items_of(data, kinds)} | {str(run) for run in data.plan.encoders}
    return [*(found for name, found in data.damage.items() if name in used), *own.values()], is_complete(data, kinds)


if __name__ == "__main__":
    app()
