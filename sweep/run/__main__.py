"""The command: python -m sweep.run runs a study from raw archives to the paper's table, or goes on where it stopped."""

if __name__ == "__main__":
    from sweep.cli.signals import install_handlers

    install_handlers()

import time
from typing import Annotated

import typer

from sweep.cli.exit_codes import EXIT_OK, EXIT_SOME_FAILED, handled_errors
from sweep.run.command import check_input, run_study
from sweep.studies.bad_input import BadInput

CHAOS_FAULTS = 8
app = typer.Typer(add_completion=False, rich_markup_mode="rich", pretty_exceptions_enable=False)


@app.command(
    epilog="Run it again to go on after any stop: what is finished is never computed again. Exit codes: 0 all "
    "cells valid; 2 bad input, before any work; 3 some cells failed, or the storage or cluster was lost; "
    "130 interrupted."
)
def run(
    study: Annotated[
        str, typer.Option(help="demo, paper, released or strict, or a Python file that defines study().")
    ] = "demo",
    storage: Annotated[
        str, typer.Option(help="Where everything is kept: a folder, an NFS path, s3://... or gs://...")
    ] = "radsweep-results",
    raw: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SOURCE=DIR",
            help="A raw archive as it was downloaded, e.g. mimic_cxr=/data/MIMIC-CXR. Repeat for each.",
        ),
    ] = None,
    only: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FIELD=VALUE,...",
            help="Part of the study, by method, dataset, protocol, label_percent, seed or pretrain_seed: "
            "e.g. seed=0,1. Repeatable.",
        ),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan and what it costs; do nothing.")] = False,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Try what failed before once more, and what is damaged: all is read.")
    ] = False,
    redo: Annotated[
        str | None,
        typer.Option(
            metavar="KEY",
            help="Compute one cell again, and nothing else, and say whether it comes out equal. Its key "
            "stands in the report and in results.csv.",
        ),
    ] = None,
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
    with handled_errors("sweep.run", storage, BadInput, retry=" --retry-failed"):
        if chaos:
            raise typer.Exit(_chaos(study, storage, raw or [], only or []))
        logs_to = tensorboard, mlflow
        code = run_study(study, storage, raw or [], only or [], dry_run, retry_failed, redo, started, logs_to)
        raise typer.Exit(code)


def _chaos(study_name: str, storage: str, raw: list[str], only: list[str]) -> int:
    from sweep.run.chaos import show_chaos

    try:
        study = check_input(study_name, storage, raw, only)[0]
    except ValueError as error:
        raise BadInput(error) from error
    held = show_chaos(study_name, study.name, raw, CHAOS_FAULTS, typer.echo)
    return EXIT_OK if held else EXIT_SOME_FAILED


if __name__ == "__main__":
    app()
