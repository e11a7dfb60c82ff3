"""One mistake at a time in the code, and the check that must notice it does: the tests can fail."""

from collections.abc import Callable

import pytest
import test_gradient_cache
import test_loop
import test_mocov2
import test_objectives
import test_text
import test_two_workers
import torch
from torch import Tensor
from two_worker_runs import Case, mistaken_cases, one_worker, two_workers

from trainables.networks.text import TextTower
from trainables.objectives import clip, simclr
from trainables.objectives.base import Objective
from trainables.objectives.mocov2 import MocoV2
from trainables.training import gradient_cache, loop, optim

# -- over two workers ------------------------------------------------------------------------------


@pytest.mark.parametrize("case", mistaken_cases(), ids=lambda case: case.name)
def test_a_mistake_over_two_workers_is_noticed(case: Case):
    right = case.name.split(": ")[0]
    test_two_workers.check_equal(two_workers().outcomes[0][right], one_worker(right))
    for outcomes in two_workers().outcomes:
        with pytest.raises(AssertionError):
            test_two_workers.check_equal(outcomes[case.name], one_worker(right))


# -- on one worker ---------------------------------------------------------------------------------


def noticed(check: Callable[..., None], *arguments: str) -> None:
    with pytest.raises(AssertionError):
        check(*arguments)


@pytest.fixture
def shared_queue(monkeypatch):
    original = MocoV2.get_buffer
    monkeypatch.setattr(MocoV2, "get_buffer", lambda self, name: original(self, f"queue_{self.key_views[0]}"))


def test_one_shared_queue_in_symmetric_moco(shared_queue):
    noticed(test_mocov2.check_moco_follows_a_plain_one)


def test_two_momentum_steps_for_one_optimiser_step(monkeypatch):
    original = MocoV2.after_step

    def twice(self: MocoV2, backbone: torch.nn.Module) -> None:
        original(self, backbone)
        original(self, backbone)

    monkeypatch.setattr(MocoV2, "after_step", twice)
    noticed(test_mocov2.check_moco_follows_a_plain_one)


def test_keys_in_one_group(monkeypatch):
    monkeypatch.setattr("trainables.objectives.mocov2.key_groups_per_worker", lambda splits, size, workers: 1)
    noticed(test_mocov2.check_moco_follows_a_plain_one)


def test_keys_of_the_step_among_its_own_negatives(monkeypatch):
    original = MocoV2.losses

    def enqueued_first(self: MocoV2, embeddings: dict[str, Tensor]) -> dict[str, Tensor]:
        with torch.no_grad():
            for view in self.key_views:
                keys, queue = embeddings[f"key_{view}"], self.get_buffer(f"queue_{view}")
                queue[(torch.arange(len(keys)) + self.pointer) % len(queue)] = keys
        return original(self, embeddings)

    monkeypatch.setattr(MocoV2, "losses", enqueued_first)
    noticed(test_mocov2.check_moco_follows_a_plain_one)
    noticed(test_objectives.check_validation_changes_nothing, "mocov2")


def test_batch_statistics_in_the_key_encoders_validation(monkeypatch):
    def train(self: MocoV2, mode: bool = True) -> MocoV2:
        torch.nn.Module.train(self, mode)
        self.key_backbone.train(True)
        return self

    monkeypatch.setattr(MocoV2, "train", train)
    noticed(test_objectives.check_validation_changes_nothing, "mocov2")


def test_vectors_that_are_not_normalised(monkeypatch):
    for module in (clip, simclr):
        monkeypatch.setattr(module, "unit", lambda z: z)
    noticed(test_objectives.check_clip)
    noticed(test_objectives.check_simclr)


def test_losses_in_half_precision(monkeypatch):
    monkeypatch.setattr(Objective, "precise_losses", lambda self, embeddings: self.losses(embeddings))
    for method in ("clip", "simclr", "vicreg", "clip+mocov2"):
        noticed(test_objectives.check_full_precision, method)


def test_frozen_layers_that_move(monkeypatch):
    monkeypatch.setattr(TextTower, "freeze", lambda self, layers, embeddings: None)
    noticed(test_text.check_frozen_layers_stay)


def test_frozen_layers_that_only_decay(monkeypatch):
    """Gradients of zero are not frozen: the optimiser's weight decay still moves the weights."""

    def zero_gradients(self: TextTower, layers: int, embeddings: bool) -> None:
        for module in (*self.bert.encoder.layer[:layers], self.bert.embeddings):
            for parameter in module.parameters():
                parameter.register_hook(torch.zeros_like)

    monkeypatch.setattr(TextTower, "freeze", zero_gradients)
    noticed(test_text.check_frozen_layers_stay)


def test_a_text_encoder_that_does_not_move(monkeypatch):
    """As in the paper's released code, whose text encoder gets its gradient times zero."""
    original = TextTower.forward

    def gradient_times_zero(
        self: TextTower, input_ids: Tensor, attention_mask: Tensor, lengths: Tensor | None
    ) -> Tensor:
        out = original(self, input_ids, attention_mask, lengths)
        return out.detach() + 0 * (out - out.detach())

    monkeypatch.setattr(TextTower, "forward", gradient_times_zero)
    noticed(test_text.check_the_text_tower_learns)


def test_dropout_that_is_drawn_anew_in_the_second_pass(monkeypatch):
    monkeypatch.setattr(gradient_cache, "_restore", lambda state, part: None)
    noticed(test_gradient_cache.check_dropout_is_replayed, "clip")


def test_a_rate_that_is_stepped_by_epoch(monkeypatch):
    def by_epoch(peak: float, step: int, total_steps: int, schedule: str, warmup_steps: int = 0) -> float:
        return optim.learning_rate(peak, step // 5 * 5, total_steps, schedule, warmup_steps)

    monkeypatch.setattr(loop, "learning_rate", by_epoch)
    noticed(test_loop.test_every_steps_rate_is_the_closed_form_and_torchs)
