"""Has each field of a study, and of all that is in it, a value of the type that it is declared with?

Python checks no type when a dataclass is made: a list, a text or None in the place of a tuple or a number would come to
light where it is used, after hours, and with a traceback.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import fields, is_dataclass
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from datasets_io.fingerprint import canonical_json
from sweep.studies.study import Dataset, EncoderRow, Study
from trainables.recipe import BackboneSpec

NAMES = {int: "a whole number", float: "a number", str: "a text", bool: "True or False", NoneType: "None"}


def value_problems(study: Study) -> list[str]:
    """A sentence for each value of another type, and for each recipe that has no identity."""
    found = list(_of_fields(study, _title(study), ""))
    if found:
        return found
    rows = (*study.rows, *study.hidden_rows)
    found = [text for row in rows for text in _of_recipe(row)]
    others: list[tuple[str, str, object]]
    others = [(_title(study), "corpus", study.corpus), (_title(study), "synthetic", study.synthetic)]
    for dataset in study.datasets:
        others += [(_title(dataset), "build", dataset.build), (_title(dataset), "recipe", dataset.recipe)]
    return [*found, *(text for title, name, value in others for text in _without_identity(value, title, name))]


def _title(owner: Study | EncoderRow | Dataset) -> str:
    if isinstance(owner, Dataset):
        return f"dataset {owner.display!r}"
    return f"{'study' if isinstance(owner, Study) else 'row'} {owner.name!r}"


def _of_fields(value: Any, title: str, path: str) -> Iterator[str]:
    """Of a dataclass's fields. title: of the row, data set or study that it belongs to; path: its place in there."""
    hints = _hints(type(value))
    for field in fields(value):
        place = f"{path}.{field.name}" if path else field.name
        yield from _of_value(getattr(value, field.name), hints.get(field.name, Any), title, place)


def _hints(kind: type) -> dict[str, Any]:
    """Field -> its type; empty for a class of a study file whose types cannot be resolved."""
    try:
        return get_type_hints(kind)
    except (NameError, TypeError):
        return {}


def _of_value(value: Any, hint: Any, title: str, place: str) -> Iterator[str]:
    arm = next((arm for arm in _arms(hint) if _fits(value, arm)), None)
    if arm is None:
        shown = repr(value) if len(repr(value)) <= 60 else f"a {type(value).__name__}"
        yield f"{title}: {place} is {shown}; it must be {_called(hint)}{_advice(value, hint, place)}"
    elif isinstance(value, (EncoderRow, Dataset)):
        yield from _of_fields(value, _title(value), "")
    elif is_dataclass(value) and not isinstance(value, type):
        yield from _of_fields(value, title, place)
    elif get_origin(arm) is tuple:
        for number, (item, kind) in enumerate(zip(value, _item_hints(arm, len(value)), strict=True)):
            yield from _of_value(item, kind, title, f"{place}[{number}]")


def _arms(hint: Any) -> Sequence[Any]:
    """The types that `A | B` allows."""
    return get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)


def _item_hints(hint: Any, length: int) -> Sequence[Any]:
    """The type of each item of a tuple: `tuple[int, ...]` has any number of one type."""
    args = get_args(hint)
    return args[:1] * length if args[1:] == (...,) else args


def _fits(value: Any, kind: Any) -> bool:
    """Whether a value itself is of a type; what is in it is another question."""
    if kind is float:
        return type(value) in (int, float) and math.isfinite(value)
    if kind in (int, str, bool):  # exactly: True is an int to Python, and a text of another library may be no str
        return type(value) is kind
    if get_origin(kind) is tuple:
        args = get_args(kind)
        return isinstance(value, tuple) and (args[1:] == (...,) or len(args) == len(value))
    if kind is Any or not isinstance(kind, type) or get_origin(kind) is not None:
        return True  # also a TypeVar or a generic: nothing to compare with
    if getattr(kind, "_is_protocol", False):
        members = (name for name in {**vars(kind), **vars(kind).get("__annotations__", {})} if name[0] != "_")
        return all(hasattr(value, name) for name in members)
    return isinstance(value, kind)


def _called(hint: Any) -> str:
    """A type in words: `a tuple of whole numbers`."""
    arms = [_called_arm(arm) for arm in _arms(hint)]
    return " or ".join(arms)


def _called_arm(kind: Any) -> str:
    if kind in NAMES:
        return NAMES[kind]
    if get_origin(kind) is tuple:
        args = get_args(kind)
        if args[1:] == (...,):
            return f"a tuple, each item {_called(args[0])}"
        return f"a tuple of {len(args)} ({', '.join(map(_called, args))})"
    name = getattr(kind, "__name__", str(kind))
    return "anything" if kind is Any else f"{'an' if name[0] in 'AEIOU' else 'a'} {name}"


def _advice(value: Any, hint: Any, place: str) -> str:
    """How the same is written as a tuple, for what was meant as one."""
    wanted = next((arm for arm in _arms(hint) if get_origin(arm) is tuple), None)
    if wanted is None:
        return ""
    name = place.rpartition(".")[2]
    if isinstance(value, dict):
        return f": write {name}=tuple({name}.items())"
    if isinstance(value, list) and len(repr(value)) <= 60:
        return f": write {name}={tuple(value)!r}"
    if _fits(value, get_args(wanted)[0]):
        return f": write {name}=({value!r},)" if len(repr(value)) <= 60 else f": write {name}=(...,), with the comma"
    return ": tuple(...) makes one of what can be counted up" if hasattr(value, "__iter__") else ""


def _of_recipe(row: EncoderRow) -> Iterator[str]:
    """Of a row's recipe: a study file may bring a class of its own, so its fields have no declared type here."""
    recipe, title = row.recipe, _title(row)
    if not is_dataclass(recipe) or isinstance(recipe, type):
        yield (
            f"{title}: recipe is {recipe!r}; it must be a recipe, such as RandomInit(backbone), from_timm(...) or a "
            "PretrainRecipe"
        )
    elif not isinstance(getattr(recipe, "backbone", None), BackboneSpec):
        yield f"{title}: recipe is a {type(recipe).__name__} without a backbone: give it a BackboneSpec as `backbone`"
    else:
        yield from _without_identity(recipe, title, "recipe")


def _without_identity(value: Any, title: str, place: str) -> Iterator[str]:
    """A sentence where a value cannot be hashed, which keys and caches need, with the place within it that cannot."""
    try:
        hash(value)
        canonical_json(value)
    except (TypeError, ValueError) as error:
        inner, name = _first_unhashable(value, place)
        shown = repr(inner) if len(repr(inner)) <= 60 else f"a {type(inner).__name__}"
        advice = "write it as a tuple" if isinstance(inner, (list, dict, set)) else str(error)
        if isinstance(inner, type):
            advice = f"it is a class: make one of it, {inner.__name__}(...)"
        yield f"{title}: {name} is {shown}, which has no identity that a result could be stored under: {advice}"


def _first_unhashable(value: Any, place: str) -> tuple[Any, str]:
    """The innermost value that is to blame, and its place."""
    if is_dataclass(value) and not isinstance(value, type):
        inner = [(getattr(value, field.name), f"{place}.{field.name}") for field in fields(value)]
    elif isinstance(value, tuple):
        inner = [(item, f"{place}[{number}]") for number, item in enumerate(value)]
    else:
        return value, place
    for item, name in inner:
        try:
            hash(item)
            canonical_json(item)
        except (TypeError, ValueError):
            return _first_unhashable(item, name)
    return value, place
