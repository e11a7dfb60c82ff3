"""The command: python -m sweep.export writes a finished encoder as files that timm and transformers load."""

from pathlib import Path
from typing import Annotated

import typer

from sweep.cli.exit_codes import EXIT_BAD_INPUT, not_writable, storage_error_message
from sweep.export.encoder_files import _left_out_of, export_encoder, find_encoder
from sweep.store.snapshot import read_snapshot
from sweep.studies.bad_input import BadInput

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command(
    epilog="The storage is only read. Exit codes: 0 exported; 2 bad input, an encoder that is unfinished or "
    "damaged, or a folder that cannot be written."
)
def main(
    encoder: Annotated[str, typer.Argument(help="A row of the study (clip), or one of its encoders (clip-p0).")],
    storage: Annotated[str, typer.Option(help="The storage URI that sweep.run was given.")],
    to: Annotated[Path, typer.Option(help="A new folder.")],
    study: Annotated[str, typer.Option(help="A study's name, or a Python file that defines study().")] = "demo",
    raw: Annotated[list[str] | None, typer.Option(help="SOURCE=DIR, as sweep.run was given.")] = None,
) -> None:
    """Write an encoder as safetensors with a model card that has its numbers."""
    try:
        data = read_snapshot(study, storage, raw or [])
        run = find_encoder(data, encoder)
        made = export_encoder(data, run, to.expanduser())
    except BadInput as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(EXIT_BAD_INPUT) from None
    except OSError as error:
        if not not_writable(error):
            raise
        typer.echo(f"error: {storage_error_message(error, str(to))}; give a --to that can be written", err=True)
        raise typer.Exit(EXIT_BAD_INPUT) from None
    for found in _left_out_of(data, run):
        typer.echo(f"damaged, and left out of the model card: {found.line}", err=True)
    loads = f"; {' and '.join(made.loads_in)} load it" if made.loads_in else ""
    typer.echo(f"{made.folder}: {', '.join(made.files)}{loads}")


if __name__ == "__main__":
    app()
