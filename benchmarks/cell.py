"""What does a cell cost beyond its training, in one process and as one of 650 trials, against a plain Tune grid?

python -m benchmarks.cell [--quick]. Overhead: a whole fine-tuning cell (its images and encoder read, its results
published) less the bare training loop, in one process without Ray, as an actor that is kept runs it. End to end: 650
cells of one epoch on 2 cores, Ray's start left out on all sides. The peers compute the same jobs by the same function:
a Tune grid with a new process for each trial, timed on a few; a Tune grid that keeps its processes (reuse_actors); and
a pool of as many processes as there are cores, without Ray, which is what a script for one machine needs: it has no
other machine, no leases and no display. Jobs of both that start from others wait for all of those.
Memory: that a process of cells has more for jobs of 100,000 than for one.
One JSON line for each figure on stdout, a table on stderr.
"""

import argparse
import contextlib
import itertools
import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import torch

from benchmarks.shared import job_memory
from benchmarks.shared.common import in_turn, report, row
from benchmarks.shared.own_ray import own_ray
from benchmarks.shared.small_storage import built, image_counts, trivial_study
from benchmarks.views import one_core
from datasets_io.corpus.label_subsets import label_subset
from datasets_io.corpus.read import read_manifest
from sweep.cli.logging import silence_libraries
from sweep.engine.execution import Execution
from sweep.engine.jobs import downstream_jobs, encoder_job
from sweep.engine.schedule import groups_in_order
from sweep.store.store import Store
from sweep.studies.plan import Plan, pending
from trainables.evaluation.cell_job import DownstreamJob, run_job
from trainables.evaluation.dataset import backbone_input, load_parts
from trainables.evaluation.supervised import LabelledImages, Supervised, TrainingSettings, new_head
from trainables.networks.backbones import build_backbone, feature_dim
from trainables.pretraining.encoder_job import run_initial
from trainables.recipe import Resources
from trainables.training.precision import Compute

CPU = Compute(torch.device("cpu"))
NUM_ROWS, SEEDS, GRID_TRIALS, ROUNDS = 13, 5, 6, 15
FEW_ROWS, FEW_SEEDS = 1, 1
JOBS, FEW_JOBS = 100_000, 10_000


def fine_tuning_jobs(plan: Plan, store: Store, folders: dict[str, str]) -> list[DownstreamJob]:
    groups = groups_in_order(plan.cells, plan.cells, image_counts(store, folders))
    jobs, _ = downstream_jobs(groups, plan.cells, folders, Resources(), on_gpus=False)
    return [job for job in jobs if job.protocol.name == "FT" and job.label_percent == 100]


def bare_loop(job: DownstreamJob, store: Store) -> Callable[[], float]:
    """The training loop on what is in memory already."""
    recipe = job.recipe
    manifest, sees = read_manifest(store.files, job.data_folder), backbone_input(job.backbone, recipe)
    parts = load_parts(store.files, job.data_folder, manifest, recipe, sees)

    def run() -> float:
        backbone = build_backbone(job.backbone, seed=0)
        head = new_head(feature_dim(backbone), len(parts.findings), seed=0)
        subset = label_subset(len(parts.train), 100, 0, recipe.subset, parts.train.patient_ids, parts.train.targets)
        settings = TrainingSettings(recipe, job.protocol.last_phase, 0, recipe.num_epochs, recipe.optimizer)
        task = Supervised(backbone, head, LabelledImages(parts.train, subset, parts.val), settings, CPU)
        started = time.perf_counter()
        task.run()
        return time.perf_counter() - started

    return run


def overhead(plan: Plan, store: Store, folders: dict[str, str], rounds: int) -> list[dict]:
    for run in plan.encoders:
        run_initial(encoder_job(run, folders), store.uri, lambda progress: None)
    jobs = [job for job in fine_tuning_jobs(plan, store, folders) if job.data_folder == folders["chexpert"]]
    fresh = itertools.cycle(jobs)

    def cell() -> None:
        job = next(fresh)
        for target in job.targets:
            store.files.remove(target.folder)
        run_job(job, store.uri, CPU, lambda outcome: outcomes.append(outcome.status))

    outcomes: list[str] = []
    with one_core():
        seconds = in_turn({"cell": cell, "loop": bare_loop(jobs[0], store)}, rounds)
    if set(outcomes) != {"done"}:
        raise ArithmeticError(f"cells ended as {sorted(set(outcomes))}")
    remove_cells(jobs, store)
    return [
        row("cell", "overhead_of_a_fine_tuning_cell", "s", max(1e-9, seconds["cell"] - seconds["loop"])),
        row(
            "cell",
            "fine_tuning_cell",
            "s",
            seconds["cell"],
            limit=seconds["loop"],
            limit_name="the bare training loop in the same process",
        ),
    ]


def plain_grid(jobs: list[DownstreamJob], store: Store, root: Path, reuse: bool = False) -> float:
    """Seconds of the jobs as a Tune grid. reuse: whether its processes are kept from one trial to the next."""
    from ray import tune  # here, as in benchmarks/objectives.py

    def trial(config: dict, jobs: list[DownstreamJob], storage: str) -> None:
        torch.set_num_threads(1)
        run_job(jobs[config["job"]], storage, CPU, lambda outcome: None)
        tune.report({"job": config["job"]})

    remove_cells(jobs, store)
    tuner = tune.Tuner(
        tune.with_parameters(trial, jobs=jobs, storage=store.uri),
        param_space={"job": tune.grid_search(list(range(len(jobs))))},
        tune_config=tune.TuneConfig(reuse_actors=reuse),
        run_config=tune.RunConfig(storage_path=str(root / "tune"), verbose=0),
    )
    started = time.perf_counter()
    tuner.fit()
    seconds = time.perf_counter() - started
    check_done(jobs, store, "the plain grid")
    return seconds


