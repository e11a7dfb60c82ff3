"""Are the images of all arguments in one order? What has no index of pandas is taken by place."""

from collections import Counter
from collections.abc import Iterable
from typing import Any


def index_of(values: Any) -> Any:
    """Of a pandas frame or series; None for anything else: the `index` of a list is a method."""
    index = getattr(values, "index", None)
    return None if callable(index) else index


def refuse_another_index(indexes: Iterable[tuple[str, Any]], of: str = "images") -> tuple[str, Any]:
    """The first that is not None. indexes: what it is the index of, and the index; of: what its rows are.

    Raises ValueError for one that is not equal to the first.
    """
    given = [(called, index) for called, index in indexes if index is not None]
    for called, index in given[1:]:
        if not _is_equal(given[0][1], index):
            raise ValueError(
                f"{called} have another index than {given[0][0]}: {_difference(index, given[0][1], of)}; bring both "
                f"into one order of {of}, or give arrays (.to_numpy()) where they are in one"
            )
    return given[0] if given else ("", None)


def _is_equal(first: Any, second: Any) -> bool:
    """Whatever types they are stored as: for pandas 0 and 1 as Int64 are another index than as int64."""
    return bool(first.equals(second) or first.astype(object).equals(second.astype(object)))


def _difference(index: Any, reference: Any, of: str) -> str:
    if len(index) != len(reference):
        return f"{len(index)} {of}, and {len(reference)} there"
    own, others = list(index), list(reference)
    row = next((row for row, (a, b) in enumerate(zip(own, others, strict=True)) if _differ(a, b)), 0)
    same = f"the same {of} in another order, " if Counter(map(repr, own)) == Counter(map(repr, others)) else ""
    return f"{same}row {row} is {own[row]!r}, and {others[row]!r} there"


def _differ(a: Any, b: Any) -> bool:
    try:
        return a is not b and bool(a != b)
    except (TypeError, ValueError):  # of pandas.NA nothing is true or false
        return True
