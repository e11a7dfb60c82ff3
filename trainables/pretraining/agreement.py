"""Are two results of one pretraining the same but for the order in which a GPU adds, and how much may that be?

As trainables/evaluation/agreement.py has it for cells. The first result stands, and cells are computed of that one.

Weights are compared by those of convolutions and linear layers alone. Weights of batch norm are near 1 and variances
positive in every network, so that any two correlate by them: with all of them two encoders of the demo by other methods
that started from the same weights do by up to 0.914, and two random ones by 0.63; without them by 0.874 to 0.893 and
-0.004. Two runs of one seed of the demo on a CPU (SimCLR, VICReg and CLIP, 420 steps) correlate by 0.953 to 0.973 where
float32 is added in another order, by 0.926 to 0.963 where bfloat16 is, and by 0.913 to 0.928 in one and the other.

Another number of workers adds in another order as well, on a CPU too; what dropout draws is another for each worker.
Resources, and so the number of workers, are no part of a key: such results are held to the same limits.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from datasets_io.storage.artefacts import CorruptArtefact
from trainables.training.agreement import (
    Computed,
    Side,
    correlation,
    exact_difference,
    tensors_difference,
    weights_of,
    workers_of,
)

EXACT_FIELDS = ("key", "num_train_images", "num_val_images")
WEIGHTS = ".safetensors"
# Two runs of one seed see the same batches in the same order; their losses go on together, their weights drift apart.
LOSS_APART, WEIGHTS_CORRELATE = 0.02, 0.9


def computed_difference(first: Side, contents: Mapping[str, bytes], result: Mapping[str, Any]) -> str | None:
    """What is more than rounding, of a published result and one that was computed just now; None where nothing is."""
    other = Computed(result, contents)
    if (why := exact_difference(first, other, EXACT_FIELDS)) is not None:
        return why
    try:
        why = _of_losses(first.result, result) or _of_files(first, other)
    except (CorruptArtefact, KeyError, ValueError, TypeError, IndexError, OSError) as error:
        return f"they cannot be compared: {error}"
    here, there = workers_of(result), workers_of(first.result)
    return why if why is None or here == there else f"{why} (number of workers: {here}, there {there})"


def _of_losses(one: Mapping[str, Any], other: Mapping[str, Any]) -> str | None:
    here, there = (side["history"][side["best_epoch"]]["val_loss"] for side in (one, other))
    if abs(here - there) <= LOSS_APART * abs(here):
        return None
    return f"the validation loss is {there:.5g}, there {here:.5g}: more than {LOSS_APART:.0%} apart"


def _compared(weights: Mapping[str, Tensor]) -> list[str]:
    """Names of weights with rows and columns; of all others, but for batch norm's counts, where there are none."""
    floating = [name for name in sorted(weights) if weights[name].is_floating_point()]
    return [name for name in floating if weights[name].dim() > 1] or floating


def _of_files(one: Side, other: Side) -> str | None:
    for name in sorted(one.result["files"]):
        if not name.endswith(WEIGHTS):
            if one.read(name) != other.read(name):
                return f"{name} is another"
            continue
        sides = [weights_of(side, name) for side in (one, other)]
        if (why := tensors_difference(name, *sides)) is not None:
            return why
        names = _compared(sides[0])
        if not names:
            continue
        flat = [torch.cat([side[key].double().flatten() for key in names]) for side in sides]
        if not (found := correlation(*flat)) >= WEIGHTS_CORRELATE:
            return f"the weights of {name} correlate by {found:.3f}: less than {WEIGHTS_CORRELATE:g}"
    return None
