"""Are methods compared fairly: on shared seeds, corrected together, ranked as scipy and the tables of q have it."""

from dataclasses import replace

import numpy as np
import pytest
import scipy.stats

from sweep.statistics.combined_test import ErrorPart, combined_p
from sweep.statistics.comparisons import (
    AGAINST_REFERENCE,
    ALL_PAIRS,
    BETWEEN_STUDIES,
    compare_column,
    compare_methods,
    compare_pairs,
    critical_difference,
    rank_methods,
    with_patients,
)
from sweep.statistics.inference import holm
from sweep.statistics.over_patients import OverPatients
from sweep.statistics.summaries import make_summaries
from sweep.store.records import CellResult
from sweep.studies.layout import TableLayout, reference_row

METHODS = ("imagenet", "clip", "simclr")


def cell(encoder, seed, value, status="done", pretrain_seed=0):
    return CellResult(
        encoder,
        encoder,
        "chexpert",
        "FT",
        10,
        pretrain_seed,
        seed,
        status,
        f"{encoder}{pretrain_seed}{seed}",
        macro_auroc=value if status == "done" else None,
    )


def column(seed=0, num_seeds=5):
    rng = np.random.default_rng(seed)
    values = {method: (0.8 + 0.02 * rng.normal(size=num_seeds)).tolist() for method in METHODS}
    return values, [cell(m, s, v) for m, row in values.items() for s, v in enumerate(row)]


def test_pairs_equal_scipy_and_each_family_has_its_own_correction():
    values, cells = column()
    tested = compare_column(cells, METHODS, "imagenet", range(5))
    against = [t.comparison for t in tested if t.family == AGAINST_REFERENCE]
    pairs = [t.comparison for t in tested if t.family == ALL_PAIRS]
    assert [(c.first, c.second) for c in against] == [("clip", "imagenet"), ("simclr", "imagenet")]
    assert [(c.first, c.second) for c in pairs] == [("imagenet", "clip"), ("imagenet", "simclr"), ("clip", "simclr")]
    for c in against + pairs:
        expected = scipy.stats.ttest_rel(values[c.first], values[c.second])
        assert (c.t, c.p) == pytest.approx((expected.statistic, expected.pvalue), rel=1e-9)
        signed = scipy.stats.wilcoxon(values[c.first], values[c.second], method="exact")
        assert c.wilcoxon_p == pytest.approx(signed.pvalue, abs=1e-12)
    assert [c.p_holm for c in against] == list(holm([c.p for c in against]))
    assert [c.p_holm for c in pairs] == list(holm([c.p for c in pairs]))
    assert [c.wilcoxon_p_holm for c in pairs] == list(holm([c.wilcoxon_p for c in pairs]))


def test_missing_and_failed_seeds_leave_both_methods_and_are_named():
    values, cells = column()
    cells = [c for c in cells if not (c.encoder == "clip" and c.seed == 1)]
    cells = [cell("imagenet", 3, 0, "failed") if (c.encoder, c.seed) == ("imagenet", 3) else c for c in cells]
    tested = {
        (t.comparison.first, t.comparison.second): t
        for t in compare_column(cells, METHODS, "imagenet", range(6))
        if t.family == AGAINST_REFERENCE
    }
    clip = tested["clip", "imagenet"]
    assert clip.left_out == ("1", "3", "5") and clip.comparison.n == 3
    kept = [values["clip"][s] - values["imagenet"][s] for s in (0, 2, 4)]
    assert clip.comparison.difference == pytest.approx(np.mean(kept))
    assert tested["simclr", "imagenet"].left_out == ("3", "5")


def test_a_method_without_any_cell_has_no_number():
    _, cells = column()
    tested = compare_column(cells, (*METHODS, "vicreg"), "imagenet", range(5))
    vicreg = next(t for t in tested if t.comparison.first == "vicreg")
    assert vicreg.comparison.n == 0 and vicreg.left_out == ("0", "1", "2", "3", "4")
    assert (vicreg.comparison.difference, vicreg.comparison.p, vicreg.comparison.p_holm) == (None, None, None)
    assert all(t.comparison.p is None for t in compare_column([], METHODS, "imagenet", range(5)))


