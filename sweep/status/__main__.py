"""The command: python -m sweep.status tells from the storage alone, without a cluster, how far a study is."""

if __name__ == "__main__":
    from datasets_io.interrupts import INTERRUPTS

    INTERRUPTS.install()

import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.live import Live

from datasets_io.command_line import OTHER_ENDS
from sweep.cli import completion
from sweep.cli.exit_codes import errors_as_sentences
from sweep.cli.lines import echo
from sweep.cli.logging import silence_libraries
from sweep.cli.options import DEFAULT_STORAGE, AsJson, Command, Only, RawOfRun, StorageOfRun

if TYPE_CHECKING:
    from sweep.status.readers import StatusReader

app = typer.Typer(add_completion=False, rich_markup_mode="rich", pretty_exceptions_enable=False)


@app.command(
    cls=Command,
    epilog="It only reads, from any machine that reaches the storage, as often as you like. Exit codes: 0 "
    f"whatever it finds, damage included; 2 bad input; 3 the storage cannot be reached; {OTHER_ENDS}.",
)
def status(
    storage: StorageOfRun = DEFAULT_STORAGE,
    study: Annotated[
        str | None,
        typer.Option(
            metavar="NAME|FILE.py",
            autocompletion=completion.studies,
            help="The --study of sweep.run. Without it: all that the storage holds, of whatever study.",
        ),
    ] = None,
    raw: RawOfRun = None,
    only: Only = None,
    watch: Annotated[
        float | None, typer.Option(metavar="SECONDS", help="Read it again so often, until nothing is left or Ctrl-C.")
    ] = None,
    tensorboard: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Also write each finished run's history there, for TensorBoard.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """How far is a study? Encoders and cells done, failed, running and left; the rate; the table so far.

    The time left is estimated from how long finished runs took and how many ran
    at once.
    """
    # Imports stand here, so that --help needs no torch and a signal is answered before libraries are loaded.
    silence_libraries()
    from sweep.status.readers import open_reader
    from sweep.studies.bad_input import BadInput

    with errors_as_sentences(storage, BadInput, ValueError):
        reader = open_reader(study, storage, raw or [], only or [])
        if watch is None or as_json:
            _once(reader, tensorboard, as_json)
        else:
            _watch(reader, tensorboard, watch)


def _once(reader: "StatusReader", tensorboard: Path | None, as_json: bool) -> None:
    from sweep.cli.display import Display
    from sweep.status.render import render

    found = reader.read(time.time())
    written = reader.write_tensorboard(tensorboard) if tensorboard else 0
    if as_json:
        typer.echo(json.dumps(asdict(found), indent=1))
        return
    Display().console.print(render(found))
    if tensorboard:
        echo(f"{written} runs written; look at them with: tensorboard --logdir {tensorboard}")


def _watch(reader: "StatusReader", tensorboard: Path | None, seconds: float) -> None:
    """On a terminal one text that is renewed in place, on a pipe one after the other."""
    from sweep.cli.display import Display
    from sweep.status.render import render

    console = Display().console
    with Live(console=console, auto_refresh=False, transient=False) as live:
        while True:
            found = reader.read(time.time())
            if tensorboard:
                reader.write_tensorboard(tensorboard)
            if console.is_terminal:
                live.update(render(found), refresh=True)
            else:
                console.print(render(found))
            if found.finished:
                return
            time.sleep(seconds)


if __name__ == "__main__":
    app()
