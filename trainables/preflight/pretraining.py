"""Does a step of a pretraining run: objective, backbone, text tower, views and reports together, on a few images?"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import nn

from datasets_io.corpus.read import CorpusBatch, CorpusIndex
from trainables.batch import Batch
from trainables.networks.backbones import OWN_BACKBONES, build_backbone, feature_dim
from trainables.networks.heads import Head
from trainables.networks.text import TinyText
from trainables.networks.text_check import try_text_of
from trainables.objectives.mocov2 import MocoV2Config
from trainables.preflight.encoder import feeding
from trainables.preflight.memory import saved_for_backward, step_bytes
from trainables.preflight.text_tower import REPORTS, tiny_text_misfit
from trainables.preflight.verdict import Misfit, PretrainingCheck, Verdict, first_line
from trainables.pretraining.task import Corpus, Pretraining
from trainables.recipe import BackboneSpec, PretrainRecipe, Resources


def check_pretraining(check: PretrainingCheck) -> Verdict:
    """Build it as a worker does, and pass a few images and reports through it once. Raises Misfit."""
    if check.start is not None:
        _check_start(check.start, check.recipe.backbone)
    recipe = check.recipe
    if reads_tiny_text(recipe) and recipe.backbone.name in OWN_BACKBONES:
        # The demo's: its text tower would import transformers, for seconds. All but the tower is tried.
        _check_tiny_text(recipe)
        image_image = getattr(recipe.objective, "image_image", None)
        if image_image is None:
            return Verdict()
        recipe = replace(recipe, objective=image_image, text=None)
    _check_text(recipe)
    task = _built(recipe, check.image_size)
    saved, images = _one_step(task, check.image_size)
    return Verdict(step_bytes=step_bytes(task.model, saved, images, check.step_images), step_images=check.step_images)


def reads_tiny_text(recipe: PretrainRecipe) -> bool:
    """Whether its text tower is the small one with weights of its own."""
    return recipe.objective_needs_text and isinstance(recipe.text, TinyText)


def _check_start(start: BackboneSpec, spec: BackboneSpec) -> None:
    """The weights that it starts from must be of its network."""
    if start == spec:
        return
    with torch.device("meta"):
        given, wanted = ({n: t.shape for n, t in build_backbone(s, seed=0).state_dict().items()} for s in (start, spec))
    other = sorted(name for name in given.keys() | wanted.keys() if given.get(name) != wanted.get(name))
    if other:
        raise Misfit(
            f"starts from a row whose network is {start.name!r} with options {dict(start.options)}, and its own is "
            f"{spec.name!r} with {dict(spec.options)}: {len(other)} tensors differ (first: {other[0]}); give both rows "
            "the same BackboneSpec"
        )


def _check_text(recipe: PretrainRecipe) -> None:
    try:
        try_text_of(recipe)
    except ValueError as error:
        raise Misfit(f"has a text encoder that cannot be used: {error}", lasting=False) from error


def _check_tiny_text(recipe: PretrainRecipe) -> None:
    assert isinstance(recipe.text, TinyText), recipe.text
    config: Any = getattr(recipe.objective, "image_text", recipe.objective)
    if found := tiny_text_misfit(recipe.text, getattr(config, "frozen_layers", 0)):
        raise Misfit(found)
    backbone = build_backbone(recipe.backbone, seed=0)
    for name, width in (("image_head", feature_dim(backbone)), ("text_head", recipe.text.width)):
        if (spec := getattr(config, name, None)) is not None:
            Head(spec, width)(torch.zeros(2, width))


def _built(recipe: PretrainRecipe, image_size: int) -> Pretraining:
    """The task of a worker that is alone, on a corpus that has just a batch."""
    count = recipe.global_batch_size
    reports = [REPORTS[i % len(REPORTS)] for i in range(count)]
    index = CorpusIndex([], [], np.ones(count, dtype=bool), image_size, reports)
    corpus = Corpus(index, lambda plan, step: iter(()), index, np.empty((0, image_size, image_size), np.uint8))
    resources = Resources(precision="float32")
    try:
        return Pretraining(recipe, 0, corpus, resources, None, torch.device("cpu"))
    except MemoryError:
        raise
    except ValueError as error:
        raise Misfit(f"cannot be pretrained: {error}", lasting=False) from error
    except OSError as error:
        raise Misfit(f"cannot be pretrained: {first_line(error)}", lasting=False) from error
    except Exception as error:
        raise Misfit(f"cannot be pretrained with these options: {first_line(error)}") from error


def _one_step(task: Pretraining, image_size: int) -> tuple[int, int]:
    """Losses and gradients of a few images; bytes that were saved between the two, and how many images."""
    batch = _batch(task, image_size)
    view = next(iter(batch.views.values()))
    with feeding(task.model.backbone, task.recipe.backbone, "pretraining", view), torch.no_grad():
        task.model.backbone.eval()(view)
    task.model.train()
    kept = (*task.model.parameters(), *task.model.buffers(), *batch.views.values())
    with _named("has an objective whose step cannot be run"):
        with saved_for_backward(kept) as saved:
            losses = task.model(batch)
        sum(losses.values(), torch.zeros(())).backward()
    broken = [name for name, value in losses.items() if not bool(torch.isfinite(value))]
    if broken:
        raise Misfit(f"has a loss that is NaN or infinite in its first step: {', '.join(broken)}")
    _check_reached(task.model.backbone)
    return saved.total, len(view)


def _batch(task: Pretraining, image_size: int) -> Batch:
    """Views of random images and the tokens of REPORTS."""
    missing = [name for name in task.model.objective.views if name not in task.views]
    if missing:
        raise Misfit(f"has no view {missing[0]!r}, which its objective reads: add it to PretrainRecipe.views")
    count = _fewest_images(task.recipe)
    pixels = np.random.default_rng(0).integers(0, 256, (count, image_size, image_size), dtype=np.uint8)
    reports = [REPORTS[i % len(REPORTS)] for i in range(count)]
    with _named("cannot make views and tokens of its images and reports"):
        batch = task.make_batch(CorpusBatch(pixels, reports), "views", 0, count)
    return batch


@contextmanager
def _named(what: str) -> Iterator[None]:
    """What is raised within the block, as a Misfit that says what cannot be done."""
    try:
        yield
    except (Misfit, MemoryError):
        raise
    except Exception as error:
        raise Misfit(f"{what}: {first_line(error)}") from error


def _check_reached(backbone: nn.Module) -> None:
    """Training of a backbone that no gradient reaches would leave it as it was."""
    if not any(p.grad is not None and bool(torch.isfinite(p.grad).all()) for p in backbone.parameters()):
        raise Misfit("has an objective whose gradient does not reach the backbone, or is NaN")


def _fewest_images(recipe: PretrainRecipe) -> int:
    """Two, and two for each group of MoCo's batch norm."""
    config = getattr(recipe.objective, "image_image", recipe.objective)
    return 2 * config.key_bn_splits if isinstance(config, MocoV2Config) else 2
