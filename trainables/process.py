"""Which process is this, on which node, so that a later one with its number is not taken for it? [ray]"""

import os
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray

ALIVE_SECONDS = 5.0


@dataclass(frozen=True)
class Process:
    """birth: when it began, in the kernel's ticks; empty where there is no /proc."""

    node: str
    pid: int
    birth: str


def birth_of(pid: int) -> str | None:
    """None for a process that is gone, or that has ended and is only to be collected."""
    if not Path("/proc/self/stat").exists():
        return ""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] == "Z" else fields[19]


def this_process() -> Process:
    return Process(ray.get_runtime_context().get_node_id(), os.getpid(), birth_of(os.getpid()) or "")


_saying = threading.Lock()


def keep_saying_alive(board: Any) -> None:
    """Tell the board from now on, again and again, that this process is not stopped. Once for each process.

    Not where there is no /proc: one that has ended would be silent too, and its number may be a stranger's by then.
    """
    if not _saying.acquire(blocking=False):
        return
    process = this_process()
    if not process.birth:
        return

    def say() -> None:
        while True:
            board.alive.remote(process)
            time.sleep(ALIVE_SECONDS)

    threading.Thread(target=say, name="radsweep-alive", daemon=True).start()