def test_with_several_pretrainings_they_are_the_pairs():
    cells = []
    for p, step in enumerate((0.01, 0.03, 0.02)):
        for s in range(4):
            cells += [
                cell("clip", s, 0.8 + step + 0.002 * s * p, pretrain_seed=p),
                cell("imagenet", s, 0.8 + 0.001 * s, pretrain_seed=p),
            ]
    test = compare_column(cells, METHODS[:2], "imagenet", range(4), range(3))[0].comparison
    means = [0.01 - 0.0015, 0.03 + 0.003 - 0.0015, 0.02 + 0.006 - 0.0015]
    expected = scipy.stats.ttest_1samp(means, 0)
    assert test.n == 3 and test.p == pytest.approx(expected.pvalue, rel=1e-9)


def test_two_rows_that_no_pretraining_changes_are_compared_over_downstream_seeds():
    cells = [
        cell(m, s, v + 0.01 * s * v, pretrain_seed=p)
        for p in range(3)
        for s in range(4)
        for m, v in (("imagenet", 0.7), ("other", 0.8))
    ]
    assert compare_column(cells, ("imagenet", "other"), "imagenet", range(4), range(3))[0].comparison.n == 4


def blocks(num_blocks=10, num_methods=5, decimals=9, seed=1):
    rng = np.random.default_rng(seed)
    values = np.round(rng.normal(size=(num_blocks, num_methods)) + 0.4 * np.arange(num_methods), decimals)
    names = [f"m{i}" for i in range(num_methods)]
    return values, names, [dict(zip(names, row.tolist(), strict=True)) for row in values]


@pytest.mark.parametrize("decimals", [9, 0])
def test_friedman_and_mean_ranks_equal_scipy_with_ties(decimals):
    values, names, given = blocks(decimals=decimals)
    ranks = rank_methods("all", "columns", given, names)
    expected = scipy.stats.friedmanchisquare(*values.T)
    assert (ranks.chi2, ranks.p) == pytest.approx((expected.statistic, expected.pvalue), rel=1e-9)
    means = scipy.stats.rankdata(-values, axis=1).mean(axis=0)
    assert dict(zip(ranks.methods, ranks.mean_ranks, strict=True)) == pytest.approx(
        dict(zip(names, means.tolist(), strict=True))
    )
    assert list(ranks.mean_ranks) == sorted(ranks.mean_ranks) and ranks.num_blocks == 10


@pytest.mark.parametrize(("k", "q"), [(2, 1.960), (3, 2.343), (4, 2.569), (5, 2.728), (10, 3.164)])
def test_critical_difference_has_demsars_table_5(k, q):
    assert critical_difference(k, 14) == pytest.approx(q * (k * (k + 1) / 84) ** 0.5, abs=2e-3)


def test_cliques_are_the_largest_sets_within_the_critical_difference():
    _, names, given = blocks(num_blocks=30)
    ranks = rank_methods("all", "columns", given, names)
    place = dict(zip(ranks.methods, ranks.mean_ranks, strict=True))
    together = {frozenset((a, b)) for clique in ranks.cliques for a in clique for b in clique if a != b}
    expected = {
        frozenset((a, b))
        for a in names
        for b in names
        if a != b and abs(place[a] - place[b]) < ranks.critical_difference
    }
    assert together == expected and 0 < len(expected) < 10
    assert not any(set(a) < set(b) for a in ranks.cliques for b in ranks.cliques)


def test_what_is_not_complete_is_left_out_and_said():
    _, names, given = blocks()
    del given[3]["m1"]
    ranks = rank_methods("all", "columns", given, [*names, "never_done"])
    assert (ranks.num_blocks, ranks.blocks_left_out, ranks.methods_left_out) == (9, 1, ("never_done",))
    one = rank_methods("all", "columns", given[:1], names)
    assert (one.num_blocks, one.chi2, one.critical_difference, one.cliques) == (1, None, None, ())
    nothing = rank_methods("all", "columns", [], names)
    assert (nothing.methods, nothing.p, nothing.methods_left_out) == ((), None, tuple(names))
    same = rank_methods("all", "columns", [dict.fromkeys(names, 0.5)] * 3, names)
    assert same.p is None and set(same.mean_ranks) == {3.0}


