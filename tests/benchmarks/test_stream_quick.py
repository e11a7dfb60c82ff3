"""Does the benchmark of the stream run, count the right processes, and print what every benchmark prints?"""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from benchmarks.shared.process_tree import CoreSecondsSince, processes_below
from benchmarks.shared.stream_reads import bytes_read
from benchmarks.stream import cost, main

FIELDS = {"benchmark", "figure", "unit", "ours", "peer", "peer_name", "speedup", "limit", "limit_name", "of_limit"}
BUSY = "import time\nend = time.process_time() + 0.3\nwhile time.process_time() < end: pass"


@pytest.mark.timeout(300)
def test_quick(capsys, local_ray):
    assert main(["--quick"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert all(set(figure) == FIELDS for figure in rows)
    names = {f"{kind}_views_on_{place}" for kind in ("stream", "resident") for place in ("device", "host")}
    views = [figure for figure in rows if "_views_" in figure["figure"]]
    assert {figure["figure"] for figure in views} == names | {f"{name}_rate" for name in names}
    others = {figure["figure"]: figure for figure in rows if figure not in views}
    # The project's own environment has these two; the others are skipped where they are not installed.
    for name in ("mapped_array", "ray_data"):
        assert {f"stream_images_beside_{name}", f"resident_images_beside_{name}"} <= others.keys()
    assert others["order_of_4_epochs_of_50000"]["ours"] < 1.1 * others["order_of_4_epochs_of_50000"]["limit"]
    for workers in (1, 2, 4):
        assert f"bytes_of_{workers}_workers_an_epoch_over_those_of_the_corpus" in others
    for figure in views:
        better = figure["unit"] == "images/s"
        assert figure["unit"] == ("images/s" if figure["figure"].endswith("_rate") else "core-ms/view")
        ratio = figure["ours"] / figure["peer"] if better else figure["peer"] / figure["ours"]
        assert figure["speedup"] == pytest.approx(ratio) and 0 <= figure["of_limit"] <= 1


def test_the_time_of_children_counts_while_they_run_and_after():
    spent = CoreSecondsSince()
    child = subprocess.Popen(
        [sys.executable, "-c", f"{BUSY}\nprint(flush=True)\ninput()"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    child.stdout.readline()
    running, later = spent.look(), CoreSecondsSince()
    child.communicate(b"\n")
    ended = spent.look()
    assert 0.25 < running <= ended < 5
    assert 0 <= later.look() < 0.2, "what it had used before"


def test_what_ends_unwaited_for_counts_up_to_the_last_look(monkeypatch):
    """The kernel forgets it, and it may end between the list of all processes and the look at each."""
    code = f"import signal\n{BUSY}\nprint('busy', flush=True)\nsignal.pause()"
    shell = ["sh", "-c", '"$@" & echo $!; wait $!; echo ended; read line', "sh", sys.executable, "-c", code]
    spent = CoreSecondsSince()
    child = subprocess.Popen(shell, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    pid = int(child.stdout.readline())
    assert child.stdout.readline() == "busy\n"
    looked, later = spent.look(), CoreSecondsSince()
    below = processes_below(os.getpid())
    os.kill(pid, signal.SIGKILL)
    assert child.stdout.readline() == "ended\n"
    monkeypatch.setattr("benchmarks.shared.process_tree.processes_below", lambda _: below)
    assert pid in below and 0.25 < looked <= spent.look() < 5
    assert 0 <= later.look() < 0.2
    child.communicate("\n")


def test_the_cost_of_a_stream_is_its_time_over_its_views():
    def stream():
        for _ in range(5):
            busy, wall = time.process_time() + 0.04, time.perf_counter() + 0.04
            while time.process_time() < busy or time.perf_counter() < wall:  # other threads' work counts as busy too
                pass
            yield 20

        raise AssertionError("asked for more than it was to give")

    milliseconds, rate = cost(stream(), 100)
    assert 1.5 < milliseconds < 20 and 0 < rate <= 100 / 0.2
    with pytest.raises(ArithmeticError, match="gave 3 of 4 views"):
        cost(iter((1, 2)), 4)


def test_what_is_read_is_counted(tmp_path):
    """Of this process and of one below it, from the page cache too."""
    (tmp_path / "file").write_bytes(bytes(3 << 20))
    before = bytes_read()
    (tmp_path / "file").read_bytes()
    code = f"open({str(tmp_path / 'file')!r}, 'rb').read()\nprint(flush=True)\ninput()"
    child = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    child.stdout.readline()
    assert 6 << 20 <= bytes_read() - before < 12 << 20
    before = bytes_read()
    child.communicate(b"\n")
    assert 0 <= bytes_read() - before < 1 << 20  # what has ended takes nothing off
