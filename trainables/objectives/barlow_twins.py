"""Barlow Twins: the views' cross-correlation becomes the identity (Zbontar et al., 2021)."""

from dataclasses import dataclass

import torch
from torch import Tensor

from trainables.batch import SSL_1, SSL_2
from trainables.distributed import gather_with_grad
from trainables.heads import Head, HeadSpec, at_least_float32
from trainables.objectives.base import TWO_VIEWS, BuildContext, PairObjective, Pairs


@dataclass(frozen=True)
class BarlowTwinsConfig:
    """redundancy weighs the off-diagonal entries; epsilon is batch norm's, in the standardisation."""

    projector: HeadSpec = HeadSpec(dims=(8192, 8192, 8192), norm="batch", act="relu", bias=False, bias_last=False)
    redundancy: float = 5e-3
    epsilon: float = 1e-5
    version: int = 1

    display = "Barlow Twins"
    needs_text = False
    views = (SSL_1, SSL_2)

    @staticmethod
    def released() -> "BarlowTwinsConfig":
        return BarlowTwinsConfig()

    def build(self, context: BuildContext, pairs: Pairs = TWO_VIEWS) -> "BarlowTwins":
        return BarlowTwins(Head(self.projector, context.feature_dim), self, pairs)


class BarlowTwins(PairObjective):
    def pair_losses(self, a: Tensor, b: Tensor) -> dict[str, Tensor]:
        c = self.config
        a, b = (standardise(gather_with_grad(at_least_float32(z)), c.epsilon) for z in (a, b))
        correlation = a.T @ b / len(a)
        diagonal = correlation.diagonal()
        off = correlation.pow(2).sum() - diagonal.pow(2).sum()
        return {"barlow_invariance": (diagonal - 1).pow(2).sum(), "barlow_redundancy": c.redundancy * off}


def standardise(z: Tensor, epsilon: float) -> Tensor:
    """Columns of (n, D) with mean 0 and (biased) variance 1, as batch norm without parameters."""
    return (z - z.mean(dim=0)) * torch.rsqrt(z.var(dim=0, unbiased=False) + epsilon)
