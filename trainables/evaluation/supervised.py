"""A backbone with a linear head, trained on labels: fine-tuning, and linear probing without cached features."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor, nn

from datasets_io.fingerprint import derive_seed
from trainables.evaluation.dataset import Part
from trainables.evaluation.features import features_of
from trainables.evaluation.metrics import auroc_per_finding, macro
from trainables.protocols.base import Phase
from trainables.recipe import DownstreamRecipe, OptimizerSpec
from trainables.training.devices import seed_step, seeded
from trainables.training.loop import LoopPlan, LoopState, fit
from trainables.training.optim import build_optimizer
from trainables.training.precision import Compute, scaled_sum


@dataclass(frozen=True)
class LabelledImages:
    """What one seed trains on and is judged by. rows: (n,) int64, the images of `train` whose labels it may use."""

    train: Part
    rows: np.ndarray
    val: Part


@dataclass(frozen=True)
class TrainingSettings:
    """How one seed is trained. num_epochs and optimizer: the recipe's, or those it has for a linear probe."""

    recipe: DownstreamRecipe
    phase: Phase
    seed: int
    num_epochs: int
    optimizer: OptimizerSpec


def masked_bce(logits: Tensor, targets: Tensor, known: Tensor) -> Tensor:
    """Binary cross-entropy, mean over the known entries of (..., B, F); (...,) values. 0 where none is known."""
    # Over known entries and not over images: B x F entries of which many are unknown would shrink the gradient.
    loss = nn.functional.binary_cross_entropy_with_logits(logits, targets, reduction="none") * known
    return loss.sum(dim=(-2, -1)) / known.sum(dim=(-2, -1)).clamp(min=1)


def new_head(width: int, num_findings: int, seed: int) -> nn.Linear:
    """A linear head (B, width) -> (B, num_findings) logits, initialised from a stream of `seed` of its own."""
    # Of (seed, "head") alone: the encoder under it and what ran before do not change it.
    with seeded(derive_seed(seed, "head")):
        return nn.Linear(width, num_findings)


def epoch_rows(num_images: int, seed: int, epoch: int) -> np.ndarray:
    """The order of an epoch: a permutation (N,) int64 of the labelled images, of (seed, epoch) alone."""
    return np.random.default_rng(derive_seed(seed, "label_order", epoch)).permutation(num_images)


def epoch_flips(num_images: int, probability: float, seed: int, epoch: int) -> np.ndarray:
    """Which images are mirrored in an epoch: (N,) bool by image, not by place in the order."""
    if probability == 0:
        return np.zeros(num_images, dtype=bool)
    return np.random.default_rng(derive_seed(seed, "flip", epoch)).random(num_images) < probability


def epoch_score(recipe: DownstreamRecipe, scores: np.ndarray, part: Part, loss: float) -> dict[str, float]:
    """Validation metrics: `val_loss`, `score` (the best epoch has the highest) and, where it is defined, `val_auroc`.

    scores: (N, F) logits of the part; loss: their mean cross-entropy. Where no finding has both classes there is no
    AUROC to pick an epoch by, and the loss decides whatever the recipe says.
    """
    value = macro(auroc_per_finding(scores, part.targets, part.known))
    if value is None:
        return {"val_loss": loss, "score": -loss}
    score = value if recipe.select_by == "val_auroc" else -loss
    return {"val_loss": loss, "score": score, "val_auroc": value}


