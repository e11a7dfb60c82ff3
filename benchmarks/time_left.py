"""How far from the truth is the time that a running sweep says is left, and how far is one told by counting cells?

python -m benchmarks.time_left [--quick] [FLAGS of sweep.run]. Runs `python -m sweep.run` in a fresh storage, the demo
where no study is named, and reads what it prints on a pipe, each line with its time. The work is taken to last from
the first line that tells how far it is to the last result. An error is |said - true| / true, of each line from a tenth
of that time on but for the last ten seconds, in which a second is a tenth. Counting cells means: those that are left,
at the speed of all until then. One JSON line for each figure on stdout, a table on stderr.
"""

import argparse
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.demo import QUICK_ONLY, QUICK_STUDY
from benchmarks.shared.common import report, row

SAID = re.compile(r"^all work: (\d+)%, about (.+) left$")
CELLS = re.compile(r"^cells: (\d+) of (\d+) done")
BEGIN = re.compile(r"^to do: ")
FROM, LAST_SECONDS, ALLOWED = 0.1, 10.0, 0.25
UNITS = {"s": 1, "min": 60, "h": 3600, "d": 86_400}


@dataclass(frozen=True)
class Said:
    """One line: when, the seconds that were said to be left, and those that counting cells gives; None: nothing."""

    at: float
    seconds: float
    counted: float | None


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


def run(flags: Sequence[str], storage: Path) -> tuple[list[tuple[float, str]], float]:
    """What was printed, with its times, and when the last result lay there. Raises RuntimeError where it fails."""
    command = [sys.executable, "-m", "sweep.run", "--storage", str(storage), *flags]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert process.stdout is not None
    lines = [(time.time(), line.rstrip("\n")) for line in process.stdout]
    if code := process.wait():
        raise RuntimeError(f"{' '.join(command)} ended with {code}:\n" + "\n".join(line for _, line in lines[-20:]))
    return lines, max(path.stat().st_mtime for path in storage.glob("cells/*/result.json"))


def figures(flags: Sequence[str]) -> list[dict]:
    with tempfile.TemporaryDirectory(prefix="radsweep-time-left-") as folder:
        lines, ended = run(flags, Path(folder) / "storage")
    began, said = read_lines(lines)
    ours, counted = errors(said, began, ended)
    rows = [row("time_left", "work", "s", ended - began), row("time_left", "lines_judged", "lines", len(ours))]
    if not ours:
        return rows
    for name, place in (("median", 0.5), ("of_nine_in_ten", 0.9)):
        ours_here, counted_here = (sorted(of)[min(len(of) - 1, int(place * len(of)))] for of in (ours, counted))
        rows.append(
            row(
                "time_left",
                f"error_{name}",
                "%",
                100 * ours_here,
                peer=100 * counted_here,
                peer_name="cells left, at the speed so far",
            )
        )
    rows.append(row("time_left", "within_a_quarter", "%", 100 * sum(one <= ALLOWED for one in ours) / len(ours)))
    return rows


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.time_left", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one encoder, one cell: checks that it works")
    options, flags = parser.parse_known_args(arguments)
    report(figures(["--study", QUICK_STUDY, "--only", QUICK_ONLY, *flags] if options.quick else flags))
    return 0


if __name__ == "__main__":
    sys.exit(main())
