"""Scores and labels as people have them: lists, arrays or pandas frames, of one or several findings and seeds."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from datasets_io.nearest import did_you_mean
from sweep.statistics.placements import Classes, Placed, classes_of, over_seeds_placed, place
from sweep.statistics.summary import MACROS


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

    @property
    def in_sentences(self) -> tuple[str, ...]:
        """Names of the findings for notes and errors: `finding 0` where 0 could be taken for a count."""
        return tuple(map(_in_sentence, self.findings))


def labelled(labels: Any, patients: Any = None, findings: Sequence[str] | None = None) -> Labelled:
    """labels: (N,) or (N, F) of 1 and 0; None, NaN or masked is unknown.

    patients: N names, None: each image is a patient's.
    findings: F names: the columns of a frame that has names, in this order, or what the columns of anything else are
    called. By default those of a frame's columns, or a series's name, else "0", "1", ... Raises ValueError.
    """
    columns = names_of_columns(labels)
    index, own_name = _index_of(labels), getattr(labels, "name", None)
    if columns is not None and findings is not None and not isinstance(findings, str):
        labels, columns = _columns_of(labels, tuple(map(str, findings)), "labels"), tuple(map(str, findings))
    try:
        values = np.array(_plain(labels), dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"labels are no numbers ({error}): give 1, 0, and NaN where a label is unknown") from None
    if values.ndim not in (1, 2) or values.size == 0:
        raise ValueError(f"labels have shape {values.shape}: give (N,), or (N, F) for F findings, N at least 1")
    flat = values.ndim == 1
    values = values[:, None] if flat else values
    given = findings if findings is not None else columns
    if given is None and flat and isinstance(own_name, str):
        given = (own_name,)
    names = _names_of_findings(given, values.shape)
    known = ~np.isnan(values)
    if (strange := known & (values != 0) & (values != 1)).any():
        i, f = np.argwhere(strange)[0]
        raise ValueError(
            f"label {values[i, f]:g} of {_in_sentence(names[f])} in row {i}: allowed are 1, 0, and NaN for a label "
            "that is unknown, such as an uncertain one"
        )
    who = np.arange(len(values)) if patients is None else _patients(patients, len(values), index)
    found = np.where(known, values, 0).astype(np.int8)
    return Labelled(names, found, known, classes_of(found, known, who), flat, given is not None and not flat, index)


def _names_of_findings(given: Sequence[str] | None, shape: tuple[int, ...]) -> tuple[str, ...]:
    """shape: (N, F) of the labels. Raises ValueError for other than F distinct names, and for the name of a mean."""
    names = tuple(map(str, range(shape[1]) if given is None else given))
    if isinstance(given, str) or len(names) != shape[1] or len(set(names)) != len(names):
        raise ValueError(
            f"findings are {given if isinstance(given, str) else names!r} for labels of shape {shape}: give F distinct "
            "names"
        )
    if means := [name for name in names if name in MACROS]:
        raise ValueError(f"a finding is called {means[0]}, as a mean over findings is: give it another name")
    return names


def _in_sentence(name: str) -> str:
    return f"finding {name}" if name.isdecimal() else name


def _patients(patients: Any, count: int, index: Any) -> np.ndarray:
    """(count,) names as text. index: of the labels. Raises ValueError."""
    who = np.asarray(_plain(patients), dtype=object)
    if who.shape != (count,):
        raise ValueError(f"patients have shape {who.shape}: give one name for each of {count} images")
    own = _index_of(patients)
    if own is not None and index is not None and not index.equals(own):
        raise ValueError("patients have another index than the labels: bring both into one order of images")
    if unknown := [row for row, name in enumerate(who) if _is_missing(name)]:
        raise ValueError(
            f"the patient of {len(unknown)} of {count} images is not known, the first in row {unknown[0]}: leave these "
            "images out, or give each a name of its own"
        )
    return who.astype(str)


def _is_missing(value: Any) -> bool:
    """None, NaN and what pandas has for them."""
    try:
        return value is None or bool(value != value)
    except (TypeError, ValueError):  # of pandas.NA nothing is true or false
        return True


def scores_of(scores: Any, images: Labelled, called: str = "scores") -> np.ndarray:
    """(S, N, F) of one set of scores, or of S: with a dimension before the others, or a list of arrays or frames.

    A frame's columns are taken by the findings' names, where it has names, and its index must be that of the labels'
    frame. Raises ValueError.
    """
    if isinstance(scores, (list, tuple)) and scores and _is_more_than_an_array(scores[0]):
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
            f"{called}: {nan.sum()} of {values.size} are NaN, the first of {images.in_sentences[f]} in row {i}"
        )
    return values


def mean_placed(scores: np.ndarray, images: Labelled) -> Placed:
    """AUROCs and what each patient moves them by, the mean over seeds. scores: (S, N, F)."""
    return over_seeds_placed({(0, seed): place(one, images.classes) for seed, one in enumerate(scores)})


def _array(scores: Any, images: Labelled, called: str) -> np.ndarray:
    index = _index_of(scores)
    if index is not None and images.index is not None and not images.index.equals(index):
        raise ValueError(f"{called} have another index than the labels: bring both into one order of images")
    if images.named and names_of_columns(scores) is not None:
        scores = _columns_of(scores, images.findings, called)
    try:
        return np.array(_plain(scores), dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{called} are no numbers: {error}") from None


def names_of_columns(values: Any) -> tuple[str, ...] | None:
    """Of a frame whose columns have names; None for anything else, and where pandas has numbered them from 0 on."""
    columns = getattr(values, "columns", None)
    if columns is None or list(columns) == list(range(len(columns))):
        return None
    return tuple(map(str, columns))


def _columns_of(frame: Any, names: Sequence[str], called: str) -> np.ndarray:
    """(N, F) of a frame's columns, in the order of the names. Raises ValueError where one is not there, or twice."""
    columns = names_of_columns(frame) or ()
    places = {name: number for number, name in enumerate(columns)}
    if lacking := [name for name in names if name not in places]:
        hint = did_you_mean(lacking[0], places)
        raise ValueError(f"{called} have no column {lacking[0]!r}; they have {', '.join(places)}{hint}")
    if several := [f"{name!r} ({count})" for name, count in Counter(columns).items() if count > 1 and name in names]:
        raise ValueError(f"{called} have several columns of one name: {', '.join(several)}; keep one of each")
    return np.asarray(frame)[:, [places[name] for name in names]]


def _is_tensor(values: Any) -> bool:
    return hasattr(values, "detach")


def _is_more_than_an_array(values: Any) -> bool:
    """Whether numpy would lose something of it within a list: columns and index, a mask; or could not take it."""
    return _index_of(values) is not None or _is_tensor(values) or isinstance(values, np.ma.MaskedArray)


def _plain(values: Any) -> Any:
    """A tensor without its gradient and its device, as numpy can take it; None where masked; anything else as it is."""
    if isinstance(values, np.ma.MaskedArray):
        found = values.data.astype(object)
        found[np.ma.getmaskarray(values)] = None
        return found
    if isinstance(values, (list, tuple)) and any(isinstance(one, np.ma.MaskedArray) for one in values):
        return [_plain(one) for one in values]
    if not _is_tensor(values):
        return values
    values = values.detach().cpu()
    return (values.double() if values.is_floating_point() else values).numpy()  # numpy has no bfloat16


def _index_of(values: Any) -> Any:
    """Of a pandas frame or series; None for anything else: the `index` of a list is a method."""
    index = getattr(values, "index", None)
    return None if callable(index) else index
