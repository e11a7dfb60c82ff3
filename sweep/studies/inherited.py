"""A pretraining that starts from an encoder made elsewhere is fed as that one was, unless it says otherwise."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any, Protocol, TypeVar

from trainables.recipe import PretrainRecipe
from trainables.views.preprocessing import Preprocessing


class Row(Protocol):
    """A study's EncoderRow, as far as is needed here: a frozen dataclass with a name and a recipe."""

    @property
    def name(self) -> str:
        """Of the row."""
        ...

    @property
    def recipe(self) -> Any:
        """An EncoderRecipe."""
        ...


R = TypeVar("R", bound=Row)


def inherited(rows: tuple[R, ...], others: Iterable[Row] = ()) -> tuple[R, ...]:
    """The rows, of which a pretraining without a preprocessing has that of the row it starts from, at its own size.

    Its weights were trained on images of that mean and deviation, and perhaps of one channel. others: rows that may be
    started from as well.
    """
    known: dict[str, Row] = {row.name: row for row in others}
    known |= {row.name: row for row in rows}

    def own(row: Row, seen: tuple[str, ...] = ()) -> Preprocessing | None:
        found: Preprocessing | None = row.recipe.backbone.preprocessing
        if found is not None or not isinstance(row.recipe, PretrainRecipe) or row.name in seen:
            return found  # a circle is refused elsewhere
        start = known.get(row.recipe.initial)
        return None if start is None else own(start, (*seen, row.name))

    def made(row: R) -> R:
        backbone = row.recipe.backbone
        found = own(row)
        if found is None or backbone.preprocessing is not None:
            return row
        backbone = replace(backbone, preprocessing=found.at_size(backbone.image_size))
        changed: Any = row  # a dataclass, which a Protocol cannot say
        found_row: R = replace(changed, recipe=replace(row.recipe, backbone=backbone))
        return found_row

    return tuple(made(row) for row in rows)
