"""Do the command lines of the README and the guides work as they are written?"""

import importlib
import re
import shlex
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

ROOT = Path(__file__).parents[1]
GUIDES = ("README.md", "docs/tuning.md", "docs/watching.md")
APPS = {
    "run": "sweep.run", "doctor": "sweep.doctor.__main__", "status": "sweep.status", "tune": "sweep.tune",
    "list": "sweep.list", "report": "sweep.report",
}
HARMLESS = ("doctor", "status", "list", "report")  # the others train: their own tests run them on small studies


def command_lines() -> list[tuple[str, str, str]]:
    """(guide, command, arguments) of every line in a block of shell that calls one of the commands."""
    found = []
    for guide in GUIDES:
        for block in re.findall(r"```bash\n(.*?)```", (ROOT / guide).read_text(encoding="utf-8"), re.DOTALL):
            for line in block.replace("\\\n", " ").splitlines():
                match = re.match(r"\s*(?:\.venv/bin/)?python -m sweep\.(\w+)(.*)", line)
                if match and match[1] in APPS:
                    found.append((guide, match[1], match[2].strip()))
    return found


LINES = command_lines()


def test_every_command_is_named_in_the_readme():
    assert {command for guide, command, _ in LINES if guide == "README.md"} >= set(APPS) - {"run"}
    assert len(LINES) >= 10


@pytest.mark.parametrize(("guide", "command", "arguments"), LINES)
def test_its_flags_and_values_are_taken(guide, command, arguments):
    app = importlib.import_module(APPS[command]).app
    words = shlex.split(arguments, comments=True)
    typer.main.get_command(app).make_context(command, words)  # parses, and runs nothing


@pytest.mark.parametrize(
    ("guide", "command", "arguments"), [line for line in LINES if line[1] in HARMLESS and "--watch" not in line[2]]
)
def test_it_runs(guide, command, arguments, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "results").mkdir()
    text = arguments.replace("/shared/results", str(tmp_path / "results")).replace(" logs", f" {tmp_path}/logs")
    done = CliRunner().invoke(importlib.import_module(APPS[command]).app, shlex.split(text, comments=True))
    assert done.exit_code == 0, done.output
    assert done.output.strip() and "Traceback" not in done.output
