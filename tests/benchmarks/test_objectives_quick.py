"""Does the benchmark of objectives run, does it refuse losses that differ, and are bucketed texts the padded ones?"""

from itertools import combinations, pairwise

import numpy as np
import pytest
import torch
from benchmark_lines import figures_of

from benchmarks.objectives import check_equal, gradients, main, normal
from trainables.networks import text
from trainables.networks.text import TextTower, TinyText, length_buckets
from trainables.objectives.vicreg import covariance_term


def test_quick(capsys):
    found = figures_of(main, "objectives", capsys)
    assert found["vicreg_covariance_16x64"]["speedup"] and found["simclr_loss_16x128"]["speedup"]
    assert found["vicreg_covariance_16x64_float64_difference"]["ours"] < 1e-10


def test_another_loss_is_refused():
    z = normal(6, 12, dtype=torch.float64)
    ours, other = gradients(covariance_term, (z,)), gradients(lambda z: 1.001 * covariance_term(z), (z,))
    with pytest.raises(ArithmeticError, match="differs from the official form"):
        check_equal("covariance", ours, other, 1e-10)


@pytest.mark.parametrize("rows", [3, 64, 65, 130, 256])
def test_the_gram_of_any_number_of_rows_has_the_equations_gradient(rows):
    z = normal(rows, 300, dtype=torch.float64).requires_grad_()
    centred = z - z.mean(dim=0)
    covariance = centred.T @ centred / (rows - 1)
    expected = (covariance.pow(2).sum() - covariance.diagonal().pow(2).sum()) / 300
    for one, other in zip(
        (covariance_term(z), *torch.autograd.grad(covariance_term(z), z)),
        (expected, *torch.autograd.grad(expected, z)),
        strict=True,
    ):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("pooling", ["cls", "max"])
def test_texts_of_one_bucket_or_many_give_the_same_rows_and_gradients(pooling, monkeypatch):
    torch.manual_seed(0)
    tower = TextTower(TinyText(layers=2, width=16, heads=2, max_length=64, dropout=0.0, pooling=pooling), 50).double()
    lengths = torch.randint(2, 65, (60,))
    lengths[7] = 64
    mask = (torch.arange(64) < lengths[:, None]).long()
    ids = torch.randint(3, 50, mask.shape) * mask
    monkeypatch.setitem(text.CALL_PRODUCTS, "cpu", 0.0)
    monkeypatch.setattr(text, "FEW_TOKENS", 0.0)  # a bucket for each length
    results = []
    for forward in (tower, tower.pooled):
        out = forward(ids, mask)
        parameters = [p for p in tower.parameters() if p.requires_grad]
        results.append((out, *torch.autograd.grad(out.pow(2).sum(), parameters, allow_unused=True)))
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-11)


def test_buckets_are_those_that_cost_least():
    generator = np.random.default_rng(0)
    assert length_buckets([5], 100) == [(1, 5)]
    for call_tokens in (0, 3, 40, 1000):
        for _ in range(20):
            lengths = sorted(generator.integers(3, 40, 9).tolist())
            buckets = length_buckets(lengths, call_tokens)
            assert sum(count for count, _ in buckets) == 9
            places = np.cumsum([count for count, _ in buckets])
            assert [longest for _, longest in buckets] == [lengths[place - 1] for place in places]
            ways = (cut for number in range(9) for cut in combinations(range(1, 9), number))
            least = min(cost_of([0, *cut, 9], lengths, call_tokens) for cut in ways)
            assert cost_of([0, *places], lengths, call_tokens) == least


def cost_of(places: list[int], lengths: list[int], call_tokens: float) -> float:
    return sum(call_tokens + (end - start) * lengths[end - 1] for start, end in pairwise(places))
