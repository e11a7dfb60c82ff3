"""Is fine-tuning with a captured step the plain loop's, bit for bit, and is a mistake in what feeds the step seen?"""

import gc
import logging
import weakref
from collections import Counter
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from tuned import DECAYED, EPOCHS, HEAD, RECIPE, SIDE, Attention, Case, Convolutions, tensors

from benchmarks.shared.pretended_gpu import GPU, KERNELS, NoWaiting, Waits, pretended_gpu
from trainables.evaluation.supervised import Supervised
from trainables.evaluation.tuning import static_steps
from trainables.evaluation.tuning.device_images import StaticBatches, TrainingImages
from trainables.evaluation.tuning.static_steps import StaticSteps
from trainables.training.recorded import RecordedSteps
from trainables.views.backbone_input import BackboneInput
from trainables.views.evaluation_spec import EvalSpec
from trainables.views.preprocessing import Preprocessing


class Reading(Convolutions):
    """Reads a number in its forward pass, which no graph can hold."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * (1.0 if x.mean().item() > -9 else 2.0)


ONE_CHANNEL = BackboneInput(EvalSpec(10, flip_p=0.5), SIDE, Preprocessing(SIDE, channels=1, mean=(0.4,), std=(0.2,)))
CASES = {
    "dropout, batch norm, mirrors, a last batch of one image": Case(),
    "weight decay, a rate that falls, a last batch of three": Case(DECAYED, count=35),
    "images sent batch by batch": Case(budget=0),
    "no smaller batch, no mirrors": Case(replace(RECIPE, eval_spec=EvalSpec(10)), count=32),
    "attention and stochastic depth": Case(network=Attention),
    "a head, with batch statistics that adapt": Case(replace(RECIPE, linear_probe_bn_eval=False), phase=HEAD),
    "a head, with batch statistics that stand": Case(phase=HEAD),
    "bfloat16": Case(half=torch.bfloat16),
    "float16, whose gradients are scaled": Case(half=torch.float16),
    "an encoder's own preprocessing": Case(sees=ONE_CHANNEL),
}


def run_static(case: Case, capture: RecordedSteps | None) -> tuple[StaticSteps, Supervised]:
    task = case.task()
    images = TrainingImages(task.train_part, task.rows, task.device, case.budget)
    steps = StaticSteps(task, images, capture)
    for _ in steps.steps():
        pass
    return steps, task


def differing(case: Case, capture: RecordedSteps | None) -> list[str]:
    """Names of what is not the plain loop's to the bit."""
    plain, (steps, static) = case.task(), run_static(case, capture)
    state = plain.run()
    assert len(state.history) == EPOCHS
    ours, expected = tensors(steps.state, static), tensors(state, plain)
    assert ours.keys() == expected.keys()
    apart = [name for name in ours if not torch.equal(ours[name], expected[name])]
    if (state.history, state.best_epoch) != (steps.state.history, steps.state.best_epoch):
        apart.append("history")
    if not np.isclose(state.rate_scale, steps.state.rate_scale):
        apart.append("rate")
    return apart


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_a_captured_step_is_the_plain_loops_bit_for_bit(case, caplog):
    with caplog.at_level(logging.WARNING):
        assert differing(case, RecordedSteps()) == []
    assert not caplog.records, "it was not captured"


def test_without_capture_the_static_step_is_the_plain_loops_too():
    assert differing(CASES["weight decay, a rate that falls, a last batch of three"], None) == []


def test_the_rate_falls_and_gradients_overflow_where_the_cases_say_so():
    steps, _ = run_static(CASES["weight decay, a rate that falls, a last batch of three"], RecordedSteps())
    assert steps.state.rate_scale == 0.25 and steps.state.best_epoch == 0
    scaled, _ = run_static(CASES["float16, whose gradients are scaled"], RecordedSteps())
    assert scaled.scaler.get_scale() > 1


def test_python_runs_only_for_what_is_not_replayed(monkeypatch):
    ran = []
    whole = StaticSteps._step
    monkeypatch.setattr(StaticSteps, "_step", lambda self, count: ran.append(count) or whole(self, count))
    run_static(Case(), RecordedSteps())
    assert ran == [8, 8, 8, 1, 1, 1], "three runs for the capture, and each epoch's last image"


def test_a_network_that_cannot_be_captured_runs_as_it_is_and_says_so(caplog):
    with caplog.at_level(logging.WARNING):
        assert differing(Case(network=Reading), RecordedSteps()) == []
        assert differing(Case(network=Reading, half=torch.float16), RecordedSteps()) == []
    assert "steps are not captured, and run as they are: the step reads a number" in caplog.text


def test_out_of_memory_in_a_capture_runs_the_steps_as_they_are(caplog):
    class TooLarge(RecordedSteps):
        def capture(self, step):
            super().capture(step)
            raise torch.OutOfMemoryError("CUDA out of memory")

    with caplog.at_level(logging.WARNING):
        assert differing(Case(), TooLarge()) == []
    assert "CUDA out of memory" in caplog.text


def test_a_few_steps_are_not_worth_a_capture(monkeypatch):
    monkeypatch.setattr(RecordedSteps, "capture", lambda self, step: pytest.fail("captured"))
    assert differing(Case(count=11), RecordedSteps()) == []
    assert differing(Case(recipe=replace(RECIPE, batch_size=1), count=12), RecordedSteps()) == []


