"""Does the benchmark of scale run, and does it refuse wrong keys?"""

from dataclasses import replace

import pytest
from benchmark_lines import figures_of

from benchmarks.scale import FINGERPRINTS, check_keys, main, planned, study_of
from datasets_io import granted, read_ahead
from sweep.store import results
from sweep.studies.plan import make_plan


@pytest.mark.parametrize("ahead", [False, True], ids=["one by one", "read ahead"])
def test_quick(capsys, monkeypatch, ahead):
    """Results are compared with those read the usual way."""
    if ahead:
        monkeypatch.setattr(granted, "cores", lambda: 2)
        monkeypatch.setattr(read_ahead, "LEAST", 90)
        monkeypatch.setattr(results, "BLOCK", 30)
        monkeypatch.setattr(results, "WORTH_IT", float("inf"))
    found = figures_of(main, "scale", capsys)
    for step in ("plan_with_keys", "list_storage", "read_results", "aggregate"):
        assert {f"{step}_100", f"{step}_400"} <= set(found)
    assert found["plan_time_a_cell_400_over_100"]["ours"] == pytest.approx(
        found["plan_with_keys_400"]["ours"] / found["plan_with_keys_100"]["ours"] / 4
    )


def test_keys_equal_their_definition_whatever_was_remembered_before():
    for seeds in ((1, 3), (2, 2)):
        check_keys(*planned(study_of(*seeds)), every=1)
    study = study_of(1, 2)
    longer = tuple(replace(d, recipe=replace(d.recipe, num_epochs=99)) for d in study.datasets)
    check_keys(*planned(replace(study, datasets=longer)), every=1)


def test_a_wrong_key_is_refused():
    plan, keys = planned(study_of(1, 1))
    with pytest.raises(ArithmeticError, match="by its definition"):
        check_keys(plan, [*keys[:-1], "0" * 12], every=1)
    doubled = make_plan(study_of(1, 1), FINGERPRINTS, {})
    twice = replace(doubled, cells=doubled.cells[:1] * 2)
    with pytest.raises(ArithmeticError, match="2 cells have 1 different keys"):
        check_keys(twice, [cell.key for cell in twice.cells], every=1)
