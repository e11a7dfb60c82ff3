"""Does every example run, small, to numbers for each of its rows? And do the notebook's cells, in their order?

One storage for all: what several examples share is computed once, and Ray is started once.
"""

import ast
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import ray
import timm
from PIL import Image
from safetensors.torch import save_file

import sweep
from sweep.radsweep.command import load
from sweep.studies import load_study

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = sorted(path.stem for path in (ROOT / "examples").glob("*.py"))
NOTEBOOKS = sorted(path.name for path in (ROOT / "examples").glob("*.ipynb"))
SHRUNK = "import runpy\nfrom shrunk import shrunk\ndef study():\n    return shrunk(runpy.run_path({!r})['study']())\n"
CSV_ROWS = 120
ONLY = "label_percent=100"  # every row, dataset and protocol; 1 and 10% are the same work again


@pytest.fixture(scope="module")
def folder(tmp_path_factory, local_ray) -> Path:
    """The examples, each of which defines its study shrunk; what they need beside them; and a storage."""
    folder = tmp_path_factory.mktemp("examples")
    shutil.copytree(ROOT / "examples", folder / "as_they_are")
    for name in EXAMPLES:
        (folder / f"{name}.py").write_text(SHRUNK.format(str(folder / "as_they_are" / f"{name}.py")))
    weights = timm.create_model("resnet18", num_classes=0).state_dict()
    save_file(weights, folder / "as_they_are" / "my_encoder.safetensors")
    write_own_data(folder / "mine")
    return folder


def write_own_data(folder: Path) -> None:
    """images.csv and as many pictures, two of each patient, with bright squares where there is a finding."""
    generator = np.random.default_rng(0)
    (folder / "images").mkdir(parents=True)
    lines = ["path,patient_id,Opacity,Effusion"]
    for number in range(CSV_ROWS):
        found = generator.random(2) < 0.4
        picture = generator.integers(0, 120, (40, 40), dtype=np.uint8)
        picture[5:15, 5:15] += np.uint8(100 * found[0])
        picture[25:35, 5:15] += np.uint8(100 * found[1])
        Image.fromarray(picture).save(folder / "images" / f"{number}.png")
        lines.append(f"images/{number}.png,p{number // 2},{int(found[0])},{int(found[1])}")
    (folder / "images.csv").write_text("\n".join(lines) + "\n")


def run(folder: Path, *command: str) -> subprocess.CompletedProcess:
    """On the Ray of this process: its start costs ten core-seconds."""
    paths = os.pathsep.join([str(ROOT), str(Path(__file__).parent)])
    address = ray.get_runtime_context().gcs_address
    environment = {**os.environ, "PYTHONPATH": paths, "RAY_ADDRESS": address, "COLUMNS": "200", "NO_COLOR": "1"}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done


def commands_of(name: str) -> list[list[str]]:
    """The arguments of each `radsweep ...` that the first lines of an example show."""
    said = ast.get_docstring(ast.parse((ROOT / "examples" / f"{name}.py").read_text(encoding="utf-8"))) or ""
    return [shlex.split(line)[1:] for line in re.findall(r"^ +(radsweep .*)$", said, re.MULTILINE)]


@pytest.mark.parametrize("name", EXAMPLES)
def test_its_first_lines_show_a_command_that_is_taken(name):
    ((subcommand, *arguments),) = commands_of(name)
    parsed = load(subcommand).make_context(subcommand, arguments)
    assert parsed.params["study"] == f"examples/{name}.py"


