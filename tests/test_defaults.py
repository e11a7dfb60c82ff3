"""Recipe defaults: every value that a class of recipes has by default, and every value of the presets, is written down.

A key hashes values, so a default that changes moves keys and test_keys.py says so; but a field that was `added` is left
out of keys at its default, and a default that no preset uses moves no key. Here all of them stand, in
golden/defaults.json; `python tests/test_defaults.py` writes it anew, and the difference is to be read line by line.
"""

import dataclasses
import importlib
import inspect
import json
import pkgutil
from collections.abc import Callable
from enum import Enum
from itertools import pairwise, starmap
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from sweep.studies import STUDIES
from trainables.protocols.registry import PROTOCOLS
from trainables.registry import IMAGE_IMAGE, IMAGE_TEXT

GOLDEN = Path(__file__).parent / "golden" / "defaults.json"
# Where recipes, objective configurations, specifications, studies and options of sources are defined.
PACKAGES = (
    "datasets_io.build.spec", "datasets_io.build.inventory", "datasets_io.build.complete",
    "datasets_io.corpus", "datasets_io.pixels.grey", "datasets_io.sources",
    "datasets_io.synthetic.plan", "sweep.studies", "trainables.evaluation", "trainables.networks",
    "trainables.objectives", "trainables.protocols", "trainables.recipe", "trainables.views",
)  # fmt: skip
CHANGEABLE = ["BestHeads", "Counter"]  # not frozen: heads as they are trained, and what has been counted
SCALARS = (bool, int, float, str, type(None))


def modules(packages: tuple[str, ...] = PACKAGES) -> list[ModuleType]:
    found = []
    for name in packages:
        module = importlib.import_module(name)
        below = pkgutil.iter_modules(getattr(module, "__path__", []), f"{name}.")
        found += [module, *(importlib.import_module(info.name) for info in below)]
    return found


def described(value: Any) -> Any:
    """What JSON can hold. Of a dataclass the class and the fields that are not at their default."""
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, SCALARS):
        return value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = [field for field in dataclasses.fields(value) if getattr(value, field.name) != default_of(field)]
        return {"type": type(value).__name__, **{f.name: described(getattr(value, f.name)) for f in fields}}
    if isinstance(value, dict):
        return {str(key): described(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        items = [described(item) for item in value]
        return [items[0], *starmap(changes, pairwise(items))] if items else []
    return getattr(value, "__name__", type(value).__name__)


def changes(before: Any, after: Any) -> Any:
    """What `after` says otherwise, where both are of one class; so a preset's row is what it has not of the row above.

    A field that returns to its default is "(default)".
    """
    if not (isinstance(before, dict) and isinstance(after, dict) and before.get("type") == after.get("type")):
        return after
    other = {name: changes(before.get(name), value) for name, value in after.items() if before.get(name) != value}
    return other | {name: "(default)" for name in before if name not in after}


def default_of(field: "dataclasses.Field[Any]") -> Any:
    return field.default_factory() if callable(field.default_factory) else field.default


def class_defaults(kind: type) -> dict[str, Any]:
    fields = {field.name: default_of(field) for field in dataclasses.fields(kind)}
    plain = {name: value for name, value in vars(kind).items() if name.islower() and not name.startswith("_")}
    # ClassVars such as `views` and `needs_text` are values too; methods are not.
    values = {**{n: v for n, v in plain.items() if isinstance(v, (*SCALARS, tuple))}, **fields}
    return {name: described(value) for name, value in values.items() if value is not dataclasses.MISSING}


def function_defaults(function: Callable[..., Any]) -> dict[str, Any]:
    parameters = inspect.signature(function).parameters.values()
    return {p.name: described(p.default) for p in parameters if p.default is not inspect.Parameter.empty}


def defaults() -> dict[str, Any]:
    """Dotted name -> name of field, parameter -> value; names in capitals; configurations and presets as wholes."""
    found: dict[str, Any] = {}
    for module in modules():
        own = {n: v for n, v in vars(module).items() if getattr(v, "__module__", None) == module.__name__}
        for name, value in own.items():
            if dataclasses.is_dataclass(value):
                found[f"{module.__name__}.{name}"] = class_defaults(value)
            elif inspect.isfunction(value) and not name.startswith("_"):
                found[f"{module.__name__}.{name}"] = function_defaults(value)
        constants = {n: v for n, v in vars(module).items() if n.isupper() and isinstance(v, (*SCALARS, tuple))}
        found[module.__name__] = {name: described(value) for name, value in constants.items()}
    found["released"] = {name: described(kind.released()) for name, kind in (IMAGE_TEXT | IMAGE_IMAGE).items()}
    found["protocols"] = {name: described(protocol) for name, protocol in PROTOCOLS.items()}
    for name, make in STUDIES.items():
        found[f"preset {name}"] = described(make())
    return {name: value for name, value in found.items() if value}


FOUND = defaults()


def golden() -> dict[str, Any]:
    return json.loads(GOLDEN.read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", sorted(FOUND))
def test_every_default_is_what_is_written_down(name):
    assert FOUND[name] == golden().get(name), f"if this is meant: python {Path(__file__).name}, and read the difference"


def test_what_is_written_down_is_there():
    assert golden().keys() == FOUND.keys()


def test_an_integer_in_a_floats_place_is_another_value():
    """1 == 1.0 in Python; in a key they differ."""
    assert json.dumps(golden(), sort_keys=True) == json.dumps(FOUND, sort_keys=True)


def test_what_decides_a_result_cannot_be_changed():
    """Frozen: recipes, as hashing needs it, and plans and results, which many hold."""
    others = ("sweep.engine.schedule", "sweep.monitoring.throughput", "sweep.statistics", "sweep.status.eta")
    packages = (*PACKAGES, *others, "datasets_io.build.near_duplicates")
    found = ((module, kind) for module in modules(packages) for kind in vars(module).values())
    kinds = {kind for module, kind in found if dataclasses.is_dataclass(kind) and kind.__module__ == module.__name__}
    changeable = sorted(kind.__qualname__ for kind in kinds if not kind.__dataclass_params__.frozen)
    assert len(kinds) > 60 and changeable == CHANGEABLE


def text(value: Any, indent: int = 1) -> str:
    """JSON in which what fits stands on one line."""
    line = json.dumps(value, ensure_ascii=False)
    if len(line) + indent <= 118 or not value or not isinstance(value, dict | list):
        return line
    inner = " " * indent
    if isinstance(value, dict):
        parts = [f"{json.dumps(key, ensure_ascii=False)}: {text(item, indent + 1)}" for key, item in value.items()]
        return "{\n" + ",\n".join(inner + part for part in parts) + "\n" + inner[1:] + "}"
    return "[\n" + ",\n".join(inner + text(item, indent + 1) for item in value) + "\n" + inner[1:] + "]"


if __name__ == "__main__":
    GOLDEN.write_text(text(dict(sorted(FOUND.items()))) + "\n", encoding="utf-8")
