"""What is going on: one small actor that running work tells, and that the display and the sinks ask. [ray]"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, cast

import ray

from sweep.monitoring.progress import ProgressSnapshot
from sweep.store.status_names import Status
from trainables.events import Outcome, Progress, RemoteMethod
from trainables.process import ProcessChannel, WorkerProcess


@dataclass(frozen=True)
class RunningJob:
    """A job of cells in a process, which can be ended from outside. seconds: for how long, at the time of asking."""

    job: int
    process: WorkerProcess
    seconds: float


class ProgressActor:
    """Holds events until they are drained. Nothing depends on it: the store is the record."""

    def __init__(self) -> None:
        self.snapshot = ProgressSnapshot()
        self.ended_encoders: set[str] = set()
        self.at_work: dict[int, tuple[WorkerProcess, float]] = {}  # job -> whose it is, and since when by this clock
        self.last_alive: dict[WorkerProcess, float] = {}

    def started(self, job: int, process: WorkerProcess) -> None:
        """A process has begun with the job of this number; its time counts from here."""
        self.at_work[job] = (process, time.monotonic())

    def ended(self, job: int) -> None:
        """The job of this number has ended, whatever became of it."""
        self.at_work.pop(job, None)

    def node_of(self, job: int) -> str | None:
        """Ray's id of the node on which a job that has not ended was begun last."""
        return self.at_work[job][0].node if job in self.at_work else None

    def alive(self, processes: Sequence[WorkerProcess]) -> None:
        """These processes are not stopped."""
        self.last_alive |= dict.fromkeys(processes, time.monotonic())

    def silent(self, seconds: float) -> list[WorkerProcess]:
        """Processes that have not reported for so long: they are stopped, or gone. Each is named once."""
        since = time.monotonic() - seconds
        found = [process for process, reported in self.last_alive.items() if reported < since]
        for process in found:  # it will be killed; should it be alive after all, it reports again and counts again
            del self.last_alive[process]
        return found

    def running(self) -> list[RunningJob]:
        """All jobs that have begun and not ended."""
        now = time.monotonic()
        return [RunningJob(job, process, now - since) for job, (process, since) in self.at_work.items()]

    def given_up(self, jobs: Sequence[RunningJob]) -> None:
        """Their processes are killed: they run no longer, unless they were begun again in others meanwhile."""
        for late in jobs:
            if late.job in self.at_work and self.at_work[late.job][0] == late.process:
                self.ended(late.job)

    def encoder(self, progress: Progress) -> None:
        """Where an encoder is. How it ended is told once: the driver tells of what a process ended with, too."""
        if progress.status not in (Status.DONE, Status.FAILED):
            self.ended_encoders.discard(progress.key)  # it was damaged, and is computed again
        elif progress.key in self.ended_encoders:
            return
        else:
            self.ended_encoders.add(progress.key)
        self.snapshot.encoders.append(progress)

    def cell(self, outcome: Outcome) -> None:
        """How a cell ended."""
        self.snapshot.cells.append(outcome)

    def drain(self) -> ProgressSnapshot:
        """The events since the last drain."""
        drained, self.snapshot = self.snapshot, ProgressSnapshot()
        return drained


class ProgressHandle(ProcessChannel, Protocol):
    """A ProgressActor in a process of its own: what work tells it (ProcessChannel), and what the driver asks."""

    @property
    def node_of(self) -> RemoteMethod[[int], "ray.ObjectRef[str | None]"]:
        """ProgressActor.node_of."""
        ...

    @property
    def silent(self) -> RemoteMethod[[float], "ray.ObjectRef[list[WorkerProcess]]"]:
        """ProgressActor.silent."""
        ...

    @property
    def running(self) -> RemoteMethod[[], "ray.ObjectRef[list[RunningJob]]"]:
        """ProgressActor.running."""
        ...

    @property
    def given_up(self) -> RemoteMethod[[Sequence[RunningJob]], object]:
        """ProgressActor.given_up."""
        ...

    @property
    def drain(self) -> RemoteMethod[[], "ray.ObjectRef[ProgressSnapshot]"]:
        """ProgressActor.drain."""
        ...


def start_progress_actor(options: Mapping[str, Any]) -> ProgressHandle:
    """A ProgressActor in a process of its own. options: of Ray's actors, as where it is to run."""
    # Begun anew after its process died it has forgotten events, which only a display misses.
    actor = ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1)(ProgressActor)
    # Ray's own type of a handle says of every method that calling it never returns.
    return cast(ProgressHandle, actor.options(**options).remote())
