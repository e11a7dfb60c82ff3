"""What a plan costs: images to be read, passes to be made, hours on a stated device."""

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch.utils.flop_counter import FlopCounterMode

from sweep.cell import Cell, EncoderRun
from sweep.plan import group_seeds
from trainables.backbones import build_backbone
from trainables.eval_views import contents
from trainables.recipe import BackboneSpec, PretrainRecipe
from trainables.registry import PROTOCOLS

# Sustained training rates, from published figures for ResNet-50 at 224 (2 x 4.1 GFLOP x 3 an image):
# V100 1,200 and A100 2,470 images a second with mixed precision; a CPU core as seen on small networks.
FLOPS_PER_SECOND = {"V100": 3.0e13, "A100": 6.1e13, "CPU core": 1.5e10}
BACKWARD = 2  # a backward pass costs two forward passes


@dataclass(frozen=True)
class Forecast:
    """images_read counts decoded rows; passes counts images through a backbone, forward and with backward."""

    images_read: int
    forward_passes: int
    training_passes: int
    flops: float

    def hours(self, device: str) -> float:
        return self.flops / FLOPS_PER_SECOND[device] / 3600


@lru_cache(maxsize=32)
def forward_flops(spec: BackboneSpec) -> float:
    """FLOPs of one image through a backbone, counted without computing anything."""
    with torch.device("meta"):
        backbone = build_backbone(spec, seed=0)
        images = torch.empty(1, 3, spec.image_size, spec.image_size)
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            backbone.eval()(images)
    return float(counter.get_total_flops())


def forecast(encoders: tuple[EncoderRun, ...], cells: tuple[Cell, ...], counts: dict[str, dict[str, int]]) -> Forecast:
    """counts: source -> {"train": images, "val": ..., "test": ...}."""
    read = forward = training = 0
    flops = 0.0
    for encoder in encoders:
        if isinstance(encoder.recipe, PretrainRecipe):
            recipe = encoder.recipe
            images = counts[encoder.corpus]
            views = len(recipe.objective.views)
            train = recipe.num_epochs * images["train"] * views
            val = recipe.num_epochs * images["val"] * views
            read += recipe.num_epochs * (images["train"] + images["val"])
            training, forward = training + train, forward + val
            flops += forward_flops(recipe.backbone) * ((1 + BACKWARD) * train + val)
    for group in group_seeds(cells):
        cell, recipe = group[0], group[0].recipe
        images = counts[cell.dataset]
        evaluated = images.get("val", 0) + images.get("test", 0)
        if PROTOCOLS[cell.protocol].seeds_together and recipe.linear_probe_bn_eval:
            passes = len(contents(recipe.eval_spec)) * images["train"] + evaluated
            forward += passes
            flops += forward_flops(cell.encoder.recipe.backbone) * passes
            read += passes
        else:
            train = recipe.num_epochs * max(1, images["train"] * cell.label_percent // 100) * len(group)
            val = recipe.num_epochs * evaluated * len(group)
            training, forward = training + train, forward + val
            read += train + val
            flops += forward_flops(cell.encoder.recipe.backbone) * ((1 + BACKWARD) * train + val)
    return Forecast(read, forward, training, flops)
