"""The loop: the rate of every step, the best epoch, early stop, and no result from a loss that is not finite."""

import itertools
import math

import pytest
import torch
from torch import nn

from trainables.recipe import OptimizerSpec
from trainables.training.loop import LoopPlan, LoopState, TrainingDiverged, fit
from trainables.training.optim import build_optimizer, learning_rate
from trainables.training.precision import Compute


class Line:
    """Fits w to 1; `scores` are what validation says epoch by epoch."""

    def __init__(self, scores, rates=None, losses=None):
        self.model = nn.Linear(1, 1, bias=False)
        self.modules = {"model": self.model}
        self.scaler = Compute(torch.device("cpu")).scaler()
        self.scores, self.rates, self.losses = iter(scores), rates, losses
        self.optimizer = build_optimizer(OptimizerSpec("adamw", 1e-2, (0.9, 0.98), 0.01), [self.model])
        self.steps = 0

    def stream(self, start_step):
        return itertools.count(start_step)

    def backward(self, batch, step):
        assert batch == step
        if self.rates is not None:
            self.rates.append(self.optimizer.param_groups[0]["lr"])
        loss = (self.model.weight - 1).pow(2).sum()
        loss.backward()
        scale = float("nan") if self.losses and step == self.losses else 1.0
        return {"square": loss.detach() * scale}

    def after_step(self):
        self.steps += 1

    def evaluate(self):
        assert not self.model.training
        return {"score": next(self.scores)}


def test_every_steps_rate_is_the_closed_form_and_torchs():
    rates = []
    task = Line([0.0] * 4, rates)
    fit(task, task.optimizer, LoopPlan(4, 5, 1e-2, "cosine"), LoopState())
    closed = [1e-2 * 0.5 * (1 + math.cos(math.pi * step / 20)) for step in range(20)]
    assert rates == pytest.approx(closed, abs=1e-15)
    probe = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1e-2)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(probe, T_max=20)
    for rate in rates:
        assert rate == pytest.approx(probe.param_groups[0]["lr"], abs=1e-12)
        probe.step()
        scheduler.step()
    assert probe.param_groups[0]["lr"] == pytest.approx(0, abs=1e-15)


def test_a_rate_stepped_by_epoch_would_be_noticed():
    by_epoch = [learning_rate(1e-2, step // 5, 20, "cosine") for step in range(20)]
    by_step = [learning_rate(1e-2, step, 20, "cosine") for step in range(20)]
    assert by_epoch != pytest.approx(by_step, rel=1e-3)


def test_warmup_rises_to_the_peak():
    assert [learning_rate(1.0, step, 10, "cosine", 4) for step in range(4)] == [0.25, 0.5, 0.75, 1.0]
    assert learning_rate(1.0, 4, 10, "cosine", 4) == 1.0


def test_the_best_epochs_weights_are_kept():
    task = Line([0.1, 0.9, 0.5])
    seen = []
    plan = LoopPlan(3, 4, 1e-2)
    state = fit(task, task.optimizer, plan, LoopState(), on_epoch=lambda s: seen.append(task.model.weight.item()))
    assert state.best_epoch == 1 and state.best_tensors["model"]["weight"].item() == seen[1] != seen[2]
    assert [entry["epoch"] for entry in state.history] == [0, 1, 2] and task.steps == 12


def test_early_stop_waits_for_patience_epochs():
    task = Line([0.5, 0.6, 0.1, 0.2, 0.3, 0.9])
    state = fit(task, task.optimizer, LoopPlan(6, 1, 1e-2, patience=3), LoopState())
    assert state.stopped and state.step == 5 and state.best_epoch == 1


def test_plateau_divides_the_rate():
    rates = []
    task = Line([0.5, 0.4, 0.6, 0.1], rates)
    fit(task, task.optimizer, LoopPlan(4, 1, 1e-2, plateau_factor=0.1), LoopState())
    assert rates == pytest.approx([1e-2, 1e-2, 1e-3, 1e-3])


def test_a_loss_that_is_not_finite_stops_with_its_step():
    task = Line([0.1] * 3, losses=6)
    with pytest.raises(TrainingDiverged, match=r"step 6.*square=nan"):
        fit(task, task.optimizer, LoopPlan(3, 4, 1e-2), LoopState())


def test_unknown_optimiser_names_the_known_ones():
    with pytest.raises(ValueError, match="adam, adamw"):
        build_optimizer(OptimizerSpec("sgd", 1.0, (0.9, 0.9)), [nn.Linear(1, 1)])
