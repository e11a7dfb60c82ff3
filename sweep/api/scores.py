"""Scores and labels as people have them: lists, arrays or pandas frames, of one or several findings and seeds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sweep.api.columns import are_names, are_numbered, by_name, columns_of, have_one_of, refuse_other_columns
from sweep.api.order import index_of, refuse_another_index
from sweep.statistics.placements import Classes, Placed, classes_of, over_seeds_placed, place
from sweep.statistics.summary import MACROS


@dataclass(frozen=True)
class Labelled:
    """Test images. labels: (N, F) int8 of 1 and 0; known: (N, F) bool, which of them are.

    flat: whether the labels came without a dimension of findings; named: whether findings have names that columns of
    scores are looked for by; numbered: whether they are those that pandas has given to the columns of a frame. index:
    of the labels or the patients, as pandas has it, None where there is none; indexed: which of both it is of.
    """

    findings: tuple[str, ...]
    labels: np.ndarray
    known: np.ndarray
    classes: Classes
    flat: bool
    named: bool
    numbered: bool
    indexed: str
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
    columns, numbered = columns_of(labels), False
    own_index, own_name = index_of(labels), getattr(labels, "name", None)
    if columns is not None and findings is not None and not isinstance(findings, str):
        columns = tuple(map(str, findings))
        labels = by_name(labels, columns, "labels") if are_names(labels, columns) else labels
    elif columns is not None:
        numbered = are_numbered(labels)
    try:
        values = _numbers(labels)
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
    who = np.arange(len(values)) if patients is None else _patients(patients, len(values))
    indexed, index = refuse_another_index([("the labels", own_index), ("patients", index_of(patients))])
    found = np.where(known, values, 0).astype(np.int8)
    named = given is not None and not flat and not numbered
    return Labelled(names, found, known, classes_of(found, known, who), flat, named, numbered, indexed, index)


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


def _patients(patients: Any, count: int) -> np.ndarray:
    """(count,) names as text. Raises ValueError."""
    who = np.asarray(_plain(patients), dtype=object)
    if who.shape != (count,):
        raise ValueError(f"patients have shape {who.shape}: give one name for each of {count} images")
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


def scores_of(given: Mapping[str, Any], images: Labelled) -> list[np.ndarray]:
    """(S, N, F) of each argument: one set of scores, or S, with a dimension before the others, or a list of sets.

    given: by what they are called. A frame's columns are taken by the findings' names, where it has names, else by
    place, all frames alike. Every index must be that of the labels, or of the first that has one. Raises ValueError.
    """
    sets = {called: _sets(called, scores) for called, scores in given.items()}
    every = {called: one for of in sets.values() for called, one in of.items()}
    if not images.flat:
        frames = {called: one for called, one in every.items() if columns_of(one) is not None}
        placed = {called: one for called, one in frames.items() if not _is_by_name(one, images)}
        refuse_other_columns(placed, images.findings)
    found = [_over_seeds(called, of, images) for called, of in sets.items()]
    refuse_another_index(
        [(images.indexed, images.index), *((called, _images_of(one, images.flat)) for called, one in every.items())]
    )
    if images.flat:  # a frame's columns are images here, and its rows are seeds
        refuse_another_index(((called, index_of(one)) for called, one in every.items() if _is_frame(one)), "seeds")
    for called, values in zip(given, found, strict=True):
        if (nan := np.isnan(values)).any():
            _, i, f = np.argwhere(nan)[0]
            raise ValueError(
                f"{called}: {nan.sum()} of {values.size} are NaN, the first of {images.in_sentences[f]} in row {i}"
            )
    return found


def _sets(called: str, scores: Any) -> dict[str, Any]:
    """Each array or frame of a list by its own name; anything else, a list of numbers too, as it is."""
    if isinstance(scores, (list, tuple)) and any(map(_is_more_than_an_array, scores)):
        return {f"{called}[{number}]": one for number, one in enumerate(scores)}
    return {called: scores}


def _over_seeds(called: str, sets: Mapping[str, Any], images: Labelled) -> np.ndarray:
    """(S, N, F) of one argument. sets: as of _sets. Raises ValueError."""
    arrays = {name: _array(one, images, name) for name, one in sets.items()}
    first, values = next(iter(arrays.items()))
    for name, one in arrays.items():
        if one.shape != values.shape:
            raise ValueError(f"{name} have shape {one.shape}, {first} {values.shape}: give one shape for all seeds")
    if called not in arrays:
        values = np.stack(list(arrays.values()))
    shape = images.labels.shape[:1] if images.flat else images.labels.shape
    given = values.shape
    values = values[None] if values.ndim == len(shape) else values
    if values.shape[1:] != shape or len(values) == 0:
        raise ValueError(
            f"{called} have shape {given}, labels {shape}: give the same, or one dimension more in front for "
            "several seeds"
        )
    return values.reshape(len(values), *images.labels.shape)


def mean_placed(scores: np.ndarray, images: Labelled) -> Placed:
    """AUROCs and what each patient moves them by, the mean over seeds. scores: (S, N, F)."""
    return over_seeds_placed({(0, seed): place(one, images.classes) for seed, one in enumerate(scores)})


def _array(scores: Any, images: Labelled, called: str) -> np.ndarray:
    if not images.flat and columns_of(scores) is not None and _is_by_name(scores, images):
        scores = by_name(scores, images.findings, called)
    try:
        return _numbers(scores)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{called} are no numbers: {error}") from None


def _is_by_name(frame: Any, images: Labelled) -> bool:
    """Whether columns of scores are looked for by the findings' names, and not taken by place."""
    if images.numbered:  # two frames that pandas has numbered are two arrays
        return not are_numbered(frame) and have_one_of(frame, images.findings)
    return images.named and are_names(frame, images.findings)


def _is_frame(values: Any) -> bool:
    return index_of(values) is not None and columns_of(values) is not None


def _images_of(values: Any, flat: bool) -> Any:
    """The index of the images; flat: labels are (N,), so that a frame is (S, N)."""
    return values.columns if flat and _is_frame(values) else index_of(values)


def _numbers(values: Any) -> np.ndarray:
    """float64, NaN where a value is not known. Raises TypeError or ValueError."""
    plain = _plain(values)
    try:
        return np.array(plain, dtype=np.float64)
    except (TypeError, ValueError):  # numpy makes no number of pandas.NA
        found = np.array(plain, dtype=object)
        missing = np.array([_is_missing(one) and np.ndim(one) == 0 for one in found.flat], dtype=bool)
        if not missing.any():
            raise
        found[missing.reshape(found.shape)] = np.nan
        return found.astype(np.float64)


def _is_tensor(values: Any) -> bool:
    return hasattr(values, "detach")


def _is_more_than_an_array(values: Any) -> bool:
    """Whether numpy would lose something of it within a list: columns and index, a mask; or could not take it."""
    return index_of(values) is not None or _is_tensor(values) or isinstance(values, np.ma.MaskedArray)


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
