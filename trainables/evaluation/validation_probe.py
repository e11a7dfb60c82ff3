"""How good is a backbone as it stands: a linear probe judged on patients held out of a dataset's training split."""

from dataclasses import replace

import numpy as np
from torch import nn

from datasets_io.corpus.read import read_manifest
from datasets_io.fingerprint import derive_seed
from datasets_io.storage.files import Files
from trainables.evaluation.dataset import Part, backbone_input, load_parts
from trainables.evaluation.probe import HeadSettings, cache_features, train_heads
from trainables.recipe import BackboneSpec, DownstreamRecipe, SplitRecipe
from trainables.training.precision import Compute

SEED = 0
MAX_TRAIN_IMAGES, MAX_VAL_IMAGES = 10_000, 5_000  # an AUROC of so many moves by less than 0.01


def held_out(files: Files, data_folder: str, recipe: DownstreamRecipe, backbone: BackboneSpec) -> tuple[Part, Part]:
    """(train, validation), both of the training split, without a patient in common, as this network gets them.

    The val and test splits of the dataset are not opened, whatever the recipe calls them: what is reported on
    them must choose nothing.
    """
    carved = SplitRecipe(val="carved", test="train", carve_percent=recipe.splits.carve_percent)
    manifest, recipe = read_manifest(files, data_folder), replace(recipe, splits=carved)
    parts = load_parts(files, data_folder, manifest, recipe, backbone_input(backbone, recipe))
    return _at_most(parts.train, MAX_TRAIN_IMAGES), _at_most(parts.val, MAX_VAL_IMAGES)


def _at_most(part: Part, count: int) -> Part:
    """So many images, the same ones each time."""
    if len(part) <= count:
        return part
    order = np.random.default_rng(derive_seed(SEED, "probe_images")).permutation(len(part))
    return part.take(np.sort(order[:count]))  # in file order: reads of a mapped file go forward


def validation_auroc(
    backbone: nn.Module, recipe: DownstreamRecipe, train: Part, val: Part, compute: Compute
) -> float | None:
    """Macro AUROC in [0, 1] of the head's best epoch by the recipe; None where no finding has both classes.

    The backbone is left in eval mode and otherwise as it was.
    """
    features = cache_features(backbone, recipe, train, val, compute)
    num_epochs = recipe.linear_probe_epochs or recipe.num_epochs
    optimizer = recipe.linear_probe_optimizer or recipe.optimizer
    rows = np.arange(len(train))
    # One seed with all labels: a search compares encoders, not label subsets.
    (found,) = train_heads(features, train, val, [rows], HeadSettings(recipe, (SEED,), num_epochs, optimizer))
    return next(entry.get("val_auroc") for entry in found.history if entry["epoch"] == found.best_epoch)
