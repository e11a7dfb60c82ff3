"""What is pending, run to the end on a Ray cluster: encoders and, as they land, their cells. [ray]"""

import time
from collections.abc import Callable, Sequence
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from datasets_io.granted import cores
from datasets_io.interrupts import INTERRUPTS
from datasets_io.ray_state import CELLS_STATE, GROUP_STATE, state_name
from datasets_io.storage.artefacts import FAILED, is_done
from sweep.engine.cards import smallest_card
from sweep.engine.cell_work import CellWork
from sweep.engine.cluster import resources_at_most
from sweep.engine.head_health import HeadMonitor
from sweep.engine.jobs import downstream_jobs, encoder_job, shares_of
from sweep.engine.progress_actor import start_progress_actor
from sweep.engine.schedule import (
    ScheduledJob,
    Shape,
    groups_in_order,
    groups_wanted,
    longest_first,
    places,
    seeds_at_once,
    shape_of,
)
from sweep.monitoring.progress import ProgressSnapshot
from sweep.monitoring.time_left import TimeLeft
from sweep.store.store import Store
from sweep.studies.cell import Cell
from sweep.studies.costs import costs_of
from sweep.studies.forecast import FLOPS_PER_SECOND, Counts
from sweep.studies.learnt_seconds import Observations
from sweep.studies.plan import Pending
from trainables.events import Progress
from trainables.pretraining.encoder_job import EncoderJob, fail
from trainables.pretraining.group_work import WorkerGroup
from trainables.pretraining.initial_task import make_initial_encoders
from trainables.pretraining.run_queue import start_run_queue
from trainables.process import ALIVE_SECONDS, WorkerProcess, end_process
from trainables.recipe import EncoderSource, ImageNetInit, Resources

# Names of tasks, which stand in the titles of their processes; those of encoders and groups go on after them.
INITIAL_TASK, GROUP_TASK, SEARCH_TASK = "initial-", f"{GROUP_STATE}-", "run_tune_search"
POLL_SECONDS, CHECK_SECONDS = 0.25, 2.0
# The start of a process that makes encoders without corpus takes two seconds of a core and half a gigabyte.
CORES_OF_INITIAL, FETCHED_AT_ONCE = 4, 4
LEAST_LIMIT_SECONDS, LIMIT_TIMES_FORECAST = 1800.0, 20.0
MOST_MISSED = 12  # reports in a row that a living process may fail to send


# Ray Train and Tune take two seconds of a core to import: only in the processes that run them, not in the driver's.


@ray.remote(num_cpus=0, max_retries=0)
def _search_cells(work: CellWork) -> None:
    from sweep.engine.tune_search import run_tune_search

    run_tune_search(work)


@ray.remote(num_cpus=0, max_retries=0)
def _worker_group(group: WorkerGroup, shape: Shape) -> None:
    from ray.train import ScalingConfig

    from trainables.pretraining.worker_group import pretrain_all

    bundle = dict(shape.worker_bundle)
    scaling = ScalingConfig(
        num_workers=shape.workers,
        use_gpu="GPU" in bundle,
        resources_per_worker=bundle,
        # Ray is asked for next to no CPU, and would put all on one host; GPUs of one host are near each other.
        placement_strategy="PACK" if "GPU" in bundle else "SPREAD",
    )
    pretrain_all(group, scaling)


@ray.remote(num_cpus=0, max_retries=0)
def _end_process(process: WorkerProcess) -> None:
    end_process(process)


