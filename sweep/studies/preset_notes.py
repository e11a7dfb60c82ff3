"""What do the presets say of themselves, and of which study that was made from one is it still true?"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from datasets_io.sources.nih_cxr14 import NihOptions
from sweep.studies.layout import LARGE_BATCHES
from sweep.studies.study import Dataset, EncoderRow, Study
from trainables.recipe import ImageNetInit, PretrainRecipe, StandInInit

DEMO_SIZE = 32  # pixels a side
DEMO_EPOCHS = 12  # at most, of pretraining and fine-tuning, where epochs are few
DEMO = f"Demo: a four-convolution network on {DEMO_SIZE} x {DEMO_SIZE} images, few epochs: nothing here is evidence."
DEMO_NETWORK = "The demo's four-convolution network stands in for a real one: the numbers of its rows are no evidence."
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
LARGE_BATCH_CHUNK = 256
LARGE_BATCH = (
    f"Batches of 1,024 and 2,048: the loss is of the whole batch, batch norm sees {LARGE_BATCH_CHUNK} images at a time."
)


def _all_of(study: Study, source: str, holds: Callable[[Dataset], bool]) -> bool:
    """Whether there are datasets of this source, and it holds for each: a note speaks of them all."""
    found = [dataset for dataset in study.datasets if dataset.source == source]
    return bool(found) and all(map(holds, found))


def _recipes(study: Study) -> list[Any]:
    return [row.recipe for row in (*study.rows, *study.hidden_rows)]


def _demo(study: Study) -> bool:
    recipes = _recipes(study)
    epochs = [recipe.num_epochs for recipe in recipes if isinstance(recipe, PretrainRecipe)]
    networks = {(recipe.backbone.name, recipe.backbone.image_size) for recipe in recipes}
    few = all(count <= DEMO_EPOCHS for count in (*epochs, *(dataset.recipe.num_epochs for dataset in study.datasets)))
    return networks == {("demo_cnn", DEMO_SIZE)} and few


def _demo_network(study: Study) -> bool:
    return any(recipe.backbone.name == "demo_cnn" for recipe in _recipes(study))


def _stand_in(study: Study) -> bool:
    kinds = {type(recipe) for recipe in _recipes(study)}
    return StandInInit in kinds and ImageNetInit not in kinds


def _carved(dataset: Dataset) -> bool:
    splits = dataset.recipe.splits
    return (splits.val, splits.test, splits.also_test) == ("carved", "test", "val")


def _nih_split(split: str) -> Callable[[Study], bool]:
    def holds(dataset: Dataset) -> bool:
        options = dataset.build.options
        return isinstance(options, NihOptions) and options.split == split

    return lambda study: _all_of(study, "nih_cxr14", holds)


def _large_batches(study: Study) -> bool:
    chunks = {
        recipe.gradient_cache_chunk
        for recipe in _recipes(study)
        if isinstance(recipe, PretrainRecipe) and recipe.global_batch_size in LARGE_BATCHES
    }
    return chunks == {LARGE_BATCH_CHUNK}


HOLDS: Mapping[str, Callable[[Study], bool]] = {
    DEMO: _demo,
    DEMO_NETWORK: _demo_network,
    STAND_IN: _stand_in,
    PICKED_ON_TEST: lambda study: _all_of(study, "chexpert", lambda d: d.recipe.splits.selects_on_test),
    NIH_BY_HASH: _nih_split("patient_70_10_20"),
    CARVED: lambda study: _all_of(study, "chexpert", _carved),
    NIH_OFFICIAL: _nih_split("official"),
    LARGE_BATCH: _large_batches,
}
# What a note becomes where it is not true of all, and this one is.
WEAKER: Mapping[str, str] = {DEMO: DEMO_NETWORK}


def notes_of_row(study: Study, name: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The preset's notes that are true of one row and those it starts from, and what the study says in its own words.

    The latter may speak of any row. name: of a row, hidden ones included.
    """
    rows = {row.name: row for row in (*study.rows, *study.hidden_rows)}
    chain: dict[str, EncoderRow] = {}
    at: str | None = name
    while at in rows and at not in chain:
        chain[at] = rows[at]
        at = getattr(rows[at].recipe, "initial", None)
    alone = replace(study, rows=tuple(chain.values()), hidden_rows=())
    of_preset = tuple(text for text in study.deviations if text in HOLDS and HOLDS[text](alone))
    return of_preset, tuple(text for text in study.deviations if text not in HOLDS)


def with_own_words(study: Study, presets: Mapping[str, Callable[[], Study]]) -> Study:
    """A study of the reader's own without what a preset says of itself and is not true of it.

    A preset's title becomes `derived from demo`, and its notes stay where they hold of all that they speak of; of one
    that does not, what is still true of a part is said instead. What the study says itself stays.
    """
    preset = next((name for name, make in presets.items() if make().title == study.title), None)
    title = study.title if preset is None else f"derived from {preset}"
    said = [text if text not in HOLDS or HOLDS[text](study) else WEAKER.get(text, text) for text in study.deviations]
    notes = tuple(text for text in dict.fromkeys(said) if text not in HOLDS or HOLDS[text](study))
    return replace(study, title=title, deviations=notes)
