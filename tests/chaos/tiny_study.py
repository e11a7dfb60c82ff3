"""The smallest study with every part of a sweep in it: one pretraining, one dataset, all protocols."""

from dataclasses import replace

from datasets_io.synthetic.archives import SyntheticSpec
from sweep.studies import Study, demo


def study() -> Study:
    base = demo()
    rows = []
    for row in base.rows:
        if row.name == "imagenet":
            rows.append(replace(row, recipe=replace(row.recipe, num_images=32, num_epochs=1)))
        elif row.name == "simclr":
            rows.append(replace(row, recipe=replace(row.recipe, num_epochs=2)))
    chexpert = base.datasets[0]
    chexpert = replace(chexpert, recipe=replace(chexpert.recipe, num_epochs=1, linear_probe_epochs=2))
    archives = SyntheticSpec(
        image_size=48, corpus_train=64, corpus_val=16, chexpert_train=60, chexpert_valid=40, nih_train_val=20,
        nih_test=20,
    )
    return replace(
        base, name="tiny", rows=tuple(rows), datasets=(chexpert,), seeds=(0, 1), synthetic=archives,
        resources=replace(base.resources, checkpoint_every_steps=1),
    )
