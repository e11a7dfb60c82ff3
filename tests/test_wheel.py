"""Do wheel and sdist hold what a user needs, and does the installed command run a study outside of the repository?

Built by the build requirements of locked/build.txt, which `make setup` installed; nothing is asked of a network.
"""

import os
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import zipfile
from email import message_from_string
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("sweep", "trainables", "datasets_io")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
NAME = f"{PROJECT['name']}-{PROJECT['version']}"
BUILD = "import sys; from setuptools import build_meta as b; print(getattr(b, sys.argv[1])(sys.argv[2]))"
STUDY = """
from dataclasses import replace
from datasets_io.synthetic.plan import SyntheticSpec
from sweep.studies import demo


def study():
    base = demo()
    few = SyntheticSpec(
        image_size=48, corpus_train=16, corpus_val=8, chexpert_train=60, chexpert_valid=40, nih_train_val=16, nih_test=8
    )
    rows = tuple(row for row in base.rows if row.name == "random")
    datasets = tuple(
        replace(d, recipe=replace(d.recipe, linear_probe_epochs=1)) for d in base.datasets if d.source == "chexpert"
    )
    return replace(
        base, name="outside", rows=rows, datasets=datasets, protocols=("LP",), seeds=(0,), synthetic=few
    )
"""


def tracked() -> set[str]:
    """What git has, or would have: built files of an earlier build are none of it."""
    listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listed, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    return {name for name in names if (ROOT / name).is_file()}


def built(hook: str, source: Path, folder: Path) -> Path:
    """As `pip wheel --no-build-isolation`, or the sdist. hook: of PEP 517."""
    command = [sys.executable, "-c", BUILD, hook, str(folder)]
    done = subprocess.run(command, cwd=source, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return folder / done.stdout.splitlines()[-1]


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    """A copy of what git has, since setuptools writes beside what it builds."""
    folder = tmp_path_factory.mktemp("source")
    for name in tracked():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes((ROOT / name).read_bytes())
    return folder


@pytest.fixture(scope="module")
def sdist(source, tmp_path_factory) -> Path:
    return built("build_sdist", source, tmp_path_factory.mktemp("sdist"))


@pytest.fixture(scope="module")
def wheel(sdist, tmp_path_factory) -> Path:
    """Made from the sdist, as by whoever has only that."""
    folder = tmp_path_factory.mktemp("unpacked")
    with tarfile.open(sdist) as archive:
        archive.extractall(folder, filter="data")
    return built("build_wheel", folder / NAME, tmp_path_factory.mktemp("wheel"))


def test_a_wheel_has_every_file_of_the_packages_and_nothing_else(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    own = {name for name in names if not name.startswith(f"{NAME}.dist-info/")}
    wanted = {name for name in tracked() if name.split("/")[0] in PACKAGES}
    assert own == wanted and any(name.endswith(".css") for name in own), sorted(own ^ wanted)
    information = {name.partition("/")[2] for name in names - own}
    assert information == {"METADATA", "WHEEL", "RECORD", "entry_points.txt", "top_level.txt", "licenses/LICENSE"}


def test_a_wheel_says_what_it_is(wheel):
    with zipfile.ZipFile(wheel) as archive:
        text = archive.read(f"{NAME}.dist-info/METADATA").decode()
        entry = archive.read(f"{NAME}.dist-info/entry_points.txt").decode()
        licence = archive.read(f"{NAME}.dist-info/licenses/LICENSE")
        contents = b"".join(archive.read(name) for name in archive.namelist())
    said = message_from_string(text)
    assert (said["Name"], said["Version"]) == (PROJECT["name"], PROJECT["version"])
    assert (said["License-Expression"], said["Requires-Python"]) == (PROJECT["license"], PROJECT["requires-python"])
    required = [line for line in said.get_all("Requires-Dist") if "extra ==" not in line]
    assert len(required) == len(PROJECT["dependencies"]) and said.get_payload().startswith("# radsweep")
    assert entry.split() == ["[console_scripts]", "radsweep", "=", PROJECT["scripts"]["radsweep"]]
    assert licence == (ROOT / "LICENSE").read_bytes()
    assert str(ROOT).encode() not in contents and sys.prefix.encode() not in contents


def test_an_sdist_has_what_a_wheel_is_made_of(sdist):
    with tarfile.open(sdist) as archive:
        names = {member.name.partition("/")[2] for member in archive if member.isfile()}
    wanted = {name for name in tracked() if name.split("/")[0] in PACKAGES}
    assert names >= wanted | {"pyproject.toml", "README.md", "LICENSE", "PKG-INFO"}
    made = {"PKG-INFO", "setup.cfg"}
    own = {name for name in names if not name.startswith("radsweep.egg-info/")} - made
    assert own <= tracked() and not any(name.startswith("tests/") for name in own), "they need what is not in it"


@pytest.fixture(scope="module")
def fresh(wheel, tmp_path_factory) -> Path:
    """The bin folder of a new environment with the wheel. What it requires is this environment's, by a .pth file.

    Such a file adds a folder, and none of what that folder's own .pth files add: no copy of this project.
    """
    folder = tmp_path_factory.mktemp("fresh")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    pip = [sys.executable, "-m", "pip", "--python", str(folder / "bin" / "python"), "install", "--quiet"]
    subprocess.run([*pip, "--no-deps", "--no-index", "--no-compile", str(wheel)], check=True)
    site = next(folder.glob("lib/python*/site-packages"))
    (site / "requirements.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return folder / "bin"


def run(fresh: Path, folder: Path, *command: str) -> subprocess.CompletedProcess:
    kept = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "RAY_ADDRESS", "VIRTUAL_ENV")}
    environment = kept | {"PATH": f"{fresh}{os.pathsep}{os.environ['PATH']}", "COLUMNS": "200", "NO_COLOR": "1"}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=600)


