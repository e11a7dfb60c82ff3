"""How long does the demo take, how much memory, and where does its time go?

python -m benchmarks.demo [--quick]. Runs `python -m sweep.run` in a fresh storage. Memory is the proportional set size
of the command and all processes below it, read every ten seconds: a reading takes a fifth of a second of a core.
Seconds by part are those that the results of finished items state; cells run side by side with each other and with
pretraining, so parts add up to more than the wall time. What it says of the time left is judged by
benchmarks.shared.time_left. One JSON line for each figure on stdout, a table on stderr.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from pathlib import Path

from benchmarks.shared.common import report, row
from benchmarks.shared.process_tree import processes_below
from benchmarks.shared.time_left import figures as figures_of_time_left
from benchmarks.shared.time_left import last_result, timed_lines
from datasets_io.storage.artefacts import RESULT

LIMIT_SECONDS, READ_SECONDS = 300.0, 10.0
QUICK_ONLY = "method=random,protocol=LP,dataset=nih_cxr14,seed=0"
QUICK_STUDY = str(Path(__file__).with_name("shared") / "quick_demo.py")


def proportional_bytes(pids: set[int]) -> int:
    """Sum of the PSS: shared pages count once, divided among those that share them."""
    total = 0
    for pid in pids:
        try:
            text = Path(f"/proc/{pid}/smaps_rollup").read_text()
        except OSError:
            continue
        total += sum(1024 * int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:"))
    return total


class MemoryMonitor(threading.Thread):
    """The highest memory of a process tree, until stopped."""

    def __init__(self, pid: int):
        super().__init__(daemon=True)
        self.pid, self.peak, self.stopped = pid, 0, threading.Event()

    def run(self) -> None:
        while not self.stopped.wait(READ_SECONDS):
            self.peak = max(self.peak, proportional_bytes(processes_below(self.pid)))


def run_demo(storage: Path, flags: list[str]) -> tuple[float, int, list[tuple[float, str]]]:
    """(seconds, bytes at the peak, what it printed with its times). Raises RuntimeError where the command fails."""
    command = [sys.executable, "-m", "sweep.run", "--storage", str(storage), *flags]
    started = time.perf_counter()
    pipe = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    process: subprocess.Popen[str] = subprocess.Popen(command, env=os.environ | {"COLUMNS": "160"}, **pipe)
    monitor = MemoryMonitor(process.pid)
    monitor.start()
    lines = timed_lines(process)
    code = process.wait()
    seconds = time.perf_counter() - started
    monitor.stopped.set()
    monitor.join()
    if code:
        printed = "\n".join(line for _, line in lines)
        raise RuntimeError(f"{' '.join(command)} ended with {code}:\n{printed[-2000:]}")
    return seconds, monitor.peak, lines


def seconds_by_part(storage: Path) -> dict[str, float]:
    """Pretraining by method, cells by protocol and percentage: sums of the seconds in their results."""
    parts: dict[str, float] = defaultdict(float)
    for path in sorted((storage / "encoders").glob(f"*/{RESULT}")):
        result = json.loads(path.read_bytes())
        parts[f"encoder_{result['name'].rpartition('-p')[0]}"] += result["seconds"]
    for path in sorted((storage / "cells").glob(f"*/{RESULT}")):
        result = json.loads(path.read_bytes())
        parts[f"cells_{result['name'].split('-')[-2]}"] += result["seconds"]
    return dict(parts)


def time_line(storage: Path, begun: float, ended: float) -> dict[str, float]:
    """Wall seconds of the command's stretches, by when files appeared: data, encoders and cells, report."""

    def times(pattern: str) -> list[float]:
        return [path.stat().st_mtime for path in storage.glob(pattern)]

    data = max(times("data/*/manifest.json"), default=begun)
    first, last = min(times(f"*/*/{RESULT}"), default=ended), max(times(f"*/*/{RESULT}"), default=ended)
    return {
        "wall_synthetic_archives_and_shards": data - begun,
        "wall_until_the_first_result": first - data,
        "wall_encoders_and_cells": last - first,
        "wall_reports_and_end": ended - last,
    }


def figures(flags: list[str]) -> list[dict]:
    with tempfile.TemporaryDirectory(prefix="radsweep-demo-") as folder:
        storage = Path(folder) / "storage"
        begun = time.time()
        seconds, peak, lines = run_demo(storage, flags)
        rows = [
            row("demo", "wall", "s", seconds, peer=LIMIT_SECONDS, peer_name="the five minutes that it may take"),
            row("demo", "peak_memory", "GiB", peak / 2**30),
            *time_left(lines, storage),
        ]
        parts = time_line(storage, begun, time.time()) | seconds_by_part(storage)
    return rows + [row("demo", name, "s", value) for name, value in parts.items()]


def time_left(lines: list[tuple[float, str]], storage: Path) -> list[dict]:
    """How right was what it said of the time that was left?"""
    return figures_of_time_left("demo", lines, last_result(storage))


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.demo", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one encoder, one cell: checks that it works")
    quick = parser.parse_args(arguments).quick
    report(figures(["--study", QUICK_STUDY, "--only", QUICK_ONLY] if quick else []))
    return 0


if __name__ == "__main__":
    sys.exit(main())
