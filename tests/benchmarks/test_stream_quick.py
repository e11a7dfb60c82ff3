"""Does the benchmark of the stream run, count the right processes, and print what every benchmark prints?"""

import json
import subprocess
import sys
import time

import pytest

from benchmarks.stream import core_seconds, cost, main, spent_since

FIELDS = {"benchmark", "figure", "unit", "ours", "peer", "peer_name", "speedup", "limit", "limit_name", "of_limit"}
BUSY = "import time\nend = time.process_time() + 0.3\nwhile time.process_time() < end: pass"


@pytest.mark.timeout(300)
def test_quick(capsys, local_ray):
    assert main(["--quick"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert all(set(figure) == FIELDS for figure in rows)
    names = {f"{kind}_views_on_{place}" for kind in ("stream", "resident") for place in ("device", "host")}
    assert {figure["figure"] for figure in rows} == names | {f"{name}_rate" for name in names}
    for figure in rows:
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
