"""How long does a training loop wait for its checkpoints, on a storage that takes seconds for each?"""

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from benchmarks.shared.common import row
from trainables.pretraining.checkpoint_writer import CheckpointWriter, Sealed
from trainables.recipe import Resources

STEP_SIZE = 512  # of the matrices whose product is a step


@dataclass(frozen=True)
class Waits:
    """megabytes: of a state; interval, storage: seconds between checkpoints, and that one takes to be stored."""

    megabytes: int
    interval: float
    storage: float
    seconds: float


FULL = Waits(300, 5.0, 2.0, 30.0)
QUICK = Waits(1, 0.2, 0.1, 0.6)


def state_of(megabytes: int) -> dict:
    return {"model": {f"weight{i}": torch.randn(256, 1024) for i in range(megabytes)}}


def loop(seconds: float, after_step: Callable[[int], None]) -> tuple[int, float]:
    """Steps, and the seconds of them that were spent on what comes after a step."""
    left, right = torch.randn(STEP_SIZE, STEP_SIZE), torch.randn(STEP_SIZE, STEP_SIZE)
    steps, waited, started = 0, 0.0, time.perf_counter()
    while (now := time.perf_counter()) - started < seconds:
        torch.mm(left, right)
        steps += 1
        between = time.perf_counter()
        after_step(steps)
        waited += time.perf_counter() - between
        assert between >= now
    return steps, waited


def figures(size: Waits) -> list[dict]:
    """Seconds of waiting for one checkpoint, and the share of the loop's time at the default interval."""
    state, stored = state_of(size.megabytes), []

    def store(data: memoryview) -> None:
        time.sleep(size.storage)
        stored.append(len(data))

    writer = CheckpointWriter(Resources(checkpoint_every_seconds=size.interval), 0, store)
    _, waited = loop(size.seconds, lambda step: writer.save_when_due(step, lambda: state))
    writer.close()
    ours, since, one = waited / len(stored), time.perf_counter(), Sealed()
    in_step: list[float] = []

    def in_the_step(step: int) -> None:
        nonlocal since
        if time.perf_counter() - since >= size.interval:
            began = time.perf_counter()
            store(one.of(state))
            since = time.perf_counter()
            in_step.append(since - began)

    loop(size.seconds, in_the_step)
    peer = sum(in_step) / len(in_step)
    name = f"checkpoint_of_{size.megabytes}_MB"
    every = Resources().checkpoint_every_seconds
    there = f"written in the step, to a storage that takes {size.storage:g} s"
    return [
        row("pretrain", f"{name}_loop_waits", "s", ours, peer=peer, peer_name=there),
        row("pretrain", f"{name}_share_of_the_loop", "1", ours / every, peer=peer / every, peer_name=there),
    ]
