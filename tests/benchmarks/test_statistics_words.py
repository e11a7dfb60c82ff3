"""Do the report's words tell equal rows apart in at most 5% of simulated studies, where a t-test does in most?"""

import pytest

from benchmarks.simulations.statistics_words import CASES, Studies, false_positives, figures

REPEATS = 120  # so that more than 5% by more than two standard errors is 11 studies


@pytest.mark.parametrize("studies", CASES, ids=[studies.name for studies in CASES])
def test_equal_rows_are_told_apart_in_at_most_one_of_twenty_studies(studies):
    words, _ = false_positives(studies, REPEATS if studies.num_methods * studies.num_pretrainings == 1 else 30)
    assert words <= 10 / REPEATS


def test_a_paired_t_test_over_seeds_tells_them_apart_in_most():
    words, t_tests = false_positives(Studies("audit", num_patients=202), REPEATS)
    assert t_tests > 0.75 and words <= 0.05


def test_checkpoints_that_differ_are_told_apart():
    """A test that says nothing is never wrong: a difference of eight standard errors must be seen."""
    differing = Studies("differing", num_patients=400, of_checkpoint=0.1, of_pretraining=3.0)
    assert false_positives(differing, 20)[0] > 0.5


def test_every_case_is_a_figure_of_the_statistics():
    rows = figures(2)
    assert len(rows) == 2 * len(CASES) and {row["benchmark"] for row in rows} == {"statistics"}
    assert {row["unit"] for row in rows} == {"%"} and all(0 <= row["ours"] <= 100 for row in rows)
