"""Which flags does each command take, and is what several share declared once?"""

import importlib

import click
import pytest
import typer
from typer.testing import CliRunner

from datasets_io.command_line import no_value
from sweep.cli import options

COMMANDS = {
    "run": "--study --storage --raw --only --dry-run --machines --json --retry-failed --skip-unfit --redo --chaos "
    "--tensorboard --mlflow",
    "report": "--storage --study --raw --only --to --with --quick",
    "status": "--storage --study --raw --only --watch --tensorboard --json",
    "tune": "--method --study --storage --raw --trials --out",
    "export": "--storage --to --study --raw",
    "training_free": "--storage --study --kind --raw",
    "doctor": "--storage --raw --study --json",
    "list": "--json",
    "build": "--raw --storage --image-size --intensity --option --shape --order --limit --max-rejects --verify",
}
SHARED = {
    "--study": (options.Study, options.StudyOfRun),
    "--storage": (options.Storage, options.StorageOfRun),
    "--raw": (options.Raw, options.RawOfRun),
    "--only": (options.Only,),
    "--json": (options.AsJson,),
}
# Where the flag means something else: all studies without it, and archives that are only examined.
OF_THEIR_OWN = {("status", "--study"), ("doctor", "--study"), ("doctor", "--raw"), ("build", "--raw")}


def app_of(command: str) -> typer.Typer:
    package = "datasets_io" if command == "build" else "sweep"
    module = f"sweep.{command}" if command == "list" else f"{package}.{command}.__main__"
    return importlib.import_module(module).app


def flags_of(command: str) -> dict[str, click.Parameter]:
    found = typer.main.get_command(app_of(command))
    return {parameter.opts[0]: parameter for parameter in found.params if parameter.opts[0].startswith("--")}


@pytest.mark.parametrize(("command", "flags"), COMMANDS.items())
def test_a_command_takes_these_flags_and_no_others(command, flags):
    assert sorted(flags_of(command)) == sorted(flags.split())


@pytest.mark.parametrize("command", COMMANDS)
def test_a_flag_that_several_commands_share_has_one_declaration(command):
    for name, parameter in flags_of(command).items():
        if name in SHARED and (command, name) not in OF_THEIR_OWN:
            helps = {declared.__metadata__[0].help for declared in SHARED[name]}
            assert parameter.help in helps, f"{command} {name}: {parameter.help}"


def test_defaults_of_studies_and_storages_are_the_same_everywhere():
    for command in COMMANDS:
        flags = flags_of(command)
        for name, default in (("--study", options.DEFAULT_STUDY), ("--storage", options.DEFAULT_STORAGE)):
            assert name not in flags or not flags[name].required, f"{command} {name}"
            if name in flags and flags[name].default is not None:
                assert flags[name].default == default, f"{command} {name}"


def refused(command: str, *arguments: str) -> str:
    """What a command says that ends with a usage error."""
    done = CliRunner().invoke(app_of(command), list(arguments), env={"COLUMNS": "200", "NO_COLOR": "1"})
    assert done.exit_code == 2, done.output
    return " ".join(done.output.replace("│", " ").split())


WITH_VALUE = [
    (command, name)
    for command in COMMANDS
    for name, parameter in flags_of(command).items()
    if not getattr(parameter, "is_flag", False)
]


@pytest.mark.parametrize(("command", "name"), WITH_VALUE)
def test_a_flag_or_an_empty_text_is_no_value(command, name):
    """`--storage --dry-run` would else make a folder of that name, and run a whole demo in it."""
    assert f"{name} needs a value, and '--help' looks like the next flag" in refused(command, name, "--help")
    for text in (f"{name}=-x", f"{name}=--dry-run"):
        assert f"{name} needs a value, and" in refused(command, text)
    for text in ("", " "):
        assert f"{name} is empty: give a value" in refused(command, name, text)


@pytest.mark.parametrize(
    ("command", "name"), [(command, name) for command, name in WITH_VALUE if not flags_of(command)[name].multiple]
)
def test_an_option_that_has_one_value_is_given_once(command, name):
    """`report --with a --with b` would else set b beside it, and say nothing of a."""
    assert f"{name} is given 2 times: give it once" in refused(command, name, "a", name, "b")


@pytest.mark.parametrize("name", ["--raw", "--only"])
def test_an_option_that_has_several_values_may_be_repeated(name):
    assert "times" not in refused("report", name, "seed=0", name, "nothing", "--storage", "x")


def test_an_argument_is_no_flag_and_no_empty_text_either():
    assert "encoder is empty" in refused("export", "", "--storage", "x", "--to", "y")
    assert "kind needs a value, and '-x' looks like" in refused("list", "--", "-x")


def test_one_of_several_values_is_looked_at_as_well():
    assert "--only needs a value, and '--raw'" in refused(
        "report", "--storage", "x", "--only", "seed=0", "--only", "--raw"
    )


def test_a_folder_that_begins_with_a_dash_is_given_with_its_path():
    assert no_value("--to", "./-x") is None and no_value("--to", "a-b") is None
    assert "(a file or folder of that name is ./-x)" in str(no_value("--to", "-x"))
