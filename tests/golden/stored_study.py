"""A study of two rows, one dataset, linear probing and two seeds: what storage_369a465.tar.xz holds, finished."""

from dataclasses import replace

from datasets_io.synthetic.plan import SyntheticSpec
from sweep.studies import Study, demo
from trainables.recipe import OptimizerSpec


def study() -> Study:
    base = demo()
    random, imagenet = (row for row in base.rows if row.name in ("random", "imagenet"))
    imagenet = replace(imagenet, recipe=replace(imagenet.recipe, num_images=32, num_epochs=1))
    chexpert = base.datasets[0]
    # As the demo had them when the archive was made, written out: it has other ones since.
    then = {"batch_size": 32, "optimizer": OptimizerSpec("adam", 2e-3, (0.9, 0.999))}
    chexpert = replace(chexpert, recipe=replace(chexpert.recipe, num_epochs=1, linear_probe_epochs=2, **then))
    archives = SyntheticSpec(
        image_size=32,
        corpus_train=16,
        corpus_val=8,
        chexpert_train=60,
        chexpert_valid=40,
        nih_train_val=20,
        nih_test=20,
    )
    return replace(
        base,
        name="stored",
        rows=(random, imagenet),
        datasets=(chexpert,),
        seeds=(0, 1),
        protocols=("LP",),
        synthetic=archives,
    )
