"""Do the files that make images name what is there, run as nobody, and say nothing of where packages come from?"""

import json
import re
import shlex
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

from benchmarks.supply_chain.locked import SETS, read_locked
from sweep.radsweep.command import load

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "docs/clusters"
TEXT = (FOLDER / "Containerfile").read_text(encoding="utf-8")
STEPS = re.sub(r"\\\n\s*", "", re.sub(r"(?m)^#.*\n", "", TEXT)).splitlines()
SETTINGS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PROJECT = SETTINGS["project"]


def steps(kind: str) -> list[str]:
    return [step.removeprefix(f"{kind} ") for step in STEPS if step.startswith(f"{kind} ")]


def copied() -> set[str]:
    return {name for step in steps("COPY") for name in shlex.split(step)[:-1]}


def test_what_is_copied_is_there_and_all_that_an_installation_needs():
    packages = {name.rstrip("*") for name in SETTINGS["tool"]["setuptools"]["packages"]["find"]["include"]}
    assert copied() == {"locked", "pyproject.toml", PROJECT["readme"], *PROJECT["license-files"], *packages}
    assert all((ROOT / name).exists() for name in copied())


def test_what_is_copied_is_all_that_the_builder_is_sent():
    lines = (FOLDER / "Containerfile.dockerignore").read_text(encoding="utf-8").splitlines()
    lines = [line for line in lines if not line.startswith("#")]
    assert lines[0] == "*" and lines[-1] == "**/__pycache__"
    assert {line.removeprefix("!") for line in lines[1:-1]} == copied()


def test_every_package_comes_by_its_digest():
    installs = [part for step in steps("RUN") for part in re.findall(r"-m pip install[^;&\"]*", step)]
    assert len(installs) == 2 and all("--no-cache-dir" in each and "--no-deps" in each for each in installs)
    assert "--require-hashes" in installs[0] and installs[1].split()[-1] == "/src"
    assert re.findall(r"\$pip .*?-r ([^\s;]+)", steps("RUN")[0]) == ["build.txt", '"${LOCKED}.txt"']
    assert "LOCKED=run" in steps("ARG") and "run" in SETS


@pytest.mark.parametrize("name", ["Containerfile", "Containerfile.dockerignore", "radsweep.def", "containers.md"])
def test_no_address_of_packages_and_no_invented_digest_stands_in_it(name):
    text = (FOLDER / name).read_text(encoding="utf-8")
    assert not re.search(r"https?://|--(extra-)?index|--find-links|--trusted-host|pypi|pythonhosted", text)
    assert not re.search(r"sha256:[0-9a-f]{8}", text)


def test_it_runs_as_nobody_in_particular():
    (user,) = steps("USER")
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", user), "Kubernetes asks for a number to see that it is not root"
    assert "useradd" not in TEXT and "chmod" not in TEXT
    assert "HOME=/tmp" in steps("ENV")[-1] and STEPS.index(f"USER {user}") < STEPS.index(
        f"ENTRYPOINT {steps('ENTRYPOINT')[0]}"
    )


def test_its_labels_are_the_projects():
    words = shlex.split(steps("LABEL")[0])
    labels = dict(word.removeprefix("org.opencontainers.image.").split("=", 1) for word in words)
    assert labels["title"] == PROJECT["name"] and labels["version"] == PROJECT["version"]
    assert labels["licenses"] == PROJECT["license"] and PROJECT["description"].startswith(labels["description"])
    assert labels["base.name"] == "${BASE}" and labels["revision"] == "${REVISION}"


@pytest.mark.skipif(shutil.which("sed") is None, reason="needs sed, as the image does")
def test_with_the_bases_torch_all_else_is_installed_as_locked(tmp_path):
    """The step of the Containerfile itself, on the locked file: torch and what comes with its CUDA, nothing besides."""
    (cut,) = re.findall(r"(sed -Ei '[^']*') run\.txt", steps("RUN")[0])
    path = tmp_path / "run.txt"
    shutil.copy(ROOT / "locked/run.txt", path)
    before = {package.name: package for package in read_locked(path)}
    subprocess.run([*shlex.split(cut), path], check=True)
    after = {package.name: package for package in read_locked(path)}
    assert after.items() < before.items()
    gone = before.keys() - after.keys()
    assert {"torch", "torchvision", "triton"} < gone
    assert {name for name in before if re.match("nvidia-|cuda-", name)} == gone - {"torch", "torchvision", "triton"}


def test_apptainers_file_starts_what_the_image_starts():
    script = (FOLDER / "radsweep.def").read_text(encoding="utf-8").split("%runscript")[1].split("%test")[0]
    (entry,), (default,) = steps("ENTRYPOINT"), steps("CMD")
    assert json.loads(entry) == ["radsweep"] and 'exec radsweep "$@"' in script
    assert json.loads(default) == ["--help"] and "set -- --help" in script


def commands() -> list[list[str]]:
    """What follows the image's name in each block of the guide."""
    blocks = re.findall(r"```bash\n(.*?)```", (FOLDER / "containers.md").read_text(encoding="utf-8"), re.DOTALL)
    lines = [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    found = [re.search(r" run .*\bradsweep(?:\.sif)? +(\w.*)", line) for line in lines]
    return [shlex.split(match[1]) for match in found if match]


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_commands_of_the_guide_are_taken(words):
    load(words[0]).make_context(words[0], words[1:])  # parses, and runs nothing


def test_the_guide_has_commands():
    assert {words[0] for words in commands()} >= {"run", "status"}
