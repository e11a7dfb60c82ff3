"""Two passes over chunks give the gradient of the whole batch at once."""

import pytest
import torch
from small import WIDTH, batch, build, gradients, largest_difference, rows_of, small_config, without_batch_norm
from torch import Tensor, nn

from trainables.networks.text import TinyText
from trainables.registry import METHODS
from trainables.training import gradient_cache
from trainables.training.gradient_cache import cached_backward, chunks_of, num_chunks

TOLERANCE = 1e-10
# MoCo shuffles and groups the keys of a chunk, not of the batch: its own test below.
EXACT = tuple(method for method in METHODS if "mocov2" not in method)


class NoNorm(nn.Module):
    """A backbone with dropout and without batch norm."""

    num_features = WIDTH

    def __init__(self, dropout: float = 0.0):
        super().__init__()
        self.first, self.dropout, self.second = nn.Conv2d(3, 6, 3, 2), nn.Dropout(dropout), nn.Linear(54, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.dropout(torch.tanh(self.first(x)).flatten(1)))


def model_of(method: str, dropout: float = 0.0) -> nn.Module:
    text = TinyText(layers=2, width=16, heads=2, max_length=12, dropout=dropout)
    config = without_batch_norm(small_config(method))
    return build(config, make=lambda: NoNorm(dropout), text=text).train()


def whole(model: nn.Module) -> dict[str, Tensor]:
    losses = model(batch())
    sum(losses.values()).backward()
    return {name: value.detach() for name, value in losses.items()}


@pytest.mark.parametrize("chunk", [1, 2, 4, 8, 100])
@pytest.mark.parametrize("method", ["clip", "simclr", "clip+simclr"])
def test_chunks_give_the_gradient_of_the_whole_batch(method, chunk):
    one, other = model_of(method), model_of(method)
    assert largest_difference(whole(one), cached_backward(other, batch(), chunk)) < TOLERANCE
    assert largest_difference(gradients(one), gradients(other)) < TOLERANCE


@pytest.mark.parametrize("method", EXACT)
def test_every_method_without_batch_norm_is_exact(method):
    one, other = model_of(method), model_of(method)
    assert largest_difference(whole(one), cached_backward(other, batch(), 2)) < TOLERANCE
    assert largest_difference(gradients(one), gradients(other)) < TOLERANCE


def test_a_learnable_temperature_and_equal_reports_pass_through():
    def make() -> nn.Module:
        config = without_batch_norm(small_config("clip", learnable_temperature=True, multi_positive=True))
        return build(config, make=NoNorm).train()

    one, other = make(), make()
    assert largest_difference(whole(one), cached_backward(other, batch(), 2)) < TOLERANCE
    found = gradients(other)
    assert largest_difference(gradients(one), found) < TOLERANCE and "objective.log_scale" in found


def check_dropout_is_replayed(method: str) -> None:
    """Against a whole batch that is embedded by the same chunks, each with the dropout it had in the first pass."""
    one, other = model_of(method, dropout=0.3), model_of(method, dropout=0.3)
    torch.manual_seed(1)
    parts = [one.objective.embed(one.backbone, part) for part in chunks_of(batch(), 2)]
    order = torch.cat([torch.arange(8)[0::2], torch.arange(8)[1::2]]).argsort()
    losses = one.objective.losses({name: torch.cat([part[name] for part in parts])[order] for name in parts[0]})
    sum(losses.values()).backward()
    torch.manual_seed(1)
    found = cached_backward(other, batch(), 4)
    assert largest_difference({name: value.detach() for name, value in losses.items()}, found) < TOLERANCE
    assert largest_difference(gradients(one), gradients(other)) < TOLERANCE


@pytest.mark.parametrize("method", ["clip", "simclr", "convirt+simclr"])
def test_the_second_pass_drops_the_same_units(method):
    check_dropout_is_replayed(method)


def test_batch_norm_statistics_move_once_a_chunk_not_twice():
    one, other = (build(small_config("simclr")).train() for _ in range(2))
    with torch.no_grad():
        for part in chunks_of(batch(), 2):
            one.objective.embed(one.backbone, part)
    cached_backward(other, batch(), 4)
    before, after = dict(one.named_buffers()), dict(other.named_buffers())
    assert largest_difference(before, after) == 0
    assert all(int(value) > 0 for name, value in after.items() if name.endswith("num_batches_tracked"))


def test_moco_enqueues_each_key_once():
    """Key groups are per chunk; the whole batch's keys wait for the queue, in the batch's order."""
    model = build(small_config("mocov2", key_bn_splits=2)).train()
    before = model.objective.get_buffer("queue_ssl_1").clone()
    cached_backward(model, batch(), 4)
    assert model.objective.fresh["ssl_1"].shape == (8, 6)
    model.objective.after_step(model.backbone)
    queue = model.objective.get_buffer("queue_ssl_1")
    assert int(model.objective.pointer) == 8 and torch.equal(queue[8:], before[8:])
    assert not torch.isclose(queue[:8], before[:8]).all(dim=1).any()


def test_the_chunks_of_two_workers_together_are_those_of_one():
    whole = batch().views["ssl_1"]
    one = chunks_of(batch(), 2)
    halves = [chunks_of(rows_of(batch(), start, start + 4), 2) for start in (0, 4)]
    for number in range(2):
        together = torch.cat([half[number].views["ssl_1"] for half in halves])
        assert torch.equal(together, one[number].views["ssl_1"])
    assert torch.equal(torch.stack([p.views["ssl_1"] for p in one], dim=1).flatten(0, 1), whole)
    assert [len(part.input_ids) for part in one] == [4, 4]


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ((8, 3, 1), "gradient_cache_chunk is 3: global_batch_size 8 must be a multiple"),
        ((8, 0, 1), "gradient_cache_chunk is 0"),
        ((8, 2, 4), r"8 / 4 workers / 4 chunks of 2 = 0.5 images"),
        ((9, 9, 2), r"9 / 2 workers / 1 chunks of 9 = 4.5 images"),
        ((10, 5, 4), r"10 / 4 workers / 2 chunks of 5 = 1.25 images"),
    ],
)
def test_chunks_that_do_not_come_out_even_are_refused_with_the_equation(sizes, message):
    with pytest.raises(ValueError, match=message):
        num_chunks(*sizes)
    assert num_chunks(1024, 256, 4) == 4 and num_chunks(8, 100, 2) == 1


def test_each_device_gets_the_state_of_its_own_generator_back(monkeypatch):
    restored = []
    monkeypatch.setattr(torch.cuda, "set_rng_state", restored.append)
    state = torch.get_rng_state()
    torch.rand(3)
    gradient_cache._restore((state, "the GPU's"), batch())
    assert restored == ["the GPU's"] and torch.equal(torch.get_rng_state(), state)
