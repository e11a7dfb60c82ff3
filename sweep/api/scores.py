"""Scores and labels as people have them: lists, arrays or pandas frames, of one or several findings and seeds."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from datasets_io.nearest import did_you_mean
from sweep.statistics.column_statistics import over_seeds_placed
from sweep.statistics.placements import Classes, Placed, classes_of, place


@dataclass(frozen=True)
class Labelled:
    """Test images. labels: (N, F) int8 of 1 and 0; known: (N, F) bool, which of them are.

    flat: whether the labels came without a dimension of findings; named: whether findings have names that columns of
    scores are looked for by. index: of a pandas frame, None where there is none.
    """

    findings: tuple[str, ...]
    labels: np.ndarray
    known: np.ndarray
    classes: Classes
    flat: bool
    named: bool
    index: Any


def labelled(labels: Any, patients: Any = None, findings: Sequence[str] | None = None) -> Labelled:
    """labels: (N,) or (N, F) of 1 and 0; None or NaN is unknown. patients: N names, None: each image is a patient's.

    findings: F names, by default those of the columns of a frame, else "0", "1", ... Raises ValueError.
    """
    try:
        values = np.array(labels, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"labels are no numbers ({error}): give 1, 0, and NaN where a label is unknown") from None
    if values.ndim not in (1, 2) or values.size == 0:
        raise ValueError(f"labels have shape {values.shape}: give (N,), or (N, F) for F findings, N at least 1")
    flat = values.ndim == 1
    values = values[:, None] if flat else values
    columns = getattr(labels, "columns", None)
    given = findings if findings is not None else columns
    names = tuple(map(str, given)) if given is not None else tuple(map(str, range(values.shape[1])))
    if isinstance(findings, str) or len(names) != values.shape[1] or len(set(names)) != len(names):
        raise ValueError(
            f"findings are {findings or names!r} for labels of shape {values.shape}: give F distinct names"
        )
    known = ~np.isnan(values)
    if (strange := known & (values != 0) & (values != 1)).any():
        i, f = np.argwhere(strange)[0]
        raise ValueError(
            f"label {values[i, f]:g} of {names[f]} in row {i}: allowed are 1, 0, and NaN for a label that is unknown, "
            "such as an uncertain one"
        )
    who = np.arange(len(values)) if patients is None else np.asarray(patients, dtype=object).astype(str)
    if who.shape != (len(values),):
        raise ValueError(f"patients have shape {who.shape}: give one name for each of {len(values)} images")
    found = np.where(known, values, 0).astype(np.int8)
    return Labelled(
        names, found, known, classes_of(found, known, who), flat, given is not None and not flat, _index_of(labels)
    )


def scores_of(scores: Any, images: Labelled, called: str = "scores") -> np.ndarray:
    """(S, N, F) of one set of scores, or of S: with a dimension before the others, or a list of arrays or frames.

    A frame's columns are taken by the findings' names, and its index must be that of the labels' frame. Raises
    ValueError.
    """
    if isinstance(scores, (list, tuple)) and scores and _index_of(scores[0]) is not None:
        values = np.stack([_array(one, images, called) for one in scores])
    else:
        values = _array(scores, images, called)
    shape = images.labels.shape[:1] if images.flat else images.labels.shape
    given = values.shape
    values = values[None] if values.ndim == len(shape) else values
    if values.shape[1:] != shape or len(values) == 0:
        raise ValueError(
            f"{called} have shape {given}, labels {shape}: give the same, or one dimension more in front for "
            "several seeds"
        )
    values = values.reshape(len(values), *images.labels.shape)
    if (nan := np.isnan(values)).any():
        _, i, f = np.argwhere(nan)[0]
        raise ValueError(
            f"{called}: {nan.sum()} of {values.size} are NaN, the first of {images.findings[f]} in row {i}"
        )
    return values


def mean_placed(scores: np.ndarray, images: Labelled) -> Placed:
    """AUROCs and what each patient moves them by, the mean over seeds. scores: (S, N, F)."""
    return over_seeds_placed({(0, seed): place(one, images.classes) for seed, one in enumerate(scores)})


def _array(scores: Any, images: Labelled, called: str) -> np.ndarray:
    index, columns = _index_of(scores), getattr(scores, "columns", None)
    if index is not None and images.index is not None and not images.index.equals(index):
        raise ValueError(f"{called} have another index than the labels: bring both into one order of images")
    if columns is not None and images.named:
        places = {str(name): number for number, name in enumerate(columns)}
        if lacking := [name for name in images.findings if name not in places]:
            hint = did_you_mean(lacking[0], places)
            raise ValueError(f"{called} have no column {lacking[0]!r}; they have {', '.join(places)}{hint}")
        scores = np.asarray(scores)[:, [places[name] for name in images.findings]]
    try:
        return np.array(scores, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{called} are no numbers: {error}") from None


def _index_of(values: Any) -> Any:
    """Of a pandas frame or series; None for anything else: the `index` of a list is a method."""
    index = getattr(values, "index", None)
    return None if callable(index) else index
