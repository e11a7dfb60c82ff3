"""Do tests/gpu and benchmarks.gpu need nothing beside the packages that a machine with a GPU has anyway?"""

import ast
import json
import os
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from types import SimpleNamespace

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = (
    "torch", "torchvision", "timm", "transformers", "numpy", "scipy", "scikit-learn", "pyarrow", "numba",
    "opencv-python-headless", "safetensors", "pytest",
)  # fmt: skip
# What only some of their versions bring along, and what radsweep itself asks for elsewhere.
NOT_THERE = {"pydantic", "pydantic-core", "typer", "rich"}
# One process for all: it imports torch, timm and transformers once.
CHECKS = """
import sys
assert "site" not in sys.modules
import pytest
for asked in ("gpu", "gpu and not slow"):
    assert pytest.main(["-m", asked, "-p", "no:cacheprovider", "--collect-only", "-q"]) == 0
from benchmarks.gpu.sections import SECTIONS
from benchmarks.gpu.worker import main
assert main(["cpu", "quick", *SECTIONS]) == 0
import trainables.evaluation.cell_job, trainables.pretraining.encoder_job
print("loaded", *sorted({name.split(".")[0] for name in sys.modules}))
"""


def with_what_they_need(packages: tuple[str, ...]) -> set[str]:
    """Names of distributions: these, what they need, and so on, as far as it is installed."""
    found: set[str] = set()
    left = list(packages)
    while left:
        name = left.pop().lower().replace("_", "-").replace(".", "-")
        if name in found or name in NOT_THERE:
            continue
        try:
            needed = map(Requirement, distribution(name).requires or ())
        except PackageNotFoundError:
            continue
        found.add(name)
        left += [need.name for need in needed if need.marker is None or need.marker.evaluate({"extra": ""})]
    return found


@pytest.mark.parametrize(
    ("asked", "holds"),
    [
        ("gpu", False),
        (" (gpu)", False),
        ("gpu and not slow", False),
        ("slow and gpu", False),
        ("gpu and (slow or not chaos)", False),
        ("(gpu and slow) or (gpu and not slow)", False),
        ("not (not gpu or slow)", False),
        ("gpu or slow", None),
        ("not slow and not chaos", None),
        ("slow", None),
        ("not gpu", True),
    ],
)
def test_an_expression_of_marks_leaves_all_other_tests_out_only_where_it_holds_for_none(asked, holds, request):
    conftest = request.config.pluginmanager.get_plugin(str(ROOT / "tests" / "conftest.py"))
    assert conftest.without_gpu(ast.parse(asked.strip(), mode="eval").body) is holds
    config = SimpleNamespace(getoption={"markexpr": asked}.get)
    ignored = {path: conftest.pytest_ignore_collect(ROOT / "tests" / path, config) for path in ("sweep", "gpu", "")}
    assert ignored == {"sweep": True if holds is False else None, "gpu": None, "": None}


@pytest.mark.parametrize("asked", ["", "gpu and", "not"])
def test_what_is_no_expression_is_left_to_pytest(asked, request):
    conftest = request.config.pluginmanager.get_plugin(str(ROOT / "tests" / "conftest.py"))
    assert (
        conftest.pytest_ignore_collect(ROOT / "tests" / "sweep", SimpleNamespace(getoption={"markexpr": asked}.get))
        is None
    )


@pytest.fixture
def only_these(tmp_path: Path) -> Path:
    """A folder that has PACKAGES and what they need, and none of what else is installed here."""
    folder = tmp_path / "packages"
    folder.mkdir()
    for name in with_what_they_need(PACKAGES):
        files = distribution(name)
        for top in {path.parts[0] for path in files.files or () if ".." not in path.parts}:
            if not (folder / top).exists():
                (folder / top).symlink_to(files.locate_file(top))
    return folder


def test_the_tests_are_found_and_the_benchmark_runs_beside_these_packages_alone(only_these: Path):
    assert not {"ray", "pydicom", "pydantic", "typer", "stamina"} & {path.name for path in only_these.iterdir()}
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST", "COV_"))}
    environment |= {"PYTHONPATH": f"{only_these}:{ROOT}", "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    # -S: without the site-packages of this Python.
    command = [sys.executable, "-S", "-c", CHECKS]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert "tests/gpu/test_card.py" in done.stdout
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    assert all(line["passed"] for line in lines if "passed" in line)
    assert {line["status"] for line in lines if "status" in line} == {"begun", "done"}
    loaded = done.stdout.splitlines()[-1].split()[1:]
    assert "torch" in loaded and not {"ray", "pydicom", "pydantic", "typer", "stamina"} & set(loaded)
