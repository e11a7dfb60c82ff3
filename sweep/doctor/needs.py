"""How many bytes does a study still write, and where: shards, encoders, results, and each node's cache."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import torch

from datasets_io.build.spec import BuildSpec, options_of
from datasets_io.corpus.read import MEMORY_LIMIT
from datasets_io.sources.nominal import nominal_splits
from sweep.studies.cell import Cell, EncoderRun
from sweep.studies.study import Study
from trainables.networks.backbones import build_backbone
from trainables.networks.text import HuggingFaceText
from trainables.recipe import BackboneSpec, PretrainRecipe

FLOAT32 = 4
# Round upper figures: the check is to warn before a disk is full, not to count bytes.
HEAD_BYTES = 50 << 20  # projection heads of an objective, as float32
TEXT_TOWER_BYTES = 440 << 20  # a BERT-base text encoder, as float32
CHECKPOINT_COPIES = 4  # weights, Adam's two moments, and the best epoch so far
ROW_BYTES = 100  # ids and report of an image, beside its pixels
PREDICTION_BYTES = 5  # a float32 probability and an int8 label for each image and finding
RESULT_BYTES = 50_000  # result.json with its history, label subset and head


@dataclass(frozen=True)
class Needs:
    """Bytes still to be written to the storage and to a node's cache. purpose: what they are for."""

    storage: int
    cache: int
    purpose: str


def picture_bytes(spec: BuildSpec) -> int:
    """Of one stored image: a byte a pixel. One that keeps its ratio is about a quarter longer than wide."""
    square = spec.image_size**2
    return square if spec.shape == "square" else square * 5 // 4


@lru_cache(maxsize=32)
def backbone_bytes(spec: BackboneSpec) -> int:
    """Bytes of a backbone's parameters and buffers as float32."""
    with torch.device("meta"):  # shapes without memory and without initial values
        backbone = build_backbone(spec, seed=0)
    return FLOAT32 * sum(tensor.numel() for tensor in backbone.state_dict().values())


def encoder_bytes(run: EncoderRun) -> int:
    """Bytes of a published encoder: its backbone, and of a pretraining about those of its heads and text tower."""
    recipe = run.recipe
    heads = HEAD_BYTES if isinstance(recipe, PretrainRecipe) and recipe.backbone.name != "demo_cnn" else 0
    text = TEXT_TOWER_BYTES if isinstance(getattr(recipe, "text", None), HuggingFaceText) else 0
    return backbone_bytes(recipe.backbone) + heads + text


def _predicted(cell: Cell) -> tuple[str, ...]:
    """The splits whose predictions a cell keeps."""
    splits = cell.recipe.splits
    return (splits.test,) if splits.also_test is None else (splits.test, splits.also_test)


def needs_of(
    study: Study,
    encoders: tuple[EncoderRun, ...],
    cells: tuple[Cell, ...],
    counts: Mapping[str, Mapping[str, int]],
    built: set[str],
    findings: int = 14,
) -> Needs:
    """encoders, cells: what is left. counts: label of a build -> split -> images; built: labels that are there.

    findings: labels of each image. A build without counts, as of one's own images, adds nothing. The sizes are those of
    uncompressed pixels, so real ones are smaller.
    """
    # One byte a pixel: images are stored as grey, uint8.
    shards = sum(
        sum(counts.get(build.label, {}).values()) * (picture_bytes(build.spec) + ROW_BYTES)
        for build in study.data_builds()
        if build.label not in built
    )
    sizes = [encoder_bytes(run) for run in encoders]
    # Of the largest encoder: a checkpoint is removed when its encoder is published.
    checkpoints = CHECKPOINT_COPIES * max(sizes, default=0)
    results = sum(
        sum(counts.get(cell.shards, {}).get(split, 0) for split in _predicted(cell)) * findings * PREDICTION_BYTES
        + RESULT_BYTES
        for cell in cells
    )
    # Whatever is read is cached as a file, once a node. The corpus's training images are streamed where they would take
    # more than half of the room.
    cached = [
        counts.get(build.label, {}).get(split, 0) * picture_bytes(build.spec)
        for build in study.data_builds()
        for split in ("train", "val", "test")
        if build.label != study.corpus_instance or split == "val"
    ]
    purpose = f"{len(encoders)} encoders, {len(cells)} cells" + (", shards" if shards else "")
    storage = shards + sum(sizes) + checkpoints + results
    return Needs(storage, sum(size for size in cached if size > MEMORY_LIMIT), purpose)  # smaller ones stay in memory


def nominal_counts(study: Study) -> dict[str, dict[str, int]]:
    """Label of a build -> split -> images, as they were published of archives, for those that nobody has counted."""
    found = {build.label: nominal_splits(build.source, options_of(build.spec)) for build in study.data_builds()}
    return {label: splits for label, splits in found.items() if splits is not None}
