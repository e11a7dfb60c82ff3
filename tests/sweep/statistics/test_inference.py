"""Are intervals and tests right: against scipy, by coverage, and at the edges where nothing can be said."""

import math
from itertools import product

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from sweep.statistics.inference import (
    corrected_together,
    from_differences,
    half_width,
    holm,
    mean,
    negligible,
    sd,
    t_interval,
    two_way,
    wilcoxon,
    z_interval,
)

VALUES = [0.8421, 0.8515, 0.8390, 0.8477, 0.8433]


def paired_t(first, second, a, b):
    """a, b: seed -> value of the two methods."""
    return from_differences(first, second, [a[seed] - b[seed] for seed in sorted(a.keys() & b.keys())])


def compare(values, pairs):
    return corrected_together([paired_t(first, second, values[first], values[second]) for first, second in pairs])


def test_t_interval_equals_scipy():
    low, high = scipy.stats.t.interval(0.95, 4, np.mean(VALUES), scipy.stats.sem(VALUES))
    assert t_interval(VALUES) == pytest.approx((high - low) / 2, rel=1e-12)
    assert sd(VALUES) == pytest.approx(np.std(VALUES, ddof=1), rel=1e-12)


def test_z_interval_equals_scipy_and_is_too_narrow_for_five_seeds_by_a_known_factor():
    low, high = scipy.stats.norm.interval(0.95, np.mean(VALUES), scipy.stats.sem(VALUES))
    assert z_interval(VALUES) == pytest.approx((high - low) / 2, rel=1e-12)
    assert t_interval(VALUES) / z_interval(VALUES) == pytest.approx(1.4166, abs=5e-5)


def test_one_value_has_no_interval_and_none_has_no_mean():
    assert t_interval([0.8]) is None and z_interval([0.8]) is None and sd([0.8]) is None
    assert mean([]) is None and t_interval([]) is None
    assert t_interval([0.5, 0.5]) == 0.0


def test_unknown_interval_is_refused_with_what_is_allowed():
    with pytest.raises(ValueError, match="'bootstrap'; allowed: t, z"):
        half_width(VALUES, "bootstrap")


@pytest.mark.parametrize(("interval", "low", "high"), [("t", 0.94, 0.96), ("z", 0.86, 0.90)])
def test_t_covers_what_it_says_with_five_seeds_and_z_does_not(interval, low, high):
    draws = np.random.default_rng(1).normal(size=(4000, 5))
    covered = [abs(np.mean(row)) <= half_width(row.tolist(), interval) for row in draws]
    assert low < np.mean(covered) < high


def test_paired_t_equals_scipy_on_the_shared_seeds_only():
    a = dict(enumerate(VALUES))
    b = {0: 0.83, 1: 0.852, 2: 0.828, 3: 0.84, 9: 0.1}
    test = paired_t("clip", "simclr", a, b)
    expected = scipy.stats.ttest_rel([a[i] for i in range(4)], [b[i] for i in range(4)])
    assert (test.n, test.first, test.second) == (4, "clip", "simclr")
    assert test.t == pytest.approx(expected.statistic, rel=1e-10)
    assert test.p == pytest.approx(expected.pvalue, rel=1e-10)
    interval = expected.confidence_interval(0.95)
    assert test.ci95 == pytest.approx((interval.high - interval.low) / 2, rel=1e-10)


@pytest.mark.parametrize("b", [{}, {0: 0.8}, dict(enumerate(VALUES))])
def test_no_p_value_is_invented_where_differences_cannot_vary(b):
    test = paired_t("a", "b", dict(enumerate(VALUES)), b)
    assert test.p is None and test.t is None and test.n == len(b)


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx((0.03, 0.06, 0.06, 0.02))
    assert holm([0.5, None, 0.04]) == pytest.approx((0.5, None, 0.08), nan_ok=True)
    assert holm([]) == ()


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_rejects_what_the_step_down_procedure_rejects(p_values):
    alpha, rejected = 0.05, set()
    for rank, i in enumerate(sorted(range(len(p_values)), key=lambda i: (p_values[i], i))):
        if (len(p_values) - rank) * p_values[i] > alpha:
            break
        rejected.add(i)
    corrected = holm(p_values)
    assert {i for i, p in enumerate(corrected) if p <= alpha} == rejected
    assert all(p <= q <= 1 for p, q in zip(p_values, corrected, strict=True))


def test_compare_corrects_all_pairs_together():
    values = {"a": {0: 0.8, 1: 0.82, 2: 0.81}, "b": {0: 0.7, 1: 0.74, 2: 0.72}, "c": {0: 0.79, 1: 0.82, 2: 0.80}}
    tests = compare(values, [("a", "b"), ("a", "c")])
    assert [test.p_holm for test in tests] == pytest.approx(list(holm([test.p for test in tests])))
    assert tests[0].p_holm == pytest.approx(2 * tests[0].p)
    assert not math.isclose(tests[0].p, tests[0].p_holm)


