"""A study of examples/ at a size that a test can afford: one seed, one or two epochs, few synthetic images."""

from dataclasses import replace

from datasets_io.synthetic.plan import SyntheticSpec
from sweep.studies import Study
from trainables.recipe import PretrainRecipe, StandInInit

SYNTHETIC = SyntheticSpec(
    image_size=48, corpus_train=96, corpus_val=32, chexpert_train=60, chexpert_valid=40, nih_train_val=80, nih_test=40
)


def shrunk(study: Study) -> Study:
    """The same rows, datasets and protocols."""
    rows = []
    for row in study.rows:
        short = {"num_epochs": 1} if isinstance(row.recipe, PretrainRecipe | StandInInit) else {}
        short |= {"num_images": 32} if isinstance(row.recipe, StandInInit) else {}
        rows.append(replace(row, recipe=replace(row.recipe, **short)))
    datasets = tuple(replace(d, recipe=replace(d.recipe, num_epochs=1, linear_probe_epochs=2)) for d in study.datasets)
    synthetic = SYNTHETIC if study.synthetic else None
    return replace(study, rows=tuple(rows), datasets=datasets, seeds=(0,), synthetic=synthetic)
