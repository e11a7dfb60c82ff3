"""How can annotations name frames of pandas, and get_type_hints read them, without loading pandas before it is used?

pandas comes with Ray, and takes a while to load. An annotation is written "pandas.DataFrame", in quotes.
"""

from typing import TYPE_CHECKING, Any


class _Lazy:
    """All that pandas has, loaded once something of it is asked for."""

    def __getattr__(self, name: str) -> Any:
        import pandas

        return getattr(pandas, name)


if TYPE_CHECKING:
    import pandas as pandas
else:
    pandas = _Lazy()