def test_the_installed_command_is_of_the_wheel(fresh, tmp_path):
    done = run(fresh, tmp_path, "radsweep", "--version")
    assert (done.returncode, done.stdout) == (0, f"radsweep {PROJECT['version']}\n"), done.stderr
    done = run(
        fresh, tmp_path, "python", "-c", "import sweep.report.page, trainables; print(*sweep.report.page.__path__)"
    )
    assert Path(done.stdout.strip()).is_relative_to(fresh.parent), done.stdout + done.stderr
    done = run(fresh, tmp_path, "bash", "-c", "_RADSWEEP_COMPLETE=source_bash radsweep")
    assert "complete -o default -F _radsweep_completion radsweep" in done.stdout


def test_types_reach_whoever_imports_it(fresh, tmp_path):
    asked = ["sweep.evaluate", "sweep.plan('demo').total", "sweep.__version__", "get_source"]
    lines = ["import sweep", "from datasets_io.sources.registry import get_source", "import trainables.recipe"]
    (tmp_path / "user.py").write_text("\n".join([*lines, *(f"reveal_type({one})" for one in asked)]) + "\n")
    mypy = [sys.executable, "-m", "mypy", "--no-incremental", "--python-executable", str(fresh / "python"), "user.py"]
    done = run(fresh, tmp_path, *mypy)
    revealed = [line.partition('Revealed type is "')[2] for line in done.stdout.splitlines()[:-1]]
    assert done.returncode == 0 and len(revealed) == len(asked), done.stdout + done.stderr
    starts = ("def (scores: Any", "sweep.studies.forecast.Forecast", "str", "def (")
    assert all(found.replace("builtins.", "").startswith(start) for found, start in zip(revealed, starts, strict=True))


def test_a_study_runs_outside_of_the_repository(fresh, tmp_path):
    (tmp_path / "outside.py").write_text(STUDY)
    done = run(fresh, tmp_path, "radsweep", "run", "--study", "outside.py", "--storage", "results")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    page = (tmp_path / "results" / "reports" / "outside" / "report.html").read_text(encoding="utf-8")
    assert "</html>" in page and "<style>" in page and "<script" in page
    frame = run(fresh, tmp_path, "python", "-c", "import sweep; print(len(sweep.results('results', 'outside.py')))")
    assert frame.stdout.strip() == "1", frame.stdout + frame.stderr
