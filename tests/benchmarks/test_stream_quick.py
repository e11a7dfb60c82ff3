"""Does the benchmark of the stream run, count the right processes, and print what every benchmark prints?"""

import json
import subprocess
import sys
import time

import pytest

from benchmarks.shared.stream_reads import bytes_read
from benchmarks.stream import core_seconds, cost, main, spent_since

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
    before = core_seconds()
    child = subprocess.Popen(
        [sys.executable, "-c", f"{BUSY}\nprint(flush=True)\ninput()"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    child.stdout.readline()
    running = spent_since(before)
    child.communicate(b"\n")
    ended = spent_since(before)
    assert 0.25 < running < 5 and 0.25 < ended < 5


def test_the_cost_of_a_stream_is_its_time_over_its_views():
    def stream():
        for _ in range(5):
            busy, wall = time.process_time() + 0.04, time.perf_counter() + 0.04
            while time.process_time() < busy or time.perf_counter() < wall:  # other threads' work counts as busy too
                pass
            yield 20

    milliseconds, rate = cost(stream)
    assert 1.5 < milliseconds < 20 and 0 < rate <= 100 / 0.2
    with pytest.raises(ArithmeticError, match="gave 0 views"):
        cost(lambda: iter(()))


def test_what_is_read_is_counted(tmp_path):
    """Of this process and of one below it, from the page cache too."""
    (tmp_path / "file").write_bytes(bytes(3 << 20))
    before = bytes_read()
    (tmp_path / "file").read_bytes()
    code = f"open({str(tmp_path / 'file')!r}, 'rb').read()\nprint(flush=True)\ninput()"
    child = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    child.stdout.readline()
    assert 6 << 20 <= bytes_read() - before < 12 << 20
    child.communicate(b"\n")
