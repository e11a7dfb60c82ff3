"""Are two results of one pretraining the same but for the order in which a GPU adds, and how much may that be?

As trainables/evaluation/agreement.py has it for cells. The first result stands, and cells are computed of that one.
"""

from collections.abc import Mapping
from typing import Any

import torch

from datasets_io.storage.artefacts import CorruptArtefact
from trainables.training.agreement import Computed, Side, correlation, exact_difference, tensors_difference, weights_of

EXACT_FIELDS = ("key", "num_train_images", "num_val_images", "workers")
WEIGHTS = ".safetensors"
# Two runs of one seed see the same batches in the same order; their losses go on together, their weights drift apart.
LOSS_APART, WEIGHTS_CORRELATE = 0.02, 0.9


def computed_difference(first: Side, contents: Mapping[str, bytes], result: Mapping[str, Any]) -> str | None:
    """What is more than rounding, of a published result and one that was computed just now; None where nothing is."""
    other = Computed(result, contents)
    if (why := exact_difference(first, other, EXACT_FIELDS)) is not None:
        return why
    try:
        return _of_losses(first.result, result) or _of_files(first, other)
    except (CorruptArtefact, KeyError, ValueError, TypeError, IndexError, OSError) as error:
        return f"they cannot be compared: {error}"


def _of_losses(one: Mapping[str, Any], other: Mapping[str, Any]) -> str | None:
    here, there = (side["history"][side["best_epoch"]]["val_loss"] for side in (one, other))
    if abs(here - there) <= LOSS_APART * abs(here):
        return None
    return f"the validation loss is {there:.5g}, there {here:.5g}: more than {LOSS_APART:.0%} apart"


def _of_files(one: Side, other: Side) -> str | None:
    for name in sorted(one.result["files"]):
        if not name.endswith(WEIGHTS):
            if one.read(name) != other.read(name):
                return f"{name} is another"
            continue
        sides = [weights_of(side, name) for side in (one, other)]
        if (why := tensors_difference(name, *sides)) is not None:
            return why
        # Of weights alone: batch norm's counts of steps are equal, and so large that all else would vanish beside them.
        names = [key for key in sorted(sides[0]) if sides[0][key].is_floating_point()]
        if not names:
            continue
        flat = [torch.cat([side[key].double().flatten() for key in names]) for side in sides]
        if not (found := correlation(*flat)) >= WEIGHTS_CORRELATE:
            return f"the weights of {name} correlate by {found:.3f}: less than {WEIGHTS_CORRELATE:g}"
    return None
