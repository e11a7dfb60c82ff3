"""Linear probing on cached features: each pixel content passes the backbone once, all seeds' heads train together."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from trainables.downstream_data import Part
from trainables.eval_views import contents
from trainables.loop import TrainingDiverged
from trainables.optim import HeadsOptimizer
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
    """S linear heads as one batched product: weight (S, F, D), bias (S, 1, F), with gradients that are written out."""

    def __init__(
        self, width: int, num_findings: int, seeds: tuple[int, ...], device: torch.device, optimizer: OptimizerSpec
    ):
        heads = [new_head(width, num_findings, seed) for seed in seeds]
        self.weight = torch.stack([h.weight.detach() for h in heads]).to(device)
        self.bias = torch.stack([h.bias.detach()[None] for h in heads]).to(device)
        self.optimizer = HeadsOptimizer(optimizer, self.weight, self.bias)

    def __call__(self, features: Tensor) -> Tensor:
        return torch.baddbmm(self.bias, features, self.weight.transpose(1, 2))

    def step(self, features: Tensor, logits: Tensor, targets: Tensor, shares: Tensor) -> None:
        """Down the sum over heads of sum(shares * BCE): its derivative by a logit is shares * (sigmoid - target).

        A graph for these three products would cost four times what they do.
        """
        by_logit = logits.sigmoid().sub_(targets).mul_(shares)
        by_weight, by_bias = self.optimizer.gradients
        torch.bmm(by_logit.transpose(1, 2), features, out=by_weight)
        torch.sum(by_logit, dim=1, keepdim=True, out=by_bias)
        self.optimizer.step()


@dataclass(frozen=True)
class _Epoch:
    """What S seeds see in one epoch, in their orders. places: (S, N) in the cache; targets, shares: (S, N, F).

    shares: an entry's part in its batch's mean, 1 / (known entries of the batch), 0 where unknown.
    """

    places: Tensor
    targets: Tensor
    shares: Tensor

    def loss(self, logits: Tensor) -> Tensor:
        """(S,): the sum over batches of their means."""
        every = nn.functional.binary_cross_entropy_with_logits(logits, self.targets, reduction="none")
        return (every * self.shares).sum(dim=(1, 2))


def _epoch(
    recipe: DownstreamRecipe, subsets: list[np.ndarray], seeds: tuple[int, ...], epoch: int, targets: Tensor,
    known: Tensor,
) -> _Epoch:
    count, device = len(subsets[0]), targets.device
    order = np.stack([epoch_rows(count, seed, epoch) for seed in seeds])
    flips = np.stack([epoch_flips(count, recipe.eval_spec.flip_p, seed, epoch) for seed in seeds])
    rows = np.take_along_axis(np.stack(subsets), order, axis=1)
    places = rows + len(targets) * np.take_along_axis(flips, order, axis=1)
    rows, places = torch.from_numpy(rows).to(device), torch.from_numpy(places).to(device)
    shares = known[rows].to(targets.dtype)
    for batch in shares.split(recipe.batch_size, dim=1):
        batch /= batch.sum(dim=(1, 2), keepdim=True).clamp(min=1)
    return _Epoch(places, targets[rows], shares)


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
    heads = _Heads(features.train.shape[-1], train.targets.shape[1], seeds, device, optimizer_spec)
    targets, known = torch.from_numpy(train.targets).to(device), torch.from_numpy(train.known).to(device)
    best: list[ProbeResult | None] = [None] * len(seeds)
    scores = [-math.inf] * len(seeds)
    histories: list[list[dict[str, float]]] = [[] for _ in seeds]
    for epoch in range(num_epochs):
        seen = _epoch(recipe, subsets, seeds, epoch, targets, known)
        total = _train_epoch(heads, features.train.flatten(0, 1), seen, recipe.batch_size)
        _check(total, seeds, epoch, histories)
        means = total / math.ceil(count / recipe.batch_size)
        _score_epoch(heads, features, recipe, val, epoch, means, scores, best, histories)
    return best


@torch.no_grad()
def _train_epoch(heads: _Heads, cached: Tensor, seen: _Epoch, batch_size: int) -> Tensor:
    """One step a batch; each seed's sum of the batches' losses, (S,). cached: (C * N, D)."""
    logits = torch.empty_like(seen.targets)
    for start in range(0, seen.places.shape[1], batch_size):
        now = slice(start, start + batch_size)
        inputs = nn.functional.embedding(seen.places[:, now], cached)  # gathers a third faster than indexing
        logits[:, now] = given = heads(inputs)
        heads.step(inputs, given, seen.targets[:, now], seen.shares[:, now])
    return seen.loss(logits)


def _check(total: Tensor, seeds: tuple[int, ...], epoch: int, histories: list[list[dict[str, float]]]) -> None:
    bad = [seed for seed, value in zip(seeds, total.tolist(), strict=True) if not math.isfinite(value)]
    if bad:
        before = {seed: history[-1] for seed, history in zip(seeds, histories, strict=True) if history}
        raise TrainingDiverged(
            f"linear probe: loss is not finite in epoch {epoch} for seeds {bad}: {total.tolist()}; "
            f"last epoch's means: {before or 'none: first epoch'}"
        )


@torch.no_grad()
def _score_epoch(heads, features, recipe, val, epoch, train_loss, scores, best, histories) -> None:
    targets, known = torch.from_numpy(val.targets), torch.from_numpy(val.known)
    logits = heads(features.val.expand(len(scores), -1, -1)).cpu()
    for s in range(len(scores)):
        metrics = epoch_score(recipe, logits[s].numpy(), val, float(masked_bce(logits[s], targets, known)))
        histories[s].append({"epoch": epoch, "train_bce": float(train_loss[s]), **metrics})
        if metrics["score"] > scores[s]:
            scores[s] = metrics["score"]
            weight, bias = heads.weight[s].cpu().clone(), heads.bias[s, 0].cpu().clone()
            best[s] = ProbeResult(weight, bias, epoch, histories[s])
