"""Linear probing on cached features: each pixel content passes the backbone once, all seeds' heads train together."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from trainables.downstream_data import Part
from trainables.eval_views import contents
from trainables.loop import TrainingDiverged
from trainables.optim import set_learning_rate
from trainables.precision import Compute
from trainables.recipe import DownstreamRecipe, OptimizerSpec
from trainables.supervised import epoch_flips, epoch_rows, epoch_score, features_of, masked_bce, new_head


@dataclass(frozen=True)
class CachedFeatures:
    """train: (C, N, D), one slice for each pixel content (as it is, mirrored); val: (N, D)."""

    train: Tensor
    val: Tensor


@dataclass(frozen=True)
class ProbeResult:
    """The best epoch of one seed's head. weight: (F, D), bias: (F,)."""

    weight: Tensor
    bias: Tensor
    best_epoch: int
    history: list[dict[str, float]]


def cache_features(
    backbone: nn.Module, recipe: DownstreamRecipe, train: Part, val: Part, compute: Compute
) -> CachedFeatures:
    """Each distinct pixel content of the training images, and the validation images as they are."""
    flips = contents(recipe.eval_spec)
    slices = [torch.cat(list(features_of(backbone, recipe, train, compute, flipped))) for flipped in flips]
    of_val = torch.cat(list(features_of(backbone, recipe, val, compute)))
    return CachedFeatures(torch.stack(slices).float(), of_val.float())


class _Heads:
    """S linear heads as one batched product: weight (S, D, F), bias (S, 1, F)."""

    def __init__(self, width: int, num_findings: int, seeds: tuple[int, ...], device: torch.device):
        heads = [new_head(width, num_findings, seed) for seed in seeds]
        self.weight = torch.stack([h.weight.detach().T for h in heads]).to(device).requires_grad_()
        self.bias = torch.stack([h.bias.detach()[None] for h in heads]).to(device).requires_grad_()

    def __call__(self, features: Tensor) -> Tensor:
        return torch.baddbmm(self.bias, features, self.weight)


def train_heads(
    features: CachedFeatures, recipe: DownstreamRecipe, train: Part, subsets: list[np.ndarray], val: Part,
    seeds: tuple[int, ...], num_epochs: int, optimizer_spec: OptimizerSpec,
) -> list[ProbeResult]:
    """One ProbeResult a seed. subsets[s]: rows of the labelled images of seed s, all of one length.

    Adam works entry by entry, so each head moves as if it were trained alone.
    """
    device = features.train.device
    count = len(subsets[0])
    if any(len(rows) != count for rows in subsets):
        raise ValueError("seeds that train together need label subsets of one size")
    heads = _Heads(features.train.shape[-1], train.targets.shape[1], seeds, device)
    kinds = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}
    optimizer = kinds[optimizer_spec.name](
        [heads.weight, heads.bias], lr=optimizer_spec.learning_rate, betas=optimizer_spec.betas,
        weight_decay=optimizer_spec.weight_decay, fused=True,
    )
    set_learning_rate(optimizer, optimizer_spec.learning_rate)
    targets, known = torch.from_numpy(train.targets).to(device), torch.from_numpy(train.known).to(device)
    best: list[ProbeResult | None] = [None] * len(seeds)
    scores = [-math.inf] * len(seeds)
    histories: list[list[dict[str, float]]] = [[] for _ in seeds]
    for epoch in range(num_epochs):
        order = np.stack([epoch_rows(count, seed, epoch) for seed in seeds])
        flips = np.stack([epoch_flips(count, recipe.eval_spec.flip_p, seed, epoch) for seed in seeds])
        rows = torch.from_numpy(np.stack([subset[o] for subset, o in zip(subsets, order, strict=True)])).to(device)
        content = torch.from_numpy(np.take_along_axis(flips, order, axis=1).astype(np.int64)).to(device)
        total = torch.zeros(len(seeds), device=device)
        for start in range(0, count, recipe.batch_size):
            now = slice(start, start + recipe.batch_size)
            optimizer.zero_grad(set_to_none=True)
            these = rows[:, now]
            losses = masked_bce(heads(features.train[content[:, now], these]), targets[these], known[these])
            losses.sum().backward()
            optimizer.step()
            total += losses.detach()
        _check(total, seeds, epoch)
        means = total / math.ceil(count / recipe.batch_size)
        _score_epoch(heads, features, recipe, val, epoch, means, scores, best, histories)
    return best


def _check(total: Tensor, seeds: tuple[int, ...], epoch: int) -> None:
    bad = [seed for seed, value in zip(seeds, total.tolist(), strict=True) if not math.isfinite(value)]
    if bad:
        raise TrainingDiverged(f"linear probe: loss is not finite in epoch {epoch} for seeds {bad}")


@torch.no_grad()
def _score_epoch(heads, features, recipe, val, epoch, train_loss, scores, best, histories) -> None:
    targets, known = torch.from_numpy(val.targets), torch.from_numpy(val.known)
    logits = heads(features.val.expand(len(scores), -1, -1)).cpu()
    for s in range(len(scores)):
        metrics = epoch_score(recipe, logits[s].numpy(), val, float(masked_bce(logits[s], targets, known)))
        histories[s].append({"epoch": epoch, "train_bce": float(train_loss[s]), **metrics})
        if metrics["score"] > scores[s]:
            scores[s] = metrics["score"]
            weight, bias = heads.weight[s].T.cpu().clone(), heads.bias[s, 0].cpu().clone()
            best[s] = ProbeResult(weight, bias, epoch, histories[s])
