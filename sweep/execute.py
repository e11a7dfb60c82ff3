"""What is pending, run to the end on a Ray cluster: encoders and, as they land, their cells. [ray]"""

import os
import signal
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import ray
from ray.train import ScalingConfig
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from datasets_io.artefacts import FAILED, is_done
from datasets_io.ray_token import ensure_token
from sweep.board import Board, News
from sweep.cell import Cell, EncoderRun
from sweep.console import ClusterLost
from sweep.fan_out import CellWork, fan_out
from sweep.forecast import FLOPS_PER_SECOND
from sweep.head import Head
from sweep.interrupts import raise_if_interrupted
from sweep.machines import machines_at_most
from sweep.plan import Pending, starts_from
from sweep.schedule import (
    Shape,
    Task,
    gpu_share,
    groups_in_order,
    lanes_wanted,
    longest_first,
    shape_of,
)
from sweep.store import Store
from trainables.cells import DownstreamJob, SeedTarget
from trainables.encoders import EncoderJob, fail, run_initial
from trainables.pretrain import Lane, Turns, pretrain_all
from trainables.process import ALIVE_SECONDS, Process, birth_of
from trainables.recipe import Resources
from trainables.registry import PROTOCOLS

POLL_SECONDS, LOOK_SECONDS = 0.25, 2.0
LEAST_LIMIT_SECONDS, LIMIT_TIMES_FORECAST = 1800.0, 20.0
MOST_MISSED = 12  # words that a living process may fail to say
ATTEMPTS_TO_START, TIMED_OUT = 3, "timed out during startup"


def encoder_job(run: EncoderRun, data_folders: dict[str, str]) -> EncoderJob:
    return EncoderJob(
        str(run), run.key, Store.folder(run), run.recipe, run.pretrain_seed,
        data_folders[run.corpus] if run.corpus else None, Store.folder(run.parent) if run.parent else None,
    )


def downstream_jobs(
    groups: list[tuple[tuple[Cell, ...], float]], all_cells: tuple[Cell, ...], data_folders: dict[str, str],
    resources: Resources, on_gpus: bool,
) -> tuple[tuple[DownstreamJob, ...], tuple[Task, ...]]:
    """Jobs in the order in which they should start, and what each waits for and takes."""
    starts = starts_from(all_cells)
    kept_seed = min((cell.seed for cell in all_cells), default=None) if resources.keep_tuned_weights else None
    jobs, tasks = [], []
    for group, work in groups:
        first = group[0]
        targets = tuple(
            SeedTarget(
                str(c), c.key, c.seed, Store.folder(c), Store.folder(starts[c.key]) if c.key in starts else None,
                keep_weights=c.key in starts and c.seed == kept_seed,
            )
            for c in group
        )
        job = DownstreamJob(
            PROTOCOLS[first.protocol], first.label_percent, first.recipe, first.encoder.recipe.backbone,
            Store.folder(first.encoder), data_folders[first.dataset], targets,
        )
        needs = (job.encoder_folder, *(t.starts_from_folder for t in targets if t.starts_from_folder is not None))
        share = gpu_share(resources, first) if on_gpus else 1.0
        jobs.append(job)
        tasks.append(Task(needs, tuple(target.folder for target in targets), share, work))
    return tuple(jobs), tuple(tasks)


def start_ray(log_to_driver: bool = False) -> None:
    """Join the cluster that RAY_ADDRESS names, or start a local one that nothing else joins."""
    os.environ.setdefault("RAY_TRAIN_V2_ENABLED", "1")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    raise_if_interrupted()  # starting takes a while
    on_sigterm = signal.getsignal(signal.SIGTERM)
    try:
        _init_patiently(log_to_driver)
    except SystemExit as error:  # by Ray's handler of SIGTERM, which would end the driver without a word
        raise KeyboardInterrupt from error
    finally:
        signal.signal(signal.SIGTERM, on_sigterm)
        signal.alarm(0)  # Ray's handler in C++, where it was called, would abort the process 3 s later
    raise_if_interrupted()


