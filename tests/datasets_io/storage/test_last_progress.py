"""Does a storage's last progress move with what work goes on from, and with nothing else?"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from datasets_io.storage.last_progress import FOLDERS, last_progress
from sweep.store.store import CELLS, DATA, ENCODERS

ROOT = Path(__file__).resolve().parents[3]


def write(path: Path, when: float) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    os.utime(path, (when, when))


def test_the_folders_are_those_of_a_storage():
    assert FOLDERS == (DATA, ENCODERS, CELLS)


def test_an_empty_storage_has_none(tmp_path):
    assert last_progress(str(tmp_path / "none")) == last_progress(str(tmp_path)) == ""


@pytest.mark.parametrize(
    "path",
    [
        "data/nih-1/train-000.parquet",
        "encoders/clip-1/checkpoint.pt",
        "encoders/clip-1/result.json",
        "cells/clip-1/result.json",
        "cells/clip-1/failed.json",
    ],
)
def test_it_is_the_newest_of_what_is_kept(tmp_path, path):
    write(tmp_path / "cells/older/result.json", 1000.0)
    assert last_progress(str(tmp_path)) == "1000.000"
    write(tmp_path / path, 2000.5)
    assert last_progress(str(tmp_path)) == "2000.500"


@pytest.mark.parametrize("path", ["leases/a.json", "encoders/clip-1/attempts.json", "reports/demo/report.html"])
def test_what_only_says_that_work_began_is_none(tmp_path, path):
    write(tmp_path / path, 2000.0)
    assert last_progress(str(tmp_path)) == ""


def test_a_batch_script_gets_it_as_a_line(tmp_path):
    write(tmp_path / "cells/one/result.json", 3000.0)
    command = [sys.executable, "-m", "datasets_io.storage.last_progress", str(tmp_path)]
    assert subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout == "3000.000\n"


@pytest.mark.parametrize("uri", ["s3://AKIAKEY:SECRETPASS12/ab+c@bucket/y", "s3x://AKIAKEY:SECRETPASS12@bucket/y"])
def test_a_batch_script_gets_a_sentence_without_the_secret_where_it_is_not_known(uri):
    command = [sys.executable, "-m", "datasets_io.storage.last_progress", uri]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1 and done.stdout == "" and "SECRETPASS12" not in done.stderr
    assert done.stderr.startswith("the last progress of s3") and done.stderr.count("\n") == 1
