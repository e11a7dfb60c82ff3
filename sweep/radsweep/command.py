"""Which subcommands does radsweep have? Each is the command of `python -m`, loaded once it is asked for."""

from importlib.metadata import PackageNotFoundError, version
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from datasets_io.closed_output import survive_closed_output
from datasets_io.command_line import HELP_FLAGS, Command, usage_errors_without_secrets, without_types_of_flags
from datasets_io.storage.secrets import remember_arguments

# Name -> the first line of its --help, which a test compares: the list of subcommands loads none of them.
SUBCOMMANDS = {
    "run": "Which way of pretraining makes the best chest-radiograph encoder?",
    "report": "Make every table and the report again from what a storage has.",
    "status": "How far is a study? Encoders and cells done, failed, running and left; the rate; the table so far.",
    "doctor": "Would a study run here? Each check that fails comes with the command that fixes it.",
    "tune": "Find a method's temperature (log-uniform, 0.01 to 1) and joint weight c (uniform, 0.05 to 2).",
    "export": "Write an encoder as safetensors with a model card that has its numbers.",
    "list": "Which names are there for --study, --raw, --method and --only?",
    "build": "Turn a raw archive, as it was downloaded, into Parquet shards. Run again, it resumes.",
    "training-free": "Compute what is missing and write reports/<study>/training_free.csv and .md.",
}
OF_SHELLS = ("--install-completion", "--show-completion")


def load(name: str) -> Command:
    """The command of a subcommand, and with it what it imports at its top."""
    app: typer.Typer
    match name:
        case "run":
            from sweep.run.__main__ import app
        case "report":
            from sweep.report.__main__ import app
        case "status":
            from sweep.status.__main__ import app
        case "doctor":
            from sweep.doctor.__main__ import app
        case "tune":
            from sweep.tune.__main__ import app
        case "export":
            from sweep.export.__main__ import app
        case "list":
            from sweep.list import app
        case "build":
            from datasets_io.build.__main__ import app
        case "training-free":
            from sweep.training_free.__main__ import app
    command = typer.main.get_command(app)
    assert isinstance(command, Command), name
    return command


class Subcommand(TyperCommand):
    """A name and a line of help; what is behind them is loaded when arguments are to be read or completed."""

    def make_context(self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any) -> Any:
        """The context of the loaded command, in which it is also run."""
        assert self.name is not None
        command = load(self.name)
        if not extra.get("resilient_parsing"):  # as where a shell asks for proposals
            survive_closed_output(command.goes_on)
        return command.make_context(info_name, args, parent=parent, **extra)


class Subcommands(TyperGroup):
    """All of them, in the order of SUBCOMMANDS."""

    def __init__(self, **attributes: Any):
        super().__init__(**attributes)
        self.context_settings.setdefault("help_option_names", HELP_FLAGS)
        for name, about in SUBCOMMANDS.items():
            self.add_command(Subcommand(name, help=about))

    def get_params(self, ctx: Any) -> list[Any]:
        """As typer's, for --help."""
        return without_types_of_flags(super().get_params(ctx))

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """As typer's; what is printed without a subcommand may have no reader."""
        if not ctx.resilient_parsing and not any(word in SUBCOMMANDS for word in args):
            survive_closed_output(goes_on=False)
        remember_arguments(args)
        with usage_errors_without_secrets():
            if len(args) > 1 and args[0] in OF_SHELLS:
                ctx.fail(f"{args[0]} takes no {args[1]!r}: it is for the shell that it is given in")
            return super().parse_args(ctx, args)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """As typer's, whose proposals are of the same capitals only."""
        with usage_errors_without_secrets():
            if args[0] not in SUBCOMMANDS and (meant := args[0].lower()) in SUBCOMMANDS:
                ctx.fail(f"No such command {args[0]!r}. Did you mean {meant!r}?")
            return super().resolve_command(ctx, args)


app = typer.Typer(cls=Subcommands, rich_markup_mode="rich", pretty_exceptions_enable=False, no_args_is_help=True)


def _show_version(asked: bool) -> None:
    if asked:
        try:
            typer.echo(f"radsweep {version('radsweep')}")
        except PackageNotFoundError:
            typer.echo("radsweep, a copy that is not installed")
        raise typer.Exit


@app.callback(
    epilog="`radsweep NAME --help` says more of each. `python -m sweep.NAME` is the same "
    "command, but for `python -m datasets_io.build` and `python -m sweep.training_free`."
)
def radsweep(
    asked: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Which way of pretraining makes the best chest-radiograph encoder? One command runs the whole comparison."""
