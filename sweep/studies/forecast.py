"""What a plan costs: images to be read, passes to be made, hours on a stated device."""

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch.utils.flop_counter import FlopCounterMode

from sweep.studies.cell import Cell, EncoderRun
from sweep.studies.plan import group_seeds
from trainables.networks.backbones import build_backbone
from trainables.networks.text import TinyText
from trainables.objectives.mocov2 import MocoV2Config
from trainables.recipe import BackboneSpec, PretrainRecipe
from trainables.registry import PROTOCOLS
from trainables.views.evaluation import contents

# Sustained training rates, from published figures for ResNet-50 at 224 (2 x 4.1 GFLOP x 3 an image):
# V100 1,200 and A100 2,470 images a second with mixed precision (NVIDIA DeepLearningExamples); an H100 is taken as two
# A100s, less than MLPerf Training 3.0 shows (13.5 minutes on eight); a CPU core as seen on small networks.
FLOPS_PER_SECOND = {"V100": 3.0e13, "A100": 6.1e13, "H100": 1.22e14, "CPU core": 1.5e10}
BACKWARD = 2  # a backward pass costs two forward passes
TOKENS = 40  # of a report, with the padding that buckets leave: an assumption, about 30 words
BERT_BASE = (12, 768)  # layers, width: what a text encoder by name is taken for


@dataclass(frozen=True)
class Forecast:
    """images_read counts decoded rows; passes counts images through a backbone, forward and with backward.

    flops: of all image networks; text_flops: of the text towers beside them; views: rendered in pretraining.
    """

    images_read: int
    forward_passes: int
    training_passes: int
    flops: float
    text_flops: float = 0.0
    views: int = 0

    def hours(self, device: str) -> float:
        return (self.flops + self.text_flops) / FLOPS_PER_SECOND[device] / 3600


@lru_cache(maxsize=32)
def forward_flops(spec: BackboneSpec) -> float:
    """FLOPs of one image through a backbone, counted without computing anything."""
    with torch.device("meta"):
        backbone = build_backbone(spec, seed=0)
        images = torch.empty(1, 3, spec.image_size, spec.image_size)
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            backbone.eval()(images)
    return float(counter.get_total_flops())


def text_flops(recipe: PretrainRecipe) -> float:
    """FLOPs of one report in training: 24 w^2 a layer and token forward, twice that backward where it is trained."""
    if recipe.text is None:
        return 0.0
    tiny = isinstance(recipe.text, TinyText)
    layers, width = (recipe.text.layers, recipe.text.width) if tiny else BERT_BASE
    config = getattr(recipe.objective, "image_text", recipe.objective)
    frozen = config.frozen_layers if config.freeze_embeddings else 0  # with free embeddings gradients pass all layers
    return 24.0 * width**2 * TOKENS * ((1 + BACKWARD) * (layers - frozen) + frozen)


def key_views(recipe: PretrainRecipe) -> int:
    """Views that also pass MoCo's momentum copy, forward only."""
    config = getattr(recipe.objective, "image_image", recipe.objective)
    return len(config.views) if isinstance(config, MocoV2Config) else 0


def forecast(encoders: tuple[EncoderRun, ...], cells: tuple[Cell, ...], counts: dict[str, dict[str, int]]) -> Forecast:
    """counts: source -> {"train": images, "val": ..., "test": ...}."""
    read = forward = training = rendered = 0
    flops = texts = 0.0
    for encoder in encoders:
        if isinstance(encoder.recipe, PretrainRecipe):
            recipe = encoder.recipe
            images = counts[encoder.corpus]
            views = len(recipe.objective.views)
            train = recipe.num_epochs * images["train"] * views
            val = recipe.num_epochs * (images["val"] * views + images["train"] * key_views(recipe))
            rendered += recipe.num_epochs * (images["train"] + images["val"]) * views
            texts += recipe.num_epochs * images["train"] * text_flops(recipe)
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
    return Forecast(read, forward, training, flops, texts, rendered)
