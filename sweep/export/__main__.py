"""The command: python -m sweep.export writes a finished encoder as files that timm and transformers load."""

if __name__ == "__main__":
    from datasets_io.interrupts import INTERRUPTS

    INTERRUPTS.install()

from pathlib import Path
from typing import Annotated

import typer

from datasets_io.command_line import OTHER_ENDS, no_uri
from sweep.cli import completion
from sweep.cli.exit_codes import errors_as_sentences
from sweep.cli.lines import echo
from sweep.cli.options import DEFAULT_STORAGE, DEFAULT_STUDY, Command, RawOfRun, StorageOfRun, StudyOfRun
from sweep.studies.bad_input import BadInput

app = typer.Typer(add_completion=False, rich_markup_mode="rich", pretty_exceptions_enable=False)


@app.command(
    cls=Command,
    epilog="The storage is only read. Exit codes: 0 exported; 2 bad input, an encoder that is unfinished or "
    f"damaged, or a folder that cannot be written; 3 a disk that is full or away; {OTHER_ENDS}.",
)
def main(
    encoder: Annotated[
        str,
        typer.Argument(
            metavar="ENCODER",
            autocompletion=completion.encoders,
            help="A row of the study (clip), or one of its encoders (clip-p0).",
        ),
    ],
    to: Annotated[Path, typer.Option(metavar="DIR", help="A new folder.")],
    storage: StorageOfRun = DEFAULT_STORAGE,
    study: StudyOfRun = DEFAULT_STUDY,
    raw: RawOfRun = None,
) -> None:
    """Write an encoder as safetensors with a model card that has its numbers."""
    # Imports stand here, so that --help needs no torch and a signal is answered before libraries are loaded.
    from sweep.export.encoder_files import damage_left_out, export_encoder, find_encoder
    from sweep.store.snapshot import read_snapshot

    with errors_as_sentences(str(to), BadInput, advice="; give a --to that can be written"):
        if (trouble := no_uri("--to", to)) is not None:
            raise BadInput(trouble)
        data = read_snapshot(study, storage, raw or [])
        run = find_encoder(data, encoder)
        made = export_encoder(data, run, to.expanduser())
    for found in damage_left_out(data, run):
        echo(f"damaged, and left out of the model card: {found.line}", err=True)
    loaded_by = f"; {' and '.join(made.loads_in)} load it" if made.loads_in else ""
    echo(f"{made.folder}: {', '.join(made.files)}{loaded_by}")


if __name__ == "__main__":
    app()
