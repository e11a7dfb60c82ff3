"""Identity: equal values have equal keys, different values have different ones, and vague values are refused."""

import hashlib
from dataclasses import dataclass, field, make_dataclass
from itertools import combinations
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from datasets_io.fingerprint import added, canonical_json, derive_seed, fingerprint, hashed_fields


@dataclass(frozen=True)
class A:
    x: int = 1
    y: tuple = (1.5, "a", None)


@dataclass(frozen=True)
class B:
    x: int = 1
    y: tuple = (1.5, "a", None)


@dataclass
class Mutable:
    x: int = 1


def test_canonical_json_is_golden():
    assert canonical_json(A()) == '{"type":"A","x":1,"y":[1.5,"a",null]}'
    assert fingerprint(A()) == "92e71696e97e"


def test_class_and_fields_are_part_of_the_identity():
    assert fingerprint(A()) == fingerprint(A(1))
    assert fingerprint(A()) != fingerprint(B())
    assert fingerprint(A()) != fingerprint(A(2))
    assert fingerprint(A(True)) != fingerprint(A(1))


@pytest.mark.parametrize("value", [{1, 2}, Mutable(), np.float32(1), np.zeros(2), len, {1: 2}, object()])
def test_what_has_no_stable_text_is_refused(value):
    with pytest.raises(TypeError):
        fingerprint(value)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_numbers_that_are_not_finite_are_refused(value):
    with pytest.raises(ValueError):
        fingerprint(value)


def test_streams_of_randomness_are_independent():
    seeds = {derive_seed(s, name) for s in range(100) for name in ("label_subset", "head", "flip")}
    assert len(seeds) == 300 and all(0 <= seed < 2**63 for seed in seeds)


SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.text(max_size=5)
)
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3).map(tuple), max_leaves=5)


def recipe_class(*new: tuple[str, Any]) -> type:
    """A class `Recipe` of one field, and what joined it later."""
    fields = [("size", Any), *((name, Any, added(default)) for name, default in new)]
    return make_dataclass("Recipe", fields, frozen=True)


def nested(recipe: Any) -> dict[str, Any]:
    outer = make_dataclass("Outer", [("part", Any), ("parts", Any)], frozen=True)
    return {"study": outer(recipe, (recipe, 1))}


@given(size=VALUES, default=VALUES)
def test_an_added_field_at_its_default_leaves_the_key(size, default):
    before, after = recipe_class()(size), recipe_class(("new", default))
    assert canonical_json(before) == canonical_json(after(size)) == canonical_json(after(size, default))
    assert fingerprint(nested(before)) == fingerprint(nested(after(size)))


@given(size=VALUES, default=VALUES, value=VALUES)
def test_an_added_field_at_another_value_moves_the_key(size, default, value):
    after = recipe_class(("new", default))
    differs = canonical_json(value) != canonical_json(default)
    assert (fingerprint(after(size, value)) != fingerprint(after(size))) == differs
    assert (fingerprint(nested(after(size, value))) != fingerprint(nested(after(size)))) == differs


@pytest.mark.parametrize(("default", "value"), [(1, True), (1, 1.0), (0, False), (0.0, -0.0), ("", None), ((), None)])
def test_an_added_field_is_compared_by_what_would_be_written(default, value):
    assert hashed_fields(recipe_class(("new", default))(1, value)) == ("size", "new")


def test_added_fields_are_told_apart_by_name():
    kind = recipe_class(*((name, 0) for name in "abc"))
    made = [kind(1, **dict.fromkeys(names, 1)) for n in range(4) for names in combinations("abc", n)]
    assert len({fingerprint(recipe) for recipe in made}) == 8


def test_a_default_that_changed_later_is_written_and_the_old_value_is_not():
    @dataclass(frozen=True)
    class Recipe:
        size: int = 1
        new: int = added(5, before=0)

    assert hashed_fields(Recipe(new=0)) == ("size",)
    assert canonical_json(Recipe()) == '{"new":5,"size":1,"type":"Recipe"}'


def test_a_recipe_within_an_added_field_is_left_out_as_a_whole():
    @dataclass(frozen=True)
    class Recipe:
        size: int = 1
        part: A = added(A())

    assert canonical_json(Recipe()) == '{"size":1,"type":"Recipe"}'
    assert canonical_json(Recipe(part=A(2, ()))) == '{"part":{"type":"A","x":2,"y":[]},"size":1,"type":"Recipe"}'


def test_a_place_stays_outside_and_a_plain_default_is_written():
    @dataclass(frozen=True)
    class Recipe:
        size: int = 1
        place: str = field(default="", metadata={"hashed": False})

    assert hashed_fields(Recipe(place="/somewhere")) == ("size",)


def test_a_seed_of_a_stream_is_63_bits_of_the_hash_of_its_names():
    digest = hashlib.sha256(b'[3,"order",7]').digest()
    assert derive_seed(3, "order", 7) == int.from_bytes(digest[:8], "big") // 2 < 2**63


def test_before_is_said_by_name():
    with pytest.raises(TypeError):
        added(1, 2)
