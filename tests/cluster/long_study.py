"""One pretraining in two processes and two fine-tunings of two minutes: Ray declares a lost host dead after 65 s."""

from dataclasses import replace

from datasets_io.synthetic.plan import SyntheticSpec
from sweep.studies import Study, demo

PRETRAINING_EPOCHS, FINE_TUNING_EPOCHS = 6, 600  # without its other worker a pretraining waits, a cell goes on


def study() -> Study:
    base = demo()
    rows = tuple(
        replace(row, recipe=replace(row.recipe, num_epochs=PRETRAINING_EPOCHS))
        if row.name == "simclr"
        else replace(row, recipe=replace(row.recipe, num_images=32, num_epochs=1))
        for row in base.rows
        if row.name in ("simclr", "imagenet")
    )
    chexpert = base.datasets[0]
    chexpert = replace(chexpert, recipe=replace(chexpert.recipe, num_epochs=FINE_TUNING_EPOCHS))
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
