"""What a plan costs: images to be read, passes to be made, hours on a stated device."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from sweep.studies.cell import Cell, EncoderRun
from sweep.studies.plan import group_seeds
from trainables.networks.backbones import OWN_BACKBONES, build_backbone, images_of
from trainables.networks.text import HuggingFaceText, TinyText
from trainables.objectives.mocov2 import MocoV2Config
from trainables.protocols.registry import PROTOCOLS
from trainables.recipe import BackboneSpec, DownstreamRecipe, PretrainRecipe
from trainables.views.evaluation_spec import CROPS, contents

# Sustained training rates, from published figures for ResNet-50 at 224 (2 x 4.1 GFLOP x 3 an image):
# V100 1,200 and A100 2,470 images a second with mixed precision (NVIDIA DeepLearningExamples); an H100 is taken as two
# A100s, less than MLPerf Training 3.0 shows (13.5 minutes on eight); a CPU core as seen on small networks.
FLOPS_PER_SECOND = {"V100": 3.0e13, "A100": 6.1e13, "H100": 1.22e14, "CPU core": 1.5e10}
BACKWARD = 2  # a backward pass costs two forward passes
TOKENS = 40  # of a report, with the padding that buckets leave: an assumption, about 30 words
BERT_BASE = (12, 768)  # layers, width: what a text encoder is taken for that is known by its name only
Counts = Mapping[str, Mapping[str, int]]  # label of a build -> split -> images


@dataclass(frozen=True)
class Forecast:
    """images_read counts decoded rows; passes counts images through a backbone, forward and with backward.

    flops: of all image networks; text_flops: of the text towers beside them; views: rendered in pretraining. steps: of
    an optimiser through a network, each of which costs time whatever its size.
    """

    images_read: int = 0
    forward_passes: int = 0
    training_passes: int = 0
    flops: float = 0.0
    text_flops: float = 0.0
    views: int = 0
    steps: int = 0

    def seconds_at(self, flops_per_second: float) -> float:
        """On one device of this rate."""
        return (self.flops + self.text_flops) / flops_per_second

    def hours(self, device: str) -> float:
        """On one device of FLOPS_PER_SECOND."""
        return self.seconds_at(FLOPS_PER_SECOND[device]) / 3600

    def __add__(self, other: "Forecast") -> "Forecast":
        return Forecast(
            self.images_read + other.images_read,
            self.forward_passes + other.forward_passes,
            self.training_passes + other.training_passes,
            self.flops + other.flops,
            self.text_flops + other.text_flops,
            self.views + other.views,
            self.steps + other.steps,
        )


@lru_cache(maxsize=32)
def forward_flops(spec: BackboneSpec) -> float:
    """FLOPs of one image through a backbone, counted; only the project's own small ones are computed for it.

    Raises ValueError for a network that does not take images of the size that its specification names.
    """
    if spec.name in OWN_BACKBONES:
        return _flops_of_layers(
            build_backbone(spec, seed=0), torch.zeros(1, spec.channels, spec.image_size, spec.image_size)
        )
    # On the meta device tensors have shapes and no numbers: operations are counted, none is computed.
    try:
        return _counted_flops(spec, "meta")
    except (NotImplementedError, RuntimeError):  # a network that reads a number in its forward pass
        return _counted_flops(spec, "cpu")


def _counted_flops(spec: BackboneSpec, device: str) -> float:
    taken = images_of(spec)
    with torch.device(device):
        # Without gradients, which the counter would follow through modules that take and give several tensors.
        backbone = build_backbone(spec, seed=0).requires_grad_(False).eval()
        images = torch.zeros(1, taken.channels, taken.size, taken.size)
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            backbone(images)
    return float(counter.get_total_flops())


def _flops_of_layers(network: nn.Module, images: torch.Tensor) -> float:
    """FLOPs of a forward pass of a small network of convolutions and linear layers, computed.

    As FlopCounterMode counts them, whose use imports torch's compiler: a second of each command on such a study.
    """
    counted: list[float] = []

    def count(layer: nn.Module, _: object, output: torch.Tensor) -> None:
        assert isinstance(layer, nn.Conv2d | nn.Linear)
        counted.append(2.0 * output.numel() * layer.weight[0].numel())

    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            layer.register_forward_hook(count)
    with torch.no_grad():
        network.eval()(images)
    return sum(counted)


def text_flops(recipe: PretrainRecipe) -> float:
    """FLOPs of one report in training: 24 w^2 a layer and token forward, twice that backward where it is trained."""
    # A transformer layer of width w has 12 w^2 weights: 4 w^2 in attention, 8 w^2 in the two layers of width 4 w.
    # Each takes part in one multiplication and one addition a token: 24 w^2.
    layers, width = text_size(recipe)
    if not layers:
        return 0.0
    config: Any = getattr(recipe.objective, "image_text", recipe.objective)
    frozen = min(config.frozen_layers, layers) if config.freeze_embeddings else 0  # else gradients pass all layers
    return float(24.0 * width**2 * TOKENS * ((1 + BACKWARD) * (layers - frozen) + frozen))


def text_size(recipe: PretrainRecipe) -> tuple[int, int]:
    """Layers and width of the text tower; (0, 0) without one."""
    if recipe.text is None:
        return 0, 0
    if isinstance(recipe.text, TinyText):
        return recipe.text.layers, recipe.text.width
    if isinstance(recipe.text, HuggingFaceText) and recipe.text.size is not None:
        return recipe.text.size
    return BERT_BASE


def key_views(recipe: PretrainRecipe) -> int:
    """Views that also pass MoCo's momentum copy, forward only."""
    config = getattr(recipe.objective, "image_image", recipe.objective)
    return len(config.views) if isinstance(config, MocoV2Config) else 0


