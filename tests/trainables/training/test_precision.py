"""Half precision, scaled gradients and compiling change speed, not the method."""

import shutil
from dataclasses import replace

import pytest
import torch
from small_pretraining import corpus, pretrain, published, recipe_of
from torch import nn

from trainables.pretraining.checkpoint_writer import Sealed, unsealed
from trainables.pretraining.task import Pretraining
from trainables.recipe import Resources
from trainables.training.gradient_cache import cached_backward
from trainables.training.loop import LoopPlan, LoopState, TrainingDiverged, fit
from trainables.training.precision import KINDS, SMALLEST_SCALE, Compute, resolve, scaled_sum

CPU = torch.device("cpu")


def task_of(method: str, **resources) -> Pretraining:
    torch.set_num_threads(1)
    task = Pretraining(recipe_of(method, dropout=0.0), 0, corpus(), Resources(**resources), None, CPU)
    if task.scaler.is_enabled():  # where it would settle after some steps
        task.scaler = torch.amp.GradScaler("cpu", init_scale=256.0)
    return task


def one_gradient(task: Pretraining) -> tuple[dict, torch.Tensor]:
    for module in task.modules.values():
        module.train()
    losses = task.backward(next(task.stream(0)), 0)
    scale = task.scaler.get_scale()
    return losses, torch.cat([p.grad.flatten() for p in task.model.backbone.parameters()]) / scale


@pytest.mark.parametrize("precision", ["float16", "bfloat16"])
@pytest.mark.parametrize("method", ["clip", "simclr", "vicreg", "clip+mocov2"])
def test_half_precision_points_where_full_precision_does(method, precision):
    half_losses, half = one_gradient(task_of(method, precision=precision))
    losses, full = one_gradient(task_of(method))
    assert all(value.dtype == torch.float32 for value in half_losses.values())
    assert sum(half_losses.values()) == pytest.approx(float(sum(losses.values())), rel=0.03)
    assert torch.cosine_similarity(half, full, dim=0) > 0.95


def test_float16_without_scaling_would_lose_small_gradients():
    """Mutation: what the scaler is for. 1e-9 is nothing in float16; multiplied up it is kept to its precision."""
    weight = torch.ones(1, requires_grad=True)

    def gradient(scaler) -> float:
        weight.grad = None
        loss = (weight.half() * torch.tensor([2.0**-15]).half()).float().sum() * 2.0**-15
        scaled_sum({"loss": loss}, scaler).backward()
        return float(weight.grad) / (scaler.get_scale() if scaler else 1.0)

    assert gradient(None) == 0.0
    assert gradient(Compute(CPU, torch.float16).scaler()) == pytest.approx(2.0**-30)


def test_a_float16_run_that_is_killed_and_resumed_gives_the_same_bits(tmp_path):
    for folder, stop in (("whole", None), ("killed", 3)):
        if stop:
            with pytest.raises(SystemExit):
                pretrain("clip", tmp_path / folder, fail_at_step=stop, precision="float16")
        pretrain("clip", tmp_path / folder, precision="float16")
    whole, killed = (published(tmp_path / folder).read("backbone.safetensors") for folder in ("whole", "killed"))
    assert whole == killed
    pretrain("clip", tmp_path / "full")
    assert published(tmp_path / "full").read("backbone.safetensors") != whole, "float16 was not used"


def test_the_scaler_is_part_of_the_checkpoint():
    task = task_of("clip", precision="float16")
    one_gradient(task)
    task.scaler.step(task.optimizer)
    task.scaler.update(1024.0)
    other = task_of("clip", precision="float16")
    other.load_state(unsealed(bytes(Sealed().of(task.state_tree(LoopState())))))
    assert other.scaler.get_scale() == 1024.0


def test_a_checkpoint_of_a_gpu_with_bfloat16_goes_on_where_gradients_are_scaled():
    """As where a node of A100s was lost and the run begins again on V100s; and the other way round."""
    plain, scaled = task_of("clip", precision="bfloat16"), task_of("clip", precision="float16")
    start = scaled.scaler.get_scale()
    scaled.load_state(unsealed(bytes(Sealed().of(plain.state_tree(LoopState(step=3))))))
    assert scaled.scaler.get_scale() == start
    assert plain.load_state(unsealed(bytes(Sealed().of(scaled.state_tree(LoopState(step=4)))))).step == 4


