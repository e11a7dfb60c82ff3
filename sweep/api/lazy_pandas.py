"""How can annotations name frames of pandas, and get_type_hints read them, without loading pandas before it is used?

pandas comes with Ray, and takes a while to load. An annotation is written "pandas.DataFrame", in quotes.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any


class _Lazy:
    """A module that is loaded once something of it is asked for."""

    def __init__(self, name: str):
        self._name = name

    def __getattr__(self, name: str) -> Any:
        return getattr(import_module(self._name), name)


if TYPE_CHECKING:
    import pandas as pandas
else:
    pandas = _Lazy("pandas")
