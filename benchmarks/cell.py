"""What does a cell cost beyond its training, in one process and as one of 650 trials, against a plain Tune grid?

python -m benchmarks.cell [--quick]. Overhead: a whole fine-tuning cell (its images and encoder read, its results
published) less the bare training loop, in one process without Ray, as an actor that is kept runs it. End to end: 650
cells of one epoch on 2 cores, Ray's start left out on both sides; the plain grid has a new process for each trial and
is timed on a few trials. One JSON line for each figure on stdout, a table on stderr.
"""

import argparse
import contextlib
import itertools
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch

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
    for target in (target for job in jobs for target in job.targets):
        store.files.remove(target.folder)
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


def plain_grid(jobs: list[DownstreamJob], store: Store, root: Path) -> float:
    """Seconds of the jobs as a Tune grid without reuse of processes."""
    from ray import tune  # here, as in benchmarks/objectives.py

    def trial(config: dict, jobs: list[DownstreamJob], storage: str) -> None:
        torch.set_num_threads(1)
        run_job(jobs[config["job"]], storage, CPU, lambda outcome: None)
        tune.report({"job": config["job"]})

    for target in (target for job in jobs for target in job.targets):
        store.files.remove(target.folder)
    tuner = tune.Tuner(
        tune.with_parameters(trial, jobs=jobs, storage=store.uri),
        param_space={"job": tune.grid_search(list(range(len(jobs))))},
        tune_config=tune.TuneConfig(reuse_actors=False),
        run_config=tune.RunConfig(storage_path=str(root / "tune"), verbose=0),
    )
    started = time.perf_counter()
    tuner.fit()
    seconds = time.perf_counter() - started
    if len(store.done_and_failed()[0] & {t.folder for job in jobs for t in job.targets}) != len(jobs):
        raise ArithmeticError("a trial of the plain grid left no result")
    return seconds


def end_to_end(plan: Plan, store: Store, folders: dict[str, str], root: Path, grid_trials: int) -> list[dict]:
    jobs = fine_tuning_jobs(plan, store, folders)[:grid_trials]
    with own_ray():
        grid = plain_grid(jobs, store, root)
    for target in (target for job in jobs for target in job.targets):
        store.files.remove(target.folder)
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
    return [
        row(
            "cell",
            f"{many}_trivial_cells_end_to_end",
            "s",
            seconds,
            peer=grid / len(jobs) * many,
            peer_name=f"plain Tune grid without reuse ({len(jobs)} trials timed, x {many / len(jobs):.3g})",
        ),
        row("cell", "a_trivial_cell", "s", seconds / many, peer=grid / len(jobs), peer_name="a plain grid's trial"),
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
        rows += end_to_end(plan, store, folders, root, 1 if quick else GRID_TRIALS)
    report(rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
