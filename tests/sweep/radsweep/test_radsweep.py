"""Is each subcommand of radsweep the command of `python -m`, loaded only once it is asked for?"""

import importlib
import os
import signal
import subprocess
import sys
import time
from importlib.metadata import version

import pytest
import typer
from installed import install
from typer.testing import CliRunner

from datasets_io.command_line import Command
from sweep.cli import exit_codes
from sweep.radsweep import command
from sweep.radsweep.command import SUBCOMMANDS, app

WIDE = {"COLUMNS": "200", "NO_COLOR": "1"}


def module_of(name: str) -> str:
    package = "datasets_io" if name == "build" else "sweep"
    return f"{package}.{name.replace('-', '_')}" + ("" if name == "list" else ".__main__")


def invoke(*arguments: str):
    return CliRunner().invoke(app, list(arguments), env=WIDE)


def plain(text: str) -> str:
    return " ".join(text.replace("│", " ").split())


@pytest.mark.parametrize("name", SUBCOMMANDS)
def test_a_subcommand_is_the_command_of_its_module(name):
    own = typer.main.get_command(importlib.import_module(module_of(name)).app)
    loaded = command.load(name)
    assert isinstance(own, Command) and loaded.callback.__wrapped__ is own.callback.__wrapped__
    assert [parameter.opts for parameter in loaded.params] == [parameter.opts for parameter in own.params]
    assert loaded.help.strip().partition("\n\n")[0].replace("\n", " ") == SUBCOMMANDS[name]


@pytest.mark.parametrize("name", SUBCOMMANDS)
def test_a_mistyped_subcommand_or_flag_is_told_the_nearest_known_one(name):
    done = invoke(name[:-1] + "x" + name[-1])
    assert done.exit_code == 2 and f"'{name}'" in done.output.partition("Did you mean ")[2]
    for parameter in command.load(name).params:
        flag = parameter.opts[0]
        if flag.startswith("--"):
            done = invoke(name, f"{flag[:-1]}x{flag[-1]}")
            assert done.exit_code == 2 and "No such option" in done.output, done.output
            assert flag in plain(done.output).partition("Possible options: ")[2], done.output


def test_a_subcommand_in_other_capitals_is_told_its_own():
    done = invoke("RUN")
    assert done.exit_code == 2 and "No such command 'RUN'. Did you mean 'run'?" in plain(done.output)


@pytest.mark.parametrize("flag", ["--show-completion", "--install-completion"])
def test_completion_is_for_the_shell_that_asks_and_takes_no_other(flag):
    done = invoke(flag, "zsh")
    assert done.exit_code == 2 and f"{flag} takes no 'zsh': it is for the shell" in plain(done.output)


@pytest.mark.parametrize("name", SUBCOMMANDS)
def test_the_exit_codes_stand_in_the_help(name):
    shown = plain(invoke(name, "--help").output)
    codes = shown.partition("Exit codes: 0")[2]
    assert "2 bad input" in codes and "130 interrupted" in codes
    assert ("141 nobody reads" in codes) != command.load(name).goes_on


def test_what_is_loaded_is_what_was_asked_for():
    """`--help`, `--version` and the proposals of a shell load no subcommand, and `run --help` no torch."""
    code = (
        "import sys\nfrom sweep.radsweep.__main__ import main\nsys.argv = ['radsweep', *sys.argv[1:]]\n"
        "try:\n    main()\nfinally:\n    print('loaded', *sorted(sys.modules), file=sys.stderr)\n"
    )
    for arguments, loads in (["--help"], ""), (["--version"], ""), (["run", "--help"], "sweep.run.__main__"):
        done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True)
        loaded = set(done.stderr.split())
        assert not loaded & {"torch", "ray", "pandas", "timm", "pyarrow", "scipy"}, arguments
        apps = {module_of(name) for name in SUBCOMMANDS} & loaded
        assert apps == ({loads} if loads else set()), arguments


@pytest.mark.parametrize("name", [*SUBCOMMANDS, ""])
def test_help_loads_no_torch(name):
    """Loading it takes seconds. Of ten commands, so by what is loaded: a clock would measure the machine."""
    code = f"from sweep.radsweep import command; import sys; {f'command.load({name!r})' if name else 'command'}"
    code += "; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not set(done.stdout.split()) & {"torch", "ray", "pandas", "timm", "transformers", "matplotlib"}


