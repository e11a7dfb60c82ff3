"""VICReg: invariance between views, variance and decorrelation within them (Bardes et al., 2022)."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx
from torch.nn import functional

from trainables.batch import SSL_1, SSL_2
from trainables.networks.heads import Head, HeadSpec, at_least_float32
from trainables.objectives.base import TWO_VIEWS, BuildContext, PairObjective, Pairs
from trainables.training.distributed import gather_with_grad

GRAM_ROWS, BLOCK_COLUMNS = 64, 1024  # small enough for a core's cache


@dataclass(frozen=True)
class VicRegConfig:
    """invariance, variance, covariance: weights of the three terms (the paper's lambda, mu and nu).

    gamma: target of the standard deviations; epsilon: added to variances before the root. variance_average: the
    variance terms of both views are averaged (official code), not added (the equation).
    """

    expander: HeadSpec = HeadSpec(dims=(8192, 8192, 8192), norm="batch", act="relu", bias_last=False)
    invariance: float = 25.0
    variance: float = 25.0
    covariance: float = 1.0
    gamma: float = 1.0
    epsilon: float = 1e-4
    variance_average: bool = True
    version: int = 1

    display: ClassVar[str] = "VICReg"
    needs_text: ClassVar[bool] = False
    views: ClassVar[tuple[str, ...]] = (SSL_1, SSL_2)

    @staticmethod
    def released() -> "VicRegConfig":
        """The paper's values. The released code's last layer has a bias, on which no term and no gradient depends."""
        return VicRegConfig()

    def build(self, context: BuildContext, pairs: Pairs = TWO_VIEWS) -> "VicReg":
        """The module on a backbone of the context's width, for these pairs of views."""
        return VicReg(Head(self.expander, context.feature_dim), self, pairs)


class VicReg(PairObjective[VicRegConfig]):
    """An expander and the three terms on its outputs; variances and covariances are of the global batch."""

    def pair_losses(self, a: Tensor, b: Tensor) -> dict[str, Tensor]:
        """Bardes et al. (2022), eq. 6: weighted invariance, variance and covariance, each under its own name.

        a, b: (b, D), the expander's outputs of this worker's images.
        """
        c, a, b = self.config, at_least_float32(a), at_least_float32(b)
        all_a, all_b = gather_with_grad(a), gather_with_grad(b)  # statistics are of the global batch
        spread = variance_term(all_a, c.gamma, c.epsilon) + variance_term(all_b, c.gamma, c.epsilon)
        return {
            "vicreg_invariance": c.invariance * functional.mse_loss(a, b),
            "vicreg_variance": c.variance * (spread / 2 if c.variance_average else spread),
            "vicreg_covariance": c.covariance * (covariance_term(all_a) + covariance_term(all_b)),
        }


def variance_term(z: Tensor, gamma: float, epsilon: float) -> Tensor:
    """Mean hinge of the standard deviations below gamma (Bardes et al., 2022, eq. 1). z: (n, D)."""
    return functional.relu(gamma - torch.sqrt(z.var(dim=0) + epsilon)).mean()


def covariance_term(z: Tensor) -> Tensor:
    """Sum of the squared off-diagonal covariances over D (eq. 4). z: (n, D), float32 or float64."""
    value: Tensor = _Covariance.apply(z)  # apply has no types of its own
    return value


class _Covariance(torch.autograd.Function):
    """||Z'Z|| = ||ZZ'||: with fewer rows than columns the n x n product stands for the D x D one.

    With C centred and d the sums of its squared columns: (||CC'||^2 - |d|^2) / (n - 1)^2 / D, whose derivative in C
    is 4 (CC'C - C d) over the same; its columns sum to 0 as C's do, so it is the derivative in Z too. Two products
    and five passes over Z, where autograd would take three and twice as many; in blocks of columns, since on a CPU
    a fresh matrix of Z's size costs as much as a fifth of a product.
    """

    @staticmethod
    def forward(ctx: FunctionCtx, z: Tensor) -> Tensor:
        n, width = z.shape
        centred = z - z.mean(dim=0)
        gram = _gram(centred if n < width else centred.T)
        # diag(C'C) = (n - 1) x the variances: no off-diagonal entries, so their squares are taken off below.
        diagonal = torch.cat([block.square().sum(dim=0) for block in torch.split(centred, BLOCK_COLUMNS, dim=1)])
        ctx.save_for_backward(centred, gram, diagonal)
        # ||C'C||^2 = ||CC'||^2, so the smaller of both matrices serves.
        return (gram.square().sum() - diagonal.square().sum()) / ((n - 1) ** 2 * width)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: FunctionCtx, gradient: Tensor) -> Tensor:
        centred: Tensor
        centred, gram, diagonal = ctx.saved_tensors  # type: ignore[attr-defined]  # torch types forward's side only
        n, width = centred.shape
        # d/dC of (||CC'||^2 - |d|^2): 4 CC'C and, with d = column sums of C^2, -4 C d; over the same divisor.
        scale = 4 * gradient / ((n - 1) ** 2 * width)
        gram, diagonal = gram * scale, diagonal * scale
        if n >= width:
            product: Tensor = centred @ gram
            return product.addcmul_(centred, diagonal, value=-1)
        product = torch.empty_like(centred)
        blocks = (torch.split(matrix, BLOCK_COLUMNS, dim=-1) for matrix in (product, centred, diagonal))
        for into, columns, squares in zip(*blocks, strict=True):
            torch.mm(gram, columns, out=into).addcmul_(columns, squares, value=-1)
        return product


def _gram(z: Tensor) -> Tensor:
    """ZZ' of (n, D), (n, n). Symmetric: what lies left of the diagonal blocks is copied."""
    gram = z.new_empty(len(z), len(z))
    for start in range(0, len(z), GRAM_ROWS):
        stop = start + GRAM_ROWS
        gram[start:stop, start:] = z[start:stop] @ z[start:].T
        gram[stop:, start:stop] = gram[start:stop, stop:].T
    return gram