def _init_patiently(log_to_driver: bool) -> None:
    """On a machine that is busy with much else, Ray's own parts may not find each other in the time that it allows."""
    for attempt in range(1, ATTEMPTS_TO_START + 1):
        try:
            return _init(log_to_driver)
        except Exception as error:  # Ray has no narrower one for this
            if TIMED_OUT not in str(error):
                raise
            ray.shutdown()
            if attempt == ATTEMPTS_TO_START:
                text = f"Ray did not start in {attempt} attempts; is this machine very busy? ({error})"
                raise ClusterLost(text) from error


def _init(log_to_driver: bool) -> None:
    address = os.environ.get("RAY_ADDRESS")
    if address:
        ray.init(address=address, log_to_driver=log_to_driver, logging_level="ERROR")
        return
    ensure_token()
    # A worker that is just starting looks six times so long for a head that died with its driver; Ray's own is 5 s.
    os.environ.setdefault("RAY_gcs_rpc_server_connect_timeout_s", "4")
    # A process for each group of workers that waits for the cloud's word that a node goes; here nobody says it.
    os.environ.setdefault("RAY_TRAIN_ENABLE_PREEMPTION_WATCHER", "0")
    # The dashboard also answers Ray Train's questions about its own actors; it listens on loopback only.
    ray.init(
        address="local", log_to_driver=log_to_driver, logging_level="ERROR", include_dashboard=True,
        dashboard_host="127.0.0.1",
    )


def stop_ray() -> None:
    """Leave the cluster; a local one ends with all its processes."""
    ray.shutdown()


# Short, and others wait for it while they hold the cores; its process is not kept: it holds half a gigabyte.
@ray.remote(num_cpus=0, max_retries=2, max_calls=1)
def _initial(job: EncoderJob, storage: str, board) -> None:
    run_initial(job, storage, lambda progress: board.encoder.remote(progress))


@ray.remote(num_cpus=0, max_retries=0)
def _lane(lane: Lane, shape: Shape) -> None:
    bundle = dict(shape.worker_bundle)
    scaling = ScalingConfig(
        num_workers=shape.workers, use_gpu="GPU" in bundle, resources_per_worker=bundle,
        # Ray is asked for next to no CPU, and would put all on one host; GPUs of one host are near each other.
        placement_strategy="PACK" if "GPU" in bundle else "SPREAD",
    )
    pretrain_all(lane, scaling)


@ray.remote(num_cpus=0, max_retries=0)
def _end_process(process: Process) -> None:
    """Run on the node of a process that hangs: a stopped one does not answer Ray, but it can be killed."""
    if birth_of(process.pid) == process.birth:  # else its number is another's by now
        with suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGKILL)


