"""The fingerprint that reports print: it moves with every field of a study that decides a number."""

from dataclasses import fields, replace

import pytest

from datasets_io.fingerprint import fingerprint
from sweep.studies import Study, demo, study_fingerprint
from sweep.studies.study import NOT_IN_FINGERPRINT

CHANGED = {
    "corpus": demo().datasets[0].build,
    "datasets": demo().datasets[:1],
    "rows": demo().rows[:2],
    "seeds": (0, 1),
    "pretrain_seeds": (0, 1),
    "protocols": ("LP",),
    "hidden_rows": demo().rows[1:2],
    "interval": "z",
    "training_free": ("knn",),
}


@pytest.mark.parametrize("name", sorted(CHANGED))
def test_it_moves_with_what_decides_a_number(name):
    assert study_fingerprint(replace(demo(), **{name: CHANGED[name]})) != study_fingerprint(demo())


def test_it_stays_with_what_does_not():
    others = {"name": "x", "title": "x", "deviations": ("x",), "show_published": True, "synthetic": None}
    others["corpus_name"] = "x"
    others["resources"] = replace(demo().resources, precision="bfloat16")
    assert set(others) == set(NOT_IN_FINGERPRINT)
    assert study_fingerprint(replace(demo(), **others)) == study_fingerprint(demo())


def test_every_field_of_a_study_is_one_or_the_other():
    assert {field.name for field in fields(Study)} == set(CHANGED) | set(NOT_IN_FINGERPRINT)


def test_fields_that_joined_leave_it_at_their_defaults():
    """Two studies that differ in several of them at once differ too."""
    one = replace(demo(), pretrain_seeds=(0, 1), interval="z")
    assert (
        len({study_fingerprint(s) for s in (demo(), one, replace(one, interval="t"), replace(one, hidden_rows=()))})
        == 3
    )


def test_a_field_at_its_default_is_not_in_the_fingerprint_so_that_fields_can_join():
    plain = replace(demo(), hidden_rows=())
    always = [plain.corpus, list(plain.datasets), list(plain.rows), list(plain.seeds), list(plain.protocols)]
    assert study_fingerprint(plain) == fingerprint(always)
    changed = replace(plain, interval="z", pretrain_seeds=(0, 1))
    assert study_fingerprint(changed) == fingerprint([*always, {"pretrain_seeds": (0, 1), "interval": "z"}])
