"""Does a pretraining that is resumed on the device give the same bits, and how long does its loop wait?"""

import time
from collections.abc import Iterator

from benchmarks.gpu.bench import Bench, check, figure, largest
from benchmarks.gpu.made_up import pretraining, pretraining_recipe, raw_batch, small_size, state_copy
from benchmarks.shared.made_up_corpus import made_up_corpus
from trainables.pretraining.checkpoint_writer import CheckpointWriter, Sealed, unsealed
from trainables.pretraining.task import Pretraining
from trainables.recipe import Resources
from trainables.training.loop import LoopState, train_step

STEPS = 3  # before the stop, and after it


def steps_of(task: Pretraining, state: LoopState, count: int) -> None:
    """Whole steps, views included."""
    size = task.recipe.global_batch_size
    raw = raw_batch(task.corpus, size)
    for _ in range(count):
        batch = task.make_batch(raw, "views", state.step, size)
        train_step(task, task.optimizer, task.loop_plan, state, batch)


def resumed(bench: Bench, method: str) -> float:
    """The largest difference of any tensor of a run's state, from the same run that was stopped and went on."""
    backbone, side, batch, text = small_size(bench)
    corpus, once = made_up_corpus(4 * batch, side), Resources(deterministic=True)
    recipe = pretraining_recipe(method, backbone, side, batch, text)

    def begun() -> Pretraining:
        return pretraining(recipe, corpus, bench.device, once)

    whole, state = begun(), LoopState()
    steps_of(whole, state, STEPS)
    data = unsealed(bytes(Sealed().of(whole.state_tree(state))))
    assert data is not None
    steps_of(whole, state, STEPS)
    other = begun()
    steps_of(other, other.load_state(data), STEPS)
    return largest(state_copy(whole.model), state_copy(other.model))


def section(bench: Bench) -> Iterator[dict]:
    """Of a method with queues and one with a text tower; and the wait for a checkpoint of the full-size model."""
    for method in ("clip+mocov2", "vicreg"):
        yield check(f"{method}_resumed", "largest difference", resumed(bench, method), 0.0)
    yield from waits(bench)


def waits(bench: Bench) -> Iterator[dict]:
    """Share of the loop's time at the default interval: the copy to the host, which its next step waits for."""
    size = bench.size
    recipe = pretraining_recipe("clip", size.backbone, size.side, size.pretrain_batch, size.text)
    task = pretraining(recipe, made_up_corpus(2 * size.pretrain_batch, size.side), bench.device)
    state, stored = LoopState(), []

    def store(data: memoryview) -> None:
        time.sleep(size.storage_seconds)
        stored.append(len(data))

    writer = CheckpointWriter(Resources(checkpoint_every_seconds=0.0), 0, store, bench.device)
    waited: list[list[float]] = [[], []]  # seconds of each look, before the first checkpoint is stored, and after
    while len(stored) < 2:
        steps_of(task, state, 1)
        bench.wait()  # else the copy would wait for the step, which the loop does not
        started = time.perf_counter()
        writer.save_when_due(state.step, lambda: task.state_tree(state))
        bench.wait()  # the next step waits for the copy on the device
        waited[bool(stored)].append(time.perf_counter() - started)
    writer.close()
    every, longest = Resources().checkpoint_every_seconds, max(waited[1] or waited[0])  # the first one's memory is new
    yield figure(f"checkpoint_of_{stored[-1] / 1e9:.2f}_GB_loop_waits", "s", longest)
    yield check("checkpoint_share_of_the_loop", "1", longest / every, 0.01)
