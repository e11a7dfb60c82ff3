"""Linear probing on cached features: each pixel content passes the backbone once, all seeds' heads train together."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor, nn

from trainables.evaluation.dataset import Part
from trainables.evaluation.features import check_finite, features_of
from trainables.evaluation.supervised import epoch_flips, epoch_rows, epoch_score, masked_bce, new_head
from trainables.recipe import DownstreamRecipe, OptimizerSpec
from trainables.training.loop import TrainingDiverged
from trainables.training.optim import CACHE_LINE, HeadsOptimizer
from trainables.training.precision import Compute
from trainables.views.evaluation_spec import contents

GATHERED = 16  # batches whose features are gathered at once


@dataclass(frozen=True)
class CachedFeatures:
    """Backbone features, float32 on the device.

    train: (C, N, D), one slice for each pixel content (as it is, mirrored); val: (M, D), as they are.
    """

    train: Tensor
    val: Tensor


@dataclass(frozen=True)
class ProbeResult:
    """The best epoch of one seed's head. weight: (F, D), bias: (F,), on the CPU.

    history: one entry of metrics for each epoch of the training, those after the best one included.
    """

    weight: Tensor
    bias: Tensor
    best_epoch: int
    history: list[dict[str, float]]

    def as_linear(self) -> nn.Linear:
        """The head as a layer."""
        head = nn.Linear(self.weight.shape[1], self.weight.shape[0])
        head.load_state_dict({"weight": self.weight, "bias": self.bias})
        return head


@dataclass(frozen=True)
class HeadSettings:
    """How heads are trained together, one for each seed. num_epochs and optimizer: as TrainingSettings has them."""

    recipe: DownstreamRecipe
    seeds: tuple[int, ...]
    num_epochs: int
    optimizer: OptimizerSpec


def cache_features(
    backbone: nn.Module, recipe: DownstreamRecipe, train: Part, val: Part, compute: Compute
) -> CachedFeatures:
    """Each distinct pixel content of the training images, and the validation images as they are.

    Raises FloatingPointError where the network's features are NaN or infinite.
    """
    flips = contents(recipe.eval_spec)  # one slice, or two where training mirrors images
    slices = [torch.cat(list(features_of(backbone, recipe, train, compute, flipped))) for flipped in flips]
    of_val = torch.cat(list(features_of(backbone, recipe, val, compute)))
    for features in (*slices, of_val):
        check_finite(backbone, features)
    return CachedFeatures(torch.stack(slices).float(), of_val.float())


@dataclass
class BestHeads:
    """Each seed's history, and its head at the epoch with the highest score; the first of them where several tie."""

    seeds: tuple[int, ...]
    histories: list[list[dict[str, float]]] = field(init=False)
    _scores: list[float] = field(init=False)
    _found: list[ProbeResult | None] = field(init=False)

    def __post_init__(self) -> None:
        self.histories = [[] for _ in self.seeds]
        self._scores = [-math.inf for _ in self.seeds]
        self._found = [None for _ in self.seeds]

    def offer(self, place: int, heads: "_Heads", metrics: dict[str, float]) -> bool:
        """Take note of an epoch of the seed at `place`, and keep its head where the score is above all before.

        metrics: the history's entry, with `epoch` and `score` among them. Whether the head was kept.
        """
        self.histories[place].append(metrics)
        better = metrics["score"] > self._scores[place]
        if better:
            self._scores[place] = metrics["score"]
            weight, bias = heads.weights[place].cpu().clone(), heads.biases[place].cpu().clone()
            self._found[place] = ProbeResult(weight, bias, int(metrics["epoch"]), self.histories[place])
        return better

    def results(self) -> list[ProbeResult]:
        """One for each seed. Raises TrainingDiverged where a seed has no epoch with a score that is a number."""
        found = [result for result in self._found if result is not None]
        if len(found) < len(self.seeds):
            without = [seed for seed, result in zip(self.seeds, self._found, strict=True) if result is None]
            raise TrainingDiverged(f"linear probe: no epoch of seeds {without} has a score that is a number")
        return found


