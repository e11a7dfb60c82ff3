"""How do all sections run within their time, whatever becomes of one: in a process that is ended where it is late?"""

import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress

BEGUN, ENDED, FAILED, LATE, LEFT_OUT = "begun", "done", "failed", "over its time", "left out"
START_SECONDS = 60.0  # of a process, until its first section begins: imports, the first context of CUDA
Command = Callable[[Sequence[str]], list[str]]


def worker_command(device: str, size: str) -> Command:
    """Sections -> the command of the process that computes them."""
    return lambda names: [sys.executable, "-m", "benchmarks.gpu.worker", device, size, *names]


class Worker:
    """A process with a session of its own, and the JSON lines that it prints."""

    def __init__(self, command: list[str]):
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)
        self.lines: queue.Queue[dict | None] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for text in self.process.stdout:
            with suppress(ValueError):  # a library's own words
                if isinstance(line := json.loads(text), dict):
                    self.lines.put(line)
        self.lines.put(None)

    def next(self, seconds: float) -> dict | None:
        """The next line; None where the process has ended. Raises queue.Empty where none comes within `seconds`."""
        return self.lines.get(timeout=max(0.0, seconds))

    def end(self) -> int:
        """With all that it started, whatever it is in. Its exit status."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        return self.process.wait()


def measure(
    seconds: Mapping[str, float], total: float, command: Command, clock: Callable[[], float] = time.monotonic
) -> Iterator[dict]:
    """Lines of all sections in order, and for each a last one that says how it ended.

    seconds: section -> what it may take; total: what all may take together. A section that fails, or takes longer, is
    ended and costs the others nothing but another start.
    """
    left, until = list(seconds), clock() + total
    while left:
        if clock() >= until:
            yield from ({"section": name, "status": LEFT_OUT, "error": f"after {total:g} s in all"} for name in left)
            return
        worker = Worker(command(left))
        try:
            before = len(left)
            for line in _of_one_process(worker, left, seconds, until, clock):
                if line.get("status") in (ENDED, FAILED, LATE, LEFT_OUT):
                    left.remove(line["section"])
                yield line
            assert len(left) < before, "a process that ends without a word has its first section fail"
        finally:
            worker.end()


def _of_one_process(
    worker: Worker, left: Iterable[str], seconds: Mapping[str, float], until: float, clock: Callable[[], float]
) -> Iterator[dict]:
    """Until it ends, or its section is late."""
    waiting, name, deadline = list(left), None, clock() + START_SECONDS
    while waiting:
        try:
            line = worker.next(min(deadline, until) - clock())
        except queue.Empty:
            name = name or waiting[0]
            why = f"after {seconds[name]:g} s" if deadline <= until else "as the time of all sections was over"
            yield {"section": name, "status": LATE, "error": f"ended {why}"}
            return
        if line is None:
            name = name or waiting[0]
            yield {"section": name, "status": FAILED, "error": f"its process ended with {worker.end()}"}
            return
        status = line.get("status")
        if status == BEGUN:
            name = line["section"]
            deadline = clock() + seconds[name]
            continue
        yield line
        if status is not None:
            waiting.remove(line["section"])
            name, deadline = None, clock() + START_SECONDS
        if status == FAILED:
            return
