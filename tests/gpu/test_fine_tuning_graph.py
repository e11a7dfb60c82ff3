"""On a GPU: is a fine-tuning that replays a CUDA graph the one that is run, alone and beside others, without waits?"""

import logging
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor
from tuned import ALL, DECAYED, HEAD, RECIPE, Attention, Case, Convolutions, tensors

from trainables.evaluation.tuning.device_images import TrainingImages, image_budget
from trainables.evaluation.tuning.seeds import side_by_side
from trainables.evaluation.tuning.static_steps import StaticSteps
from trainables.recipe import DownstreamRecipe
from trainables.training.capture import CudaGraphs, StepCapture, noticing_waits
from trainables.training.loop import LoopState
from trainables.training.precision import resolve

pytestmark = pytest.mark.gpu
MANY = replace(RECIPE, num_epochs=30)
CASES = {
    "float32, dropout, mirrors, a last batch of one image": Case(device="cuda"),
    "weight decay, a rate that falls, a last batch of three": Case(DECAYED, count=35, device="cuda"),
    "images sent batch by batch": Case(budget=0, device="cuda"),
    "attention and stochastic depth": Case(network=Attention, device="cuda"),
    "a head, with batch statistics that adapt": Case(
        replace(RECIPE, linear_probe_bn_eval=False), phase=HEAD, device="cuda"
    ),
    "bfloat16": Case(half=torch.bfloat16, device="cuda"),
    "float16, whose gradients are scaled": Case(half=torch.float16, device="cuda"),
}


class Reading(Convolutions):
    """Reads a number in its forward pass, which no graph can hold."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * (1.0 if x.mean().item() > -9 else 2.0)


@pytest.fixture(autouse=True)
def one_order():
    """The device adds in one order: what is the same computation gives the same bits."""
    resolve("float32", torch.device("cuda"), deterministic=True)
    yield
    resolve("float32", torch.device("cuda"))


def made(cases: list[Case], capture: StepCapture | None) -> list[StaticSteps]:
    tasks = [case.task() for case in cases]
    rows = np.concatenate([task.rows for task in tasks])
    images = TrainingImages(tasks[0].train_part, rows, tasks[0].device, cases[0].budget)
    return [StaticSteps(task, images, capture) for task in tasks]


def trained(cases: list[Case], capture: StepCapture | None) -> list[tuple[LoopState, dict[str, Tensor]]]:
    trainings = made(cases, capture)
    states = side_by_side(trainings)
    assert all(isinstance(state, LoopState) for state in states), states
    return [(state, tensors(state, one.task)) for state, one in zip(states, trainings, strict=True)]


def apart(one: dict[str, Tensor], other: dict[str, Tensor]) -> list[str]:
    assert one.keys() == other.keys()
    return [name for name in one if not torch.equal(one[name].cpu(), other[name].cpu())]


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_replayed_steps_are_the_ones_that_are_run_bit_for_bit(case, caplog):
    with caplog.at_level(logging.WARNING):
        ((state, replayed),) = trained([case], CudaGraphs(torch.device("cuda")))
    assert not caplog.records, "it was not captured"
    ((expected, run),) = trained([case], None)
    assert apart(replayed, run) == [] and state.history == expected.history


@pytest.mark.parametrize("phase", [ALL, HEAD], ids=["all layers", "a head"])
def test_they_are_near_the_plain_loops_of_the_cpu(phase):
    # Without dropout, whose random numbers on a GPU are others.
    class Without(Convolutions):
        def __init__(self):
            super().__init__()
            self.layers[-1] = torch.nn.Identity()

    case = Case(network=Without, phase=phase)
    task = case.task()
    expected = task.run()
    ((state, _),) = trained([replace(case, device="cuda")], CudaGraphs(torch.device("cuda")))
    for ours, theirs in zip(state.history, expected.history, strict=True):
        assert ours["train_bce"] == pytest.approx(theirs["train_bce"], rel=1e-4)
        assert ours["val_loss"] == pytest.approx(theirs["val_loss"], rel=1e-3)


@pytest.mark.parametrize("network", [Convolutions, Attention])
def test_seeds_on_streams_of_their_own_are_those_of_one_after_another(network):
    cases = [Case(MANY, network, device="cuda", seed=seed) for seed in range(5)]
    together = trained(cases, CudaGraphs(torch.device("cuda")))
    for case, (state, ours) in zip(cases, together, strict=True):
        ((expected, alone),) = trained([case], CudaGraphs(torch.device("cuda")))
        assert apart(ours, alone) == [] and state.history == expected.history


def test_a_step_waits_for_nothing():
    for case in (Case(MANY, device="cuda"), Case(MANY, device="cuda", budget=0), Case(MANY, count=35, device="cuda")):
        (training,) = made([case], CudaGraphs(torch.device("cuda")))
        bounds = training.stream(0)
        for module in training.modules.values():
            module.train()
        for _ in range(training.task.steps_per_epoch):  # the capture, and each size of a batch once
            training.take_step(next(bounds))
        with noticing_waits("error"):
            for _ in range(2 * training.task.steps_per_epoch):
                training.take_step(next(bounds))


@pytest.mark.parametrize("half", [None, torch.float16], ids=["float32", "float16"])
def test_a_network_that_waits_is_run_and_not_captured(half, caplog):
    case = Case(network=Reading, half=half, device="cuda")
    with caplog.at_level(logging.WARNING):
        ((state, ours),) = trained([case], CudaGraphs(torch.device("cuda")))
    assert "the network waits for the GPU inside its step" in caplog.text
    ((expected, run),) = trained([case], None)
    assert apart(ours, run) == [] and state.history == expected.history


def test_after_a_capture_that_failed_random_numbers_are_drawn_as_before(caplog):
    class Failing(CudaGraphs):
        """Fails in the middle of a capture, as a network does that synchronises where no check sees it."""

        def capture(self, step):
            def failing() -> None:
                step()
                if torch.cuda.is_current_stream_capturing():
                    torch.cuda.synchronize()

            return super().capture(failing)

    case = Case(device="cuda")
    with caplog.at_level(logging.WARNING):
        ((state, ours),) = trained([case], Failing(torch.device("cuda")))
    assert "steps are not captured" in caplog.text
    ((expected, run),) = trained([case], None)
    assert apart(ours, run) == [] and state.history == expected.history


def test_images_for_which_the_memory_is_too_small_are_sent_batch_by_batch():
    device = torch.device("cuda")
    free = image_budget(device)
    assert 0 < free <= torch.cuda.get_device_properties(device).total_memory / 2
    held = torch.empty(free // 2, dtype=torch.uint8, device=device)
    assert image_budget(device) <= free - held.numel() // 3
    del held
    torch.cuda.set_per_process_memory_fraction(0.05)
    try:
        assert image_budget(device) <= 0.025 * torch.cuda.get_device_properties(device).total_memory
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)


def test_other_recipes_can_be_captured_in_the_same_process(caplog):
    recipes: list[DownstreamRecipe] = [RECIPE, replace(RECIPE, batch_size=4), DECAYED]
    with caplog.at_level(logging.WARNING):
        for recipe in recipes:
            trained([Case(recipe, device="cuda")], CudaGraphs(torch.device("cuda")))
    assert not caplog.records
