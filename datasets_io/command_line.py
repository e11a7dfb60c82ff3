"""What do all commands share: --storage, texts that are no value, and output that nobody reads?"""

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from datasets_io.closed_output import survive_closed_output
from datasets_io.storage.secrets import remember_arguments, without_secrets

HELP_FLAGS = ["--help", "-h"]
OTHER_ENDS = "130 interrupted, or its terminal was closed; 141 nobody reads what it prints"  # of what only prints


class Command(TyperCommand):
    """A command that takes no flag or empty text for the value of an option, one was forgotten, and no option twice.

    goes_on: whether it works on where nobody reads what it prints.
    """

    goes_on = False

    def __init__(self, *args: Any, **attributes: Any):
        super().__init__(*args, **attributes)
        self.context_settings.setdefault("help_option_names", HELP_FLAGS)

    def main(self, *args: Any, **extra: Any) -> Any:
        """As click's; what is printed may have no reader."""
        survive_closed_output(self.goes_on)
        return super().main(*args, **extra)

    def get_params(self, ctx: Any) -> list[Any]:
        """As typer's; --help names no type of a flag that has no value."""
        return without_types_of_flags(super().get_params(ctx))

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Ends the command with a usage error where a value cannot be one. Secrets of what was typed are not shown."""
        remember_arguments(args)
        with usage_errors_without_secrets():
            # As it was typed: a Path has lost the `./` in front of a dash. Any: typer brings a click of its own.
            typed, _, order = self.make_parser(ctx).parse_args(list(args))
            for parameter in self.get_params(ctx):
                if order.count(parameter) > 1 and not (parameter.multiple or parameter.is_flag):
                    ctx.fail(f"{parameter.opts[0]} is given {order.count(parameter)} times: give it once")
                values = typed.get(parameter.name)
                for value in values if isinstance(values, (list, tuple)) else (values,):
                    if isinstance(value, str) and (trouble := no_value(parameter.opts[0], value)):
                        ctx.fail(trouble)
            return super().parse_args(ctx, args)


class WorkingCommand(Command):
    """One that computes and stores what it was asked for: its output is only a display."""

    goes_on = True


@contextmanager
def usage_errors_without_secrets() -> Iterator[None]:
    """An error names what was typed: a URI whose flag was forgotten may have a password."""
    try:
        yield
    except Exception as error:
        # An error of click's, whose class typer brings with a click of its own and hands on under no name.
        if isinstance(message := getattr(error, "message", None), str):
            error.message = without_secrets(message)  # type: ignore[attr-defined]  # so that no type tells of the field
        raise


def no_uri(flag: str, place: str | Path) -> str | None:
    """Why a text cannot be a file or folder of this machine; None where it can. A Path has lost one slash of two."""
    if re.match("[a-z][a-z0-9]+:/", str(place)) is None:
        return None
    return f"{flag} {without_secrets(str(place))}: give a place of this machine, no URI"


def without_types_of_flags(parameters: Iterable[Any]) -> list[Any]:
    """The same parameters; --help shows `--json`, and not `--json <bool>`."""
    found = list(parameters)
    for parameter in found:
        if getattr(parameter, "is_flag", False):
            parameter.metavar = ""
    return found


def no_value(flag: str, text: str) -> str | None:
    """Why a text cannot be the value of a flag or argument; None where it can."""
    if not text.strip():
        return f"{flag} is empty: give a value, or leave it out"
    if text.startswith("-"):
        return (
            f"{flag} needs a value, and {text!r} looks like the next flag: give the value before it "
            f"({'no number here is below 0, and ' * _is_number(text)}a file or folder of that name is ./{text})"
        )
    return None


def _is_number(text: str) -> bool:
    return re.fullmatch(r"-\d*\.?\d+", text) is not None


PLACE = "DIR|URI"
DEFAULT_STORAGE = "radsweep-results"
Storage = Annotated[
    str, typer.Option(metavar=PLACE, help="Where everything is kept: a folder, an NFS path, s3://... or gs://...")
]
