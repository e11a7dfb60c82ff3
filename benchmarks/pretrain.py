"""How much of a pretraining step is waiting for data, and what does a pretraining cost before its first step?

python -m benchmarks.pretrain [--quick]. Streamed: Ray Data from Parquet shards. Resident: the same loop on the same
batches from one array. The two alternate in slices of some seconds within one process; their losses are checked equal.
Once with a small backbone, once with a model that only takes 1 ms, where the views' and the pipeline's own limit shows.
And how long the loop waits for a checkpoint, on a storage that takes seconds for one.
One JSON line for each figure on stdout, a table on stderr.
"""

import argparse
import contextlib
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from benchmarks.shared import checkpoint_costs
from benchmarks.shared.common import report, row
from benchmarks.shared.own_ray import own_ray
from benchmarks.shared.small_storage import built, image_counts, trivial_study
from benchmarks.views import one_core
from datasets_io.corpus.read import read_manifest
from datasets_io.storage.files import Files
from sweep.cli.logging import silence_libraries
from sweep.engine.execution import Execution
from sweep.store.store import Store
from sweep.studies import demo
from sweep.studies.cell import EncoderRun
from sweep.studies.plan import Pending
from trainables.pretraining.encoder_job import EncoderJob
from trainables.pretraining.task import Pretraining
from trainables.pretraining.worker_group import open_corpus
from trainables.recipe import PretrainRecipe, Resources
from trainables.training.loop import LoopState, train_step

CORPUS = "mimic_cxr"
CHECKED_STEPS = 10
STUB_SECONDS = 0.001


@dataclass(frozen=True)
class Size:
    """slice_seconds: of one side before the other runs; seconds: of each side in all, after warm_up_seconds.

    epochs: more than any side comes to. runs: as one study; alone: how many of them are timed in a group of their own.
    """

    images: int
    epochs: int
    batch: int
    image_size: int
    warm_up_seconds: float
    slice_seconds: float
    seconds: float
    runs: int
    alone: int


FULL = Size(1200, 1500, 64, 48, 10.0, 3.0, 60.0, 3, 3)
QUICK = Size(150, 150, 16, 32, 0.1, 0.1, 0.2, 2, 1)


class Side:
    """One loop with its own stream; keeps the rate of each slice, the seconds of all, and of these the waiting."""

    def __init__(self, task: Pretraining, step: Callable, warm_up_seconds: float):
        self.batches, self.step = task.stream(0), step
        self.rates: list[float] = []
        self.seconds, self.waiting = 0.0, 0.0
        self.run_for(warm_up_seconds)
        self.rates.clear()
        self.seconds, self.waiting = 0.0, 0.0

    def run_for(self, seconds: float) -> None:
        started, steps = time.perf_counter(), 0
        while (before := time.perf_counter()) - started < seconds:
            batch = next(self.batches)
            self.waiting += time.perf_counter() - before
            self.step(batch)
            steps += 1
        lasted = time.perf_counter() - started
        self.rates.append(steps / lasted)
        self.seconds += lasted

    @property
    def rate(self) -> float:
        """Steps a second in the median of its slices: the machine has moments at which it does something else."""
        return statistics.median(self.rates)


def recipe_of(size: Size) -> PretrainRecipe:
    """The demo's SimCLR."""
    recipe = next(item.recipe for item in demo().rows if item.name == "simclr")
    views = tuple((name, replace(spec, size=size.image_size)) for name, spec in recipe.views)
    backbone = replace(recipe.backbone, image_size=size.image_size)
    return replace(
        recipe,
        backbone=backbone,
        views=views,
        num_epochs=size.epochs,
        global_batch_size=size.batch,
        schedule="constant",
    )


def make_task(job: EncoderJob, store: Store, resident: bool) -> Pretraining:
    resources = Resources(resident_bytes=1 << 40 if resident else 0)
    corpus = open_corpus(job, store.uri, resources)
    return Pretraining(job.recipe, job.seed, corpus, resources, None, torch.device("cpu"))


def training_step(task: Pretraining) -> Callable:
    state = LoopState()
    task.model.train()
    return lambda batch: train_step(task, task.optimizer, task.loop_plan, state, batch)


