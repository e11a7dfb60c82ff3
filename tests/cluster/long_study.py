"""One pretraining in two processes and two fine-tunings of two minutes: Ray declares a lost host dead after 65 s."""

import math
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from datasets_io.synthetic.plan import SyntheticSpec
from sweep.studies import Study, demo
from trainables.evaluation.dataset import Part
from trainables.evaluation.supervised import LabelledImages, Supervised, TrainingSettings, new_head
from trainables.networks.backbones import build_backbone, feature_dim
from trainables.protocols import fine_tune
from trainables.training.precision import Compute

PRETRAINING_EPOCHS = 6  # without its other worker a pretraining waits, a cell goes on
CELL_SECONDS, TIMED_EPOCHS = 120.0, 10
FILE = "from tests.cluster.long_study import study_of\n\n\ndef study():\n    return study_of({})\n"


def write(path: Path, fine_tuning_epochs: int) -> Path:
    """A file that defines the study, for `--study`."""
    path.write_text(FILE.format(fine_tuning_epochs))
    return path


def epochs_of_a_cell() -> int:
    """So many take CELL_SECONDS here: what takes two minutes on one machine takes six on another."""
    long = study_of(TIMED_EPOCHS)
    (dataset,), spec = long.datasets, long.rows[0].recipe.backbone
    generator, count, findings = np.random.default_rng(0), long.synthetic.chexpert_train, 5
    ids = np.array([str(number) for number in range(count)])
    pixels = generator.integers(0, 256, (count, spec.image_size, spec.image_size), dtype=np.uint8)
    targets = (generator.random((count, findings)) < 0.4).astype(np.float32)
    images = Part(pixels, targets, np.ones_like(targets, dtype=bool), ids, ids, ids)
    backbone = build_backbone(spec, seed=0)
    phase, recipe = fine_tune.PROTOCOL.last_phase, dataset.recipe
    settings = TrainingSettings(recipe, phase, 0, TIMED_EPOCHS, recipe.optimizer)
    training = Supervised(
        backbone,
        new_head(feature_dim(backbone), findings, 0),
        LabelledImages(images, np.arange(count), images.take(np.arange(40))),
        settings,
        Compute(torch.device("cpu")),
    )
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as a cell has, which is granted one core
    try:
        started = time.monotonic()
        training.run()
    finally:
        torch.set_num_threads(threads)
    return math.ceil(CELL_SECONDS * TIMED_EPOCHS / (time.monotonic() - started))


def study_of(fine_tuning_epochs: int) -> Study:
    base = demo()
    rows = tuple(
        replace(row, recipe=replace(row.recipe, num_epochs=PRETRAINING_EPOCHS))
        if row.name == "simclr"
        else replace(row, recipe=replace(row.recipe, num_images=32, num_epochs=1))
        for row in base.rows
        if row.name in ("simclr", "imagenet")
    )
    chexpert = base.datasets[0]
    chexpert = replace(chexpert, recipe=replace(chexpert.recipe, num_epochs=fine_tuning_epochs))
    archives = SyntheticSpec(
        image_size=48,
        corpus_train=640,
        corpus_val=64,
        chexpert_train=400,
        chexpert_valid=40,
        nih_train_val=20,
        nih_test=20,
    )
    resources = replace(base.resources, pretrain_workers=2, checkpoint_every_steps=25)
    return replace(
        base,
        name="long",
        rows=rows,
        datasets=(chexpert,),
        protocols=("FT",),
        seeds=(0, 1),
        synthetic=archives,
        resources=resources,
    )