def test_the_version_is_that_of_the_package():
    done = invoke("--version")
    assert (done.exit_code, done.output) == (0, f"radsweep {version('radsweep')}\n")


def test_exit_codes_and_sentences_are_the_subcommands_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = invoke("run", "--study", "papr", "--dry-run")
    assert done.exit_code == 2 and "did you mean 'paper'?" in done.output
    done = invoke("list", "metods")
    assert done.exit_code == 2 and "did you mean 'methods'?" in done.output
    done = invoke("status", "--storage", "--json")
    assert done.exit_code == 2 and "--storage needs a value, and '--json' looks like the next flag" in plain(
        done.output
    )
    done = invoke("status", "--json")
    assert done.exit_code == 2 and "radsweep-results" in done.output and not list(tmp_path.iterdir())
    assert invoke("").exit_code == 2


@pytest.mark.parametrize(
    ("arguments", "meant"),
    [
        ("run --study papr --dry-run", "paper"),
        ("run --study my_stdy.py --dry-run", "my_study.py"),
        ("run --only methd=clip --dry-run", "method"),
        ("run --only method=clp --dry-run", "clip"),
        ("run --raw chexprt=. --dry-run", "chexpert"),
        ("tune --method simcrl", "simclr"),
        ("list protocol", "protocols"),
        ("build chexprt --raw .", "chexpert"),
        ("build chexpert --raw . --shape aspct", "aspect"),
        ("build nih_cxr14 --raw . --option splt=lists", "split"),
        ("export clap --to new --storage .", "clip"),
        ("report --study stric --storage .", "strict"),
        ("status --study dmo --storage .", "demo"),
        ("training-free --kind kn --storage .", "knn"),
        ("doctor --study papr", "paper"),
    ],
)
def test_a_mistyped_value_is_told_the_nearest_known_one(arguments, meant, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my_study.py").touch()
    done = invoke(*arguments.split())
    assert done.exit_code == 2 and f"did you mean '{meant}'" in plain(done.output), done.output
    assert [path.name for path in tmp_path.iterdir()] == ["my_study.py"]


@pytest.mark.parametrize(
    ("program", "expected"),
    [
        ("/venv/bin/radsweep", "radsweep run --study a.py"),
        ("/project/sweep/radsweep/__main__.py", "python -m sweep.radsweep run --study a.py"),
        ("/project/sweep/run/__main__.py", "python -m sweep.run run --study a.py"),
    ],
)
def test_the_command_that_goes_on_is_the_one_that_was_typed(program, expected, monkeypatch):
    monkeypatch.setattr(sys, "argv", [program, "run", "--study", "a.py"])
    assert exit_codes.command_of("sweep.run") == expected


def test_an_installed_command_is_found_runs_and_takes_a_signal(tmp_path):
    environment = install(tmp_path)
    done = subprocess.run(["radsweep", "list", "metods"], env=environment, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2 and done.stderr.startswith("error: there is no list of 'metods'")
    (tmp_path / "slow.py").write_text(
        "import os, time\ndef study():\n    open('begun', 'w').close()\n    time.sleep(60)\n"
    )
    child = subprocess.Popen(
        ["radsweep", "run", "--study", "slow.py"], env=environment, cwd=tmp_path, stderr=subprocess.PIPE, text=True
    )
    while not (tmp_path / "begun").exists() and child.poll() is None:
        time.sleep(0.01)
    os.kill(child.pid, signal.SIGINT)
    said = child.communicate(timeout=60)[1]
    assert child.returncode == 130 and said.endswith("go on with:\n  radsweep run --study slow.py\n"), said


def test_a_closed_pipe_ends_it_as_it_ends_the_subcommand(tmp_path):
    environment = install(tmp_path)
    for arguments in ("--help", "list methods --json"):
        done = subprocess.run(
            ["bash", "-c", f"radsweep {arguments} | true; echo ${{PIPESTATUS[0]}}"],
            env=environment, capture_output=True, text=True,
        )  # fmt: skip
        assert done.stdout == "141\n" and "Traceback" not in done.stderr, done.stderr


@pytest.mark.parametrize("name", [None, *SUBCOMMANDS])
def test_the_short_flag_gives_the_same_help(name):
    before = [name] if name else []
    short, long = (CliRunner().invoke(app, [*before, flag]) for flag in ("-h", "--help"))
    assert short.exit_code == long.exit_code == 0 and short.output == long.output
