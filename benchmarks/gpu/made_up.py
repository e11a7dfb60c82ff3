"""What do the sections compute on: images, reports, recipes and trainings that need no file?"""

import copy
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from benchmarks.gpu.bench import Bench
from datasets_io.corpus.read import CorpusBatch
from trainables.batch import MULTI_MODAL, SSL_1, SSL_2, Batch
from trainables.evaluation.dataset import Part
from trainables.evaluation.supervised import LabelledImages, Supervised, TrainingSettings, new_head
from trainables.networks.backbones import build_backbone, feature_dim
from trainables.networks.heads import HeadSpec
from trainables.networks.text import TinyText
from trainables.objectives.barlow_twins import BarlowTwinsConfig
from trainables.objectives.clip import ClipConfig
from trainables.objectives.convirt import ConvirtConfig
from trainables.objectives.joint import JointSettings
from trainables.objectives.mocov2 import MocoV2Config
from trainables.objectives.simclr import SimClrConfig
from trainables.objectives.vicreg import VicRegConfig
from trainables.pretraining.task import Corpus, Pretraining
from trainables.protocols import fine_tune
from trainables.recipe import BackboneSpec, DownstreamRecipe, OptimizerSpec, PretrainRecipe, Resources
from trainables.registry import needs_reports, objective_config
from trainables.training.precision import resolve
from trainables.views.evaluation_spec import paper_nih
from trainables.views.view_spec import multi_modal_view, ssl_view_1, ssl_view_2

FINDINGS = 14
MANY_EPOCHS = 1000  # more than any section comes to


def labelled(count: int, side: int, seed: int = 0) -> Part:
    """Random images with labels of 14 findings, a third of them positive, all known."""
    rng = np.random.default_rng(seed)
    ids = np.array([f"image{i}" for i in range(count)])
    targets = (rng.random((count, FINDINGS)) < 0.3).astype(np.float32)
    pixels = rng.integers(0, 256, (count, side, side), dtype=np.uint8)
    return Part(pixels, targets, np.ones((count, FINDINGS), bool), ids, ids, ids)


def downstream_recipe(side: int, batch: int) -> DownstreamRecipe:
    """The paper's for NIH-ChestX-ray14, at this size."""
    return DownstreamRecipe(MANY_EPOCHS, batch, "val_auroc", paper_nih(side))


def fine_tuning(bench: Bench, part: Part, seed: int = 0, *, one_order: bool = False) -> Supervised:
    """A seed's fine-tuning of all layers, as a cell begins it, in training mode. part: trains and validates.

    one_order: whether the device adds in one order, from now on.
    """
    size, compute = bench.size, resolve("auto", bench.device, one_order)
    recipe = downstream_recipe(size.side, size.batch)
    backbone = build_backbone(BackboneSpec(size.backbone, size.side), seed=0)
    if bench.device.type == "cuda":
        backbone = backbone.to(memory_format=torch.channels_last)
    settings = TrainingSettings(recipe, fine_tune.PROTOCOL.last_phase, seed, MANY_EPOCHS, recipe.optimizer)
    head = new_head(feature_dim(backbone), FINDINGS, seed)
    task = Supervised(backbone, head, LabelledImages(part, np.arange(len(part)), part), settings, compute)
    for module in task.modules.values():
        module.train()
    return task


def pretraining_recipe(method: str, backbone: str, side: int, batch: int, text: TinyText) -> PretrainRecipe:
    """A method with narrow heads of the paper's kind, at this size; without dropout, so that a step can be compared."""
    head = HeadSpec(dims=(256, 128), norm="batch", act="relu")
    wide = HeadSpec(dims=(512, 512), norm="batch", act="relu", bias_last=False)
    parts = {
        "clip": ClipConfig(image_head=head, text_head=HeadSpec(dims=(128,))),
        "convirt": ConvirtConfig(image_head=head, text_head=head, frozen_layers=1),
        "mocov2": MocoV2Config(head=head, queue_size=4 * batch, key_bn_splits=2),
        "simclr": SimClrConfig(head=head),
        "vicreg": VicRegConfig(expander=wide),
        "barlow_twins": BarlowTwinsConfig(projector=wide),
    }
    return PretrainRecipe(
        backbone=BackboneSpec(backbone, side),
        objective=objective_config(method, parts, JointSettings()),
        optimizer=OptimizerSpec("adamw", 1e-4, (0.9, 0.98), 1e-5),
        text=text if needs_reports(method) else None,
        views=((MULTI_MODAL, multi_modal_view(side)), (SSL_1, ssl_view_1(side)), (SSL_2, ssl_view_2(side))),
        global_batch_size=batch,
        patience=None,
        num_epochs=MANY_EPOCHS,
        schedule="constant",
    )


def pretraining(
    recipe: PretrainRecipe, corpus: Corpus, device: torch.device, resources: Resources = Resources()
) -> Pretraining:
    """A pretraining as a worker begins it, in training mode."""
    task = Pretraining(recipe, 0, corpus, resources, None, device)
    task.model.train()
    return task


def raw_batch(corpus: Corpus, batch: int) -> CorpusBatch:
    """The corpus's first images and reports."""
    return CorpusBatch(corpus.val_pixels[:batch], corpus.train.reports[:batch])


def moved(batch: Batch, device: torch.device, dtype: torch.dtype) -> Batch:
    """The same views in this type, and the same tokens, on the device."""
    views = {name: value.to(device, dtype) for name, value in batch.views.items()}
    tokens = (None if part is None else part.to(device) for part in (batch.input_ids, batch.attention_mask))
    return Batch(views, *tokens)


def small_size(bench: Bench) -> tuple[str, int, int, TinyText]:
    """Backbone, side, batch and text tower of steps that are also computed in float64 on the CPU."""
    size = bench.size
    text = replace(size.text, layers=2, width=min(size.text.width, 128), heads=2)
    return size.small_backbone, size.small_side, size.small_batch, text


def state_copy(module: torch.nn.Module) -> dict[str, Tensor]:
    """The module's tensors as they are now, on the CPU."""
    return copy.deepcopy({name: value.detach().cpu() for name, value in module.state_dict().items()})
