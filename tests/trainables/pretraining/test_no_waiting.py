"""A step of pretraining waits for a GPU nowhere: shown with a GPU that computes nothing, for every method."""

from collections import Counter

import pytest
import torch
from small_pretraining import BASE, HEAD, corpus, recipe_of

from benchmarks.shared.pretended_gpu import GPU, NoWaiting, Waits, pretended_gpu
from trainables.networks.heads import HeadSpec
from trainables.networks.text import TextTower
from trainables.objectives.barlow_twins import BarlowTwinsConfig
from trainables.objectives.convirt import ConvirtConfig
from trainables.objectives.joint import JointSettings
from trainables.objectives.vicreg import VicRegConfig
from trainables.pretraining.task import Pretraining
from trainables.recipe import Resources
from trainables.registry import METHODS, objective_config
from trainables.training import loop
from trainables.training.loop import LoopState, LossWatch, TrainingDiverged, train_step

NARROW = HeadSpec(dims=(16, 16), norm="batch", act="relu", bias_last=False)
PARTS = {
    **BASE,
    "convirt": ConvirtConfig(image_head=HEAD, text_head=HEAD, frozen_layers=1),
    "vicreg": VicRegConfig(expander=NARROW),
    "barlow_twins": BarlowTwinsConfig(projector=NARROW),
}


def step_on_a_gpu(method: str, workers: int = 1, between=lambda task: None, **changes) -> Counter:
    """The operators of a second step; the first one may wait. between: is called before it."""
    objective = objective_config(method, PARTS, JointSettings())
    recipe = recipe_of(method, objective=objective, **changes)
    with pretended_gpu(workers):
        # In this thread: a dispatch mode sees its own only.
        task = Pretraining(recipe, 0, corpus(), Resources(prefetch_batches=0), None, GPU)
        task.model.train()
        state, batches, watch = LoopState(), task.stream(0), LossWatch()
        with NoWaiting(Counter(), strict=False) as mode:
            train_step(task, task.optimizer, task.loop_plan, state, next(batches), watch)
            mode.strict, mode.seen = True, Counter()
            between(task)
            train_step(task, task.optimizer, task.loop_plan, state, next(batches), watch)
        return mode.seen


@pytest.fixture(autouse=True)
def losses_are_looked_at_in_each_step(monkeypatch):
    monkeypatch.setattr(loop, "LOOK_EVERY", 1)


@pytest.mark.parametrize("method", METHODS)
def test_no_step_of_two_workers_waits(method):
    assert step_on_a_gpu(method, workers=2)["_fused_adamw_"] == 1


@pytest.mark.parametrize("method", ["clip", "mocov2"])
def test_no_step_of_one_worker_waits(method):
    assert step_on_a_gpu(method)["_fused_adamw_"] == 1


def test_no_step_in_chunks_waits():
    assert step_on_a_gpu("clip+simclr", workers=2, gradient_cache_chunk=4)["_fused_adamw_"] == 1


def ask_for_lengths(task: Pretraining) -> None:
    forward = TextTower.forward
    for part in task.model.modules():
        if isinstance(part, TextTower):
            part.forward = lambda ids, mask, lengths, part=part: forward(part, ids, mask)


def narrow_masks(task: Pretraining) -> None:
    for part in task.model.modules():
        if isinstance(part, TextTower):
            part.takes_wide_masks = False


def look_at_the_step(task: Pretraining) -> None:
    task.model.objective.after_step = lambda backbone: int(task.model.objective.step)


@pytest.mark.parametrize(
    ("method", "mistake"), [("clip", ask_for_lengths), ("clip", narrow_masks), ("mocov2", look_at_the_step)]
)
def test_a_step_that_asks_the_gpu_is_noticed(method, mistake):
    with pytest.raises(Waits):
        step_on_a_gpu(method, between=mistake)


@pytest.mark.parametrize(
    "wait",
    [
        lambda x: x.sum().item(),
        lambda x: bool((x > 0).all()),
        lambda x: float(x[0]),
        lambda x: x.tolist(),
        lambda x: x.nonzero(),
        lambda x: x[x > 0],
        lambda x: torch.equal(x, x),
        lambda x: x.masked_select(x > 0),
        lambda x: x.unique(),
        lambda x: x.cpu(),
        lambda x: torch.zeros(4).copy_(x),
        lambda x: torch.zeros(4).to(GPU),
        lambda x: torch.tensor([1.0, 2.0], device=GPU),
        lambda x: x.copy_(torch.zeros(4)),
        lambda x: x[torch.tensor([0, 1])],
    ],
)
def test_what_waits_is_noticed(wait):
    x = torch.zeros(4, device=GPU)
    with pytest.raises(Waits), NoWaiting(Counter()):
        wait(x)


def test_what_does_not_wait_is_let_through():
    seen = Counter()
    with NoWaiting(seen):
        x = torch.arange(4, device=GPU)
        host = (x + 1).to("cpu", non_blocking=True)
        assert torch.equal(host, torch.zeros(4, dtype=torch.long))
        x.copy_(host, non_blocking=True)
        assert int(host.sum()) == 0
    assert seen == {"arange": 1, "add": 1, "_to_copy": 1, "copy_": 1}


def test_a_loss_that_is_not_finite_is_told_at_the_next_look(monkeypatch):
    """Of another step than the one at which it is told, so it must name it; all workers tell it at the same step."""
    monkeypatch.setattr(loop, "LOOK_EVERY", 3)
    watch, losses = LossWatch(), {"a": torch.zeros((), device=GPU)}
    with NoWaiting(Counter()):
        for step in range(6):
            watch.look(losses, LoopState(step=step))
    watch.copied = {"a": torch.tensor(float("nan"))}
    with NoWaiting(Counter()), pytest.raises(TrainingDiverged, match="not finite at step 3: a=nan"):
        for step in range(6, 9):
            watch.look(losses, LoopState(step=step))
