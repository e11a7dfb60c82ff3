"""How much do an encoder's features tell without any training: weighted nearest neighbours (Wu et al., 2018)."""

import numpy as np
import torch
from torch import Tensor

NEIGHBOURS, TEMPERATURE = 20, 0.07
VERSION = 2  # 2: probabilities are kept as float64, in which those near 1 do not tie
BLOCK = 1_024  # test images whose similarities to all training images are in memory at once


def knn_probabilities(
    train: Tensor,
    targets: np.ndarray,
    known: np.ndarray,
    test: Tensor,
    neighbours: int = NEIGHBOURS,
    temperature: float = TEMPERATURE,
) -> np.ndarray:
    """(M, F) float64 in [0, 1]: the neighbours' labels, weighted by exp(cosine / temperature).

    Wu et al. (2018), section 3.4, for findings that do not exclude each other instead of classes that do.
    train: (N, D), targets and known: (N, F); test: (M, D). Of the nearest training images only those whose label of a
    finding is known count for it; where none is, the finding's share of positives among all known ones stands.
    Raises ValueError without a training image.
    """
    if len(train) == 0:
        raise ValueError("no training image: nearest neighbours need at least one")
    count = min(neighbours, len(train))
    train, test = (torch.nn.functional.normalize(part.float(), dim=-1) for part in (train, test))
    share = (targets * known).sum(axis=0) / np.maximum(known.sum(axis=0), 1)
    rows = []
    for start in range(0, len(test), BLOCK):
        cosine, nearest = (test[start : start + BLOCK] @ train.T).topk(count, dim=1)
        # The largest weight is 1, so that none overflows.
        weight = ((cosine - cosine[:, :1]).double() / temperature).exp().cpu().numpy()
        place = nearest.cpu().numpy()
        counted = weight[..., None] * known[place]  # (b, neighbours, F)
        total = counted.sum(axis=1)
        votes = (counted * targets[place]).sum(axis=1)
        rows.append(np.where(total > 0, votes / np.where(total > 0, total, 1), share))
    return np.concatenate(rows)
