"""The storage's code for simulated processes: their leases, their identities and their clocks, for a while."""

import os
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

from simulated import HERE, Process, SimulatedDisk, Strand, World

import datasets_io.storage.files
import datasets_io.storage.orphans
import datasets_io.storage.patience
import sweep.engine.driver
import sweep.run.redo
import sweep.store.cleanup
import sweep.store.lease
import sweep.store.store
from sweep.store.lease import Holder, Lease

REAL_LEASE, REAL_GETPID, REAL_STARTED, REAL_MACHINE = (
    Lease,
    os.getpid,
    sweep.store.lease.started,
    sweep.store.lease.this_machine,
)
LEASE_SECONDS = 60.0


class SimulatedStop:
    """The event that ends a renewing thread: its waits pass as the world's time does."""

    def __init__(self) -> None:
        self.stopped = False

    def set(self) -> None:
        self.stopped = True

    def is_set(self) -> bool:
        return self.stopped

    def wait(self, seconds: float) -> bool:
        if not self.stopped:
            HERE.strand.pause("wait", seconds)
        return self.stopped


class SimulatedLock:
    """Between the threads of one process."""

    def __init__(self) -> None:
        self.held = False

    def __enter__(self) -> None:
        while self.held:
            HERE.strand.pause("lock")
        self.held = True

    def __exit__(self, *error: object) -> None:
        self.held = False


class SimulatedLease(REAL_LEASE):
    """The lease of a simulated process: its machine, its id, its clocks; all else is the real one's."""

    def __init__(self, files: Any):
        process: Process = HERE.strand.process
        super().__init__(files, LEASE_SECONDS, process.world.sleep, lambda: process.world.now + process.monotonic)
        # Ids are no draw, since of two tickets of one second the lower id goes first.
        number = process.world.next_lease()
        self.me = replace(
            self.me, id=f"{(number * 7919) % 100_000:05d}{number:07d}", machine=process.machine.id, pid=process.pid,
            started=process.started,
        )  # fmt: skip
        self.lock, self.stop = SimulatedLock(), SimulatedStop()
        process.world.lease_of[self.me.id] = process

    def __enter__(self) -> "SimulatedLease":
        process: Process = HERE.strand.process
        beat = Strand(process, self._renew)
        process.beats.append(beat)
        beat.step()  # to its first wait
        return self

    def claim(self, wanted: Iterable[str]) -> tuple[set[str], dict[str, Holder]]:
        HERE.strand.process.claimed_at = HERE.strand.process.world.now
        return super().claim(wanted)


class SerialPool:
    """Of ThreadPoolExecutor what the store asks for, in the thread that asks."""

    def __init__(self, workers: int):
        self.workers = workers

    def __enter__(self) -> "SerialPool":
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def map(self, work: Callable[[Any], Any], values: Any) -> Iterator[Any]:
        return map(work, values)

    def submit(self, work: Callable[..., Any], *values: Any) -> "Future[Any]":
        future: Future[Any] = Future()
        future.set_result(work(*values))
        return future


@contextmanager
def simulated(world: World) -> Iterator[None]:
    """The storage's code on that world, for what runs in its processes; all others are served as ever."""

    def of_process(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def asked(*args: Any) -> Any:
            strand = getattr(HERE, "strand", None)
            if strand is None:
                return real(*args)
            process = strand.process
            return {"pid": process.pid, "started": process.started, "machine": process.machine.id}[name]

        return asked

    files, lease, driver = datasets_io.storage.files, sweep.store.lease, sweep.engine.driver
    orphans = datasets_io.storage.orphans
    clock = SimpleNamespace(time=world.wall, sleep=world.sleep, monotonic=time.monotonic)
    patches: list[tuple[Any, str, Any]] = [
        (files, "DISK", SimulatedDisk(world)),
        (datasets_io.storage.patience, "RETRY_SECONDS", 0.0),
        (files, "this_machine", of_process("machine", REAL_MACHINE)),
        (files, "started", of_process("started", REAL_STARTED)),
        (orphans, "this_machine", of_process("machine", REAL_MACHINE)),
        (orphans, "is_running", world.is_running),
        (orphans, "storage_time", lambda folder: world.storage_time),
        (os, "getpid", of_process("pid", REAL_GETPID)),
        (lease, "time", clock),
        (lease, "is_running", world.is_running),
        (lease, "Lease", SimulatedLease),
        (driver, "Lease", SimulatedLease),
        (driver, "time", clock),
        (sweep.store.cleanup, "Lease", SimulatedLease),
        (sweep.run.redo, "Lease", SimulatedLease),
        (sweep.store.store, "ThreadPoolExecutor", SerialPool),
    ]
    before = [(where, name, getattr(where, name)) for where, name, _ in patches]
    try:
        for where, name, value in patches:
            setattr(where, name, value)
        yield
    finally:
        for where, name, value in before:
            setattr(where, name, value)
