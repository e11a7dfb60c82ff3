"""A pretraining that starts from an encoder made elsewhere is fed as that one was, unless it says otherwise."""

from dataclasses import replace
from typing import Any, Protocol, TypeVar

from trainables.recipe import BackboneSpec, PretrainRecipe
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


def _is_row(row: object) -> bool:
    recipe = getattr(row, "recipe", None)
    return isinstance(getattr(row, "name", None), str) and isinstance(getattr(recipe, "backbone", None), BackboneSpec)


def inherited(rows: tuple[R, ...], others: tuple[Row, ...] = ()) -> tuple[R, ...]:
    """The rows, of which a pretraining without a preprocessing has that of the row it starts from, at its own size.

    Its weights were trained on images of that mean and deviation, and perhaps of one channel. others: rows that may be
    started from as well.
    """
    # What is no row is left as it is: check_study says so in a sentence, and a study is made before it is checked.
    if not all(isinstance(given, tuple) for given in (rows, others)):
        return rows
    known: dict[str, Row] = {row.name: row for row in others if _is_row(row)}
    known |= {row.name: row for row in rows if _is_row(row)}

    def own(row: Row, seen: tuple[str, ...] = ()) -> Preprocessing | None:
        found: Preprocessing | None = row.recipe.backbone.preprocessing
        if found is not None or not isinstance(row.recipe, PretrainRecipe) or row.name in seen:
            return found  # a circle is refused elsewhere
        start = known.get(row.recipe.initial)
        return None if start is None else own(start, (*seen, row.name))

    def made(row: R) -> R:
        if not _is_row(row):
            return row
        backbone = row.recipe.backbone
        found = own(row)
        if found is None or backbone.preprocessing is not None:
            return row
        backbone = replace(backbone, preprocessing=found.at_size(backbone.image_size))
        changed: Any = row  # a dataclass, which a Protocol cannot say
        found_row: R = replace(changed, recipe=replace(row.recipe, backbone=backbone))
        return found_row

    return tuple(made(row) for row in rows)
