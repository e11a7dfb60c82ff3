"""The contract of stored results: the code of today goes on with a storage that commit 369a465 wrote.

What a raised version or a new rule says is another number has another key and is computed; everything else is used as
it lies there, and what was stored stays, unread. Since 369a465: each seed of a random row has a network of its own,
DownstreamRecipe.version and LP's are 2, so both random encoders and all cells are computed; a corpus is ordered by
hash, so that of MIMIC-CXR is built again; the shards of CheXpert and the stand-in are used.
tests/golden/make_stored.py says how the archive was made. Where this test fails, users compute more again than that.
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

ROOT = Path(__file__).resolve().parents[3]
GOLDEN = ROOT / "tests" / "golden"
STUDY = "tests/golden/stored_study.py"
# Written out: a plan that moves a key must not move what it is compared with.
USED = {"data/chexpert-e3876371a0b9", "encoders/imagenet-p0-f025abfb75aa"}
SUPERSEDED = {
    "cells/random-p0-chexpert-LP100-s0-6bf0a3ba8e8b", "cells/random-p0-chexpert-LP100-s1-d984e95b15be",
    "cells/imagenet-p0-chexpert-LP100-s0-0b1bae365629", "cells/imagenet-p0-chexpert-LP100-s1-afe92c696d3b",
    "encoders/random-p0-9fefc65119a4",
    "data/mimic_cxr-c1cded6e36c7",
}  # fmt: skip
LOST = "imagenet-p0-chexpert-LP100-s1-9041b15e8ab7"
COMPUTED = {
    "cells/random-p0-chexpert-LP100-s0-d1968bcff7a7", "cells/random-p0-chexpert-LP100-s1-eec99bb1d96f",
    "cells/imagenet-p0-chexpert-LP100-s0-1dacf737c6d8", f"cells/{LOST}",
    "encoders/random-p0-s0-aad5098421f1", "encoders/random-p0-s1-6e4a8d8a5857",
    "data/mimic_cxr-afebae0ba791",
}  # fmt: skip
# Sums in float32 come out in another order on processors with other vector instructions; a wrong seed, recipe or
# encoder moves probabilities by hundredths.
ROUNDING = 1e-4

Files = dict[str, tuple[int, bytes]]  # path -> time of the last change and content


def unpack(folder: Path) -> Path:
    with tarfile.open(GOLDEN / "storage_369a465.tar.xz") as tar:
        tar.extractall(folder, filter="data")
    return folder


def state(storage: Path, kinds: Iterable[str] = ("cells", "data", "encoders")) -> Files:
    files = [path for kind in kinds for path in (storage / kind).rglob("*") if path.is_file()]
    return {str(path.relative_to(storage)): (path.stat().st_mtime_ns, path.read_bytes()) for path in files}


def folders(files: Files) -> set[str]:
    return {"/".join(path.split("/")[:2]) for path in files}


def predictions(files: Files, folder: str) -> bytes:
    (content,) = (content for path, (_, content) in files.items() if path.startswith(f"{folder}/predictions"))
    return content


def table(content: bytes):
    return pq.read_table(io.BytesIO(content))


def run(storage: Path) -> str:
    environment = {k: v for k, v in os.environ.items() if k != "RAY_ADDRESS"} | {"COLUMNS": "200", "NO_COLOR": "1"}
    command = [sys.executable, "-m", "sweep.run", "--study", STUDY, "--storage", str(storage)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600, env=environment)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


@pytest.fixture(scope="module")
def continued(tmp_path_factory) -> tuple[Path, Files, str, Files]:
    """The storage, its files before the command that goes on with it, what that says, and the files after it."""
    storage = unpack(tmp_path_factory.mktemp("stored"))
    (corpus,) = (folder for folder in SUPERSEDED if folder.startswith("data/"))
    for path in (storage / corpus).rglob("*"):
        if path.is_file():
            path.write_bytes(b"not to be read")
    before = state(storage)
    output = run(storage)
    return storage, before, output, state(storage)


@pytest.fixture(scope="module")
def lost(continued) -> tuple[str, Files]:
    """The same command after one of its cells was lost: what it says, and the files after it."""
    storage, *_ = continued
    shutil.rmtree(storage / "cells" / LOST)
    return run(storage), state(storage)


def test_only_what_a_version_or_a_rule_moved_is_computed(continued):
    _, before, output, after = continued
    assert folders(before) == USED | SUPERSEDED and folders(after) == USED | SUPERSEDED | COMPUTED
    assert "to do: 2 of 3 encoders, 4 of 4 cells" in output and "4 of 4 cells done" in output


def test_what_was_stored_stays_as_it_was(continued):
    _, before, _, after = continued
    assert len(before) > 20 and {path: after[path] for path in before} == before


def test_a_probe_on_the_stored_encoder_says_what_it_said(continued):
    """Versions were raised for subsets, ties, rates and last bits: a probe with all labels has the last alone."""
    _, before, _, after = continued
    for seed in (0, 1):
        (old,) = (name for name in SUPERSEDED if f"imagenet-p0-chexpert-LP100-s{seed}-" in name)
        (new,) = (name for name in COMPUTED if f"imagenet-p0-chexpert-LP100-s{seed}-" in name)
        then, now = table(predictions(before, old)), table(predictions(after, new))
        assert now["image_id"].equals(then["image_id"]) and now.num_rows > 0
        findings = [name for name in then.column_names if name.startswith("label_")]
        assert findings and all(now[name].equals(then[name]) for name in findings)
        for finding in (name.removeprefix("label_") for name in findings):
            probability = 1 / (1 + np.exp(-now[f"logit_{finding}"].to_numpy().astype(np.float64)))
            np.testing.assert_allclose(probability, then[f"probability_{finding}"].to_numpy(), rtol=0, atol=ROUNDING)


def test_a_lost_cell_is_computed_alone_and_comes_out_the_same(continued, lost):
    _, _, _, after = continued
    output, again = lost
    assert "to do: 0 of 3 encoders, 1 of 4 cells" in output and "4 of 4 cells done" in output
    kept = {path: content for path, content in after.items() if LOST not in path}
    assert {path: content for path, content in again.items() if LOST not in path} == kept
    # On one machine the same sums give the same file, whose name carries the digest of its bytes.
    assert predictions(again, f"cells/{LOST}") == predictions(after, f"cells/{LOST}")
    assert {path for path in again if LOST in path} == {path for path in after if LOST in path}
