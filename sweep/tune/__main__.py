"""The command: python -m sweep.tune searches a method's temperature and joint weight on validation patients."""

if __name__ == "__main__":
    from datasets_io.interrupts import INTERRUPTS

    INTERRUPTS.install()

from pathlib import Path
from typing import Annotated

import typer

from sweep.cli import completion
from sweep.cli.exit_codes import handled_errors
from sweep.cli.logging import silence_libraries
from sweep.cli.options import DEFAULT_STORAGE, DEFAULT_STUDY, Raw, Storage, Study, WorkingCommand
from sweep.tune.search import tune_method

app = typer.Typer(add_completion=False, rich_markup_mode="rich", pretty_exceptions_enable=False)


@app.command(
    cls=WorkingCommand,
    epilog="Run it again to go on after any stop, or with a larger --trials to search further. Then: "
    "python -m sweep.run --study FILE, with the file that --out names. Exit codes: 0; 2 bad input, before any work; "
    "3 no trial came to its end, or the storage or cluster was lost; 130 interrupted, or its terminal was closed.",
)
def tune_command(
    method: Annotated[
        str,
        typer.Option(
            metavar="METHOD", autocompletion=completion.methods, help="The row to tune: clip, simclr, clip+simclr, ..."
        ),
    ],
    study: Study = DEFAULT_STUDY,
    storage: Storage = DEFAULT_STORAGE,
    raw: Raw = None,
    trials: Annotated[
        int, typer.Option(metavar="N", min=1, help="How many in all, those of earlier commands included.")
    ] = 20,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Where to write the tuned study; default STUDY_METHOD_tuned.py.")
    ] = None,
) -> None:
    """Find a method's temperature (log-uniform, 0.01 to 1) and joint weight c (uniform, 0.05 to 2).

    A trial is one pretraining. It is judged by the macro AUROC of a linear
    probe on patients held out of the datasets' TRAINING splits, since losses of
    two temperatures cannot be compared; no val or test split is opened. Optuna
    proposes values, ASHA stops trials that fall behind, Ray runs as many trials
    at once as the machines hold.
    """
    silence_libraries()
    with handled_errors("sweep.tune", storage, ValueError):
        raise typer.Exit(tune_method(study, method, storage, raw or [], trials, out))


if __name__ == "__main__":
    app()
