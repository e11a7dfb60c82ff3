"""Do two trainings on two streams of one process disturb each other?"""

import contextlib
from collections.abc import Iterator

import torch
from torch import Tensor

from benchmarks.gpu.bench import Bench, check, largest
from benchmarks.gpu.made_up import fine_tuning, labelled, state_copy
from trainables.evaluation.supervised import Supervised
from trainables.training.loop import LoopPlan, LoopState, train_step

STEPS = 6


def stepper(task: Supervised) -> "Iterator[None]":
    """A step at each `next`, as the loop takes them."""
    plan, state = LoopPlan(task.num_epochs, task.steps_per_epoch, 1e-4), LoopState()
    for batch in task.stream(0):
        train_step(task, task.optimizer, plan, state, batch)
        yield


def weights(task: Supervised) -> dict[str, Tensor]:
    return {f"{part}.{name}": value for part, m in task.modules.items() for name, value in state_copy(m).items()}


def trained(bench: Bench, seeds: tuple[int, ...], on_streams: bool) -> list[dict[str, Tensor]]:
    """The weights of each seed after STEPS steps: in turn on a stream each, or one seed after the other."""
    part = labelled(bench.size.images, bench.size.side)
    tasks = [fine_tuning(bench, part, seed, one_order=True) for seed in seeds]
    bench.wait()  # the weights were copied on the stream of now
    if not on_streams:
        for task in tasks:
            steps = stepper(task)
            for _ in range(STEPS):
                next(steps)
    else:
        streams = [torch.cuda.Stream(bench.device) if bench.device.type == "cuda" else None for _ in tasks]
        every = [stepper(task) for task in tasks]
        for _ in range(STEPS):
            for steps, stream in zip(every, streams, strict=True):
                with torch.cuda.stream(stream) if stream is not None else contextlib.nullcontext():
                    next(steps)
    bench.wait()
    return [weights(task) for task in tasks]


def section(bench: Bench) -> Iterator[dict]:
    """The same bits as one after the other, where each step alone has the same bits."""
    alone, together = trained(bench, (0, 1), False), trained(bench, (0, 1), True)
    for seed, (one, other) in enumerate(zip(alone, together, strict=True)):
        yield check(f"seed_{seed}_on_a_stream_of_its_own", "largest difference", largest(one, other), 0.0)
