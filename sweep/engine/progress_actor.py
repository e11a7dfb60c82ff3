"""What is going on: one small actor that running work tells, and that the display and the watch ask. [ray]"""

import time
from dataclasses import dataclass

import ray

from sweep.monitoring.progress import News
from trainables.events import Outcome, Progress
from trainables.process import Process


@dataclass(frozen=True)
class Running:
    """A job of cells in a process, which can be ended from outside. since: by the board's clock, in seconds."""

    job: int
    process: Process
    since: float


@ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1)
class Board:
    """Holds events until they are taken. Nothing depends on it: the store is the record."""

    def __init__(self):
        self.news = News()
        self.at_work: dict[int, Running] = {}
        self.heard: dict[Process, float] = {}

    def started(self, job: int, process: Process) -> None:
        self.at_work[job] = Running(job, process, time.monotonic())

    def ended(self, job: int) -> None:
        self.at_work.pop(job, None)

    def node_of(self, job: int) -> str | None:
        """Where a job that has not ended was begun last."""
        return self.at_work[job].process.node if job in self.at_work else None

    def alive(self, process: Process) -> None:
        self.heard[process] = time.monotonic()

    def silent(self, seconds: float) -> list[Process]:
        """Processes that have said nothing for so long: they are stopped, or gone. Each is named once."""
        since = time.monotonic() - seconds
        found = [process for process, heard in self.heard.items() if heard < since]
        for process in found:
            del self.heard[process]
        return found

    def overdue(self, limits: dict[int, float]) -> list[Process]:
        """Processes of jobs that have run for longer than their limit in seconds; each is named once."""
        now = time.monotonic()
        late = [running for running in self.at_work.values() if now - running.since > limits[running.job]]
        for running in late:
            self.ended(running.job)
        return [running.process for running in late]

    def encoder(self, progress: Progress) -> None:
        self.news.encoders.append(progress)

    def cell(self, outcome: Outcome) -> None:
        self.news.cells.append(outcome)

    def take(self) -> News:
        news, self.news = self.news, News()
        return news
