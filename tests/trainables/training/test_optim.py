"""The optimiser: Adam and AdamW by their formulas, what is spared the decay, and the rate of every step."""

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from trainables.recipe import OptimizerSpec
from trainables.training.optim import HeadsOptimizer, build_optimizer, learning_rate, set_learning_rate

SPEC = OptimizerSpec("adam", 1e-2, (0.9, 0.98), weight_decay=0.3)


def by_formula(spec: OptimizerSpec, start: Tensor, gradients: list[Tensor], decay: float) -> Tensor:
    """Kingma and Ba (2015), algorithm 1; for adamw Loshchilov and Hutter (2019), algorithm 2, with a rate of 1 for eta.

    All in float64.
    """
    value, mean, square = start.double().clone(), torch.zeros_like(start).double(), torch.zeros_like(start).double()
    for t, gradient in enumerate(gradients, start=1):
        g = gradient.double() + (decay * value if spec.name == "adam" else 0)
        mean = spec.betas[0] * mean + (1 - spec.betas[0]) * g
        square = spec.betas[1] * square + (1 - spec.betas[1]) * g * g
        step = (mean / (1 - spec.betas[0] ** t)) / ((square / (1 - spec.betas[1] ** t)).sqrt() + 1e-8)
        value = value - spec.learning_rate * (step + (decay * value if spec.name == "adamw" else 0))
    return value


