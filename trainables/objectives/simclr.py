"""SimCLR: two views of an image attract, all other images of the batch repel (Chen et al., 2020)."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from trainables.batch import SSL_1, SSL_2
from trainables.networks.heads import Head, HeadSpec, unit
from trainables.objectives.base import TWO_VIEWS, BuildContext, PairObjective, Pairs, check_temperature
from trainables.training.distributed import gather_with_grad, rank


@dataclass(frozen=True)
class SimClrConfig:
    """temperature divides the cosine similarities."""

    head: HeadSpec = HeadSpec(dims=(512, 128), norm="batch", act="relu")
    temperature: float = 0.1
    version: int = 1

    display: ClassVar[str] = "SimCLR"
    needs_text: ClassVar[bool] = False
    views: ClassVar[tuple[str, ...]] = (SSL_1, SSL_2)

    def __post_init__(self) -> None:
        check_temperature(self.temperature)

    @staticmethod
    def released() -> "SimClrConfig":
        """The released code's head of SimCLR alone, without biases."""
        return SimClrConfig(head=HeadSpec(dims=(512, 128), norm="batch", act="relu", bias=False, bias_last=False))

    @staticmethod
    def released_joint() -> "SimClrConfig":
        """The released code's head of the joint methods: as `released`, but its last layer has a bias."""
        return SimClrConfig(head=HeadSpec(dims=(512, 128), norm="batch", act="relu", bias=False))

    def build(self, context: BuildContext, pairs: Pairs = TWO_VIEWS) -> "SimClr":
        """The module on a backbone of the context's width, for these pairs of views."""
        return SimClr(Head(self.head, context.feature_dim), self, pairs)


class SimClr(PairObjective[SimClrConfig]):
    """A projection head and the normalised, temperature-scaled cross-entropy (NT-Xent) on its outputs."""

    def pair_losses(self, a: Tensor, b: Tensor) -> dict[str, Tensor]:
        """`simclr`: NT-Xent of the pair, on unit-length projections."""
        return {"simclr": nt_xent(unit(a), unit(b), self.config.temperature)}


def nt_xent(a: Tensor, b: Tensor, temperature: float) -> Tensor:
    """Mean over this worker's 2b queries of -log softmax of the positive among 2B - 1 candidates.

    Chen et al. (2020), eq. 1. a, b: (b, D) of unit length; row i of both is one image; B: images of all workers.
    """
    all_a, all_b = gather_with_grad(a), gather_with_grad(b)
    count = len(all_a)
    # Rows of worker r are r b to (r + 1) b - 1 of what was gathered.
    own = torch.arange(len(a), device=a.device) + rank() * len(a)
    candidates = torch.cat([all_a, all_b]).T / temperature
    # Candidates are [all a, all b]: query i of a is column own[i] and its positive column own[i] + B; of b, vice versa.
    itself = functional.one_hot(torch.cat([own, own + count]), 2 * count).bool()
    # An image is no negative of itself: exp(-inf) = 0 takes it out of the sum.
    logits = (torch.cat([a, b]) @ candidates).masked_fill(itself, float("-inf"))
    return functional.cross_entropy(logits, torch.cat([own + count, own]))