def test_the_gradient_cache_scales_too():
    task = task_of("clip", precision="float16")
    batch = next(task.stream(0))
    gradients = []
    for scaler in (None, task.scaler):
        task.model.zero_grad()
        cached_backward(task.model, batch, 4, scaler)
        gradients.append(torch.cat([p.grad.flatten() for p in task.model.backbone.parameters()]))
    torch.testing.assert_close(gradients[1] / task.scaler.get_scale(), gradients[0], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
@pytest.mark.parametrize("method", ["clip", "simclr", "vicreg", "clip+simclr"])
def test_gradients_of_the_cache_are_those_of_the_whole_batch_at_once_in_half_precision_too(method, precision):
    """One chunk: the same products of the same numbers, so that nothing but the order of few sums can differ."""
    whole, cached = task_of(method, precision=precision), task_of(method, precision=precision)
    cached.recipe = replace(cached.recipe, gradient_cache_chunk=cached.recipe.global_batch_size)
    (losses, plain), (other_losses, found) = one_gradient(whole), one_gradient(cached)
    torch.testing.assert_close(other_losses, losses, rtol=1e-6, atol=0)
    assert float((found - plain).norm() / plain.norm()) < 1e-5


def test_the_cache_differentiates_float32_losses_in_float32(monkeypatch):
    """Against the same losses of the same embeddings, which this method has in float32, in float64."""
    task = task_of("clip", precision="bfloat16")
    monkeypatch.setattr(task, "recipe", replace(task.recipe, gradient_cache_chunk=4))
    objective, embed, precise = task.model.objective, task.model.objective.embed, task.model.objective.precise_losses
    given: list[dict[str, torch.Tensor]] = []
    carried: dict[str, list[torch.Tensor]] = {}

    def embedded(*arguments):
        found = embed(*arguments)
        for name, value in found.items():
            if value.requires_grad:
                value.register_hook(lambda gradient, name=name: carried.setdefault(name, []).append(gradient))
        return found

    def losses_of(embeddings):
        given.append({name: value.detach().clone() for name, value in embeddings.items()})
        return precise(embeddings)

    monkeypatch.setattr(objective, "embed", embedded)
    monkeypatch.setattr(objective, "precise_losses", losses_of)
    one_gradient(task)
    exact = {n: v.double().requires_grad_() if v.is_floating_point() else v for n, v in given[0].items()}
    sum(objective.double().losses(exact).values()).backward()
    for name, chunks in carried.items():
        found = torch.stack(chunks, dim=1).flatten(0, 1).double()
        assert len(chunks) == 2 and float((found - exact[name].grad).norm() / exact[name].grad.norm()) < 2e-6


class Overflowing:
    """A task whose gradients are infinite at every scale, with a finite loss."""

    def __init__(self):
        self.model = nn.Linear(1, 1)
        self.modules = {"model": self.model}
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=1.0)
        self.scaler = torch.amp.GradScaler("cpu", init_scale=4 * SMALLEST_SCALE)

    def stream(self, start_step):
        return iter(lambda: None, 1)

    def backward(self, batch, step):
        self.scaler.scale(self.model.weight.sum()).backward()
        self.model.weight.grad.fill_(float("inf"))
        return {"loss": torch.tensor(1.0)}

    def after_step(self):
        pass

    def evaluate(self):
        return {"score": 0.0}


def test_a_step_that_overflows_is_left_out_and_a_run_of_nothing_else_fails():
    task = Overflowing()
    before = task.model.weight.clone()
    with pytest.raises(TrainingDiverged, match="float16 gradients overflow at every scale in epoch 0"):
        fit(task, task.optimizer, LoopPlan(2, 8, 1.0), LoopState())
    assert torch.equal(task.model.weight, before)


def test_heads_of_half_precision_features_are_computed_in_full():
    network = nn.Sequential(nn.Flatten(), nn.Linear(12, 5))
    features = Compute(CPU, torch.bfloat16).features(network, torch.rand(2, 3, 2, 2))
    assert features.dtype == torch.float32
    assert torch.equal(features, features.bfloat16().float()), "the network itself did not compute in half"


def test_auto_is_full_precision_on_a_cpu_and_an_unknown_word_lists_the_known():
    assert resolve("auto", CPU).half is None
    assert not resolve("auto", CPU).scaler().is_enabled()
    with pytest.raises(ValueError, match="'fp8'; allowed: auto, bfloat16, float16, float32"):
        resolve("fp8", CPU)
    assert set(KINDS) == {"bfloat16", "float16", "float32"}


@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler on a CPU")
def test_a_compiled_backbone_trains_the_same_and_keeps_its_names():
    plain, compiled = task_of("clip"), task_of("clip", compile=True)
    assert plain.model.state_dict().keys() == compiled.model.state_dict().keys()
    losses, gradient = one_gradient(plain)
    compiled_losses, compiled_gradient = one_gradient(compiled)
    torch.testing.assert_close(compiled_losses, losses, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(compiled_gradient, gradient, rtol=1e-3, atol=1e-5)