def steps_without_waiting(budget: int, network: type[nn.Module], seen: Counter) -> None:
    """All steps of a training on a GPU that computes nothing; raises Waits at one for which it would be waited."""
    with pretended_gpu():
        task = Case(DECAYED, network, count=35, budget=budget, device=str(GPU)).task()
        images = TrainingImages(task.train_part, task.rows, task.device, budget)
        steps = StaticSteps(task, images, None)
        pixels, flips, *_ = steps.batches.read(1)
        task.train_part.images_there(task.recipe, pixels, flips)  # mean and deviation are sent once
        for module in steps.modules.values():
            module.train()
        with NoWaiting(seen):
            for batch in steps.stream(0):
                steps.take_step(batch)


@pytest.fixture
def optimiser_of_meta(monkeypatch):
    monkeypatch.setitem(KERNELS, "_fused_adamw_", lambda *tensors: None)  # torch knows no shapes of it with such a rate


@pytest.mark.parametrize("budget", [1 << 20, 0], ids=["images there", "images sent"])
@pytest.mark.parametrize("network", [Convolutions, Attention])
def test_a_step_waits_for_no_gpu(budget, network, optimiser_of_meta):
    seen = Counter()
    steps_without_waiting(budget, network, seen)
    assert seen["_fused_adamw_"] == 2 * EPOCHS * 5, "two groups of parameters in each step"


@pytest.mark.parametrize("of", [lambda self, count: self.total.item(), lambda self, count: self.total.cpu()])
def test_a_step_that_waits_is_told(monkeypatch, optimiser_of_meta, of):
    monkeypatch.setattr(StaticSteps, "_step", of)
    with pytest.raises(Waits):
        steps_without_waiting(1 << 20, Convolutions, Counter())


@pytest.mark.parametrize("capture", [None, RecordedSteps()], ids=["run", "captured"])
def test_what_a_training_held_is_free_as_soon_as_it_is_over(capture):
    steps, task = run_static(Case(), capture)
    held = [weakref.ref(thing) for thing in (steps, task, task.backbone, steps.batches.images)]
    gc.disable()  # a GPU's memory would wait for it
    try:
        del steps, task
        assert [thing() for thing in held] == [None] * 4
    finally:
        gc.enable()


def kept_rate(optimizer, rate):
    for group in optimizer.param_groups:
        group["lr"] = torch.full((), rate, dtype=torch.float64)


def stays_at_the_first_batch(self, start, stop):
    if start == 0 or stop - start < len(self._now[0]):
        self._now[:, : stop - start].copy_(self._epoch[:, start:stop])


def first_order_for_ever(self, rows, flips, real=StaticBatches.begin_epoch):
    if not len(self._rows):
        real(self, rows, flips)


def without_mirrors(self, count, real=StaticBatches.read):
    pixels, _, targets, known = real(self, count)
    return pixels, None, targets, known


def with_labels_of_other_images(self, count, real=StaticBatches.read):
    pixels, flips, targets, known = real(self, count)
    return pixels, flips, targets.flip(0), known


def all_known(self, count, real=StaticBatches.read):
    pixels, flips, targets, known = real(self, count)
    return pixels, flips, targets, torch.ones_like(known)


def captured_with_its_effects(self, capture):
    self.capture = None
    self._replay = capture.capture(partial(self._step, self.batch_size))


def capture_without_a_fresh_optimiser(self, capture, real=StaticSteps._capture):
    real(self, capture)
    for of_parameter in self.optimizer.state.values():
        of_parameter["step"].fill_(3)


def another_optimiser_for_the_smaller_batch(self, count, real=StaticSteps._step):
    if count == self.batch_size:
        return real(self, count)
    kept, self.optimizer = self.optimizer, torch.optim.Adam(self.task.head.parameters(), 1e-2)
    try:
        return real(self, count)
    finally:
        self.optimizer = kept


def seeded_inside(self, count, real=StaticSteps._step):
    torch.manual_seed(7)
    return real(self, count)


MISTAKES = {
    "the rate is another tensor than the captured one": (static_steps, "set_learning_rate", kept_rate),
    "the batch is the epoch's first": (StaticBatches, "load", stays_at_the_first_batch),
    "the order is the first epoch's": (StaticBatches, "begin_epoch", first_order_for_ever),
    "no image is mirrored": (StaticBatches, "read", without_mirrors),
    "labels are of other images": (StaticBatches, "read", with_labels_of_other_images),
    "unknown labels count": (StaticBatches, "read", all_known),
    "what the capture changed stays": (StaticSteps, "_capture", captured_with_its_effects),
    "the optimiser does not begin at step 0": (StaticSteps, "_capture", capture_without_a_fresh_optimiser),
    "the smaller batch has an optimiser of its own": (StaticSteps, "_step", another_optimiser_for_the_smaller_batch),
    "the seed is Python's, inside the step": (StaticSteps, "_step", seeded_inside),
    "no step has a seed": (Supervised, "seed_step", lambda self, step: None),
}


@pytest.mark.parametrize("mistake", MISTAKES.values(), ids=MISTAKES.keys())
def test_a_mistake_is_seen(mistake, monkeypatch):
    case = CASES["weight decay, a rate that falls, a last batch of three"]
    plain = case.task()
    state = plain.run()
    monkeypatch.setattr(*mistake)
    steps, static = run_static(case, RecordedSteps())
    ours, expected = tensors(steps.state, static), tensors(state, plain)
    assert any(not torch.equal(ours[name], expected[name]) for name in expected if name.startswith("last"))