class Supervised:
    """A loop Task over one seed's labelled images.

    Backbone and head are trained in place, on the device of `compute`. `modules` are those that the training changes:
    the loop switches them between modes and keeps their tensors of the best epoch under the same names.
    """

    def __init__(
        self, backbone: nn.Module, head: nn.Linear, images: LabelledImages, settings: TrainingSettings, compute: Compute
    ):
        self.recipe, self.seed, self.num_epochs = settings.recipe, settings.seed, settings.num_epochs
        self.train_part, self.rows, self.val = images.train, images.rows, images.val
        self.compute, self.device = compute, compute.device
        self.scaler = compute.scaler()
        self.backbone, self.head = backbone.to(self.device), head.to(self.device)
        self.frozen = settings.phase.trains == "head"
        self.modules: dict[str, nn.Module] = {"backbone": self.backbone, "head": self.head}
        if self.frozen:
            self.backbone.requires_grad_(False)
            if self.recipe.linear_probe_bn_eval:
                # Nothing of it changes, batch-norm statistics included: the loop must not put it in training mode.
                del self.modules["backbone"]
                self.backbone.eval()
        self.optimizer_spec = settings.optimizer

    @cached_property
    def optimizer(self) -> torch.optim.Optimizer:
        """Of all that is trained."""
        return build_optimizer(self.optimizer_spec, self.modules.values())

    @cached_property
    def plan(self) -> LoopPlan:
        """How long the training lasts and at what rate."""
        factor = self.recipe.lr_plateau_factor
        return LoopPlan(self.num_epochs, self.steps_per_epoch, self.optimizer_spec.learning_rate, plateau_factor=factor)

    @property
    def steps_per_epoch(self) -> int:
        """The last batch of an epoch may be smaller: no labelled image is dropped."""
        return math.ceil(len(self.rows) / self.recipe.batch_size)

    def stream(self, start_step: int) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Images (B, C, S, S), targets (B, F) float32 and known (B, F) bool of each step, on the device.

        start_step must be the first of an epoch: a cell is never resumed inside one.
        """
        for epoch in range(start_step // self.steps_per_epoch, self.num_epochs):
            every, flips = self.epoch(epoch)
            for start in range(0, len(every), self.recipe.batch_size):
                now = slice(start, start + self.recipe.batch_size)
                rows = every[now]
                images = self.train_part.images(self.recipe, rows, flips[now], self.device)
                targets = torch.from_numpy(self.train_part.targets[rows]).to(self.device)
                known = torch.from_numpy(self.train_part.known[rows]).to(self.device)
                yield images, targets, known

    def epoch(self, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        """Rows of the training part in the order of an epoch, (n,) int64, and which of them are mirrored, (n,) bool."""
        # Orders and mirrors are drawn by epoch, so that a probe on cached features can draw the same for all seeds.
        order = epoch_rows(len(self.rows), self.seed, epoch)
        flips = epoch_flips(len(self.rows), self.recipe.eval_spec.flip_p, self.seed, epoch)
        # order counts the labelled images, rows all images of the training part.
        return self.rows[order], flips[order]

    def backward(self, batch: tuple[Tensor, Tensor, Tensor], step: int) -> dict[str, Tensor]:
        """Add the gradient of the batch's masked cross-entropy; the loss, detached, as `bce`.

        batch: images, targets and known, as `stream` yields them.
        """
        self.seed_step(step)
        return {"bce": self.add_gradient(*batch)}

    def seed_step(self, step: int) -> None:
        """Dropout in the backbone draws from the step's own stream, so that what ran before changes nothing."""
        seed_step(derive_seed(self.seed, "downstream_step", step), self.device)

    def add_gradient(self, images: Tensor, targets: Tensor, known: Tensor) -> Tensor:
        """As `backward`, without a seed: the loss, detached."""
        if self.frozen:
            with torch.no_grad():
                features = self._features(images)
        else:
            features = self._features(images)
        loss = masked_bce(self.head(features), targets, known)
        scaled_sum({"bce": loss}, self.scaler).backward()
        return loss.detach()

    def _features(self, images: Tensor) -> Tensor:
        """(B, C, S, S) -> (B, width). Of one image, whose map may end at one place, perhaps without batch statistics.

        The last batch of an epoch may be one image, and a ResNet that sees 32 pixels has one value a channel at its
        end: of that there is no variance. Its batch norms then take their running statistics, for this batch alone.
        """
        if len(images) > 1:
            return self.compute.features(self.backbone, images)
        as_built = self.backbone.forward  # a compiled one raises other errors
        norms = [m for m in self.backbone.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm) and m.training]
        before = [{name: value.clone() for name, value in norm.named_buffers()} for norm in norms]
        try:
            return self.compute.features(as_built, images)
        except ValueError:
            if not norms:
                raise
        for norm, values in zip(norms, before, strict=True):
            for name, value in norm.named_buffers():  # layers before the one that failed have moved theirs
                value.copy_(values[name])
            norm.eval()
        try:
            return self.compute.features(as_built, images)
        finally:
            for norm in norms:
                norm.train()

    def after_step(self) -> None:
        """Nothing: there is neither queue nor momentum copy."""

    @torch.no_grad()
    def evaluate(self) -> dict[str, float]:
        """The validation part's metrics, of all its images at once (epoch_score)."""
        logits = torch.cat([self.head(f) for f in features_of(self.backbone, self.recipe, self.val, self.compute)])
        targets, known = torch.from_numpy(self.val.targets), torch.from_numpy(self.val.known)
        loss = float(masked_bce(logits.float().cpu(), targets, known))
        return epoch_score(self.recipe, logits.float().cpu().numpy(), self.val, loss)

    def run(self) -> LoopState:
        """Train to the end. best_tensors of the state has the modules' tensors at the best epoch."""
        return fit(self, self.optimizer, self.plan, LoopState())
