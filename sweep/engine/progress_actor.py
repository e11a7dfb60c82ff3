"""What is going on: one small actor that running work tells, and that the display and the sinks ask. [ray]"""

import time
from dataclasses import dataclass

import ray

from sweep.monitoring.progress import ProgressSnapshot
from trainables.events import Outcome, Progress
from trainables.process import WorkerProcess


@dataclass(frozen=True)
class RunningJob:
    """A job of cells in a process, which can be ended from outside. since: by this actor's clock, in seconds."""

    job: int
    process: WorkerProcess
    since: float


@ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1)
class ProgressActor:
    """Holds events until they are drained. Nothing depends on it: the store is the record."""

    def __init__(self):
        self.snapshot = ProgressSnapshot()
        self.at_work: dict[int, RunningJob] = {}
        self.last_alive: dict[WorkerProcess, float] = {}

    def started(self, job: int, process: WorkerProcess) -> None:
        self.at_work[job] = RunningJob(job, process, time.monotonic())

    def ended(self, job: int) -> None:
        self.at_work.pop(job, None)

    def node_of(self, job: int) -> str | None:
        """Where a job that has not ended was begun last."""
        return self.at_work[job].process.node if job in self.at_work else None

    def alive(self, process: WorkerProcess) -> None:
        self.last_alive[process] = time.monotonic()

    def silent(self, seconds: float) -> list[WorkerProcess]:
        """Processes that have said nothing for so long: they are stopped, or gone. Each is named once."""
        since = time.monotonic() - seconds
        found = [process for process, heard in self.last_alive.items() if heard < since]
        for process in found:
            del self.last_alive[process]
        return found

    def overdue(self, limits: dict[int, float]) -> list[WorkerProcess]:
        """Processes of jobs that have run for longer than their limit in seconds; each is named once."""
        now = time.monotonic()
        late = [running for running in self.at_work.values() if now - running.since > limits[running.job]]
        for running in late:
            self.ended(running.job)
        return [running.process for running in late]

    def encoder(self, progress: Progress) -> None:
        self.snapshot.encoders.append(progress)

    def cell(self, outcome: Outcome) -> None:
        self.snapshot.cells.append(outcome)

    def drain(self) -> ProgressSnapshot:
        taken, self.snapshot = self.snapshot, ProgressSnapshot()
        return taken