def forecast(encoders: Iterable[EncoderRun], cells: Iterable[Cell], counts: Counts) -> Forecast:
    """What encoders and cells cost together. counts: label of a build -> {"train": images, "val": ..., "test": ...}."""
    total = Forecast()
    for encoder in encoders:
        if isinstance(encoder.recipe, PretrainRecipe):
            assert encoder.corpus is not None, f"{encoder} has a pretraining recipe and no corpus"
            total += _of_pretraining(encoder.recipe, counts[encoder.corpus])
    for group in group_seeds(cells):
        total += _of_cells(group, counts[group[0].shards])
    return total


def _of_pretraining(recipe: PretrainRecipe, images: Mapping[str, int]) -> Forecast:
    views, epochs = len(recipe.objective.views), recipe.num_epochs
    train = epochs * images["train"] * views
    forward = epochs * (images["val"] * views + images["train"] * key_views(recipe))
    return Forecast(
        images_read=epochs * (images["train"] + images["val"]),
        forward_passes=forward,
        training_passes=train,
        flops=forward_flops(recipe.backbone) * ((1 + BACKWARD) * train + forward),
        text_flops=epochs * images["train"] * text_flops(recipe),
        views=epochs * (images["train"] + images["val"]) * views,
        steps=epochs * (images["train"] // recipe.global_batch_size),
    )


@dataclass(frozen=True)
class _PartSizes:
    """Images of the parts that a recipe makes of a build's splits. test: crops, of both test splits."""

    train: int
    val: int
    test: int


def _part_sizes(recipe: DownstreamRecipe, images: Mapping[str, int]) -> _PartSizes:
    """As load_parts makes them; of validation that is carved by a hash of patients, the expected number."""
    splits, train = recipe.splits, images["train"]
    val = images.get(splits.val, 0)
    if splits.val == "carved":
        val = round(train * splits.carve_percent / 100)
        train -= val
    also = images.get(splits.also_test, 0) if splits.also_test is not None else 0
    crops = CROPS if recipe.eval_spec.ten_crop else 1
    return _PartSizes(train, val, crops * (images.get(splits.test, 0) + also))


def _of_cells(group: Sequence[Cell], images: Mapping[str, int]) -> Forecast:
    """Of the cells that one job computes."""
    cell, recipe = group[0], group[0].recipe
    sizes, protocol = _part_sizes(recipe, images), PROTOCOLS[cell.protocol]
    one_image = forward_flops(cell.encoder.recipe.backbone)
    if protocol.seeds_together and recipe.linear_probe_bn_eval:
        # Features of each image are computed once for all epochs and seeds, in each form that augmentation gives it.
        passes = len(contents(recipe.eval_spec)) * sizes.train + sizes.val + sizes.test
        return Forecast(images_read=passes, forward_passes=passes, flops=one_image * passes)
    val = sizes.val
    if recipe.budget_validation:
        val = max(1, val * cell.label_percent // 100)
    epochs = recipe.num_epochs
    if protocol.last_phase.trains == "head":
        epochs = recipe.linear_probe_epochs or epochs
    subset = max(1, sizes.train * cell.label_percent // 100)
    train = epochs * subset * len(group)
    forward = (epochs * val + sizes.test) * len(group)  # the test is of the best epoch alone
    return Forecast(
        images_read=train + forward,
        forward_passes=forward,
        training_passes=train,
        flops=one_image * ((1 + BACKWARD) * train + forward),
        steps=epochs * math.ceil(subset / recipe.batch_size) * len(group),
    )