@pytest.mark.parametrize("name", EXAMPLES)
def test_it_runs_to_a_number_for_each_row_and_column(name, folder):
    raw = ["--raw", "csv_images=mine"] if name == "own_data" else []
    command = [sys.executable, "-m", "sweep.radsweep", "run", "--study", f"{name}.py", "--storage", "results"]
    run(folder, *command, "--only", ONLY, *raw)
    study = load_study(str(folder / "as_they_are" / f"{name}.py"))
    frame = sweep.results(folder / "results", str(folder / f"{name}.py"), only=[ONLY])
    assert set(frame["status"]) == {"done"} and frame["macro_auroc"].between(0, 1).all()
    assert set(frame["method"]) == {row.name for row in study.rows} and study.name == name
    assert set(frame["dataset"]) == {dataset.instance for dataset in study.datasets}
    assert set(frame["protocol"]) == set(study.protocols)
    page = folder / "results" / "reports" / name / "report.html"
    assert study.title in page.read_text(encoding="utf-8")


def test_the_readme_names_every_example():
    text = (ROOT / "examples" / "README.md").read_text(encoding="utf-8")
    files = {path.name for path in (ROOT / "examples").iterdir() if path.suffix in (".py", ".ipynb")}
    assert set(re.findall(r"\]\((\w+\.\w+)\)", text)) == files


def cells_of(notebook: str) -> list[str]:
    document = json.loads((ROOT / "examples" / notebook).read_text(encoding="utf-8"))
    return ["".join(cell["source"]) for cell in document["cells"] if cell["cell_type"] == "code"]


@pytest.mark.parametrize("notebook", NOTEBOOKS)
def test_a_notebook_is_stored_without_outputs(notebook):
    document = json.loads((ROOT / "examples" / notebook).read_text(encoding="utf-8"))
    assert (document["nbformat"], document["metadata"]["language_info"]) == (4, {"name": "python"})
    for cell in document["cells"]:
        assert cell["metadata"] == {} and cell["cell_type"] in ("code", "markdown")
        assert cell["cell_type"] == "markdown" or (cell["outputs"], cell["execution_count"]) == ([], None)


@pytest.mark.parametrize("notebook", NOTEBOOKS)
def test_a_notebook_can_leave_out_the_run(notebook):
    """Whoever has a storage does: imports and settings stand in cells of their own before it."""
    imports, settings, run_it, *others = map(ast.parse, cells_of(notebook))
    kinds = (ast.Import, ast.ImportFrom)
    assert all(isinstance(line, kinds) for line in imports.body)
    assert [name.id for name in ast.walk(settings) if isinstance(name, ast.Name)] == ["STORAGE", "STUDY"]
    assert not any(isinstance(line, kinds) for cell in (run_it, *others) for line in ast.walk(cell))
    made = {name.id for name in ast.walk(run_it) if isinstance(name, ast.Name) and isinstance(name.ctx, ast.Store)}
    assert made and not made & {name.id for cell in others for name in ast.walk(cell) if isinstance(name, ast.Name)}


@pytest.mark.parametrize("notebook", NOTEBOOKS)
def test_the_cells_of_a_notebook_run_in_their_order(notebook, folder):
    """Each in the names of those before, as a notebook does; what its last line is worth would be shown."""
    cells = cells_of(notebook)
    assert not any(line.startswith(("!", "%")) for cell in cells for line in cell.splitlines()), "no plain Python"
    (folder / "cells.json").write_text(json.dumps(cells))
    code = (
        "import ast, json\nnames = {}\n"
        "for number, cell in enumerate(json.load(open('cells.json'))):\n"
        "    *before, last = ast.parse(cell).body\n"
        "    exec(compile(ast.Module(before, []), f'cell {number}', 'exec'), names)\n"
        "    if isinstance(last, ast.Expr):\n"
        "        shown = eval(compile(ast.Expression(last.value), f'cell {number}', 'eval'), names)\n"
        "        print(getattr(shown, 'to_string', shown.__str__)())  # str() of a frame leaves out columns\n"
        "    else:\n        exec(compile(ast.Module([last], []), f'cell {number}', 'exec'), names)\n"
    )
    shown = run(folder, sys.executable, "-c", code).stdout
    assert "macro_defined" in shown and "patients_low" in shown and "p_both" in shown
