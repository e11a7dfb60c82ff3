"""torch's kernels of batch norm over workers, which only GPUs have, by their formulas: for tests on a CPU."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from torch import Tensor

from trainables.networks import normalisation


def _axes(x: Tensor) -> list[int]:
    return [0, *range(2, x.ndim)]


def _wide(column: Tensor, x: Tensor) -> Tensor:
    return column.view(1, -1, *[1] * (x.ndim - 2))


def batch_norm_stats(x: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    return x.mean(_axes(x)), torch.rsqrt(x.var(_axes(x), unbiased=False) + eps)


def batch_norm_gather_stats_with_counts(
    x: Tensor,
    means: Tensor,
    inverses: Tensor,
    running_mean: Tensor,
    running_var: Tensor,
    momentum: float,
    eps: float,
    counts: Tensor,
) -> tuple[Tensor, Tensor]:
    shares = (counts / counts.sum())[:, None]
    mean = (means * shares).sum(0)
    # Of the whole: the mean of the variances and the variance of the means.
    variance = ((inverses**-2 - eps + (means - mean) ** 2) * shares).sum(0)
    running_mean.lerp_(mean, momentum)
    running_var.lerp_(variance * counts.sum() / (counts.sum() - 1), momentum)
    return mean, torch.rsqrt(variance + eps)


def batch_norm_elemt(x: Tensor, weight: Tensor, bias: Tensor, mean: Tensor, inverse: Tensor, eps: float) -> Tensor:
    return (x - _wide(mean, x)) * _wide(inverse * weight, x) + _wide(bias, x)


def batch_norm_backward_reduce(
    gradient: Tensor, x: Tensor, mean: Tensor, inverse: Tensor, weight: Tensor, *asked: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    sums, products = gradient.sum(_axes(x)), (gradient * (x - _wide(mean, x))).sum(_axes(x))
    return sums, products, products * inverse, sums


def batch_norm_backward_elemt(
    gradient: Tensor,
    x: Tensor,
    mean: Tensor,
    inverse: Tensor,
    weight: Tensor,
    sums: Tensor,
    products: Tensor,
    counts: Tensor,
) -> Tensor:
    assert counts.dtype == torch.int32
    total = counts.sum()
    pull = _wide(products / total * inverse**2, x) * (x - _wide(mean, x))
    return (gradient - _wide(sums / total, x) - pull) * _wide(inverse * weight, x)


@contextmanager
def fused_kernels() -> Iterator[None]:
    """Batch norm as on a GPU, with the kernels of this file."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(normalisation, "has_fused_kernels", lambda x: True)
        for kernel in (
            batch_norm_stats,
            batch_norm_gather_stats_with_counts,
            batch_norm_elemt,
            batch_norm_backward_reduce,
            batch_norm_backward_elemt,
        ):
            patch.setattr(torch, kernel.__name__, kernel)
        yield
