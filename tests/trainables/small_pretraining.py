"""A pretraining that takes a second: random images with reports, the demo's recipe values at 32 pixels."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from datasets_io.corpus.read import CorpusIndex, resident_batches
from datasets_io.storage.artefacts import Artefacts, open_artefacts
from datasets_io.storage.files import Files
from trainables.batch import MULTI_MODAL, SSL_1, SSL_2
from trainables.networks.heads import HeadSpec
from trainables.networks.text import TinyText
from trainables.objectives.clip import ClipConfig
from trainables.objectives.joint import JointSettings
from trainables.objectives.mocov2 import MocoV2Config
from trainables.objectives.simclr import SimClrConfig
from trainables.objectives.vicreg import VicRegConfig
from trainables.pretraining.encoder_job import EncoderJob, run_pretraining
from trainables.pretraining.task import Corpus
from trainables.recipe import BackboneSpec, OptimizerSpec, PretrainRecipe, Resources
from trainables.registry import needs_reports, objective_config
from trainables.views.view_spec import multi_modal_view, ssl_view_1, ssl_view_2

SIZE, NUM_TRAIN, NUM_VAL, GLOBAL_BATCH_SIZE, NUM_EPOCHS = 32, 43, 20, 8, 2
STEPS_PER_EPOCH = 5
HEAD = HeadSpec(dims=(128, 64), norm="batch", act="relu")
BASE: dict[str, Any] = {
    "clip": ClipConfig(image_head=HEAD, text_head=HeadSpec(dims=(64,))),
    "simclr": SimClrConfig(head=HEAD),
    "mocov2": MocoV2Config(head=HEAD, queue_size=20, momentum=0.99, key_bn_splits=2),
    # The paper's 8192 units, in float16 on a CPU, take half a minute for one step.
    "vicreg": VicRegConfig(expander=HeadSpec(dims=(256, 256), norm="batch", act="relu", bias_last=False)),
}


def recipe_of(method: str, dropout: float = 0.1, **changes: Any) -> PretrainRecipe:
    reports = needs_reports(method)
    views = ((MULTI_MODAL, multi_modal_view(SIZE)), (SSL_1, ssl_view_1(SIZE)), (SSL_2, ssl_view_2(SIZE)))
    recipe = PretrainRecipe(
        backbone=BackboneSpec("demo_cnn", SIZE),
        objective=objective_config(method, BASE, JointSettings()),
        optimizer=OptimizerSpec("adamw", 2e-3, (0.9, 0.98), 0.01 if reports else 1e-5),
        text=TinyText(dropout=dropout) if reports else None,
        views=views,
        num_epochs=NUM_EPOCHS,
        global_batch_size=GLOBAL_BATCH_SIZE,
        patience=None,
    )
    return replace(recipe, **changes)


def _index(count: int, generator: np.random.Generator) -> CorpusIndex:
    words = np.array(["no", "small", "left", "right", "effusion", "opacity", "stable", "acute"])
    reports = [" ".join(generator.choice(words, generator.integers(2, 9))) for _ in range(count)]
    kept = np.ones(count, dtype=bool)
    kept[1] = False
    return CorpusIndex([count // 2, count - count // 2], [("a", 0), ("a", 1)], kept, SIZE, reports)


def corpus() -> Corpus:
    """The same on every call."""
    generator = np.random.default_rng(7)
    train, val = _index(NUM_TRAIN, generator), _index(NUM_VAL, generator)
    pixels, val_pixels = (generator.integers(0, 256, (n, SIZE, SIZE), dtype=np.uint8) for n in (NUM_TRAIN, NUM_VAL))
    return Corpus(train, lambda plan, start: resident_batches(pixels, train, plan, start), val, val_pixels)


def pretrain(
    method: str,
    storage: str | Path,
    recipe: PretrainRecipe | None = None,
    checkpoint_every_steps: int = 1,
    fail_at_step: int | None = None,
    seed: int = 0,
    precision: str = "auto",
) -> None:
    """Run, or go on with, the one encoder of this method in a storage."""
    torch.set_num_threads(1)  # as a worker does: another number of threads sums in another order
    job = EncoderJob(method, "key", "encoder", recipe or recipe_of(method), seed)
    resources = Resources(checkpoint_every_steps=checkpoint_every_steps, precision=precision)
    run_pretraining(job, str(storage), corpus(), resources, torch.device("cpu"), lambda progress: None, fail_at_step)


def published(storage: str | Path) -> Artefacts:
    return open_artefacts(Files(str(storage)), "encoder")
