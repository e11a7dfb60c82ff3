"""Do the pieces of docs/python.md run, one after the other, and say what they promise?"""

import ast
import re
from pathlib import Path

import numpy as np
import pandas
import pytest
from PIL import Image
from small_study import __file__ as STUDY

import sweep

ROOT = Path(__file__).resolve().parents[3]
PAGE = (ROOT / "docs" / "python.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)


@pytest.fixture
def names(finished_study, tmp_path, monkeypatch) -> dict:
    """After all pieces, on the small study in the place of the demo."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "radsweep-results").symlink_to(finished_study.storage)
    generator = np.random.default_rng(0)
    for name in ("first.png", "second.png"):
        Image.fromarray(generator.integers(0, 256, (60, 50), dtype=np.uint8)).save(name)
    found: dict = {}
    for block in BLOCKS:
        exec(compile(block.replace('"demo"', repr(STUDY)), "docs/python.md", "exec"), found)
    return found


def test_they_run_and_give_frames_and_features(names):
    assert isinstance(names["results"], pandas.DataFrame) and isinstance(names["findings"], pandas.DataFrame)
    assert names["features"].shape[0] == 2 and names["features"].dtype == np.float32


def test_means_are_over_seeds_alone(names):
    """Of what is grouped in the page and in the notebook no row mixes datasets or anything but seeds."""
    notebook = (ROOT / "examples" / "results.ipynb").read_text(encoding="utf-8").replace('\\"', '"')
    grouped = [re.findall(r'groupby\((\[.*?\])\)\["macro_auroc"\]', text) for text in (PAGE, notebook)]
    for (by,) in grouped:
        groups = names["results"].groupby(ast.literal_eval(by))
        for column in ("method", "dataset", "protocol", "label_percent"):
            assert (groups[column].nunique() == 1).all(), f"{by} mixes values of {column}"
    assert 'columns=["dataset", "method"]' in notebook


def test_every_function_is_shown():
    functions = {name for name in sweep.__all__ if name[0].islower()}
    assert {name for name in functions if any(f"sweep.{name}(" in block for block in BLOCKS)} == functions
