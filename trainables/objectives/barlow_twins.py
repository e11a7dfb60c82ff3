"""Barlow Twins: the views' cross-correlation becomes the identity (Zbontar et al., 2021)."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from trainables.batch import SSL_1, SSL_2
from trainables.networks.heads import Head, HeadSpec, at_least_float32
from trainables.objectives.base import TWO_VIEWS, BuildContext, PairObjective, Pairs
from trainables.training.distributed import gather_with_grad


@dataclass(frozen=True)
class BarlowTwinsConfig:
    """redundancy weighs the off-diagonal entries; epsilon is batch norm's, in the standardisation."""

    projector: HeadSpec = HeadSpec(dims=(8192, 8192, 8192), norm="batch", act="relu", bias=False, bias_last=False)
    redundancy: float = 5e-3
    epsilon: float = 1e-5
    version: int = 1

    display: ClassVar[str] = "Barlow Twins"
    needs_text: ClassVar[bool] = False
    views: ClassVar[tuple[str, ...]] = (SSL_1, SSL_2)

    @staticmethod
    def released() -> "BarlowTwinsConfig":
        """The defaults: the reproduced paper does not have this method."""
        return BarlowTwinsConfig()

    def build(self, context: BuildContext, pairs: Pairs = TWO_VIEWS) -> "BarlowTwins":
        """The module on a backbone of the context's width, for these pairs of views."""
        return BarlowTwins(Head(self.projector, context.feature_dim), self, pairs)


class BarlowTwins(PairObjective[BarlowTwinsConfig]):
    """A projector and the loss on its outputs' cross-correlation over the global batch."""

    def pair_losses(self, a: Tensor, b: Tensor) -> dict[str, Tensor]:
        """Zbontar et al. (2021), eq. 1: sum_i (1 - C_ii)^2 + redundancy * sum_{i != j} C_ij^2, C of shape (D, D)."""
        c = self.config
        # Standardised after gathering: means and variances are of the global batch, as on one worker.
        a, b = (standardise(gather_with_grad(at_least_float32(z)), c.epsilon) for z in (a, b))
        correlation = a.T @ b / len(a)
        diagonal = correlation.diagonal()
        # The off-diagonal entries as all minus the diagonal: no mask of D x D (8192^2 at the paper's width).
        off = correlation.pow(2).sum() - diagonal.pow(2).sum()
        return {"barlow_invariance": (diagonal - 1).pow(2).sum(), "barlow_redundancy": c.redundancy * off}


def standardise(z: Tensor, epsilon: float) -> Tensor:
    """Columns of (n, D) with mean 0 and (biased) variance 1, as batch norm without parameters."""
    return (z - z.mean(dim=0)) * torch.rsqrt(z.var(dim=0, unbiased=False) + epsilon)
