"""Identity: equal values have equal keys, different values have different ones, and vague values are refused."""

from dataclasses import dataclass

import numpy as np
import pytest

from datasets_io.fingerprint import canonical_json, derive_seed, fingerprint


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
