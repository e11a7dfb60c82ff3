"""Which process is this, on which node, so that a later one with its number is not taken for it? [ray]"""

import os
import signal
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import ray

from trainables.events import EventChannel, RemoteMethod
from trainables.node_beats import NodeBeats, folder_of

ALIVE_SECONDS = 5.0


@dataclass(frozen=True)
class WorkerProcess:
    """A process of the cluster. node: Ray's id of its node; pid: its number there.

    birth: when it began, in the kernel's ticks since boot; empty where there is no /proc.
    """

    node: str
    pid: int
    birth: str


class ProcessChannel(EventChannel, Protocol):
    """An EventChannel that is also told which processes work on which jobs, so that one that hangs can be ended."""

    @property
    def alive(self) -> RemoteMethod[[Sequence[WorkerProcess]], object]:
        """These processes are not stopped: said every ALIVE_SECONDS, once a node."""
        ...

    @property
    def started(self) -> RemoteMethod[[int, WorkerProcess], object]:
        """A process has begun with the job of this number."""
        ...

    @property
    def ended(self) -> RemoteMethod[[int], object]:
        """The job of this number has ended, whatever became of it."""
        ...


def birth_of(pid: int) -> str | None:
    """When a process began, in the kernel's ticks since boot, as text; empty where there is no /proc.

    None for a process that is gone, or that has ended and is only to be collected.
    """
    if not Path("/proc/self/stat").exists():
        return ""
    try:
        # "pid (name) state ppid ...", and the name may hold ")" and blanks: state is the first behind the last ")".
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] == "Z" else fields[19]  # Z: a zombie; starttime is field 22, of which 3 is fields[0]


def this_process() -> WorkerProcess:
    """The process that asks, on its Ray node."""
    return WorkerProcess(ray.get_runtime_context().get_node_id(), os.getpid(), birth_of(os.getpid()) or "")


def granted_gpus() -> list[str]:
    """The cards that Ray gave this process, by its names of them: numbers, or what CUDA_VISIBLE_DEVICES had."""
    return [str(card) for card in ray.get_gpu_ids()] if ray.is_initialized() else []


def end_process(process: WorkerProcess) -> None:
    """Kill a process, from its own node: one that is stopped does not answer Ray. One that is gone is no error."""
    if birth_of(process.pid) == process.birth:  # else its number is another's by now
        with suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGKILL)


_saying = threading.Lock()  # taken once and never released: a process says it in one thread only


def keep_saying_alive(progress_actor: ProcessChannel) -> None:
    """See that the progress actor hears every ALIVE_SECONDS that this process is not stopped. Once for each process.

    Of a node's processes one speaks for all. Not where there is no /proc: a process that has ended is silent too, and
    without its birth nothing tells it from another one that has its number by then.
    """
    if not _saying.acquire(blocking=False):
        return
    process = this_process()
    if not process.birth:
        return

    beats = NodeBeats(folder_of(process.node, ray.get_runtime_context().get_job_id()), process.pid, process.birth)

    def say() -> None:
        while True:
            if processes := [WorkerProcess(process.node, *one) for one in beats.beat()]:
                progress_actor.alive.remote(processes)
            time.sleep(ALIVE_SECONDS)

    threading.Thread(target=say, name="radsweep-alive", daemon=True).start()
