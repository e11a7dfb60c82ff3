"""Do the command lines of the README and of all pages work as they are written?"""

import ast
import importlib
import importlib.util
import re
import shlex
from pathlib import Path

import click
import pytest
import typer
from typer.testing import CliRunner

from sweep.radsweep.command import SUBCOMMANDS, load

ROOT = Path(__file__).parents[1]
PAGES = sorted(
    str(path.relative_to(ROOT)) for place in ("*.md", "docs/**/*.md", "examples/*.md") for path in ROOT.glob(place)
)
GUIDES = (
    "README.md",
    "docs/tuning.md",
    "docs/watching.md",
    *(p for p in PAGES if p not in ("README.md", "docs/tuning.md", "docs/watching.md", "docs/clusters/README.md")),
)  # `ray exec` quotes its commands
APPS = {
    "run": "sweep.run.__main__",
    "doctor": "sweep.doctor.__main__",
    "status": "sweep.status.__main__",
    "tune": "sweep.tune.__main__",
    "list": "sweep.list",
    "report": "sweep.report.__main__",
}
MORE = {
    "export": "sweep.export.__main__",
    "training_free": "sweep.training_free.__main__",
    "build": "datasets_io.build.__main__",
}
HARMLESS = ("doctor", "status", "list", "report")  # the others train: their own tests run them on small studies


def command_lines() -> list[tuple[str, str, str]]:
    """(guide, command, arguments) of every line in a block of shell that calls one of the commands."""
    found = []
    for guide in GUIDES:
        for block in re.findall(r"```bash\n(.*?)```", (ROOT / guide).read_text(encoding="utf-8"), re.DOTALL):
            for line in block.replace("\\\n", " ").splitlines():
                match = re.match(r"\s*(?:\.venv/bin/)?python -m sweep\.(\w+)(.*)", line)
                if match and match[1] in APPS | MORE:
                    found.append((guide, match[1], match[2].strip()))
    return found


LINES = command_lines()


def test_every_command_is_named_in_the_readme():
    assert {command for guide, command, _ in LINES if guide == "README.md"} >= set(APPS) - {"run"}
    assert len(LINES) >= 10


@pytest.mark.parametrize(("guide", "command", "arguments"), LINES)
def test_its_flags_and_values_are_taken(guide, command, arguments):
    app = importlib.import_module((APPS | MORE)[command]).app
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


# -- every `python -m` of every page, in a block, in a sentence or within another command -----------------------------


def mentioned() -> list[tuple[str, str, str]]:
    """(page, module, what follows it) of every command that a page names."""
    found = set()
    for page in (*PAGES, "cluster.yaml", *(str(p.relative_to(ROOT)) for p in ROOT.glob("docs/clusters/*.yaml"))):
        text = (ROOT / page).read_text(encoding="utf-8").replace("\\\n", " ")
        for match in re.finditer(r"python -m ((?:sweep|datasets_io|benchmarks)(?:\.[a-z_]+)+\b)([^`'\n|#]*)", text):
            found.add((page, match[1], match[2].strip()))
    return sorted(found)


def is_there(module: str) -> bool:
    """Whether `python -m` would find it. Nothing of it is imported."""
    try:
        spec = importlib.util.find_spec(module)
    except ModuleNotFoundError:
        return False
    if spec is not None and spec.submodule_search_locations is not None:
        spec = importlib.util.find_spec(f"{module}.__main__")
    return spec is not None


def flags_of(module: str) -> set[str]:
    """The flags that --help of a command lists; of a benchmark those in its source: its peers are slow to import."""
    if module.startswith("benchmarks."):
        place = ROOT / module.replace(".", "/")
        source = place / "__main__.py" if place.is_dir() else place.with_suffix(".py")
        tree = ast.parse(source.read_text(encoding="utf-8"))
        calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
        added = [call for call in calls if getattr(call.func, "attr", "") == "add_argument"]
        return {name.value for call in added for name in call.args if isinstance(name, ast.Constant)}
    name = module.removeprefix("sweep.").removeprefix("datasets_io.")
    command = typer.main.get_command(importlib.import_module((APPS | MORE)[name]).app)
    context = click.Context(command)
    return {option for parameter in command.get_params(context) for option in (*parameter.opts, "--help")}


def test_every_page_is_looked_at():
    pages = {page for page, _, _ in mentioned()}
    assert {"README.md", "docs/data.md", "docs/clusters/README.md", "docs/guarantees.md", "docs/encoders.md"} <= pages
    assert {module.rpartition(".")[2] for _, module, _ in mentioned()} >= APPS.keys() | MORE.keys()


@pytest.mark.parametrize(("page", "module", "rest"), mentioned())
def test_its_module_and_its_flags_are_there(page, module, rest):
    assert is_there(module), f"{page} names python -m {module}, which is not there"
    named = set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", rest))
    assert named <= flags_of(module), f"{page}: python -m {module} has no {', '.join(sorted(named - flags_of(module)))}"


def mentioned_short() -> list[tuple[str, str, str]]:
    """(page, subcommand, what follows it) of every `radsweep NAME` that a page has as code within a sentence."""
    pattern = r"`(?:\.venv/bin/)?radsweep ([a-z][a-z-]*)([^`\n]*)`"
    found = ((page, (ROOT / page).read_text(encoding="utf-8")) for page in PAGES)
    return sorted({(page, *match.groups()) for page, text in found for match in re.finditer(pattern, text)})


@pytest.mark.parametrize(("page", "name", "rest"), mentioned_short())
def test_its_subcommand_and_its_flags_are_there(page, name, rest):
    assert name in SUBCOMMANDS, f"{page} names radsweep {name}"
    named = set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", rest))
    flags = {option for parameter in load(name).params for option in parameter.opts} | {"--help"}
    assert named <= flags, f"{page}: radsweep {name} has no {', '.join(sorted(named - flags))}"


@pytest.mark.parametrize("module", ["sweep.runs", "nothing.at_all", "datasets_io"])
def test_a_command_that_is_not_there_is_noticed(module):
    assert not is_there(module)
