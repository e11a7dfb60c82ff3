"""Does the benchmark of objectives run, does it refuse losses that differ, and are bucketed texts the padded ones?"""

import pytest
import torch
from benchmark_lines import figures_of

from benchmarks.objectives import check_equal, gradients, main, normal
from trainables.objectives.vicreg import covariance_term
from trainables.text import TextTower, TinyText, length_buckets


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
def test_texts_of_one_bucket_or_many_give_the_same_rows_and_gradients(pooling):
    torch.manual_seed(0)
    tower = TextTower(TinyText(layers=2, width=16, heads=2, max_length=64, dropout=0.0, pooling=pooling), 50).double()
    lengths = torch.randint(2, 65, (60,))
    lengths[7] = 64
    mask = (torch.arange(64) < lengths[:, None]).long()
    ids = torch.randint(3, 50, mask.shape) * mask
    assert len(length_buckets(lengths.sort().values.tolist())) > 3
    results = []
    for forward in (tower, tower.pooled):
        out = forward(ids, mask)
        parameters = [p for p in tower.parameters() if p.requires_grad]
        results.append((out, *torch.autograd.grad(out.pow(2).sum(), parameters, allow_unused=True)))
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-11)


def test_buckets_hold_every_text_once_and_close_where_texts_grow():
    assert length_buckets([5]) == [(1, 5)]
    assert length_buckets([10] * 30 + [12, 40]) == [(31, 12), (1, 40)]
    assert length_buckets([10, 100, 100]) == [(3, 100)]  # the first alone would keep no product busy
    lengths = sorted(torch.randint(3, 128, (200,)).tolist())
    assert sum(count for count, _ in length_buckets(lengths)) == 200
