"""How much of a pretraining step is more than forward and backward, and how often does it wait for the device?"""

import copy
import itertools
from collections.abc import Callable, Iterator

from benchmarks.gpu.bench import Bench, check, figure
from benchmarks.gpu.made_up import pretraining, pretraining_recipe, raw_batch
from benchmarks.shared.made_up_corpus import made_up_corpus
from trainables.batch import Batch
from trainables.pretraining.task import Pretraining
from trainables.training.loop import LoopState, LossWatch, train_step
from trainables.training.precision import scaled_sum

METHODS = ("clip", "simclr", "mocov2", "clip+vicreg")


def whole_step(task: Pretraining) -> Callable[[], None]:
    """Pixels to the device, views, tokens, the loop's step: what a run does for each batch that it has read.

    As in a run the next batches are made meanwhile, on a stream of their own.
    """
    size, state, watch = task.recipe.global_batch_size, LoopState(), LossWatch()
    raw = raw_batch(task.corpus, size)
    made = (task.make_batch(raw, "views", number, size) for number in itertools.count())
    batches = task.feed.batches(made, task.resources.prefetch_batches)

    def step() -> None:
        train_step(task, task.optimizer, task.loop_plan, state, next(batches), watch)

    return step


def alone(task: Pretraining, batch: Batch) -> Callable[[], None]:
    """Forward and backward of a batch that is there, and nothing else."""
    model = copy.deepcopy(task.model)

    def run() -> None:
        with task.compute.autocast():
            losses = model(batch)
        scaled_sum(losses, task.scaler).backward()
        model.zero_grad(set_to_none=True)

    return run


def section(bench: Bench) -> Iterator[dict]:
    """Images a second of whole steps beside forward and backward alone, the views' share, syncs of a step."""
    size = bench.size
    corpus = made_up_corpus(4 * size.pretrain_batch, size.side)
    for method in METHODS:
        recipe = pretraining_recipe(method, size.backbone, size.side, size.pretrain_batch, size.text)
        task = pretraining(recipe, corpus, bench.device)
        raw, numbers = raw_batch(corpus, size.pretrain_batch), itertools.count()
        batch = task.make_batch(raw, "views", 0, size.pretrain_batch)
        step = whole_step(task)
        sides = {
            "whole": step,
            "limit": alone(task, batch),
            "views": lambda t=task, r=raw, n=numbers: t.make_batch(r, "views", next(n), size.pretrain_batch),
        }
        seconds = bench.sides(sides, max(1, size.steps // 4))
        name = f"pretraining_{method}_{size.backbone}_{size.side}px_batch_{size.pretrain_batch}"
        yield figure(
            name,
            "images/s",
            size.pretrain_batch / seconds["whole"],
            limit=size.pretrain_batch / seconds["limit"],
            limit_name="forward and backward alone",
            higher_is_better=True,
        )
        yield figure(f"{name}_batch_of_views_and_tokens", "share of the step", seconds["views"] / seconds["whole"])
        yield check(f"{name}_syncs", "1", bench.syncs(step), 0)
        del task, step, sides
