"""Are two results of one cell the same but for the order in which a GPU adds, and how much may that be?

Without Resources.deterministic a GPU adds in an order that differs from time to time, so that a cell that is computed
twice has two results. They count as one within the limits below; on a CPU they are the same bits, or in conflict. What
is not computed, such as images, labels and the subset, must be equal always.

What the limits of probabilities tell apart was measured on a CPU, on cells of the demo (240 test images): the largest
root mean square over images of a finding's difference.

    a probe      float32 in another order 0.0000, all of bfloat16 against float32 0.0020; scale 1.05 of the logits
                 0.0084, offset 0.1 of all 0.016 and of one finding 0.0078, another epoch 0.18, another seed 0.11
    fine-tuning  batches whose images stand in another order: float32 0.0000 and bfloat16 0.000 to 0.017 at 1 and 10% of
                 the labels, float32 0.075 to 0.080 at 100%; bfloat16 against float32 0.006 to 0.034; scale 1.05 of the
                 logits 0.010, offset 0.1 0.016 to 0.025, scale 2 0.10 to 0.14, offset 1 0.17 to 0.24, another epoch
                 0.09 to 0.14, another seed 0.13 to 0.31

So of a probe a small scale and offset are seen. Of fine-tuning they are less than rounding that a few hundred steps
have amplified, which no limit tells from them: only large ones are seen.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from scipy.special import expit

from datasets_io.corpus.shard_file import read_stored
from datasets_io.storage.artefacts import CorruptArtefact
from trainables.training.agreement import Computed, Side, correlation, exact_difference, tensors_difference, weights_of

EXACT_FIELDS = ("key", "subset_sha256", "num_train_images", "num_val_images", "findings_without_positives_in_training")
WEIGHTS = (".safetensors",)
PREDICTIONS = ".parquet"
SCORES = ("logit_", "probability_")


@dataclass(frozen=True)
class Limits:
    """How far two results of one cell may be apart on GPUs.

    macro_auroc, auroc: of the macro AUROC, and of that of each finding. correlation: at least, of the logits of all
    test images and findings, each finding's about its own mean: two seeds of one cell have less in common. probability:
    root mean square over images of the difference of a finding's, which also sees a scale and an offset of its logits.
    """

    macro_auroc: float
    auroc: float
    correlation: float
    probability: float


# A probe's head is the minimum of a convex loss on features that one forward pass gave: rounding is not amplified.
PROBE = Limits(macro_auroc=0.001, auroc=0.005, correlation=0.999, probability=0.005)
# Thousands of steps through all layers amplify it to tenths of a point, as much as seeds differ, and not to whole ones.
TUNED = Limits(macro_auroc=0.005, auroc=0.02, correlation=0.95, probability=0.1)


def computed_difference(first: Side, contents: Mapping[str, bytes], result: Mapping[str, Any]) -> str | None:
    """As cell_difference, of a published result and one that was computed just now."""
    return cell_difference(first, Computed(result, contents))


def cell_difference(one: Side, other: Side) -> str | None:
    """What is more than rounding, as the end of a sentence; None where nothing is."""
    if (why := exact_difference(one, other, EXACT_FIELDS)) is not None:
        return why
    tuned = "backbone.safetensors" in one.result["files"] or "head.safetensors" not in one.result["files"]
    limits = TUNED if tuned else PROBE
    try:
        return _of_aurocs(one.result, other.result, limits) or _of_files(one, other, limits)
    except (CorruptArtefact, KeyError, ValueError, TypeError, OSError, pa.ArrowException) as error:
        return f"they cannot be compared: {error}"


def _of_aurocs(one: Mapping[str, Any], other: Mapping[str, Any], limits: Limits) -> str | None:
    pairs = [("macro AUROC", one["macro_auroc"], other["macro_auroc"], limits.macro_auroc)]
    names = [[entry["finding"] for entry in side["findings"]] for side in (one, other)]
    if names[0] != names[1]:
        return "they are of other findings"
    for here, there in zip(one["findings"], other["findings"], strict=True):
        pairs.append((f"AUROC of {here['finding']}", here["auroc"], there["auroc"], limits.auroc))
    for name, here, there, most in pairs:
        if (here is None) != (there is None):
            return f"{name} is defined in one of them only"
        if here is not None and not abs(here - there) <= most:
            return f"{name} is {there:.4f}, there {here:.4f}: more than {most:g} apart"
    return None


def _of_files(one: Side, other: Side, limits: Limits) -> str | None:
    for name in sorted(one.result["files"]):
        if name.endswith(WEIGHTS):
            why = tensors_difference(name, weights_of(one, name), weights_of(other, name))
        elif name.endswith(PREDICTIONS):
            why = _of_predictions(name, one.read(name), other.read(name), limits)
        else:
            why = None if one.read(name) == other.read(name) else f"{name} is another"
        if why is not None:
            return why
    return None


def _of_predictions(name: str, one: bytes, other: bytes, limits: Limits) -> str | None:
    here, there = (read_stored(pa.BufferReader(data), name, mend="compute the cell again") for data in (one, other))
    if here.column_names != there.column_names or len(here) != len(there):
        return f"{name} has other images or findings"
    scores = [column for column in here.column_names if column.startswith(SCORES)]
    for column in here.column_names:
        if column not in scores and here[column] != there[column]:
            return f"{name} has another {column}"
    values = [np.stack([table[column].to_numpy().astype(np.float64) for column in scores]) for table in (here, there)]
    found = correlation(*(torch.from_numpy(_centred(side)) for side in values))
    if not found >= limits.correlation:
        return f"the logits of {name} correlate by {found:.4f}: less than {limits.correlation:g}"
    apart = _apart(*(_probabilities(side, scores) for side in values))
    worst = int(apart.argmax())
    if not apart[worst] <= limits.probability:
        return (
            f"probabilities of {scores[worst]} of {name} are {apart[worst]:.4f} apart: more than {limits.probability:g}"
        )
    return None


def _apart(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """(F,) root mean squares over images of the difference of two (F, N)."""
    return np.asarray(np.sqrt(np.mean((one - other) ** 2, axis=1)))


def _probabilities(values: np.ndarray, columns: list[str]) -> np.ndarray:
    """(F, N) in [0, 1], of the columns' logits or, in results of 0.1.0, of what they are already."""
    logits = np.array([column.startswith(SCORES[0]) for column in columns])
    return np.where(logits[:, None], expit(values), values)


def _centred(values: np.ndarray) -> np.ndarray:
    """(F N,) of (F, N): each finding's scores about their mean."""
    return (values - values.mean(axis=1, keepdims=True)).ravel()
