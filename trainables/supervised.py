"""A backbone with a linear head, trained on labels: fine-tuning, and linear probing without cached features."""

import math
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor, nn

from datasets_io.fingerprint import derive_seed
from trainables.devices import seed_step, seeded
from trainables.downstream_data import Part
from trainables.eval_views import prepare, prepare_test
from trainables.loop import LoopPlan, LoopState, fit
from trainables.metrics import auroc_per_finding, macro
from trainables.optim import build_optimizer
from trainables.precision import Compute, scaled_sum
from trainables.protocols.base import Phase
from trainables.recipe import DownstreamRecipe, OptimizerSpec

EVALUATION_BATCH = 256
CACHE_FRIENDLY_PIXELS = 1 << 20  # on a CPU a batch of more pixels costs page faults, not less time


def masked_bce(logits: Tensor, targets: Tensor, known: Tensor) -> Tensor:
    """Binary cross-entropy, mean over the known entries of (..., B, F); (...,) values. 0 where none is known."""
    loss = nn.functional.binary_cross_entropy_with_logits(logits, targets, reduction="none") * known
    return loss.sum(dim=(-2, -1)) / known.sum(dim=(-2, -1)).clamp(min=1)


def new_head(width: int, num_findings: int, seed: int) -> nn.Linear:
    with seeded(derive_seed(seed, "head")):
        return nn.Linear(width, num_findings)


def epoch_rows(num_images: int, seed: int, epoch: int) -> np.ndarray:
    """The order of an epoch: a permutation of the labelled images."""
    return np.random.default_rng(derive_seed(seed, "label_order", epoch)).permutation(num_images)


def epoch_flips(num_images: int, probability: float, seed: int, epoch: int) -> np.ndarray:
    """Which images are mirrored in an epoch: (N,) bool by image, not by place in the order."""
    if probability == 0:
        return np.zeros(num_images, dtype=bool)
    return np.random.default_rng(derive_seed(seed, "flip", epoch)).random(num_images) < probability


def epoch_score(recipe: DownstreamRecipe, scores: np.ndarray, part: Part, loss: float) -> dict[str, float]:
    """Validation metrics. With no finding defined the loss decides, since there is no AUROC to pick by."""
    value = macro(auroc_per_finding(scores, part.targets, part.known))
    by_auroc = recipe.select_by == "val_auroc" and value is not None
    metrics = {"val_loss": loss, "score": value if by_auroc else -loss}
    return metrics if value is None else {**metrics, "val_auroc": value}


class Supervised:
    """A loop Task over one seed's labelled images."""

    def __init__(
        self, backbone: nn.Module, head: nn.Linear, phase: Phase, recipe: DownstreamRecipe,
        train: Part, rows: np.ndarray, val: Part, seed: int, compute: Compute,
        num_epochs: int, optimizer: OptimizerSpec,
    ):
        self.recipe, self.train_part, self.rows, self.val = recipe, train, rows, val
        self.seed, self.compute, self.device, self.num_epochs = seed, compute, compute.device, num_epochs
        self.scaler = compute.scaler()
        self.backbone, self.head = backbone.to(self.device), head.to(self.device)
        self.frozen = phase.trains == "head"
        self.modules = {"backbone": self.backbone, "head": self.head}
        if self.frozen:
            self.backbone.requires_grad_(False)
            if recipe.linear_probe_bn_eval:
                self.backbone.train = lambda mode=True: nn.Module.train(self.backbone, False)
        self.optimizer_spec = optimizer
        self.optimizer = build_optimizer(optimizer, self.modules.values())

    @property
    def steps_per_epoch(self) -> int:
        return math.ceil(len(self.rows) / self.recipe.batch_size)

    def stream(self, start_step: int) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        for epoch in range(start_step // self.steps_per_epoch, self.num_epochs):
            order = epoch_rows(len(self.rows), self.seed, epoch)
            flips = epoch_flips(len(self.rows), self.recipe.eval_spec.flip_p, self.seed, epoch)
            for start in range(0, len(order), self.recipe.batch_size):
                places = order[start : start + self.recipe.batch_size]
                rows = self.rows[places]
                images = prepare(self.recipe.eval_spec, self.train_part.pixels[rows], flips[places], self.device)
                targets = torch.from_numpy(self.train_part.targets[rows]).to(self.device)
                known = torch.from_numpy(self.train_part.known[rows]).to(self.device)
                yield images, targets, known

    def backward(self, batch: tuple[Tensor, Tensor, Tensor], step: int) -> dict[str, Tensor]:
        images, targets, known = batch
        seed_step(derive_seed(self.seed, "downstream_step", step), self.device)
        if self.frozen:
            with torch.no_grad():
                features = self.compute.features(self.backbone, images)
        else:
            features = self.compute.features(self.backbone, images)
        loss = masked_bce(self.head(features), targets, known)
        scaled_sum({"bce": loss}, self.scaler).backward()
        return {"bce": loss.detach()}

    def after_step(self) -> None:
        pass

    @torch.no_grad()
    def evaluate(self) -> dict[str, float]:
        logits = torch.cat([self.head(f) for f in features_of(self.backbone, self.recipe, self.val, self.compute)])
        targets, known = torch.from_numpy(self.val.targets), torch.from_numpy(self.val.known)
        loss = float(masked_bce(logits.float().cpu(), targets, known))
        return epoch_score(self.recipe, logits.float().cpu().numpy(), self.val, loss)

    def run(self) -> LoopState:
        plan = LoopPlan(
            self.num_epochs, self.steps_per_epoch, self.optimizer_spec.learning_rate,
            plateau_factor=self.recipe.lr_plateau_factor,
        )
        return fit(self, self.optimizer, plan, LoopState())


def evaluation_batch(part: Part, device: torch.device) -> int:
    """Images a batch where no gradient is needed; each image's result does not depend on it."""
    if device.type != "cpu":
        return EVALUATION_BATCH
    height, width = part.pixels.shape[1:]
    return max(8, min(EVALUATION_BATCH, CACHE_FRIENDLY_PIXELS // (height * width)))


@torch.no_grad()
def features_of(
    backbone: nn.Module, recipe: DownstreamRecipe, part: Part, compute: Compute, flipped: bool = False
) -> Iterator[Tensor]:
    """Features of a part in batches of (b, D), in order, in eval mode and without augmentation."""
    backbone.eval()
    size = evaluation_batch(part, compute.device)
    for start in range(0, len(part), size):
        pixels = part.pixels[start : start + size]
        images = prepare(recipe.eval_spec, pixels, np.full(len(pixels), flipped), compute.device)
        yield compute.features(backbone, images)


@torch.no_grad()
def test_probabilities(
    backbone: nn.Module, head: nn.Linear, recipe: DownstreamRecipe, part: Part, compute: Compute
) -> np.ndarray:
    """(N, F) float32 probabilities; with several crops an image the mean of theirs."""
    backbone.eval()
    head.eval()
    rows = []
    size = evaluation_batch(part, compute.device)
    for start in range(0, len(part), size):
        images = prepare_test(recipe.eval_spec, part.pixels[start : start + size], compute.device)
        crops = images.shape[1] if images.ndim == 5 else 1
        features = compute.features(backbone, images.flatten(0, 1) if images.ndim == 5 else images)
        scores = head(features).float().sigmoid()
        rows.append(scores.view(-1, crops, scores.shape[-1]).mean(dim=1).cpu().numpy())
    return np.concatenate(rows)


