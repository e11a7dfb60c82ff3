"""What do the presets say of themselves, and of which study that was made from one is it still true?"""

from collections.abc import Callable, Mapping
from dataclasses import replace

from datasets_io.sources.nih_cxr14 import NihOptions
from sweep.studies.layout import LARGE_BATCHES
from sweep.studies.study import Dataset, Study
from trainables.recipe import PretrainRecipe, StandInInit

DEMO_SIZE = 32  # pixels a side
DEMO = f"Demo: a four-convolution network on {DEMO_SIZE} x {DEMO_SIZE} images, few epochs: nothing here is evidence."
STAND_IN = "The ImageNet row is a stand-in, supervised on rendered textures and shapes."
PICKED_ON_TEST = "CheXpert: as in the paper, the epoch is picked on the images that are reported (valid.csv)."
NIH_BY_HASH = (
    "NIH: a 70-10-20 split by a hash of the patient's id; NihOptions(split='lists', lists_dir=...) takes the paper's "
    "lists."
)
CARVED = (
    "CheXpert: validation is carved from the training patients; results are on the official test set, and in a table "
    "beside on valid.csv, the images that the paper reports."
)
NIH_OFFICIAL = "NIH: the official test list; validation is cut from train_val_list by patient."
LARGE_BATCH = "Batches of 1,024 and 2,048: the loss is of the whole batch, batch norm sees 256 images at a time."


def _any_of(study: Study, source: str, holds: Callable[[Dataset], bool]) -> bool:
    return any(dataset.source == source and holds(dataset) for dataset in study.datasets)


def _nih_split(split: str) -> Callable[[Study], bool]:
    def holds(dataset: Dataset) -> bool:
        options = dataset.build.options
        return isinstance(options, NihOptions) and options.split == split

    return lambda study: _any_of(study, "nih_cxr14", holds)


def _large_batches(study: Study) -> bool:
    recipes = (row.recipe for row in study.rows)
    return any(isinstance(r, PretrainRecipe) and r.global_batch_size in LARGE_BATCHES for r in recipes)


HOLDS: Mapping[str, Callable[[Study], bool]] = {
    DEMO: lambda study: any(row.recipe.backbone.name == "demo_cnn" for row in study.rows),
    STAND_IN: lambda study: any(isinstance(row.recipe, StandInInit) for row in study.rows),
    PICKED_ON_TEST: lambda study: _any_of(study, "chexpert", lambda d: d.recipe.splits.selects_on_test),
    NIH_BY_HASH: _nih_split("patient_70_10_20"),
    CARVED: lambda study: _any_of(study, "chexpert", lambda d: d.recipe.splits.val == "carved"),
    NIH_OFFICIAL: _nih_split("official"),
    LARGE_BATCH: _large_batches,
}


def with_own_words(study: Study, presets: Mapping[str, Callable[[], Study]]) -> Study:
    """A study of the reader's own without what a preset says of itself and is not true of it.

    A preset's title becomes `derived from demo`, and its notes stay where they hold. What the study says itself stays.
    """
    preset = next((name for name, make in presets.items() if make().title == study.title), None)
    title = study.title if preset is None else f"derived from {preset}"
    notes = tuple(text for text in study.deviations if text not in HOLDS or HOLDS[text](study))
    return replace(study, title=title, deviations=notes)
