"""Is the text of a CSV file one that the rows of its class give, so that what reads it finds what it expects?

A report keeps its statistics and reads them for the next one. A digest beside them tells what has changed by accident;
whoever writes both may write anything.
"""

import csv
import io
import math
from collections.abc import Callable
from dataclasses import fields
from functools import partial
from types import NoneType
from typing import Any, get_args

from datasets_io.untrusted import printable
from sweep.store.csv_files import csv_text, csv_value

# What is reckoned with, squares among it; of a difference that no patient moves the degrees of freedom are infinite.
RANGES = {"patients_se": (0.0, 10.0), "patients_freedom": (0.1, math.inf)}


def is_of_rows(kind: type, text: str) -> bool:
    """Whether `row_types.rows_csv` of this class may have given the text, to the byte, and a terminal may show it.

    Numbers are numbers in the shortest form, finite where a number that is not would mean nothing.
    """
    names = [field.name for field in fields(kind)]
    readers = [partial(_value, field.name, field.type) for field in fields(kind)]
    try:
        header, *lines = csv.reader(io.StringIO(text, newline=""), strict=True)
        rows = [[read(value) for read, value in zip(readers, line, strict=True)] for line in lines]
    except (ValueError, KeyError, csv.Error):
        return False
    return header == names and csv_text(names, rows) == text


def _value(name: str, kind: Any, text: str) -> object:
    """A field's value of its text. Raises ValueError or KeyError for one that the field does not have."""
    kinds = get_args(kind)
    if NoneType in kinds:
        if not text:
            return None
        (kind,) = set(kinds) - {NoneType}
    return _number(name, text) if kind is float else _READERS[kind](text)


def _number(name: str, text: str) -> float:
    number = float(text)
    low, high = RANGES.get(name, (-math.inf, math.inf))
    if not low <= number <= high or (math.isinf(number) and name not in RANGES):
        raise ValueError(f"{name} is {text}")
    return int(text) if text.lstrip("-").isdecimal() else number  # a mean of equal whole numbers may be one


def _words(text: str) -> str:
    if printable(text) != text:
        raise ValueError("it has characters that a terminal obeys")
    return csv_value(text)


_READERS: dict[Any, Callable[[str], object]] = {
    int: int,
    bool: {"True": True, "False": False}.__getitem__,
    str: _words,
    tuple[str, ...]: _words,
}