class Execution:
    """One pass over everything that is ready: encoders in lanes, cells by Ray Tune, hangs ended."""

    def __init__(
        self, pending: Pending, all_cells: tuple[Cell, ...], done: set[str], store: Store, data_folders: dict[str, str],
        counts: dict[str, dict[str, int]], resources: Resources,
    ):
        """done: folders that are finished; counts: source -> images of each split."""
        # What only steers stays with the driver: a worker's node may go, and one cut off may hold a task for minutes.
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        self.here, self.head = {"scheduling_strategy": here}, Head()
        self.store, self.resources, self.board = store, resources, Board.options(**self.here).remote()
        jobs = [encoder_job(run, data_folders) for run in longest_first(pending.encoders, counts)]
        self.initial = [job for job in jobs if not job.is_pretraining]
        self.pretrainings = tuple(job for job in jobs if job.is_pretraining)
        initial = tuple(job.folder for job in self.initial)
        self.turns = Turns.options(**self.here).remote(len(self.pretrainings), initial)
        self.shape = shape_of(resources, machines_at_most(), len(self.pretrainings))
        groups = groups_in_order(pending.cells, all_cells, counts)
        self.jobs, self.tasks = downstream_jobs(groups, all_cells, data_folders, resources, self.shape.on_gpus)
        self.limits = {i: time_limit(task, resources, self.shape.on_gpus) for i, task in enumerate(self.tasks)}
        self.done = {name for task in self.tasks for name in task.needs if name in done}
        self.owners: dict[Any, str | EncoderJob | None] = {}
        self.looked_at = -1e9
        self.deaths = 0

    def run(self, show: Callable[[News], None]) -> None:
        """To the end. Failures are in the store when this returns; it raises only for its own."""
        for job in self.initial:
            options = {"name": f"initial-{job.name}", **self.here}
            self.owners[_initial.options(**options).remote(job, self.store.uri, self.board)] = job
        if self.jobs:
            self._start_cells()
        self._start_lanes()
        while self.owners:
            raise_if_interrupted()
            finished, _ = ray.wait(list(self.owners), num_returns=1, timeout=POLL_SECONDS)
            for ref in finished:
                self._settle(ref, self.owners.pop(ref))
            if time.monotonic() - self.looked_at > LOOK_SECONDS or finished:
                self.looked_at = time.monotonic()
                self.head.check()
                self._start_lanes()
                self._end_hangs()
            show(self.head.get(self.board.take.remote()))
        time.sleep(0.1)  # events sent just before the end
        show(self.head.get(self.board.take.remote()))

    def _start_cells(self) -> None:
        work = CellWork(
            self.jobs, self.tasks, self.done, self.store.uri, self.resources, self.shape,
            tuple(job.folder for job in self.pretrainings), self.board,
        )
        self.owners[fan_out.options(**self.here).remote(work)] = None

    def _start_lanes(self) -> None:
        """As many groups of workers as the machines, now or when they have grown, can hold."""
        if not self.pretrainings:
            return
        running = sum(isinstance(owner, str) for owner in self.owners.values())
        left, waiting = self.head.get([self.turns.left.remote(), self.turns.num_waiting.remote()])
        wanted = max(1, lanes_wanted(self.shape, machines_at_most(), left))
        for _ in range(min(wanted - running, waiting)):
            name = f"pretrain-{uuid.uuid4().hex[:6]}"
            lane = Lane(name, self.pretrainings, self.turns, self.store.uri, self.resources, self.board)
            self.owners[_lane.options(name=name, **self.here).remote(lane, self.shape)] = name

    def _end_hangs(self) -> None:
        """What is over its limit, and what is stopped between two jobs, which has none."""
        overdue = self.board.overdue.remote(self.limits)
        silent = self.board.silent.remote(silence_limit(self.resources))
        for process in {process for named in self.head.get([overdue, silent]) for process in named}:
            where = NodeAffinitySchedulingStrategy(process.node, soft=False)
            _end_process.options(scheduling_strategy=where).remote(process)

    def _settle(self, ref: Any, owner: str | EncoderJob | None) -> None:
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
            turn = self.head.get(self.turns.give_back.remote(owner, error is not None and may_begin_again))
            if turn is not None:
                self._fail_open(self.pretrainings[turn], error)
        else:
            self.turns.settled.remote(owner.folder)
            self._fail_open(owner, error)

    def _fail_open(self, job: EncoderJob, error: Exception | None) -> None:
        """What has neither result nor failure has failed."""
        files, error = self.store.files, error or RuntimeError("ended without a result")
        if not is_done(files, job.folder) and not files.exists(f"{job.folder}/{FAILED}"):
            fail(job, files, error, lambda progress: self.board.encoder.remote(progress))


def silence_limit(resources: Resources) -> float:
    """Seconds after which a silent process counts as stopped: not so few that a busy one is taken for it."""
    return max(resources.cell_time_limit_seconds or LEAST_LIMIT_SECONDS, MOST_MISSED * ALIVE_SECONDS)


def time_limit(task: Task, resources: Resources, on_gpus: bool) -> float:
    """Seconds after which a job of cells counts as hanging: far more than its forecast, or what Resources says."""
    if resources.cell_time_limit_seconds is not None:
        return resources.cell_time_limit_seconds
    rate = FLOPS_PER_SECOND["V100" if on_gpus else "CPU core"]
    return LEAST_LIMIT_SECONDS + LIMIT_TIMES_FORECAST * task.work / rate
