"""Which flags does each command take, and is what several share declared once?"""

import importlib

import click
import pytest
import typer

from sweep.cli import options

COMMANDS = {
    "run": "--study --storage --raw --only --dry-run --retry-failed --skip-unfit --redo --chaos --tensorboard --mlflow",
    "report": "--storage --study --raw --only --to --quick",
    "status": "--storage --study --raw --only --watch --tensorboard --json",
    "tune": "--method --study --storage --raw --trials --out",
    "export": "--storage --to --study --raw",
    "training_free": "--storage --study --kind --raw",
    "doctor": "--storage --raw --study --json",
    "list": "--json",
}
SHARED = {
    "--study": (options.Study, options.StudyOfRun),
    "--storage": (options.Storage, options.StorageOfRun),
    "--raw": (options.Raw, options.RawOfRun),
    "--only": (options.Only,),
    "--json": (options.AsJson,),
}
# Where the flag means something else: all studies without it, and archives that are only examined.
OF_THEIR_OWN = {("status", "--study"), ("doctor", "--study"), ("doctor", "--raw")}


def flags_of(command: str) -> dict[str, click.Parameter]:
    module = f"sweep.{command}" if command == "list" else f"sweep.{command}.__main__"
    found = typer.main.get_command(importlib.import_module(module).app)
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
            if name in flags and not flags[name].required and flags[name].default is not None:
                assert flags[name].default == default, f"{command} {name}"
