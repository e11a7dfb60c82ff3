"""The contract of stored results: a storage that commit 369a465 wrote is found, and finished, by the code of today.

tests/golden/make_stored.py says how the archive was made. Where this test fails, every user computes everything again.
What had to be computed anew since, because its numbers were wrong, is in RAISED: it is made under another key, and the
old one is neither read nor touched.
"""

import io
import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from datasets_io.corpus.manifest import Manifest

ROOT = Path(__file__).resolve().parents[3]
GOLDEN = ROOT / "tests" / "golden"
STUDY = "tests/golden/stored_study.py"
LOST = "imagenet-p0-chexpert-LP100-s1-afe92c696d3b"
FOLDERS = {  # written out: a plan that moves a key must not move what it is compared with
    "cells/random-p0-chexpert-LP100-s0-6bf0a3ba8e8b", "cells/random-p0-chexpert-LP100-s1-d984e95b15be",
    "cells/imagenet-p0-chexpert-LP100-s0-0b1bae365629", f"cells/{LOST}",
    "encoders/random-p0-9fefc65119a4", "encoders/imagenet-p0-f025abfb75aa",
}  # fmt: skip
SHARDS = {"data/chexpert-e3876371a0b9"}
RAISED = {  # stored folder -> what is made instead of it
    # A corpus in the archive's order fills a batch with the images of few patients; it is ordered by hash since.
    "data/mimic_cxr-c1cded6e36c7": "data/mimic_cxr-afebae0ba791"
}
# Sums in float32 come out in another order on processors with other vector instructions; a wrong seed, recipe or
# encoder moves probabilities by hundredths.
ROUNDING = 1e-4


def unpack(folder: Path) -> Path:
    with tarfile.open(GOLDEN / "storage_369a465.tar.xz") as tar:
        tar.extractall(folder, filter="data")
    return folder


def state(storage: Path, kinds: Iterable[str] = ("cells", "data", "encoders")) -> dict[str, tuple[int, bytes]]:
    """Path -> time of the last change and content."""
    files = [path for kind in kinds for path in (storage / kind).rglob("*") if path.is_file()]
    return {str(path.relative_to(storage)): (path.stat().st_mtime_ns, path.read_bytes()) for path in files}


def predictions(files: dict[str, tuple[int, bytes]]) -> bytes:
    (content,) = (content for path, (_, content) in files.items() if f"{LOST}/predictions" in path)
    return content


def run(storage: Path) -> subprocess.CompletedProcess:
    environment = {k: v for k, v in os.environ.items() if k != "RAY_ADDRESS"} | {"COLUMNS": "200", "NO_COLOR": "1"}
    command = [sys.executable, "-m", "sweep.run", "--study", STUDY, "--storage", str(storage)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600, env=environment)


def folder_of(path: str) -> str:
    return "/".join(path.split("/")[:2])


@pytest.fixture(scope="module")
def continued(tmp_path_factory):
    """The files before a cell was lost, the command that computed it again, and the files after it."""
    storage = unpack(tmp_path_factory.mktemp("stored"))
    for folder in RAISED:  # who reads them fails
        for path in (storage / folder).rglob("*"):
            if path.is_file():
                path.write_bytes(b"not to be read")
    before = state(storage)
    shutil.rmtree(storage / "cells" / LOST)
    command = run(storage)
    assert command.returncode == 0, command.stdout[-3000:] + command.stderr[-3000:]
    return before, command, state(storage)


def test_the_keys_planned_today_are_those_of_the_stored_folders(continued):
    before, _, after = continued
    assert set(map(folder_of, before)) == FOLDERS | SHARDS | set(RAISED)
    assert set(map(folder_of, after)) == FOLDERS | SHARDS | set(RAISED) | set(RAISED.values())


def test_what_was_raised_is_made_anew_beside_the_old_which_is_neither_read_nor_touched(continued):
    before, _, after = continued
    for old, new in RAISED.items():
        kept = {path: content for path, content in before.items() if folder_of(path) == old}
        assert {path: content for path, content in after.items() if folder_of(path) == old} == kept
        assert len(kept) > 3 and {content for _, content in kept.values()} == {b"not to be read"}
        manifest = Manifest.from_json(after[f"{new}/manifest.json"][1])
        assert f"data/{manifest.source}-{manifest.key}" == new and manifest.counts["images"] > 0


def test_only_the_lost_cell_is_computed(continued):
    before, command, after = continued
    assert "to do: 0 of 2 encoders, 1 of 4 cells" in command.stdout and "4 of 4 cells done" in command.stdout
    kept = {path: content for path, content in before.items() if LOST not in path}
    made = {path for path in after if LOST in path or folder_of(path) in RAISED.values()}
    assert {path: content for path, content in after.items() if path not in made} == kept
    assert len(kept) > 20 and len(before) > len(kept)


def test_the_lost_cell_comes_out_the_same(continued):
    before, _, after = continued
    then, now = (pq.read_table(io.BytesIO(predictions(files))) for files in (before, after))
    assert now.schema.equals(then.schema, check_metadata=True) and now.num_rows == then.num_rows > 0
    for name in then.column_names:
        if name.startswith("probability_"):
            np.testing.assert_allclose(now[name].to_numpy(), then[name].to_numpy(), rtol=0, atol=ROUNDING)
        else:
            assert now[name].equals(then[name]), name


def test_where_arithmetic_is_as_it_was_the_predictions_are_the_same_bytes(continued):
    """The same sums give the same file: its name carries the digest of its bytes."""
    before, _, after = continued
    then, now = (pq.read_table(io.BytesIO(predictions(files))) for files in (before, after))
    if not all(now[name].equals(then[name]) for name in then.column_names):
        pytest.skip("this processor or this torch rounds otherwise: the test above compares the values")
    assert predictions(after) == predictions(before)
    assert {path for path in after if LOST in path} == {path for path in before if LOST in path}