def drawn(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("name", ["adam", "adamw"])
@pytest.mark.parametrize("exclude", [True, False])
def test_a_step_is_that_of_the_papers(name, exclude):
    spec = replace(SPEC, name=name, exclude_norm_bias=exclude)
    layer, frozen = nn.Linear(3, 2).double(), nn.Linear(2, 2).double().requires_grad_(False)
    # Gradients of 1e-7 too, where Adam's epsilon counts.
    scales = torch.tensor([1.0, 1e-7, 1e-3], dtype=torch.float64)
    gradients = [(drawn(t, 2, 3) * scales, drawn(9 + t, 2)) for t in range(4)]
    start = [layer.weight.detach().clone(), layer.bias.detach().clone()]
    optimizer = build_optimizer(spec, [layer, frozen])
    for weight, bias in gradients:
        layer.weight.grad, layer.bias.grad = weight.clone(), bias.clone()
        optimizer.step()
    expected = by_formula(spec, start[0], [w for w, _ in gradients], 0.3)
    assert torch.allclose(layer.weight.detach(), expected, rtol=0, atol=1e-12)
    expected = by_formula(spec, start[1], [b for _, b in gradients], 0.0 if exclude else 0.3)
    assert torch.allclose(layer.bias.detach(), expected, rtol=0, atol=1e-12)
    held = [p for group in optimizer.param_groups for p in group["params"]]
    assert {id(p) for p in held} == {id(layer.weight), id(layer.bias)}, "what is frozen is not optimised"


@pytest.mark.parametrize("exclude", [True, False])
def test_what_can_be_captured_has_its_rate_in_a_tensor(exclude):
    spec, layers = replace(SPEC, weight_decay=0.3, exclude_norm_bias=exclude), [nn.Linear(2, 2).double()]
    rates = [group["lr"] for group in build_optimizer(spec, layers, capturable=True).param_groups]
    assert len(rates) == 1 + exclude and all(rate.dtype == torch.float64 for rate in rates)
    assert [float(rate) for rate in rates] == [spec.learning_rate] * len(rates)
    assert {type(group["lr"]) for group in build_optimizer(spec, layers).param_groups} == {float}


def take_steps(optimizer, gradients):
    """Of gradients with a leading axis of heads, for weights and biases."""
    for pair in gradients:
        for places, values in zip((optimizer.by_weight, optimizer.by_bias), pair, strict=True):
            for place, value in zip(places, values, strict=True):
                place.copy_(value)
        optimizer.step()


@pytest.mark.parametrize("name", ["adam", "adamw"])
@pytest.mark.parametrize(("decay", "exclude"), [(0.3, True), (0.3, False), (0.0, True)])
def test_many_heads_at_once_take_the_steps_of_each_alone(name, decay, exclude):
    spec = replace(SPEC, name=name, weight_decay=decay, exclude_norm_bias=exclude)
    weight, bias = drawn(0, 4, 3, 2), drawn(1, 4, 3)
    start = weight.clone(), bias.clone()
    optimizer = HeadsOptimizer(spec, weight.unbind(), bias.unbind())
    gradients = [(drawn(10 + t, 4, 3, 2), drawn(20 + t, 4, 3)) for t in range(5)]
    take_steps(optimizer, gradients[:2])
    optimizer.set_rate_scales([1.0] * 4)  # Adam goes on counting its steps
    take_steps(optimizer, gradients[2:])
    weight, bias = torch.stack(optimizer.weights), torch.stack(optimizer.biases)
    assert torch.allclose(weight, by_formula(spec, start[0], [w for w, _ in gradients], decay), rtol=0, atol=1e-12)
    spared = 0.0 if exclude else decay
    assert torch.allclose(bias, by_formula(spec, start[1], [b for _, b in gradients], spared), rtol=0, atol=1e-12)


@pytest.mark.parametrize("decay", [1.0, 0.3])
@pytest.mark.parametrize("exclude", [True, False])
def test_each_head_has_a_rate_of_its_own(exclude, decay):
    spec = replace(SPEC, name="adamw", weight_decay=decay, exclude_norm_bias=exclude)
    weight, bias = drawn(0, 3, 2, 2), drawn(1, 3, 2)
    start, scales = (weight.clone(), bias.clone()), (1.0, 0.5, 0.125)
    optimizer = HeadsOptimizer(spec, weight.unbind(), bias.unbind())
    optimizer.set_rate_scales(scales)
    gradients = [(drawn(30 + t, 3, 2, 2), drawn(40 + t, 3, 2)) for t in range(3)]
    take_steps(optimizer, gradients)
    weight, bias = optimizer.weights, optimizer.biases
    for head, scale in enumerate(scales):
        own, spared = replace(spec, learning_rate=spec.learning_rate * scale), 0.0 if exclude else decay
        expected = by_formula(own, start[0][head], [w[head] for w, _ in gradients], decay)
        assert torch.allclose(weight[head], expected, rtol=0, atol=1e-12)
        expected = by_formula(own, start[1][head], [b[head] for _, b in gradients], spared)
        assert torch.allclose(bias[head], expected, rtol=0, atol=1e-12)
    with pytest.raises(AssertionError, match="one rate a head"):
        optimizer.set_rate_scales(scales[:2])


@pytest.mark.parametrize("exclude", [True, False])
@pytest.mark.parametrize("size", [3, 14, 16, 33])
def test_a_head_takes_the_same_steps_to_the_last_bit_alone_and_as_one_of_several(size, exclude):
    """Also where rates part and come together again, so that other heads share its call of the kernel."""
    spec = replace(SPEC, name="adamw", weight_decay=0.3, exclude_norm_bias=exclude)
    weight, bias = drawn(0, 3, size, 5).float(), drawn(1, 3, size).float()
    gradients = [(drawn(30 + t, 3, size, 5).float(), drawn(40 + t, 3, size).float()) for t in range(20)]
    rates = ((1.0, 1.0, 1.0), (0.5, 1.0, 0.5), (0.5, 0.5, 0.5), (0.25, 0.5, 0.125))

    def stepped(heads):
        optimizer = HeadsOptimizer(spec, weight[heads].unbind(), bias[heads].unbind())
        for i, scales in enumerate(rates):
            optimizer.set_rate_scales([scales[head] for head in heads])
            take_steps(optimizer, [(w[heads], b[heads]) for w, b in gradients[5 * i : 5 * i + 5]])
        return optimizer

    together = stepped([0, 1, 2])
    # What the kernel takes at a time is never of two heads, on any processor.
    assert all(p.data_ptr() % 64 == 0 for p in (*together.weights, *together.biases))
    for head in range(3):
        alone = stepped([head])
        assert torch.equal(alone.weights[0], together.weights[head])
        assert torch.equal(alone.biases[0], together.biases[head])
        assert not torch.equal(alone.biases[0], bias[head])


def test_an_unknown_optimiser_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match="'sgd'; allowed: adam, adamw"):
        build_optimizer(replace(SPEC, name="sgd"), [nn.Linear(1, 1)])


def test_the_rate_warms_up_then_falls_as_a_cosine_to_zero():
    rates = [learning_rate(2.0, step, 14, "cosine", 4) for step in range(15)]
    assert rates[:4] == [0.5, 1.0, 1.5, 2.0]
    assert rates[4:] == pytest.approx([1 + math.cos(math.pi * k / 10) for k in range(11)], abs=1e-12)
    assert [learning_rate(2.0, step, 14, "constant", 4) for step in (0, 3, 4, 13)] == [0.5, 2.0, 2.0, 2.0]


def test_without_warm_up_the_first_step_has_the_peak_and_a_run_of_one_step_is_no_division_by_zero():
    assert learning_rate(2.0, 0, 10, "cosine") == 2.0 and learning_rate(2.0, 5, 10, "cosine") == pytest.approx(1.0)
    assert learning_rate(2.0, 1, 1, "cosine") == pytest.approx(0.0)
    assert learning_rate(2.0, 4, 4, "cosine", 4) == 2.0, "all steps were warm-up"


def test_a_rate_is_set_for_all_groups():
    optimizer = build_optimizer(replace(SPEC, exclude_norm_bias=True), [nn.Linear(2, 2)])
    set_learning_rate(optimizer, 0.25)
    assert [group["lr"] for group in optimizer.param_groups] == [0.25, 0.25]
