"""What is pending, run to the end on a Ray cluster: encoders and, as they land, their cells. [ray]"""

import os
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass

import ray
from ray.train import ScalingConfig

from datasets_io.artefacts import is_done
from datasets_io.files import Files
from sweep.board import Board, News
from sweep.cell import Cell, EncoderRun
from sweep.fan_out import fan_out
from sweep.plan import Pending, group_seeds, starts_from
from sweep.store import Store
from trainables.cells import DownstreamJob, SeedTarget
from trainables.encoders import EncoderJob, fail, run_initial
from trainables.pretrain import pretrain_all
from trainables.recipe import Resources
from trainables.registry import PROTOCOLS

POLL_SECONDS = 0.25
LANE_CPU = 0.05


@dataclass(frozen=True)
class Shape:
    """How the work is laid on the machines: decided once from what Ray sees and what Resources asks for."""

    gpus: float
    cpus: float
    workers: int
    worker_bundle: dict[str, float]
    cell_bundle: dict[str, float]
    lanes: int
    max_concurrent_cells: int
    cells_beside_lanes: int


def shape_of(resources: Resources, cluster: dict[str, float], pretrainings: int) -> Shape:
    """One lane of pretraining for each group of workers that half the machines can hold, at least one.

    The other half serves cells, which come as soon as encoders land; when the lanes end, cells take all.
    """
    gpus, cpus = cluster.get("GPU", 0.0), cluster.get("CPU", 1.0)
    per_worker = resources.gpus_per_worker if resources.gpus_per_worker is not None else (1.0 if gpus else 0.0)
    per_cell = resources.gpus_per_cell if resources.gpus_per_cell is not None else (1.0 if gpus else 0.0)
    workers = resources.pretrain_workers or (max(1, min(4, int(gpus))) if gpus else 1)
    worker = {"CPU": float(resources.cpus_per_worker), "GPU": per_worker} if per_worker else {"CPU": LANE_CPU}
    slots = int(gpus / per_worker) if per_worker else int(cpus / resources.cpus_per_worker)
    lanes = min(pretrainings, max(1, slots // (2 * workers)))
    cells = int(gpus / per_cell) if per_cell else int(cpus / resources.cpus_per_cell)
    if workers > slots:
        raise ValueError(
            f"a pretraining needs {workers} workers of {worker}, but the cluster has {cpus:g} CPU and {gpus:g} GPU; "
            "lower Resources.pretrain_workers or add machines"
        )
    most = resources.max_concurrent_cells or max(1, cells)
    if per_cell:
        cell = {"CPU": float(resources.cpus_per_cell), "GPU": per_cell}
        beside = max(0, min(most, int((gpus - lanes * workers * per_worker) / per_cell)))
    else:
        # Without GPUs pretrainings and cells share the cores: pretraining asks Ray for next to nothing, cells for
        # the rest, in equal parts of which one more would not fit.
        cell, beside = {"CPU": (cpus - lanes * workers * LANE_CPU) / most}, most
    return Shape(gpus, cpus, workers, worker, cell, lanes, most, beside)


def encoder_job(run: EncoderRun, data_folders: dict[str, str]) -> EncoderJob:
    return EncoderJob(
        str(run), run.key, Store.folder(run), run.recipe, run.pretrain_seed,
        data_folders[run.corpus] if run.corpus else None, Store.folder(run.parent) if run.parent else None,
    )


def downstream_jobs(
    cells: tuple[Cell, ...], all_cells: tuple[Cell, ...], data_folders: dict[str, str], keep_tuned_weights: bool = True
) -> tuple:
    """Jobs in the order in which they should start: what others wait for first, then the longest."""
    starts = starts_from(all_cells)
    kept_seed = min((cell.seed for cell in all_cells), default=None) if keep_tuned_weights else None
    needed = {cell.protocol for cell in starts.values()}
    jobs = []
    for group in group_seeds(cells):
        first = group[0]
        targets = tuple(
            SeedTarget(
                str(c), c.key, c.seed, Store.folder(c), Store.folder(starts[c.key]) if c.key in starts else None,
                keep_weights=c.key in starts and c.seed == kept_seed,
            )
            for c in group
        )
        jobs.append(
            DownstreamJob(
                PROTOCOLS[first.protocol], first.label_percent, first.recipe, first.encoder.recipe.backbone,
                Store.folder(first.encoder), data_folders[first.dataset], targets,
            )
        )

    def order(job: DownstreamJob) -> tuple:
        return (job.protocol.name not in needed, -job.label_percent * job.recipe.num_epochs, job.name)

    return tuple(sorted(jobs, key=order))


def start_ray(log_to_driver: bool = False) -> None:
    """Join the cluster that RAY_ADDRESS names, or start a local one that nothing else joins."""
    os.environ.setdefault("RAY_TRAIN_V2_ENABLED", "1")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    address = os.environ.get("RAY_ADDRESS")
    if address:
        ray.init(address=address, log_to_driver=log_to_driver, logging_level="ERROR")
        return
    # The dashboard also answers Ray Train's questions about its own actors; it listens on loopback only.
    ray.init(
        address="local", log_to_driver=log_to_driver, logging_level="ERROR", include_dashboard=True,
        dashboard_host="127.0.0.1",
    )


def stop_ray() -> None:
    """Leave the cluster; a local one ends with all its processes."""
    ray.shutdown()


@ray.remote(num_cpus=0, max_retries=2)  # short, and others wait for it while they hold the cores
def _initial(job: EncoderJob, storage: str, board) -> None:
    run_initial(job, storage, lambda progress: board.encoder.remote(progress))


@ray.remote(num_cpus=0, max_retries=0)
def _lane(jobs: list[EncoderJob], storage: str, resources: Resources, shape: Shape, name: str, board) -> None:
    scaling = ScalingConfig(
        num_workers=shape.workers, use_gpu="GPU" in shape.worker_bundle, resources_per_worker=shape.worker_bundle
    )
    pretrain_all(jobs, storage, resources, scaling, name, board)


def execute(
    pending: Pending, all_cells: tuple[Cell, ...], store: Store, data_folders: dict[str, str], resources: Resources,
    show: Callable[[News], None],
) -> None:
    """Run everything pending. Failures are in the store when this returns; it raises only for its own."""
    jobs = [encoder_job(run, data_folders) for run in pending.encoders]
    initial = [job for job in jobs if not job.is_pretraining]
    pretrainings = [job for job in jobs if job.is_pretraining]
    shape = shape_of(resources, ray.cluster_resources(), len(pretrainings))
    board = Board.remote()
    owners: dict = {_initial.remote(job, store.uri, board): [job] for job in initial}
    lane_jobs = [pretrainings[lane :: shape.lanes] for lane in range(shape.lanes)] if pretrainings else []
    for number, share in enumerate(lane_jobs):
        name = f"pretrain-{uuid.uuid4().hex[:6]}-{number}"
        owners[_lane.remote(share, store.uri, resources, shape, name, board)] = share
    cells = downstream_jobs(pending.cells, all_cells, data_folders, resources.keep_tuned_weights)
    if cells:
        made = tuple(job.folder for job in pretrainings)
        cells_ref = fan_out.remote(
            cells, store.uri, resources, shape.cell_bundle, shape.max_concurrent_cells, shape.cells_beside_lanes, made,
            board,
        )
        owners[cells_ref] = []
    waiting = list(owners)
    while waiting:
        finished, waiting = ray.wait(waiting, num_returns=1, timeout=POLL_SECONDS)
        for ref in finished:
            _settle(ref, owners[ref], store.files, board)
        show(ray.get(board.take.remote()))
    time.sleep(0.1)  # events sent just before the end
    show(ray.get(board.take.remote()))


def _settle(ref, jobs: list[EncoderJob], files: Files, board) -> None:
    """After a piece of work ended: whatever of its encoders has neither result nor failure has failed."""
    try:
        ray.get(ref)
        error: Exception = RuntimeError("ended without a result")
    except ray.exceptions.RayError as caught:
        if not jobs:
            raise
        error = caught
    for job in jobs:
        if not is_done(files, job.folder) and not files.exists(f"{job.folder}/failed.json"):
            fail(job, files, error, lambda progress: board.encoder.remote(progress))