def check_equal_losses(job: EncoderJob, store: Store) -> float:
    """After ten steps from one start, streamed and resident. Raises ArithmeticError where a weight differs."""
    weights = []
    for resident in (False, True):
        task = make_task(job, store, resident)
        step, batches = training_step(task), task.stream(0)
        for _ in range(CHECKED_STEPS):
            step(next(batches))
        batches.close()
        weights.append(torch.cat([p.detach().flatten() for p in task.model.parameters()]))
    apart = float((weights[0] - weights[1]).abs().max())
    if apart > 0:
        raise ArithmeticError(f"streamed and resident training differ by {apart} after {CHECKED_STEPS} steps")
    return apart


def waiting(kind: str, job: EncoderJob, store: Store, size: Size) -> list[dict]:
    """Images a second of both sides, and the share of its time that the streamed side waited."""
    sides = {}
    for name in ("streamed", "resident"):
        task = make_task(job, store, name == "resident")
        step = training_step(task) if kind == "small_backbone" else lambda batch: time.sleep(STUB_SECONDS)
        sides[name] = Side(task, step, size.warm_up_seconds)
    while sides["resident"].seconds < size.seconds:
        for side in sides.values():
            side.run_for(size.slice_seconds)
    for side in sides.values():
        side.batches.close()
    rates = {name: side.rate * size.batch for name, side in sides.items()}
    streamed = sides["streamed"]
    return [
        row(
            "pretrain",
            f"{kind}_{size.image_size}px",
            "images/s",
            rates["streamed"],
            limit=rates["resident"],
            limit_name="the same loop from one resident array",
            higher_is_better=True,
        ),
        row("pretrain", f"{kind}_{size.image_size}px_share_waiting_for_data", "1", streamed.waiting / streamed.seconds),
    ]


def start_up(recipe: PretrainRecipe, store: Store, folders: dict[str, str], size: Size) -> list[dict]:
    """Seconds of runs of one epoch, as the command executes them: one at a time, and all as one study."""
    counts = image_counts(store, folders)
    short = replace(recipe, num_epochs=1)

    def seconds_of(seeds: range) -> float:
        encoders = tuple(EncoderRun("simclr", seed, short, CORPUS, "made-up") for seed in seeds)
        left = Pending(encoders, (), (), (), ())
        started = time.perf_counter()
        Execution(left, (), set(), store, folders, counts, Resources()).run(lambda progress: None)
        seconds = time.perf_counter() - started
        if {store.folder(run) for run in encoders} - store.done_and_failed()[0]:
            raise ArithmeticError("a pretraining left no result")
        return seconds

    runs = size.runs
    alone = runs * statistics.mean(seconds_of(range(seed, seed + 1)) for seed in range(size.alone))
    shared = seconds_of(range(runs, 2 * runs))
    return [
        row(
            "pretrain",
            f"{runs}_runs_of_one_epoch",
            "s",
            shared,
            peer=alone,
            peer_name="a group of Ray Train workers for each run",
        ),
        row("pretrain", "start_up_of_a_group", "s", max(1e-9, (alone - shared) / (runs - 1))),
    ]


def figures(root: Path, size: Size) -> Iterator[dict]:
    store, _, folders = built(trivial_study(1, 1, size.image_size, size.images), root)
    job = EncoderJob("bench", "bench", "encoders/bench", recipe_of(size), 0, folders[CORPUS])
    num_train = read_manifest(Files(store.uri), folders[CORPUS]).counts["splits"]["train"]["images"]
    if num_train < size.batch:
        raise ArithmeticError(f"{num_train} images do not fill a batch of {size.batch}")
    with own_ray():
        with one_core():
            apart = check_equal_losses(job, store)
            yield row("pretrain", "largest_difference_streamed_from_resident", "weight", apart)
            for kind in ("small_backbone", "stub_of_1_ms"):
                yield from waiting(kind, job, store, size)
        yield from start_up(job.recipe, store, folders, size)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.pretrain", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few images and seconds: checks that it works")
    size = QUICK if parser.parse_args(arguments).quick else FULL
    silence_libraries()
    waits = checkpoint_costs.figures(checkpoint_costs.QUICK if size is QUICK else checkpoint_costs.FULL)
    with contextlib.redirect_stdout(sys.stderr), tempfile.TemporaryDirectory(prefix="radsweep-pretrain-") as folder:
        rows = list(figures(Path(folder), size))
    report([*rows, *waits])
    return 0


if __name__ == "__main__":
    sys.exit(main())
