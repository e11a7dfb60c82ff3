"""Stored keys: those of every preset are written down, and so are the fields that enter them.

A key that moves makes every user compute everything again. golden/keys.json holds the keys of the presets,
golden/hashed_fields.json each class that enters a key, with its fields: those that are hashed always, and those that
joined later and are left out at one value (`added` in datasets_io/fingerprint.py).
"""

import dataclasses
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from datasets_io.build import BuildSpec, identity_of
from datasets_io.fingerprint import BEFORE, fingerprint, plain
from datasets_io.sources.registry import SOURCES
from sweep.studies import STUDIES, study_fingerprint
from sweep.studies.plan import make_plan
from sweep.studies.tunable import JOINT_WEIGHT, TEMPERATURE
from trainables.networks.text import HuggingFaceText, TinyText
from trainables.objectives.joint import JointSettings
from trainables.recipe import BackboneSpec, EncoderSource, ImageNetInit, OptimizerSpec, RandomInit, StandInInit
from trainables.registry import METHODS, objective_config
from trainables.views.preprocessing import Preprocessing

GOLDEN = Path(__file__).parent / "golden"
KEYS = json.loads((GOLDEN / "keys.json").read_text())
FIELDS = json.loads((GOLDEN / "hashed_fields.json").read_text())
FINGERPRINTS = {"mimic_cxr": "a" * 12, "chexpert": "b" * 12, "nih_cxr14": "c" * 12}
WHAT_TO_DO = (
    "Every stored key of {name} would move, and every user would compute everything again. Declare a new field with "
    "`{field}: ... = added(DEFAULT)` (datasets_io/fingerprint.py), DEFAULT being what the code does today, and write "
    "it down in tests/golden/hashed_fields.json under {name}, added: {{{field!r}: DEFAULT}}. Where every key is to "
    "move, raise the recipe's version and say so in CHANGELOG.md."
)


@pytest.mark.parametrize("name", sorted(STUDIES))
def test_every_key_of_a_preset_is_as_it_was(name):
    study, golden = STUDIES[name](), KEYS[name]
    plan = make_plan(study, FINGERPRINTS, {})
    assert {str(run): run.key for run in plan.encoders} == golden["encoders"]
    keys = {str(cell): cell.key for cell in plan.cells}
    assert golden["some_cells"].items() <= keys.items()
    lines = "\n".join(f"{cell}-{cell.key}" for cell in plan.cells)
    assert (len(keys), hashlib.sha256(lines.encode()).hexdigest()) == (golden["cells"], golden["sha256_of_cells"])
    assert {spec.source: fingerprint(identity_of(spec)) for spec in study.builds()} == golden["corpora"]
    assert study_fingerprint(study) == golden["study"]
    assert (fingerprint(study.synthetic) if study.synthetic else None) == golden.get("synthetic")


def test_the_gradient_cache_has_a_version_that_only_recipes_with_it_have_in_their_key():
    recipe = next(row.recipe for row in STUDIES["paper"]().rows if row.name == "clip")
    cached = dataclasses.replace(recipe, gradient_cache_chunk=256)
    assert plain(cached)["gradient_cache_version"] == 2 and "gradient_cache_version" not in plain(recipe)
    assert fingerprint(dataclasses.replace(cached, gradient_cache_chunk=None)) == fingerprint(recipe)


def hashed_values() -> Iterator[Any]:
    """Something of every kind that enters a key: presets, all methods, all sources, other rows, and searches."""
    for make in STUDIES.values():
        study = make()
        yield from (study.corpus, study.datasets, study.rows, study.hidden_rows, study.synthetic)
    yield from (objective_config(method, {}, JointSettings()) for method in METHODS)
    yield from (BuildSpec(source, options=kind.options()) for source, kind in SOURCES.items())
    backbone = BackboneSpec("demo_cnn", 32, preprocessing=Preprocessing(32))
    yield from (RandomInit(backbone), ImageNetInit(backbone), EncoderSource(backbone))
    yield StandInInit(backbone, OptimizerSpec("adam", 1e-3, (0.9, 0.999)))
    yield from (TinyText(), HuggingFaceText("name"), JOINT_WEIGHT, TEMPERATURE)


def classes_in(value: Any) -> Iterator[type]:
    if dataclasses.is_dataclass(value):
        yield type(value)
        for field in dataclasses.fields(value):
            if field.metadata.get("hashed", True):
                yield from classes_in(getattr(value, field.name))
    elif isinstance(value, tuple | list):
        for item in value:
            yield from classes_in(item)
    elif isinstance(value, dict):
        yield from classes_in(tuple(value.values()))


CLASSES = {kind.__name__: kind for value in hashed_values() for kind in classes_in(value)}


def described(kind: type) -> dict[str, Any]:
    """What the golden file should say of a class."""
    fields = [field for field in dataclasses.fields(kind) if field.metadata.get("hashed", True)]
    joined = {field.name: plain(field.metadata[BEFORE]) for field in fields if BEFORE in field.metadata}
    return {"always": [field.name for field in fields if field.name not in joined], "added": joined}


def check_fields(kind: type, golden: dict[str, Any]) -> None:
    """Raises AssertionError that says what a contributor is to do."""
    name, now = kind.__name__, described(kind)
    for field in now["always"]:
        assert field in golden["always"], f"{name} got a field {field!r}. " + WHAT_TO_DO.format(name=name, field=field)
    for field in golden["always"]:
        assert field in now["always"], (
            f"{name} lost its field {field!r}, or it became `added`: every stored key of {name} would move. Keep it; "
            "where every key is to move, raise the recipe's version and say so in CHANGELOG.md."
        )
    for field, before in now["added"].items():
        assert field in golden["added"], (
            f"{name}.{field} is `added`: write it down in tests/golden/hashed_fields.json under {name}, "
            f"added: {{{field!r}: {json.dumps(before)}}}."
        )
        assert before == golden["added"][field], (
            f"{name}.{field} was left out of keys at {golden['added'][field]!r} and now is at {before!r}: stored keys "
            "would mean something else. To change a default, say added(NEW, before=OLD)."
        )
    assert set(golden["added"]) == set(now["added"]), f"{name} lost an added field: results stored with it have no key"


@pytest.mark.parametrize("name", sorted(CLASSES))
def test_a_hashed_class_has_the_fields_that_are_written_down(name):
    entry = json.dumps(described(CLASSES[name]))
    assert name in FIELDS, f"{name} enters keys: write it down in tests/golden/hashed_fields.json as {entry}"
    check_fields(CLASSES[name], FIELDS[name])


def test_what_is_written_down_is_there_and_names_are_not_shared():
    """A class's name stands in every key, so it cannot be renamed, and two classes cannot have one name."""
    assert set(FIELDS) == set(CLASSES), "a class that entered keys is gone or has another name: its keys would move"
    assert len(CLASSES) == len({kind for value in hashed_values() for kind in classes_in(value)})


@pytest.mark.parametrize(
    ("fields", "match"),
    [
        ([("a", int), ("b", int)], "got a field 'b'.*added"),
        ([], "lost its field 'a'"),
        ([("a", int), ("c", int, dataclasses.field(default=0, metadata={BEFORE: 0}))], "write it down"),
        ([("a", int), ("d", int, dataclasses.field(default=2, metadata={BEFORE: 2}))], "was left out of keys at 1"),
    ],
)
def test_the_check_notices_each_way_to_move_a_key(fields, match):
    with pytest.raises(AssertionError, match=match):
        check_fields(dataclasses.make_dataclass("Recipe", fields, frozen=True), {"always": ["a"], "added": {"d": 1}})
