"""The demo, smaller still: two seeds, four rows, one or two epochs each. A user's study file has the same form."""

from dataclasses import replace

from datasets_io.synthetic.plan import SyntheticSpec
from sweep.studies import Study, demo


def study() -> Study:
    base = demo()
    rows = []
    for row in base.rows:
        if row.name in ("random", "imagenet"):
            short = {"num_images": 32, "num_epochs": 1} if row.name == "imagenet" else {}
            rows.append(replace(row, recipe=replace(row.recipe, **short)))
        elif row.name in ("simclr", "clip+mocov2"):
            rows.append(replace(row, recipe=replace(row.recipe, num_epochs=2 if row.name == "simclr" else 1)))
    datasets = tuple(replace(d, recipe=replace(d.recipe, num_epochs=1, linear_probe_epochs=2)) for d in base.datasets)
    small = SyntheticSpec(
        image_size=48,
        corpus_train=96,
        corpus_val=32,
        chexpert_train=60,
        chexpert_valid=40,
        nih_train_val=80,
        nih_test=40,
    )
    return replace(base, name="small", rows=tuple(rows), datasets=datasets, seeds=(0, 1), synthetic=small)
