"""The command: python -m sweep.run runs a study from raw archives to the paper's table, or goes on where it stopped."""

if __name__ == "__main__":
    from datasets_io.interrupts import INTERRUPTS

    INTERRUPTS.install()  # the imports below take a second or more, in which Ctrl-C would print their traceback

import time
from typing import Annotated

import typer

from sweep.cli.exit_codes import handled_errors
from sweep.cli.options import DEFAULT_STORAGE, DEFAULT_STUDY, AsJson, Only, Raw, Storage, Study, WorkingCommand
from sweep.run.command import run_chaos, run_study
from sweep.run.request import Request
from sweep.studies.bad_input import BadInput

# Not in the command that is advised: most often nothing failed, and the flag reads the whole storage.
RETRY_ADVICE = "with --retry-failed where something failed, which also reads all that is stored"

MachinesToPrice = Annotated[
    list[str] | None,
    typer.Option(
        "--machines",
        metavar="MACHINES",
        help="Of --dry-run: machines to price it for, as 8xA100, 2x8xH100 or 16xCPU (cores). Repeatable; without it: "
        "8xA100, 8xH100 and what is at hand.",
    ),
]
KeyToRedo = Annotated[
    str | None,
    typer.Option(
        "--redo",
        metavar="KEY",
        help="Compute one cell again, and nothing else, and say whether it comes out equal. Its key "
        "stands in the report and in results.csv.",
    ),
]

app = typer.Typer(add_completion=False, rich_markup_mode="rich", pretty_exceptions_enable=False)


@app.command(
    cls=WorkingCommand,
    epilog="Run it again to go on after any stop: what is finished is never computed again. Exit codes: 0 all "
    "cells valid; 2 bad input, before any work; 3 some cells or training-free columns failed, or the storage "
    "or cluster was lost; 4 as 0, without the rows that --skip-unfit left out; 130 interrupted.",
)
def run(
    study: Study = DEFAULT_STUDY,
    storage: Storage = DEFAULT_STORAGE,
    raw: Raw = None,
    only: Only = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the plan and what it costs; do nothing. Needs no data.")
    ] = False,
    machines: MachinesToPrice = None,
    as_json: AsJson = False,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Try what failed before once more, and what is damaged: all is read.")
    ] = False,
    skip_unfit: Annotated[
        bool,
        typer.Option("--skip-unfit", help="Go on without the rows whose encoder or text tower does not fit the study."),
    ] = False,
    redo: KeyToRedo = None,
    chaos: Annotated[
        bool,
        typer.Option(
            "--chaos",
            help="Run the study twice in folders of its own, once killing its workers and its driver at "
            "random, and show that the table comes out the same.",
        ),
    ] = False,
    tensorboard: Annotated[
        str | None, typer.Option(metavar="DIR", help="Write TensorBoard logs of every run there, as it goes on.")
    ] = None,
    mlflow: Annotated[
        str | None, typer.Option(metavar="URI", help="Send each finished run's numbers, and no data, to this server.")
    ] = None,
) -> None:
    """Which way of pretraining makes the best chest-radiograph encoder?

    Ingests the archives, pretrains an encoder by each method, evaluates each by
    linear probing and fine-tuning at 1, 10 and 100% of the labels, and fills
    the table with means and 95% intervals. Without --raw, the demo runs the
    whole study on synthetic archives.
    """
    started = time.monotonic()
    request = Request(
        study,
        storage,
        tuple(raw or ()),
        tuple(only or ()),
        dry_run,
        retry_failed,
        skip_unfit,
        redo,
        tensorboard,
        mlflow,
        started,
        tuple(machines or ()),
        as_json,
    )
    with handled_errors("sweep.run", storage, BadInput, advice=RETRY_ADVICE):
        raise typer.Exit(run_chaos(request) if chaos else run_study(request))


if __name__ == "__main__":
    app()
