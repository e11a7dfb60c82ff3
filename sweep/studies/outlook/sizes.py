"""How many bytes do images, networks and results of a plan take: in the storage, and on a card while it trains?"""

from collections.abc import Iterator
from dataclasses import dataclass, fields, is_dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Any

import torch

from datasets_io.build.spec import BuildSpec
from sweep.studies.cell import Cell, EncoderRun
from sweep.studies.forecast import TOKENS, text_size
from trainables.networks.backbones import build_backbone, feature_dim, images_of
from trainables.networks.heads import HeadSpec
from trainables.recipe import BackboneSpec, PretrainRecipe

FLOAT = 4  # bytes of a number in float32, as weights are stored and as steps are counted
OPTIMIZER_COPIES = 2  # Adam's and AdamW's two moments of each trained parameter
# Of a stored cell, seen in small studies: its result and history, and of a test image its ids and, a finding, a logit
# and a label.
CELL_BYTES, IMAGE_BYTES, FINDING_BYTES = 12_000, 24.0, 4.5
VOCABULARY = 31_000  # words and places that a text tower has a vector for: BERT base has 30,522 and 512
# Bytes that a layer keeps of a token for its backward pass, in widths: 34 of half precision (Korthikanti et al. 2022,
# equation 1, without what grows with the square of a short report's length), twice that in float32.
KEPT_OF_A_TOKEN = 68
ASPECT = 1.2  # pixels of a picture that keeps its ratio beside those of a square: 2544 x 3056


@dataclass(frozen=True)
class NetworkSize:
    """numbers: parameters; features: width of what it gives; kept: bytes an image in training, in float32."""

    numbers: int
    features: int
    kept: float


@lru_cache(maxsize=32)
def network_size(spec: BackboneSpec) -> NetworkSize:
    """Of an image network, counted without computing it. Raises what its library says of one that it cannot build."""
    taken = images_of(spec)
    # On the meta device tensors have shapes and no numbers. Its storages have no address: they are told by the object.
    with torch.device("meta"):
        network = build_backbone(spec, seed=0).train()
        images = torch.zeros(2, taken.channels, taken.size, taken.size)
    counted = {t.untyped_storage()._cdata for t in (*network.parameters(), *network.buffers(), images)}
    kept: list[torch.Tensor] = []  # held, so that no two storages that are counted are one after the other at one place

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.untyped_storage()._cdata not in counted:
            counted.add(tensor.untyped_storage()._cdata)
            kept.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        network(images)
    total = sum(tensor.untyped_storage().nbytes() for tensor in kept)
    return NetworkSize(sum(p.numel() for p in network.parameters()), feature_dim(network), total / len(images))


def data_bytes(spec: BuildSpec, images: int) -> int:
    """Of the shards: a byte a pixel."""
    return round(images * spec.image_size**2 * (ASPECT if spec.shape == "aspect" else 1.0))


def encoder_bytes(run: EncoderRun) -> int:
    """Of a stored encoder: its image network, and of a pretraining heads and text tower too."""
    size = network_size(run.recipe.backbone)
    return FLOAT * (size.numbers + (_objective_numbers(run.recipe) if isinstance(run.recipe, PretrainRecipe) else 0))


def cell_bytes(cell: Cell, test_images: int, findings: int, keeps_network: bool) -> int:
    """Of a stored cell; keeps_network: whether the tuned network is kept with it."""
    size = network_size(cell.encoder.recipe.backbone)
    head = FLOAT * findings * (size.features + 1)
    predictions = test_images * (IMAGE_BYTES + FINDING_BYTES * findings)
    return round(CELL_BYTES + head + predictions) + keeps_network * FLOAT * size.numbers


def pretraining_step_bytes(recipe: PretrainRecipe, workers: int) -> int:
    """What a worker holds in a step, in float32: weights, gradients, moments, and what is kept to go backward."""
    size = network_size(recipe.backbone)
    chunks = max(1, recipe.global_batch_size // (recipe.gradient_cache_chunk or recipe.global_batch_size))
    images = max(1, recipe.global_batch_size // workers // chunks)
    layers, width = text_size(recipe)
    kept = len(recipe.objective.views) * size.kept + layers * width * TOKENS * KEPT_OF_A_TOKEN
    return round((2 + OPTIMIZER_COPIES) * FLOAT * (size.numbers + _objective_numbers(recipe)) + images * kept)


def cell_step_bytes(cell: Cell) -> int:
    """The same of fine-tuning one seed."""
    size = network_size(cell.encoder.recipe.backbone)
    return round((2 + OPTIMIZER_COPIES) * FLOAT * size.numbers + cell.recipe.batch_size * size.kept)


def _objective_numbers(recipe: PretrainRecipe) -> int:
    """Parameters of heads and text tower."""
    layers, width = text_size(recipe)
    # A layer of width w has 12 w^2 weights (see text_flops); before the first stand the vectors of words and places.
    vocabulary = min(VOCABULARY, getattr(recipe.text, "max_vocabulary", VOCABULARY))
    tower = layers * 12 * width**2 + (vocabulary * width if layers else 0)
    features = network_size(recipe.backbone).features
    return tower + sum(
        _of_head(head, width if name == "text_head" else features) for name, head in _heads(recipe.objective)
    )


def _of_head(head: HeadSpec, width: int) -> int:
    widths = (width, *head.dims)
    return sum(given * made + made for given, made in pairwise(widths))


def _heads(config: Any) -> Iterator[tuple[str, HeadSpec]]:
    """Name -> head, of an objective and of the two of a joint one."""
    for field in fields(config):
        value = getattr(config, field.name)
        if isinstance(value, HeadSpec):
            yield field.name, value
        elif is_dataclass(value) and not isinstance(value, type):
            yield from _heads(value)
