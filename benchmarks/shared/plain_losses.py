"""What would a researcher write for the losses of SimCLR and VICReg? The peers of objectives.py and step.py."""

import torch
from torch import Tensor
from torch.nn import functional


def plain_nt_xent(a: Tensor, b: Tensor, temperature: float) -> Tensor:
    """NT-Xent of two views (Chen et al., 2020, eq. 1) by one cross-entropy. a, b: (n, D), of any length."""
    z = functional.normalize(torch.cat([a, b]), dim=1)
    count = len(a)
    logits = (z @ z.T / temperature).fill_diagonal_(float("-inf"))  # an image is not its own negative
    return functional.cross_entropy(logits, torch.arange(2 * count).roll(count))


def plain_vicreg(a: Tensor, b: Tensor) -> Tensor:
    """VICReg (Bardes et al., 2022, eq. 6) with the variances averaged, as its official code does. a, b: (n, D)."""
    variance, covariance = a.new_zeros(()), a.new_zeros(())
    for z in (a, b):
        variance = variance + functional.relu(1 - torch.sqrt(z.var(dim=0) + 1e-4)).mean() / 2
        matrix = torch.cov(z.T)
        covariance = covariance + matrix.fill_diagonal_(0).pow(2).sum() / z.shape[1]
    return 25 * functional.mse_loss(a, b) + 25 * variance + covariance