@pytest.mark.parametrize("n", [1, 2, 5, 8, 12])
@pytest.mark.parametrize("decimals", [7, 1])
def test_wilcoxon_equals_scipy_with_ties_and_zeros(n, decimals):
    rng = np.random.default_rng(n)
    for _ in range(4):
        differences = np.round(rng.normal(0.3, 0.4, n), decimals)
        if not differences.any():
            continue
        kept = differences[differences != 0]
        tied = len(set(np.abs(kept))) < len(kept)
        method = scipy.stats.PermutationMethod(n_resamples=2**13) if tied else "exact"
        expected = scipy.stats.wilcoxon(kept, method=method).pvalue
        assert wilcoxon(differences.tolist()) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    "differences", [(1, 2, -2, -3), (1, -1), (1, 1, -2, 3, 3), (-1, 2, 2, 2, -4, 5), (0.5,), (3, -3, 0)]
)
def test_wilcoxon_counts_the_ways_to_sign_the_ranks(differences):
    kept = [d for d in differences if d]
    ranks = scipy.stats.rankdata(np.abs(kept))
    sums = [
        sum(r for r, s in zip(ranks, signs, strict=True) if s) for signs in product((False, True), repeat=len(kept))
    ]
    observed = sum(r for r, d in zip(ranks, kept, strict=True) if d > 0)
    tails = sum(s <= observed for s in sums), sum(s >= observed for s in sums)
    assert wilcoxon(differences) == min(1.0, 2 * min(tails) / 2 ** len(kept))


def test_up_to_fifty_differences_are_counted_and_more_go_by_the_normal_distribution():
    fifty, more = list(range(1, 51)), list(range(1, 52))
    assert wilcoxon(fifty) == 2 / 2**50
    z = (sum(more) / 2) / math.sqrt(sum(rank**2 for rank in more) / 4)
    assert wilcoxon(more) == pytest.approx(2 * scipy.stats.norm.sf(z), rel=1e-9)
    balanced = [rank * (1 if rank in (1, 4) or rank % 4 in (2, 3) else -1) for rank in range(1, 53)]
    assert 0.9 < wilcoxon(balanced) <= 1.0


def test_what_is_rounding_makes_no_difference_and_what_is_more_does():
    assert wilcoxon([4e-13]) is None and wilcoxon([4e-12]) == 1.0 and wilcoxon([6e-13]) == 1.0
    assert negligible(1e-13, [0.5]) and not negligible(1.5e-13, [0.5, 1.0])
    assert negligible(0.9e-12, [0.5, -10.0]) and not negligible(1.1e-12, [10.0])
    assert sd([1.0, 3.0]) == math.sqrt(2)


def test_five_seeds_cannot_bring_wilcoxon_below_one_sixteenth():
    assert wilcoxon([0.01, 0.02, 0.03, 0.04, 0.05]) == 2 / 2**5
    assert wilcoxon([0.0, 0.0]) is None and wilcoxon([]) is None


def test_differences_that_do_not_vary_have_no_interval_of_zero_width():
    a = dict(enumerate(VALUES))
    assert paired_t("a", "b", a, dict(a)).ci95 is None


def test_compare_corrects_both_tests():
    values = {"a": {s: 0.8 + s / 100 for s in range(6)}, "b": {s: 0.7 + s / 90 for s in range(6)}, "c": {0: 0.5}}
    tests = compare(values, [("a", "b"), ("b", "a"), ("a", "c")])
    assert [test.wilcoxon_p for test in tests] == [2 / 64, 2 / 64, 1.0]
    assert [test.wilcoxon_p_holm for test in tests] == pytest.approx([6 / 64, 6 / 64, 1.0])


def test_two_way_by_hand():
    found = two_way([[0.80, 0.82], [0.86, 0.90]])
    # Row means 0.81, 0.88; column means 0.83, 0.86; mean 0.845; residuals +-0.005.
    a, b, e = 2 * 0.07**2 / 2, 2 * 0.03**2 / 2, 4 * 0.005**2
    assert found.mean == pytest.approx(0.845) and found.sd_residual == pytest.approx(e**0.5)
    assert found.sd_pretraining == pytest.approx(((a - e) / 2) ** 0.5)
    assert found.sd_downstream == pytest.approx(((b - e) / 2) ** 0.5)
    freedom = (a + b - e) ** 2 / (a**2 + b**2 + e**2)
    assert found.freedom == pytest.approx(freedom)
    assert found.ci95 == pytest.approx(scipy.stats.t.ppf(0.975, freedom) * ((a + b - e) / 4) ** 0.5, rel=1e-6)


