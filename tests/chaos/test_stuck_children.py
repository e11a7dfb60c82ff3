"""Does a command end in time, and with all its processes, while one of them waits for what never comes?

The process is stopped for real: its own interpreter, told by PYTHONPATH, sleeps where a file or a network would be
read, as with a drive that is away.
"""

import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from drivers import ENVIRONMENT, ROOT, Logged, command
from PIL import Image

PROMISED_SECONDS = 10.0
# Run at the start of every Python process of the command. `stuck` is there once one of them sleeps.
STUCK = """
import os, sys

def sleep(*arguments):
    import time
    open(os.environ["STUCK"], "w").close()
    time.sleep(3600)

arguments = " ".join(sys.orig_argv)
if "datasets_io.pixels.worker" in arguments:
    import datasets_io.pixels.decode
    datasets_io.pixels.decode.decode_file = sleep
if os.environ["KIND"] == "network" and "multiprocessing.spawn" in arguments:
    import trainables.preflight.check
    trainables.preflight.check.run_check = sleep
"""
OF_A_NETWORK = """
from dataclasses import replace
from sweep.studies import BASELINE, EncoderRow, load_study
from trainables.recipe import BackboneSpec, RandomInit

def study():
    base = load_study("tests/chaos/tiny_study.py")
    return replace(base, rows=(*base.rows, EncoderRow("a", "a", BASELINE, RandomInit(BackboneSpec("resnet10t", 32)))))
"""


def processes(mark: str) -> list[str]:
    """Command lines of the living processes that have the mark in their environment."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            if mark.encode() in (place / "environ").read_bytes() and (place / "stat").read_text().split()[2] != "Z":
                found.append((place / "cmdline").read_text().replace("\0", " "))
        except OSError:  # it has just ended, or is another user's
            continue
    return found


def within(seconds: float, wanted: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + seconds
    while not wanted():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def archive(raw: Path, images: int) -> Path:
    """One that csv_images reads."""
    raw.mkdir()
    rng = np.random.default_rng(0)
    for number in range(images):
        Image.fromarray(rng.integers(0, 256, (8, 8), dtype=np.uint8)).save(raw / f"{number}.png")
    rows = [f"{number}.png,p{number},train,1\n" for number in range(images)]
    (raw / "images.csv").write_text("path,patient_id,split,finding\n" + "".join(rows))
    return raw


def assert_ends(arguments: list[str], folder: Path, *signals: int, kind: str = "file", code: int = 130) -> str:
    """Begin, wait until a process is stuck, send the signals; what was said. Nothing is left running."""
    (folder / "sitecustomize.py").write_text(STUCK)
    mark, stuck = uuid.uuid4().hex, folder / "stuck"
    environment = {"PYTHONPATH": f"{folder}{os.pathsep}{ROOT}", "STUCK": str(stuck), "MARK": mark, "KIND": kind}
    process = Logged(arguments, folder / "said", **environment).process
    said = (folder / "said").read_text
    assert within(600, lambda: stuck.exists() or process.poll() is not None) and process.poll() is None, said()
    began = time.monotonic()
    for number in signals:
        process.send_signal(number)
    assert process.wait(60) == code, said()
    busy = max(1.0, os.getloadavg()[0] / len(os.sched_getaffinity(0)))
    assert time.monotonic() - began < PROMISED_SECONDS * busy, said()
    assert within(5 * busy, lambda: not processes(mark)), processes(mark)
    assert "Traceback" not in said(), said()
    return said()


def build(folder: Path, images: int = 3) -> list[str]:
    raw, storage = archive(folder / "raw", images), folder / "storage"
    return [sys.executable, "-m", "datasets_io.build", "csv_images", "--raw", str(raw), "--storage", str(storage)]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_build_whose_decoding_process_is_stuck(tmp_path, number):
    assert "the same command goes on" in assert_ends(build(tmp_path), tmp_path, number)


def test_a_build_that_is_killed_leaves_no_decoding_process(tmp_path):
    """Nothing is said, and the process that waits for its file goes all the same."""
    assert_ends(build(tmp_path), tmp_path, signal.SIGKILL, code=-signal.SIGKILL)


@pytest.mark.chaos
def test_a_build_of_several_decoding_processes(tmp_path):
    assert_ends(build(tmp_path, images=600), tmp_path, signal.SIGINT, signal.SIGINT, signal.SIGTERM)


@pytest.mark.chaos
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_run_that_builds(tmp_path, number):
    assert "go on with" in assert_ends(command(tmp_path / "storage"), tmp_path, number)


@pytest.mark.chaos
def test_a_run_that_builds_is_asked_three_times(tmp_path):
    assert_ends(command(tmp_path / "storage"), tmp_path, signal.SIGINT, signal.SIGINT, signal.SIGTERM)


@pytest.mark.chaos
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_search_that_builds(tmp_path, number):
    arguments = [sys.executable, "-m", "sweep.tune", "--method", "simclr", "--study", "tests/chaos/tiny_study.py"]
    assert_ends([*arguments, "--storage", str(tmp_path / "storage")], tmp_path, number)


@pytest.mark.chaos
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_run_that_tries_networks(tmp_path, number):
    (tmp_path / "study.py").write_text(OF_A_NETWORK)
    arguments = command(tmp_path / "storage", study=str(tmp_path / "study.py"))
    assert_ends(arguments, tmp_path, number, kind="network")


DRAWS = """
import sys, time
if __name__ == "__main__":
    from sweep.figures.draw import drawing_in_background
    from sweep.figures.view import make_view
    from sweep.store.snapshot import read_snapshot
    data = read_snapshot("tests/chaos/tiny_study.py", sys.argv[1], [])
    with drawing_in_background(make_view(data.study, data.plan, data.results, data.store), processes=2):
        print("begun", flush=True)
        time.sleep(600)
"""


@pytest.mark.chaos
def test_a_report_that_is_killed_leaves_no_process_that_draws(finished_tiny_study, tmp_path):
    """A pool's processes hold each other's pipes open, so that none of them sees the command's end by that."""
    (tmp_path / "draws.py").write_text(DRAWS)
    mark = uuid.uuid4().hex
    process = subprocess.Popen(
        [sys.executable, str(tmp_path / "draws.py"), str(finished_tiny_study)],
        cwd=ROOT, env=ENVIRONMENT | {"PYTHONPATH": str(ROOT), "MARK": mark}, stdout=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout.readline() == b"begun\n"
    assert within(120, lambda: sum("forkserver" in line for line in processes(mark)) == 3), processes(mark)
    process.kill()
    process.wait()
    process.stdout.close()
    assert within(60, lambda: not processes(mark)), processes(mark)