def test_the_reference_is_imagenet_or_the_first_baseline():
    assert reference_row([("random", "baseline"), ("imagenet", "baseline"), ("clip", "image-text")]) == "imagenet"
    assert reference_row([("clip", "image-text"), ("random", "baseline")]) == "random"
    assert reference_row([("clip", "image-text")]) is None and reference_row([]) is None


def test_holm_goes_over_the_rows_of_a_column_and_over_the_whole_table():
    cells = column(1)[1] + [replace(c, protocol="LP", label_percent=100, key=f"{c.key}LP") for c in column(2)[1]]
    columns, rows = (
        (("LP", 100), ("FT", 10)),
        tuple((m, m, "baseline" if m == "imagenet" else "joint") for m in METHODS),
    )
    layout = TableLayout(rows, (("chexpert", "CheXpert"),), columns, tuple(range(5)))
    seeds_alone = compare_methods(make_summaries(layout, cells))
    tests = [t for tested in seeds_alone.tested.values() for t in tested]
    assert {t.comparison.p_both for t in tests} == {None} == {t.comparison.p_both_holm_table for t in tests}
    # Of one pair the predictions are not at hand.
    parts = {
        (*place, t.comparison.first, t.comparison.second): ErrorPart(0.004, 40)
        for place, tested in seeds_alone.tested.items()
        for t in tested
        if (place[1], t.comparison.first) != ("LP", "clip")
    }
    compared = with_patients(seeds_alone, OverPatients({}, parts))
    for family, size in ((AGAINST_REFERENCE, 2), (ALL_PAIRS, 3)):
        whole = [t for tested in compared.tested.values() for t in tested if t.family == family]
        assert len(whole) == 2 * size
        for kind, corrected in (("p", "p_holm_table"), ("p_both", "p_both_holm_table")):
            wanted = holm([getattr(t.comparison, kind) for t in whole])
            assert [getattr(t.comparison, corrected) for t in whole] == list(wanted)
        for tested in compared.tested.values():
            own = [t.comparison for t in tested if t.family == family]
            assert [c.p_both_holm for c in own] == list(holm([c.p_both for c in own]))
        for t in whole:
            place = next(place for place, tested in compared.tested.items() if t in tested)
            part = parts.get((*place, t.comparison.first, t.comparison.second))
            if part is None:
                assert (t.comparison.p_both, t.comparison.patients_se) == (None, None) and t.comparison.p is not None
            else:
                expected = combined_p(t.comparison.difference, [ErrorPart(t.comparison.ci95 / 2.7764451052, 4), part])
                assert t.comparison.p_both == pytest.approx(expected, rel=1e-6) and t.comparison.p_both > t.comparison.p
    assert sum(t.comparison.p_both is None for t in tests) == 10
    assert sum(t.comparison.p_both is None for tested in compared.tested.values() for t in tested) == 2


def test_pairs_alone_are_compared_in_every_column_as_one_family():
    cells = column(1)[1] + [replace(c, protocol="LP", label_percent=100, key=f"{c.key}LP") for c in column(2)[1]]
    rows = tuple((m, m, "baseline") for m in METHODS)
    layout = TableLayout(rows, (("chexpert", "CheXpert"),), (("LP", 100), ("FT", 10)), tuple(range(5)))
    compared = compare_pairs(make_summaries(layout, cells), [("clip", "imagenet")])
    assert compared.tested.keys() == {("chexpert", "LP", 100), ("chexpert", "FT", 10)}
    found = [t for tested in compared.tested.values() for t in tested]
    pairs = {(t.family, t.comparison.first, t.comparison.second, t.comparison.n) for t in found}
    assert pairs == {(BETWEEN_STUDIES, "clip", "imagenet", 5)} and len(found) == 2
    assert [t.comparison.p_holm_table for t in found] == list(holm([t.comparison.p for t in found]))


def test_means_that_differ_by_rounding_tie_in_their_ranks():
    blocks = [{"a": 0.3, "b": 0.1 + 0.2, "c": 0.2}, {"a": 0.8, "b": 0.7, "c": 0.6}]
    ranks = rank_methods("all", "columns", blocks, ["a", "b", "c"])
    assert ranks.methods == ("a", "b", "c") and ranks.mean_ranks == (1.25, 1.75, 3.0)
