"""How do frozen dataclasses become a pandas frame, and of which types are its columns?"""

from collections.abc import Sequence
from dataclasses import fields
from types import NoneType
from typing import Any, get_args, get_type_hints

from sweep.api.lazy_pandas import pandas

# Of columns that may be empty, and of those that are counted: pandas has no missing value in its int64.
TYPES = {str: "object", float: "float64", int: "Int64"}


def frame_of_rows(kind: type, rows: Sequence[Any]) -> "pandas.DataFrame":
    """A column for each field of a frozen dataclass: text, or a number that may be missing."""
    names = [field.name for field in fields(kind)]
    types = {name: _without_none(hint) for name, hint in get_type_hints(kind).items()}
    values = [[getattr(row, name) for name in names] for row in rows]
    return pandas.DataFrame(values, columns=names).astype({name: TYPES[types[name]] for name in names})


def _without_none(hint: Any) -> Any:
    return next((kind for kind in get_args(hint) if kind is not NoneType), hint)