def check_done(jobs: list[DownstreamJob], store: Store, whose: str) -> None:
    left = {t.folder for job in jobs for t in job.targets} - store.done_and_failed()[0]
    if left:
        raise ArithmeticError(f"{len(left)} cells of {whose} have no result, such as {min(left)}")


def remove_cells(jobs: list[DownstreamJob], store: Store) -> None:
    for target in (target for job in jobs for target in job.targets):
        store.files.remove(target.folder)


def in_waves(plan: Plan, store: Store, folders: dict[str, str]) -> list[list[DownstreamJob]]:
    """All jobs of the plan: those that start from no other, then those that do."""
    groups = groups_in_order(plan.cells, plan.cells, image_counts(store, folders))
    jobs, _ = downstream_jobs(groups, plan.cells, folders, Resources(), on_gpus=False)
    starting = [any(target.starts_from_folder for target in job.targets) for job in jobs]
    return [[job for job, later in zip(jobs, starting, strict=True) if later == wave] for wave in (False, True)]


def one_job(job: DownstreamJob, storage: str) -> None:
    torch.set_num_threads(1)
    run_job(job, storage, CPU, lambda outcome: None)


def process_pool(waves: list[list[DownstreamJob]], store: Store) -> float:
    """Seconds of all jobs in a pool of processes, whose start counts: they import torch as those of Ray do."""
    started = time.perf_counter()
    context = multiprocessing.get_context("spawn")  # a fork of a process that has used torch's threads may hang
    with ProcessPoolExecutor(min(os.cpu_count() or 1, max(map(len, waves))), mp_context=context) as pool:
        for jobs in waves:
            list(pool.map(one_job, jobs, [store.uri] * len(jobs)))
    seconds = time.perf_counter() - started
    check_done([job for jobs in waves for job in jobs], store, "the pool")
    return seconds


def peers_of(
    plan: Plan, store: Store, folders: dict[str, str], root: Path, grid_trials: int, quick: bool
) -> dict[str, tuple[float, str]]:
    """End of a figure's name -> seconds of all cells by another way, and its name. quick: timed on one job."""
    jobs = fine_tuning_jobs(plan, store, folders)[:grid_trials]
    waves = [jobs] if quick else in_waves(plan, store, folders)
    every, many = [job for jobs in waves for job in jobs], len(plan.cells)
    pool = process_pool(waves, store)
    remove_cells(every, store)
    with own_ray():
        kept = sum(plain_grid(wave, store, root, reuse=True) for wave in waves)
    remove_cells(every, store)
    with own_ray():
        grid = plain_grid(jobs, store, root)
    remove_cells(jobs, store)
    timed = f"{len(jobs)} trials timed, x {many / len(jobs):.3g}"
    return {
        "": (pool, "a pool of processes, without Ray"),
        "_beside_kept_processes": (kept, "Tune grid with reuse_actors"),
        "_beside_a_process_a_trial": (grid / len(jobs) * many, f"Tune grid without ({timed})"),
    }


def end_to_end(plan: Plan, store: Store, folders: dict[str, str], peers: dict[str, tuple[float, str]]) -> list[dict]:
    left = pending(plan, {run.key for run in plan.encoders}, set())
    encoders_done = {store.folder(run) for run in plan.encoders}
    counts = image_counts(store, folders)
    with own_ray():
        started = time.perf_counter()
        Execution(left, plan.cells, encoders_done, store, folders, counts, Resources()).run(lambda progress: None)
        seconds = time.perf_counter() - started
    done, failed = store.done_and_failed()
    finished = sum(store.folder(cell) in done for cell in plan.cells)
    if finished != len(plan.cells):
        raise ArithmeticError(f"{finished} of {len(plan.cells)} cells are done, {len(failed)} failed")
    many = len(plan.cells)
    name, (pool, pool_name) = f"{many}_trivial_cells_end_to_end", peers[""]
    return [
        *(row("cell", name + end, "s", seconds, peer=peer, peer_name=whose) for end, (peer, whose) in peers.items()),
        row("cell", "a_trivial_cell", "s", seconds / many, peer=pool / many, peer_name=pool_name),
    ]


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cell", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="ten cells: checks that it works")
    quick = parser.parse_args(arguments).quick
    silence_libraries()
    study = trivial_study(FEW_ROWS if quick else NUM_ROWS, FEW_SEEDS if quick else SEEDS, 48)
    os.environ["RAY_AIR_NEW_OUTPUT"] = "0"
    with contextlib.redirect_stdout(sys.stderr), tempfile.TemporaryDirectory(prefix="radsweep-cell-") as folder:
        root = Path(folder)
        store, plan, folders = built(study, root)
        rows = overhead(plan, store, folders, 2 if quick else ROUNDS)
        peers = peers_of(plan, store, folders, root, 1 if quick else GRID_TRIALS, quick)
        rows += end_to_end(plan, store, folders, peers)
        with own_ray():
            rows += job_memory.figures(FEW_JOBS if quick else JOBS)
    report(rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
