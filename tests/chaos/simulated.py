"""Processes that share one storage, simulated in one process: each stands still before every call on a file.

A process is a few threads of which one runs at a time, and only when it is told to. So its identity, its clocks, the
order of its file calls among those of others, and what becomes of each call are decided by whoever steps it. What it
runs is the real code on real files.
"""

import errno
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from disks import CALLS

from datasets_io.storage.disk import Disk
from sweep.store.lease import LEASES

HERE = threading.local()  # strand: the one that runs in this thread, if any
MOST_CALLS = 20_000  # of one process; a program that makes more has no end. In 4000 s its lease alone makes 2,000


class Killed(BaseException):
    """SIGKILL: nothing that the process does afterwards reaches a file."""


@dataclass
class Fault:
    """What happens at a call to come. calls: how many go well before it. how: see HOW; error: an errno for `error`."""

    calls: int
    how: str
    error: int = errno.EIO


HOW = ("error", "killed before", "killed within", "killed after")


class Strand:
    """One thread of a simulated process."""

    def __init__(self, process: "Process", program: Callable[[], None]):
        self.process, self.program = process, program
        self.go, self.back = threading.Semaphore(0), threading.Semaphore(0)
        self.ended, self.error = False, None
        self.wakes_at: float | None = None  # physical time; it sleeps until then
        self.at = "begin"
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self) -> None:
        self.go.acquire()
        HERE.strand = self
        try:
            if not self.process.killed:
                self.program()
        except Killed:
            pass
        except BaseException as error:  # whoever steps it looks at it
            self.error = error
        self.ended = True
        self.back.release()

    def step(self) -> None:
        """Go on to the next call, or to the end."""
        if not self.ended:
            self.wakes_at = None
            self.go.release()
            self.back.acquire()

    def pause(self, at: str, seconds: float | None = None) -> None:
        """Of the strand's own thread: stand still until it is stepped."""
        if self.process.killed:
            raise Killed
        self.at = at
        self.wakes_at = None if seconds is None else self.process.world.now + seconds
        self.back.release()
        self.go.acquire()
        if self.process.killed:
            raise Killed

    def call(self, name: str, real: Callable[..., Any], *args: Any) -> Any:
        """A file call of this strand, with what is to happen at it."""
        self.pause(name)
        how = self.process.next_call(name)
        if how is None:
            return real(*args)
        if name == "create" and how in ("killed within", "error"):
            Path(args[0]).write_bytes(bytes(args[1])[: len(args[1]) // 2])
            self.process.world.date(args[0])
        if how == "killed after":
            real(*args)
        if how != "error":
            self.process.kill()
            raise Killed
        code, self.process.met_error = self.process.error, True
        raise OSError(code, os.strerror(code))


class SimulatedDisk(Disk):
    """The real calls, each behind a pause of the process that makes it; files have the storage's own time."""

    def __init__(self, world: "World"):
        self.world = world

    def __getattribute__(self, name: str) -> Any:
        real = super().__getattribute__(name)
        strand = getattr(HERE, "strand", None)
        if name not in CALLS or strand is None:
            return real
        return lambda *args: strand.call(name, real, *args)

    def create(self, path: str, data: Any) -> None:
        super().create(path, data)
        self.world.date(path)

    def rename(self, path: str, target: str) -> None:
        super().rename(path, target)
        self.world.on_rename(target)


@dataclass
class Machine:
    """Processes of one machine see each other, and read one wall clock."""

    id: str
    wall: float  # seconds since 1970 less physical time
    running: dict[int, "Process"] = field(default_factory=dict)


class Process:
    """A command that runs, on a machine, with a process id and a start of its own."""

    def __init__(self, world: "World", machine: Machine, pid: int, program: Callable[["Process"], None]):
        self.world, self.machine, self.pid = world, machine, pid
        self.number = len(world.processes)
        self.started = f"{self.number + 1}"
        self.monotonic = 1000.0 * self.number  # of its clock at physical time 0
        self.killed = self.hangs = False
        self.faults: list[Fault] = []
        self.full, self.error, self.calls = False, errno.EIO, 0
        self.met_error = False  # whether a file call has failed that was meant to
        self.last_beat = world.now
        self.silences: list[tuple[float, float]] = []  # when its lease was renewed, after how long
        self.claimed_at = world.now  # when its last claim began
        self.beats: list[Strand] = []
        self.main = Strand(self, lambda: program(self))
        machine.running[pid] = self
        world.processes.append(self)

    @property
    def is_there(self) -> bool:
        return not self.killed and not self.main.ended

    def kill(self) -> None:
        self.killed = True
        if self.machine.running.get(self.pid) is self:
            del self.machine.running[self.pid]

    def next_call(self, name: str) -> str | None:
        self.calls += 1
        assert self.calls < MOST_CALLS, f"a command makes no end of file calls; the last is {name}"
        due = [fault for fault in self.faults if fault.calls <= 0]
        for fault in self.faults:
            fault.calls -= 1
        if due:
            self.faults = [fault for fault in self.faults if fault not in due]
            self.error = due[0].error
            return due[0].how
        if name in ("create", "make_folder") and self.world.full:
            self.error = errno.ENOSPC
            return "error"
        return None

    def end(self) -> None:
        """Let its threads end, killed."""
        self.kill()
        for strand in (self.main, *self.beats):
            while not strand.ended:
                strand.step()
            strand.thread.join()


class World:
    """A storage, machines, and physical time."""

    def __init__(self, root: Path):
        self.root, self.now, self.storage_skew, self.full = root, 0.0, 0.0, False
        self.epoch = 1_700_000_000.0
        self.machines = [Machine(f"{n:08x}", self.epoch + 100.0 * n) for n in range(2)]
        self.processes: list[Process] = []
        self.lease_of: dict[str, Process] = {}
        self.leases = 0

    # -- what a simulated process asks ------------------------------------------------------------------

    @property
    def storage_time(self) -> float:
        return self.epoch + self.now + self.storage_skew

    def date(self, path: str) -> None:
        """Give a new file the storage's time."""
        os.utime(path, (self.storage_time, self.storage_time))

    def next_lease(self) -> int:
        self.leases += 1
        return self.leases

    @staticmethod
    def sleep(seconds: float) -> None:
        HERE.strand.pause("sleep", seconds)

    def wall(self) -> float:
        strand = getattr(HERE, "strand", None)
        return time.time() if strand is None else strand.process.machine.wall + self.now

    @staticmethod
    def is_running(pid: int, since: str = "") -> bool:
        found = HERE.strand.process.machine.running.get(pid)
        return found is not None and found.is_there and (not since or found.started == since)

    def on_rename(self, target: str) -> None:
        folder, _, name = target.rpartition("/")
        if folder.endswith(f"/{LEASES}") and name.endswith(".json"):
            process = self.lease_of.get(name.removesuffix(".json"))
            if process is not None:
                process.silences.append((self.now, self.now - process.last_beat))
                process.last_beat = self.now

    # -- what a test does --------------------------------------------------------------------------------

    def start(self, machine: int, program: Callable[[Process], None], pid: int) -> Process:
        where = self.machines[machine]
        old = where.running.get(pid)
        assert old is None or not old.is_there
        return Process(self, where, pid, program)

    def advance(self, process: Process, calls: int) -> None:
        """Let it do so many file calls; where it sleeps, time passes."""
        for _ in range(calls):
            if not process.is_there or process.hangs:
                return
            wait = (process.main.wakes_at or 0.0) - self.now
            if wait > 0:
                self.pass_time(wait)
            if process.is_there and process.main.at == "lock":  # its other thread writes the lease
                self._beats(process)
            process.main.step()
            self.look_at(process)

    def pass_time(self, seconds: float) -> None:
        """Physical time; the leases of processes that do not hang are renewed meanwhile."""
        end = self.now + seconds
        while True:
            due = [
                (strand.wakes_at, process.number, strand, process)
                for process in self.processes
                if process.is_there and not process.hangs
                for strand in process.beats
                if not strand.ended and strand.wakes_at is not None and strand.wakes_at <= end
            ]
            if not due:
                break
            at, _, _, process = min(due, key=lambda found: found[:2])
            self.now = max(self.now, at)
            self._beats(process)
        self.now = max(self.now, end)

    def _beats(self, process: Process) -> None:
        """The renewals of a process that are due, with what its main thread must do for them."""
        for strand in list(process.beats):
            for _ in range(60):
                waits = strand.wakes_at is not None and strand.wakes_at > self.now
                if strand.ended or waits or not process.is_there:
                    break
                if strand.at == "lock":
                    process.main.step()
                strand.step()
        self.look_at(process)

    @staticmethod
    def look_at(process: Process) -> None:
        """Raise what one of its threads has raised that no storage is to blame for."""
        for strand in (process.main, *process.beats):
            if isinstance(strand.error, AssertionError):
                raise strand.error
            of_storage = isinstance(strand.error, OSError) and process.met_error
            if strand.error is not None and not of_storage:
                raise AssertionError("a command ended with a traceback") from strand.error

    def end(self) -> None:
        for process in self.processes:
            process.end()
