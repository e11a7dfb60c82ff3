"""How far from the truth is the time that a running sweep says is left, and how far is one told by counting cells?

python -m benchmarks.shared.time_left [--record FILE] [FLAGS of sweep.run]. Runs `python -m sweep.run` in a fresh
storage and reads what it prints on a pipe, each line with its time; benchmarks.demo does so too, with the demo.
--record keeps what it was told (benchmarks.shared.recorded_run), and --replay FILE runs nothing and judges what the
code of now says of such a run, asked every second. The work is taken to last from the line that says what is to do to
the last result. An error is |said - true| / true, of each line from a tenth of that time on but for the last ten
seconds, in which a second is a tenth. Counting cells means: those that are left, at the speed of all until then. One
JSON line for each figure on stdout, a table on stderr.
"""

import argparse
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.shared.common import report, row
from benchmarks.shared.recorded_run import Said, replayed

SAID = re.compile(r"^all work: (\d+)%, about (.+) left$")
CELLS = re.compile(r"^cells: (\d+) of (\d+) done")
BEGIN = re.compile(r"^to do: ")
FROM, LAST_SECONDS, ALLOWED = 0.1, 10.0, 0.25
UNITS = {"s": 1, "min": 60, "h": 3600, "d": 86_400}


def seconds_of(text: str) -> float:
    """Of `3 min 20 s` and its like."""
    parts = text.split()
    return float(sum(float(number) * UNITS[unit] for number, unit in zip(parts[::2], parts[1::2], strict=True)))


def read_lines(lines: Sequence[tuple[float, str]]) -> tuple[float, list[Said]]:
    """When the work began, and what was said of it. lines: with their times."""
    began, counted, said = lines[0][0], None, []
    for at, line in lines:
        if BEGIN.match(line):
            began = at
        elif cells := CELLS.match(line):
            done, total = int(cells[1]), int(cells[2])
            counted = (at - began) * (total - done) / done if done else None
        elif text := SAID.match(line):
            said.append(Said(at, seconds_of(text[2]), counted))
    return began, said


def errors(said: Sequence[Said], began: float, ended: float) -> tuple[list[float], list[float]]:
    """Relative errors of what was said, and of what counting says (infinity where it says nothing)."""
    first = began + FROM * (ended - began)
    asked = [one for one in said if first <= one.at <= ended - LAST_SECONDS]
    ours = [abs(one.seconds - (ended - one.at)) / (ended - one.at) for one in asked]
    counts = [
        float("inf") if one.counted is None else abs(one.counted - (ended - one.at)) / (ended - one.at) for one in asked
    ]
    return ours, counts


def figures(benchmark: str, lines: Sequence[tuple[float, str]], ended: float) -> list[dict]:
    """Of what a run has printed, with its times, and when its last result came. benchmark: in whose name."""
    return figures_of(benchmark, *read_lines(lines), ended)


def figures_of(benchmark: str, began: float, said: Sequence[Said], ended: float) -> list[dict]:
    """As `figures`, of what was said."""
    ours, counted = errors(said, began, ended)
    rows = [row(benchmark, "time_left_lines_judged", "lines", len(ours))]
    if not ours:
        return rows
    for name, place in (("median", 0.5), ("of_nine_in_ten", 0.9)):
        ours_here, counted_here = (100 * sorted(of)[min(len(of) - 1, int(place * len(of)))] for of in (ours, counted))
        peer = {"peer": counted_here, "peer_name": "cells left, at the speed so far"}
        rows.append(row(benchmark, f"time_left_error_{name}", "%", ours_here, **peer))
    within = 100 * sum(one <= ALLOWED for one in ours) / len(ours)
    return [*rows, row(benchmark, "time_left_within_a_quarter", "%", within)]


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.shared.time_left", description=__doc__)
    parser.add_argument("--record", metavar="FILE", help="keep what the run's time left is told")
    parser.add_argument("--replay", metavar="FILE", help="judge the code of now by such a file; nothing is run")
    asked, flags = parser.parse_known_args(arguments)
    if asked.replay:
        run = replayed(Path(asked.replay))
        report(figures_of("time_left", 0.0, run.said, run.ended))
        return 0
    with tempfile.TemporaryDirectory(prefix="radsweep-time-left-") as folder:
        storage = Path(folder) / "storage"
        module = ["benchmarks.shared.recorded_run", asked.record] if asked.record else ["sweep.run"]
        command = [sys.executable, "-m", *module, "--storage", str(storage), *flags]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        lines = timed_lines(process)
        if code := process.wait():
            print("\n".join(line for _, line in lines[-20:]), file=sys.stderr)
            return code
        report(figures("time_left", lines, last_result(storage)))
    return 0


def timed_lines(process: subprocess.Popen[str]) -> list[tuple[float, str]]:
    """What a process prints until it closes its output, each line with the time at which it came."""
    assert process.stdout is not None, "it was begun with a pipe"
    return [(time.time(), line.rstrip("\n")) for line in process.stdout]


def last_result(storage: Path) -> float:
    """When the last cell of a storage was done."""
    return max(path.stat().st_mtime for path in storage.glob("cells/*/result.json"))


if __name__ == "__main__":
    sys.exit(main())