class Execution:
    """One pass over everything that is ready: encoders in worker groups, cells by Ray Tune, hangs ended."""

    def __init__(
        self,
        pending: Pending,
        all_cells: tuple[Cell, ...],
        done: set[str],
        store: Store,
        data_folders: dict[str, str],
        counts: dict[str, dict[str, int]],
        resources: Resources,
    ):
        """done: folders that are finished; counts: label of a build -> images of each split.

        Raises ValueError where a pretraining cannot fit on the cluster.
        """
        # What only steers stays with the driver: a worker's node may go, and one cut off may hold a task for minutes.
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        self.here: dict[str, Any] = {"scheduling_strategy": here}
        self.head = HeadMonitor()
        self.store, self.resources, self.progress = store, resources, start_progress_actor(self.here)
        jobs = [encoder_job(run, data_folders) for run in longest_first(pending.encoders, counts)]
        self.initial = tuple(job for job in jobs if not job.is_pretraining)
        self.pretrainings = tuple(job for job in jobs if job.is_pretraining)
        initial = tuple(job.folder for job in self.initial)
        self.queue = start_run_queue(len(self.pretrainings), initial, self.here)
        machines = resources_at_most()
        self.shape = shape_of(resources, machines, len(self.pretrainings))
        at_once = seeds_at_once(resources, self.shape, machines, pending.cells)
        groups = groups_in_order(pending.cells, all_cells, counts, at_once)
        on_gpus = self.shape.on_gpus
        card_bytes = smallest_card() if on_gpus and groups and resources.gpus_per_cell is None else None
        self.jobs, self.tasks = downstream_jobs(groups, all_cells, data_folders, resources, on_gpus, card_bytes)
        self.limits = {i: time_limit(task, resources, on_gpus) for i, task in enumerate(self.tasks)}
        self.done = {name for task in self.tasks for name in task.needs if name in done}
        # What runs -> whose it is: encoders without corpus, a group's name, or None for the search over the cells.
        self.owners: dict[ray.ObjectRef[None], str | tuple[EncoderJob, ...] | None] = {}
        self.refreshed_at = -1e9  # long ago: the first round does everything
        self.deaths = 0

    def time_left(self, pending: Pending, counts: Counts, finished: Observations) -> TimeLeft:
        """What will tell how long these machines take for what is pending. counts: of `forecast`; finished: before."""
        costs = costs_of(pending.encoders, pending.cells, counts, shares_of(self.shape, self.tasks))
        there = places(self.shape, resources_at_most(), len(self.pretrainings))
        return TimeLeft(costs, pending.cells, there, finished)

    def run(self, show: Callable[[ProgressSnapshot], None]) -> None:
        """To the end. Failures are in the store when this returns; it raises only for its own.

        Raises ConnectionError where the cluster's head is gone, KeyboardInterrupt where the user asked to stop.
        """
        for jobs in initial_processes(self.initial, max(1, cores() // CORES_OF_INITIAL)):
            self._start_initial(jobs)
        if self.jobs:
            self._start_cells()
        self._start_groups()
        while self.owners:
            INTERRUPTS.raise_if_received()
            finished, _ = ray.wait(list(self.owners), num_returns=1, timeout=POLL_SECONDS)
            for ref in finished:
                self._settle(ref, self.owners.pop(ref))
            if time.monotonic() - self.refreshed_at > CHECK_SECONDS or finished:
                self.refreshed_at = time.monotonic()
                self.head.check()
                self._start_groups()
                self._end_hangs()
            show(self.head.get(self.progress.drain.remote()))
        time.sleep(0.1)  # events sent just before the end
        show(self.head.get(self.progress.drain.remote()))

    def _start_initial(self, jobs: tuple[EncoderJob, ...]) -> None:
        # What is alone in its process and dies with it is tried twice again.
        task = make_initial_encoders.options(
            name=f"{INITIAL_TASK}{jobs[0].name}", max_retries=2 * (len(jobs) == 1), **self.here
        )
        self.owners[task.remote(jobs, self.store.uri, self.progress)] = jobs

    def _start_cells(self) -> None:
        work = CellWork(
            self.jobs,
            self.tasks,
            self.done,
            self.store.uri,
            self.resources,
            self.shape,
            tuple(job.folder for job in self.pretrainings),
            self.progress,
            state_name(CELLS_STATE),
        )
        self.owners[_search_cells.options(name=SEARCH_TASK, **self.here).remote(work)] = None

    def _start_groups(self) -> None:
        """As many groups of workers as the machines, now or when they have grown, can hold."""
        if not self.pretrainings:
            return
        running = sum(isinstance(owner, str) for owner in self.owners.values())
        left, waiting = self.head.get_all([self.queue.left.remote(), self.queue.num_waiting.remote()])
        # One even where none fits at the moment: only work that waits for a machine makes the autoscaler start it.
        wanted = max(1, groups_wanted(self.shape, resources_at_most(), left))
        for _ in range(min(wanted - running, waiting)):
            name = state_name(GROUP_STATE)
            group = WorkerGroup(name, self.pretrainings, self.queue, self.store.uri, self.resources, self.progress)
            self.owners[_worker_group.options(name=name, **self.here).remote(group, self.shape)] = name

    def _end_hangs(self) -> None:
        """What is over its limit, and what is stopped between two jobs, which has none."""
        running = self.head.get(self.progress.running.remote())
        silent = self.head.get(self.progress.silent.remote(silence_limit(self.resources)))
        late = [job for job in running if job.seconds > self.limits[job.job]]
        if late:
            self.progress.given_up.remote(late)
        for process in {*(job.process for job in late), *silent}:
            where = NodeAffinitySchedulingStrategy(process.node, soft=False)
            _end_process.options(scheduling_strategy=where).remote(process)

    def _settle(self, ref: "ray.ObjectRef[None]", owner: str | tuple[EncoderJob, ...] | None) -> None:
        """After a piece of work ended. What died with its process begins again, so often that it is no accident."""
        error: Exception | None = None
        try:
            ray.get(ref)
        except ray.exceptions.RayError as caught:
            error = caught
            self.deaths += 1
        may_begin_again = self.deaths <= self.resources.max_failures * (1 + len(self.pretrainings))
        if owner is None:
            if error is not None and not may_begin_again:
                raise error
            if error is not None:
                self.done |= self.store.done_and_failed()[0] & {name for task in self.tasks for name in task.needs}
                self._start_cells()
        elif isinstance(owner, str):
            place = self.head.get(self.queue.release.remote(owner, error is not None and may_begin_again))
            if place is not None:
                self._fail_open(self.pretrainings[place], error)
        else:
            for job in owner:
                if error is not None and len(owner) > 1 and self._is_open(job):
                    self._start_initial((job,))  # which of them ended the process shows where each has its own
                    continue
                self.queue.settled.remote(job.folder)
                self._fail_open(job, error)
                if error is not None:
                    self._tell_again(job)

    def _tell_again(self, job: EncoderJob) -> None:
        """How an encoder ended: what a process said last may have ended with it."""
        if is_done(self.store.files, job.folder):
            self._emit(Progress(job.key, "done"))
        elif (failure := self.store.failure_of(job.folder)) is not None:
            self._emit(Progress(job.key, "failed", error=failure["error"]))

    def _is_open(self, job: EncoderJob) -> bool:
        """Whether it has neither result nor failure."""
        files = self.store.files
        return not is_done(files, job.folder) and not files.exists(f"{job.folder}/{FAILED}")

    def _fail_open(self, job: EncoderJob, error: Exception | None) -> None:
        """What has neither result nor failure has failed."""
        if self._is_open(job):
            fail(job, self.store.files, error or RuntimeError("ended without a result"), self._emit)

    def _emit(self, progress: Progress) -> None:
        self.progress.encoder.remote(progress)


def initial_processes(jobs: Sequence[EncoderJob], at_once: int) -> list[tuple[EncoderJob, ...]]:
    """Which encoders without corpus one process makes after the other, in so many processes at once.

    Those whose weights come from elsewhere have processes beside them: a download may stand still for minutes.
    """
    fetched = [job for job in jobs if isinstance(job.recipe, ImageNetInit | EncoderSource)]
    made = [job for job in jobs if job not in fetched]
    lanes = (
        of[first::count]
        for of, count in ((made, at_once), (fetched, max(at_once, FETCHED_AT_ONCE)))
        for first in range(count)
    )
    return [tuple(lane) for lane in lanes if lane]


def silence_limit(resources: Resources) -> float:
    """Seconds after which a process that does not report counts as stopped: not so few that a busy one does."""
    return max(resources.cell_time_limit_seconds or LEAST_LIMIT_SECONDS, MOST_MISSED * ALIVE_SECONDS)


def time_limit(task: ScheduledJob, resources: Resources, on_gpus: bool) -> float:
    """Seconds after which a job of cells counts as hanging: far more than its forecast, or what Resources says."""
    if resources.cell_time_limit_seconds is not None:
        return resources.cell_time_limit_seconds
    rate = FLOPS_PER_SECOND["V100" if on_gpus else "CPU core"]  # the slowest of each: a limit only ends hangs
    return LEAST_LIMIT_SECONDS + LIMIT_TIMES_FORECAST * task.work / rate
