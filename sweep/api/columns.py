"""Which columns of a frame are which findings: those that are called so, or those at their places?"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from datasets_io.nearest import did_you_mean


def columns_of(values: Any) -> tuple[str, ...] | None:
    """What the columns of a frame are called, as text; None for anything else."""
    columns = getattr(values, "columns", None)
    return None if columns is None else tuple(map(str, columns))


def are_numbered(frame: Any) -> bool:
    """Whether pandas has numbered the columns from 0 on, as it does those of an array."""
    numbers = range(len(frame.columns))
    return list(frame.columns) == list(numbers) and columns_of(frame) == tuple(map(str, numbers))  # 0 == 0.0 == False


def have_one_of(frame: Any, findings: Sequence[str]) -> bool:
    """Whether any column is called as a finding is."""
    return not set(findings).isdisjoint(columns_of(frame) or ())


def are_names(frame: Any, findings: Sequence[str]) -> bool:
    """Whether findings are looked for among the columns; numbers of pandas are no names, unless a finding has one."""
    return not are_numbered(frame) or have_one_of(frame, findings)


def by_name(frame: Any, names: Sequence[str], called: str) -> np.ndarray:
    """(N, F) of a frame's columns, in the order of the names. Raises ValueError where one is not there, or twice."""
    columns = columns_of(frame) or ()
    places = {name: number for number, name in enumerate(columns)}
    if lacking := [name for name in names if name not in places]:
        hint = did_you_mean(lacking[0], places)
        raise ValueError(f"{called} have no column {lacking[0]!r}; they have {', '.join(places)}{hint}")
    if several := [f"{name!r} ({count})" for name, count in Counter(columns).items() if count > 1 and name in names]:
        raise ValueError(f"{called} have several columns of one name: {', '.join(several)}; keep one of each")
    return np.asarray(frame)[:, [places[name] for name in names]]


def refuse_other_columns(frames: Mapping[str, Any], findings: Sequence[str]) -> None:
    """frames: of scores whose columns are taken by place, by what they are called; findings: of labels without names.

    Raises ValueError for columns that are called otherwise than those of the first that has names, and for the numbers
    of the findings in another order: which of them is which label cannot be told.
    """
    named = {called: columns_of(frame) or () for called, frame in frames.items() if not are_numbered(frame)}
    if not named:
        return
    what_to_do = "give labels as a frame with names, or findings; or give arrays (.to_numpy()) where places are right"
    reference, expected = next(iter(named.items()))
    for called, columns in named.items():
        if columns != expected:
            place = next((i for i, pair in enumerate(zip(columns, expected, strict=False)) if len(set(pair)) > 1), None)
            how = (
                f"{len(columns)} of them, and {len(expected)} there"
                if place is None
                else f"column {place} is {columns[place]!r}, and {expected[place]!r} there"
            )
            raise ValueError(
                f"{called} have other columns than {reference}: {how}, and labels have no names to look for: "
                f"{what_to_do}"
            )
    if expected != tuple(findings) and set(expected) == set(findings):
        raise ValueError(
            f"{reference} have the columns {', '.join(expected)}, and labels have no names, so that they are findings "
            f"{', '.join(findings)}: {what_to_do}"
        )
