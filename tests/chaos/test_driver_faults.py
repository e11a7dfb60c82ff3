"""The command under kills and signals: the same table, nothing finished computed again, nothing left behind."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from drivers import ENVIRONMENT, ROOT, assert_same_without_leftovers, command, run, start, wait_for

from datasets_io.storage.artefacts import QUARANTINE
from datasets_io.storage.files import TEMPORARY, Files
from sweep.run.chaos import finished, results_of
from sweep.store.lease import LEASES

pytestmark = pytest.mark.timeout(2400)  # seven runs of a small study: half a minute each on an idle machine


@pytest.fixture
def calm(finished_tiny_study) -> Path:
    """An undisturbed storage of the tiny study: to be copied."""
    return finished_tiny_study


def test_a_killed_then_an_interrupted_driver_cost_nothing(calm, tmp_path):
    """SIGKILL among the cells, Ctrl-C in the next run, then to the end."""
    storage = tmp_path / "storage with spaces and ü"
    shutil.copytree(calm, storage, ignore=shutil.ignore_patterns("cells", "reports", "simclr*"))
    driver = start(storage)
    wait_for(storage, "cells", 2, driver)
    driver.kill()
    driver.communicate()
    first = finished(storage)
    driver = start(storage)
    while (line := driver.stdout.readline()) and "starting Ray" not in line:
        pass  # until then a worker that the killed driver left may still finish a cell
    driver.stdout.readline()  # what has moved since
    wait_for(storage, "cells", len([path for path in first if "/cells/" in path]) + 1, driver)
    asked = time.monotonic()
    driver.send_signal(signal.SIGINT)
    said = driver.communicate(timeout=120)[0]
    assert driver.returncode == 130 and "go on with:" in said and "Traceback" not in said, said
    assert time.monotonic() - asked < 10 * max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))
    second = finished(storage)
    assert first.items() <= second.items()
    last = run(storage)
    assert last.returncode == 0, last.stdout[-3000:] + last.stderr[-3000:]
    assert_same_without_leftovers(storage, calm, "tiny", second)
    assert not list(storage.rglob("checkpoint.pt"))


SWALLOWED = """
import signal, sys
import ray
from sweep.engine import execution
from sweep.run import __main__ as run

def swallow():
    try:
        signal.raise_signal(signal.SIGTERM)
    except BaseException:
        print("swallowed")

def after(owner, name):
    function = getattr(owner, name)
    def wrapped(*given, **named):
        found = function(*given, **named)
        swallow()
        setattr(owner, name, function)
        return found
    setattr(owner, name, wrapped)

owner, _, name = sys.argv.pop(1).rpartition(".")
after({"ray": ray, "Execution": execution.Execution}[owner], name)
run.app()
"""


@pytest.mark.parametrize("place", ["ray.init", "Execution._start_groups"])
def test_an_interrupt_that_a_library_swallows_stops_the_driver_all_the_same(calm, tmp_path, place):
    """Within ray.init it is Ray's own handler that answers, after it ended the cluster."""
    storage = tmp_path / "storage"
    shutil.copytree(calm, storage, ignore=shutil.ignore_patterns("cells", "reports"))
    before = finished(storage)
    arguments = [sys.executable, "-c", SWALLOWED, place, *command(storage)[3:]]
    done = subprocess.run(arguments, cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, timeout=600)
    assert done.returncode == 130 and "go on with:" in done.stderr, done.stdout[-3000:] + done.stderr[-3000:]
    assert "swallowed" in done.stdout
    assert before.items() <= finished(storage).items()
    assert Files(str(storage)).list(LEASES) == [] and not results_of(storage, "tiny")


KILLED_AT_THE_END = """
import os, signal, sys
from datasets_io.storage.disk import DISK
from datasets_io.storage.files import Files
from sweep.store.lease import Lease
files = Files(sys.argv[1])
Lease(files).claim({"a"})
DISK.rename = lambda path, target: os.kill(os.getpid(), signal.SIGKILL)
files.write(sys.argv[2], b"half")
"""


def test_a_driver_killed_when_all_is_finished_leaves_nothing_after_the_next_command(calm, tmp_path):
    """The command that finds nothing left to do removes the dead driver's lease and its temporary files too."""
    storage = tmp_path / "storage"
    shutil.copytree(calm, storage)
    for path in ("reports/tiny/report.html", "leases/x.json", f"cells/{next(storage.glob('cells/*')).name}/a.bin"):
        arguments = [sys.executable, "-c", KILLED_AT_THE_END, str(storage), path]
        assert subprocess.run(arguments, cwd=ROOT).returncode == -signal.SIGKILL
    assert len(Files(str(storage)).list(LEASES)) >= 2 and len(list(storage.rglob(f"*{TEMPORARY}*"))) == 3
    before = finished(storage)
    done = run(storage)
    assert done.returncode == 0 and "Nothing left to do" in done.stdout, done.stdout[-3000:] + done.stderr[-3000:]
    assert_same_without_leftovers(storage, calm, "tiny", before)


def test_a_damaged_encoder_and_a_hostile_place_come_out_the_same(repaired_study, finished_study):
    """A flipped bit in an encoder with a lost cell, LANG=C, umask 077, a home that cannot be written."""
    again = repaired_study.command
    assert again.returncode == 0, again.stdout[-3000:] + again.stderr[-3000:]
    assert results_of(repaired_study.storage, "small") == results_of(Path(finished_study.storage), "small") is not None
    assert Files(str(repaired_study.storage)).list(QUARANTINE)


def test_all_that_a_whole_study_stores_is_its_owners_alone(finished_study):
    """Every folder and file, also what libraries wrote; and Ray's own state, which is gone when the study ends."""
    storage = Path(finished_study.storage)
    found = [storage, *storage.rglob("*")]
    wrong = {str(path): mode for path in found if (mode := oct(path.lstat().st_mode & 0o777)) != _of_owner(path)}
    assert not wrong, wrong
    assert {path.name for path in storage.iterdir()} >= {"cells", "encoders", "data", "raw", "ray", "reports"}
    assert not [*(storage / "ray").iterdir()]


def _of_owner(path: Path) -> str:
    return "0o700" if path.is_dir() else "0o600"