class _Heads:
    """S linear heads: of each weights (F, D) and biases (F,), with gradients that are written out.

    No product and no sigmoid spans two heads. The last bits that a kernel gives depend on the shape of the whole, and
    on where in it an entry lies: a head that is trained again alone must come out equal.
    """

    def __init__(self, width: int, num_findings: int, settings: HeadSettings, device: torch.device):
        heads = [new_head(width, num_findings, seed) for seed in settings.seeds]
        # Initialised as Supervised initialises each of them alone.
        weights = [head.weight.detach().to(device) for head in heads]
        biases = [head.bias.detach().to(device) for head in heads]
        self.optimizer = HeadsOptimizer(settings.optimizer, weights, biases)
        self.weights, self.biases = self.optimizer.weights, self.optimizer.biases
        self._transposed = [weight.T for weight in self.weights]  # views, whose making costs as much as a small product
        self.plateau_factor = settings.recipe.lr_plateau_factor
        self.rate_scales = [1.0] * len(heads)

    def logits(self, place: int, features: Tensor, out: Tensor | None = None) -> Tensor:
        """(B, D) features -> (B, F), by the head at `place`; written to `out` where it is given."""
        return torch.addmm(self.biases[place], features, self._transposed[place], out=out)

    def set_gradient(self, place: int, features: Tensor, logits: Tensor, targets: Tensor, shares: Tensor) -> None:
        """Of sum(shares * BCE), of the head at `place`, for `optimizer.step`.

        features: (B, D); logits, targets, shares: (B, F). With L = shares * BCE(z, y) and z = W x + b the derivatives
        are dL/dz = shares * (sigmoid(z) - y), dL/dW = (dL/dz)' x and dL/db = the column sums of dL/dz. They are written
        out since autograd's graph for three products would cost four times what they do.
        """
        by_logit = logits.sigmoid().sub_(targets).mul_(shares)
        torch.mm(by_logit.T, features, out=self.optimizer.by_weight[place])
        torch.sum(by_logit, dim=0, out=self.optimizer.by_bias[place])

    def lower_rates(self, better: list[bool]) -> None:
        """After an epoch: the rates of heads without a better score fall by the recipe's factor, if it has one."""
        if self.plateau_factor is not None:
            factor = self.plateau_factor
            scales = zip(self.rate_scales, better, strict=True)
            self.rate_scales = [scale if rose else scale * factor for scale, rose in scales]
            self.optimizer.set_rate_scales(self.rate_scales)


@dataclass(frozen=True)
class _Epoch:
    """What S seeds see in one epoch, in their orders. places: (S, N) in the cache; targets, shares: (S, N, F).

    shares: an entry's part in its batch's mean, 1 / (known entries of the batch), 0 where unknown.
    """

    places: Tensor
    targets: Tensor
    shares: Tensor

    def loss(self, place: int, logits: Tensor) -> Tensor:
        """Of the seed at `place` the sum over batches of their means, from its (N, F) logits."""
        every = nn.functional.binary_cross_entropy_with_logits(logits, self.targets[place], reduction="none")
        return (every * self.shares[place]).sum()


def _epoch(settings: HeadSettings, subsets: list[np.ndarray], epoch: int, targets: Tensor, known: Tensor) -> _Epoch:
    """targets, known: (N, F) of all training images, on the device."""
    count, device = len(subsets[0]), targets.device
    flip_p = settings.recipe.eval_spec.flip_p
    order = np.stack([epoch_rows(count, seed, epoch) for seed in settings.seeds])
    flips = np.stack([epoch_flips(count, flip_p, seed, epoch) for seed in settings.seeds])
    images = np.take_along_axis(np.stack(subsets), order, axis=1)
    # Row i of the flattened cache is image i as it is, row N + i its mirror image.
    cached = images + len(targets) * np.take_along_axis(flips, order, axis=1)
    rows, places = torch.from_numpy(images).to(device), torch.from_numpy(cached).to(device)
    return _Epoch(places, targets[rows], _shares(known[rows].to(targets.dtype), settings.recipe.batch_size))


def _shares(known: Tensor, batch_size: int) -> Tensor:
    """(S, N, F) of 1 and 0 -> each divided by the sum of its batch, at least 1. Such sums are exact in any order."""
    whole = known.shape[1] // batch_size * batch_size
    parts = known[:, :whole].unflatten(1, (-1, batch_size)), known[:, whole:].unsqueeze(1)
    for part in parts:  # in place: they are views
        part /= part.sum(dim=(2, 3), keepdim=True).clamp(min=1)
    return known