def test_two_way_needs_every_value():
    assert two_way([[0.8, 0.9]]) is None and two_way([]) is None
    assert two_way([[0.8, 0.9], [0.7]]) is None and two_way([[0.8], [0.7]]) is None


@pytest.mark.parametrize(("pretraining", "downstream", "residual"), [(1, 0.5, 0.5), (0.2, 1, 0.3), (1, 1, 0.1)])
def test_two_way_covers_both_kinds_of_seed(pretraining, downstream, residual):
    rng, covered, repeats = np.random.default_rng(8), 0, 1500
    for _ in range(repeats):
        values = pretraining * rng.normal(size=(5, 1)) + downstream * rng.normal(size=5)
        found = two_way((values + residual * rng.normal(size=(5, 5))).tolist())
        covered += abs(found.mean) <= found.ci95
    assert 0.93 <= covered / repeats <= 0.97


@pytest.mark.parametrize("decimals", [1, 6])
def test_beyond_fifty_differences_wilcoxon_equals_scipys_normal_approximation(decimals):
    differences = np.round(np.random.default_rng(decimals).normal(0.1, 1.0, 400), decimals)
    kept = differences[differences != 0]
    expected = scipy.stats.wilcoxon(kept, method="asymptotic", correction=False).pvalue
    assert wilcoxon(differences.tolist()) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("difference", [0.0, 0.01, -0.3])
def test_differences_that_vary_by_rounding_alone_are_constant(difference):
    """0.8 + 0.1 - 0.9 is 1.1e-16: an exact comparison with 0 made t = 1e16 of it, and p = 6e-65."""
    values = [difference + step for step in (0.0, 1.1e-16, -2.2e-16, 1e-15, 0.8 + 0.1 - 0.9)]
    test = from_differences("a", "b", values)
    assert (test.t, test.p, test.ci95) == (None, None, None) and test.n == 5
    assert test.wilcoxon_p == (None if difference == 0 else 2 / 2**5)
    small = from_differences("a", "b", [difference + step for step in (0.0, 1e-9, 2e-9)])
    assert small.p is not None and small.t is not None


def crossed(a, b, e):
    """Groups of effects of pretrainings, of downstream seeds and of both: (P,), (S,), (P, S)."""
    return (np.asarray(a, float)[:, None] + np.asarray(b, float) + np.asarray(e, float)).tolist()


NOISE = np.array([[1, 1, -2], [-1, -1, 2], [2, -1, -1], [-2, 1, 1.0]])  # rows and columns add up to 0: E = 4


@pytest.mark.parametrize(
    ("a", "b", "largest", "freedom"),
    [
        ((1, -1, 0, 0), (0, 0, 0), 4.0, 6),  # A = 2, B = 0: E stands alone
        ((3, -3, 0, 0), (0.5, -0.5, 0), 18.0, 3),  # A = 18, B = 1
        ((0.5, -0.5, 0, 0), (3, -3, 0), 36.0, 2),  # A = 0.5, B = 36
        ((0, 0, 0, 0), (0, 0, 0), 4.0, 6),
    ],
)
def test_where_the_sum_falls_below_a_part_that_part_alone_is_the_estimate(a, b, largest, freedom):
    """Four pretrainings and three seeds, so each part has degrees of freedom of its own: 3, 2 and 6."""
    found = two_way(crossed(a, b, NOISE))
    assert found.freedom == freedom
    assert found.ci95 == pytest.approx(scipy.stats.t.ppf(0.975, freedom) * math.sqrt(largest / 12), rel=1e-9)
    assert found.sd_residual == pytest.approx(2.0) and found.mean == pytest.approx(0, abs=1e-15)


def test_where_the_sum_is_as_large_as_its_largest_part_its_own_degrees_of_freedom_count():
    found = two_way(crossed((-2, 0, 2), (-1, 0, 1), [[1, 1, -2], [-1, -1, 2], [0, 0, 0]]))  # A = 12, B = E = 3
    assert found.freedom == pytest.approx(12**2 / (12**2 / 2 + 3**2 / 2 + 3**2 / 4), rel=1e-12)
    assert found.ci95 == pytest.approx(scipy.stats.t.ppf(0.975, found.freedom) * math.sqrt(12 / 9), rel=1e-9)


def test_equal_values_in_every_cell_have_an_interval_of_no_width():
    found = two_way([[0.5, 0.5], [0.5, 0.5]])
    assert (found.mean, found.ci95, found.freedom) == (0.5, 0.0, 1.0)
    assert (found.sd_pretraining, found.sd_downstream, found.sd_residual) == (0.0, 0.0, 0.0)
    assert two_way([]) is None and two_way([[1.0, 2.0]]) is None and two_way([[1.0], [2.0]]) is None