def train_heads(
    features: CachedFeatures,
    train: Part,
    val: Part,
    subsets: list[np.ndarray],
    settings: HeadSettings,
    val_subsets: list[np.ndarray] | None = None,
) -> list[ProbeResult]:
    """One ProbeResult for each seed. subsets[s]: (n,) rows of the labelled images of seed s, all of one length.

    val_subsets[s]: (m,) rows of the validation images that the epoch of seed s is picked on; None: all of them. Adam
    works entry by entry, so each head moves as if it were trained alone. Raises ValueError for subsets of different
    lengths, TrainingDiverged where a loss is not finite.
    """
    device, recipe = features.train.device, settings.recipe
    count = len(subsets[0])
    if any(len(rows) != count for rows in subsets):
        raise ValueError("seeds that train together need label subsets of one size")
    heads = _Heads(features.train.shape[-1], train.targets.shape[1], settings, device)
    targets, known = torch.from_numpy(train.targets).to(device), torch.from_numpy(train.known).to(device)
    val_rows = val_subsets or [np.arange(len(val))] * len(subsets)
    validation = [val.take(rows) if len(rows) < len(val) else val for rows in val_rows]
    best = BestHeads(settings.seeds)
    for epoch in range(settings.num_epochs):
        seen = _epoch(settings, subsets, epoch, targets, known)
        total = _train_epoch(heads, features.train.flatten(0, 1), seen, recipe.batch_size)
        _check(total, best, epoch)
        # The sum over batches, divided by their number: what the loop's history has for one seed.
        means = total / math.ceil(count / recipe.batch_size)
        better = []
        for s, part in enumerate(validation):
            logits = heads.logits(s, features.val).cpu()
            metrics = _scored(recipe, logits[torch.from_numpy(val_rows[s])], part)
            better.append(best.offer(s, heads, {"epoch": epoch, "train_bce": float(means[s]), **metrics}))
        heads.lower_rates(better)
    return best.results()


def heads_or_errors(
    features: CachedFeatures,
    train: Part,
    val: Part,
    subsets: list[np.ndarray],
    settings: HeadSettings,
    val_subsets: list[np.ndarray],
) -> list[ProbeResult | TrainingDiverged]:
    """As train_heads, but a seed that diverges costs the others nothing: each is then trained alone."""
    try:
        return [*train_heads(features, train, val, subsets, settings, val_subsets)]
    except TrainingDiverged as error:
        if len(subsets) == 1:
            return [error]
    found: list[ProbeResult | TrainingDiverged] = []
    for seed, rows, val_rows in zip(settings.seeds, subsets, val_subsets, strict=True):
        found += heads_or_errors(features, train, val, [rows], replace(settings, seeds=(seed,)), [val_rows])
    return found


@torch.no_grad()
def _train_epoch(heads: _Heads, cached: Tensor, seen: _Epoch, batch_size: int) -> Tensor:
    """One step a batch; each seed's sum of the batches' losses, (S,). cached: (C * N, D)."""
    # The logits are kept and the loss is computed once an epoch: it is for the history, the gradient needs none.
    logits = [torch.empty_like(targets) for targets in seen.targets]
    # Cut beforehand: a slice in the loop costs as much as a product.
    cut = [
        zip(*(whole.split(batch_size) for whole in of_seed), strict=True)
        for of_seed in zip(seen.targets, seen.shares, logits, strict=True)
    ]
    for inputs, *batch in zip(_inputs(cached, seen.places, batch_size), *cut, strict=True):
        for s, (one, (targets, shares, out)) in enumerate(zip(inputs, batch, strict=True)):
            heads.set_gradient(s, one, heads.logits(s, one, out), targets, shares)
        heads.optimizer.step()
    return torch.stack([seen.loss(s, of_seed) for s, of_seed in enumerate(logits)])


def _inputs(cached: Tensor, places: Tensor, batch_size: int) -> Iterator[tuple[Tensor, ...]]:
    """Of each batch the features of each seed, (B, D). places: (S, N) in the cache."""
    # Several batches in one gathering, which costs as much as a product: not all, which would be the cache once a seed.
    # Products may differ in the last bit by where their numbers begin: each batch's begin a line of the cache.
    at_once = GATHERED if batch_size * cached.shape[1] % CACHE_LINE == 0 else 1
    for chunk in places.split(at_once * batch_size, 1):
        gathered = [cached.index_select(0, of_seed).split(batch_size) for of_seed in chunk]
        yield from zip(*gathered, strict=True)


def _check(total: Tensor, best: BestHeads, epoch: int) -> None:
    """Raise TrainingDiverged for a loss that is not finite. total: (S,)."""
    bad = [seed for seed, value in zip(best.seeds, total.tolist(), strict=True) if not math.isfinite(value)]
    if bad:
        before = {seed: history[-1] for seed, history in zip(best.seeds, best.histories, strict=True) if history}
        raise TrainingDiverged(
            f"linear probe: loss is not finite in epoch {epoch} for seeds {bad}: {total.tolist()}; "
            f"last epoch's means: {before or 'none: first epoch'}"
        )


def _scored(recipe: DownstreamRecipe, logits: Tensor, part: Part) -> dict[str, float]:
    """Metrics of one head's logits (m, F) of a validation part."""
    targets, known = torch.from_numpy(part.targets), torch.from_numpy(part.known)
    return epoch_score(recipe, logits.numpy(), part, float(masked_bce(logits, targets, known)))
