"""The small rules of means and ranks, each by a case that one wrong sign or bound would change."""

from dataclasses import replace

import numpy as np
import pytest
from made_up_study import number, plan_of, results_of, small, without

from sweep.statistics.combined_test import ErrorPart
from sweep.statistics.comparisons import (
    AGAINST_REFERENCE,
    ALL_PAIRS,
    ALPHA,
    cells_by_method,
    compare_column,
    compare_methods,
    critical_difference,
    rank_methods,
    with_patients,
)
from sweep.statistics.over_patients import OverPatients
from sweep.statistics.summaries import make_summaries, study_summaries
from sweep.statistics.summary import (
    DOWNSTREAM,
    PRETRAINING,
    Summary,
    best_of,
    by_place,
    defined_findings,
    independent_values,
    summarise,
)
from sweep.store.records import CellResult
from sweep.studies.layout import TableLayout, table1_layout
from trainables.evaluation.metrics import FindingAuroc


def cell(encoder: str, seed: int, value: float | None = 0.8, status: str = "done", p: int = 0, **changes) -> CellResult:
    key = f"{encoder}{p}{seed}"
    made = CellResult(encoder, encoder, "chexpert", "FT", 10, p, seed, status, key, macro_auroc=value)
    return replace(made, **changes)


# -- means -----------------------------------------------------------------------------------------


def shown(mean: float | None, n: int = 5) -> Summary:
    return Summary(mean, None, n, None, "t")


def test_the_best_is_the_highest_as_printed_among_those_of_the_most_values():
    assert best_of([shown(0.8), shown(0.9), shown(0.7)]) == [False, True, False]
    assert best_of([shown(0.8), shown(0.9, n=4), shown(None, n=0)]) == [True, False, False]
    assert best_of([shown(0.80001), shown(0.80004), shown(0.79996)]) == [True, True, True], "80.00 in each"
    assert best_of([shown(0.80004), shown(0.80006)]) == [False, True], "80.00 and 80.01"
    assert best_of([shown(0.09), shown(0.1)]) == [False, True], "numbers, not texts"
    assert best_of([shown(None, 0), shown(None, 0)]) == [False, False] and best_of([]) == []
    # 0.80344 and 0.80336 are 80.34; a hundredth more or less would print them apart.
    assert best_of([shown(0.803441), shown(0.803359)]) == [True, True]


def test_two_means_that_print_alike_at_100_differ_at_99_and_101():
    for factor in (99, 101):
        pairs = ((0.0001 * i + 0.000041, 0.0001 * i - 0.000041) for i in range(4000, 6000))
        assert any(f"{factor * a:.2f}" != f"{factor * b:.2f}" for a, b in pairs)
    for i in range(4000, 6000, 7):
        assert best_of([shown(0.0001 * i + 0.000041), shown(0.0001 * i - 0.000041)]) == [True, True]


def test_a_place_has_the_cells_of_all_seeds_in_their_order():
    cells = [cell("clip", 1), cell("simclr", 0), cell("clip", 0, None, "failed"), cell("clip", 2, dataset="nih_cxr14")]
    places = by_place(cells)
    assert places["clip", "chexpert", "FT", 10] == [cells[0], cells[2]]
    assert list(places) == [(*names, "FT", 10) for names in
                            (("clip", "chexpert"), ("simclr", "chexpert"), ("clip", "nih_cxr14"))]  # fmt: skip


def test_defined_findings_are_counted_over_done_cells():
    def of(defined: int, total: int, seed: int, status: str = "done") -> CellResult:
        findings = tuple(FindingAuroc(f"f{i}", 0.7 if i < defined else None, 5, 5) for i in range(total))
        return cell("clip", seed, status=status, findings=findings)

    assert defined_findings([of(3, 4, 0), of(2, 4, 1), of(0, 0, 2, "failed")]) == {"chexpert": (2, 3, 4)}
    assert defined_findings([of(0, 2, 0)]) == {"chexpert": (0, 0, 2)}
    assert defined_findings([of(0, 0, 0)]) == {"chexpert": (0, 0, 0)}
    assert defined_findings([of(2, 4, 0, "missing")]) == {}


@pytest.mark.parametrize("name", ["missing", "failed", "undefined"])
def test_a_mean_is_complete_when_nothing_that_was_asked_for_is_absent(name):
    assert shown(0.8).complete and not replace(shown(0.8), **{name: ("3",)}).complete


def test_with_two_pretrainings_a_seed_is_named_by_both():
    found = summarise([cell("clip", 0, p=0), cell("clip", 1, None, "failed", p=1)], (0, 1), (0, 1))
    assert found.missing == ("p0/s1", "p1/s0") and found.failed == ("p1/s1",)
    assert summarise([], (7,), (0,)).missing == ("7",)


def test_what_varies_is_pretraining_unless_fixed_weights_were_evaluated_again():
    def over(*groups: tuple[float, ...]) -> Summary:
        cells = [cell("clip", s, v, p=p) for p, group in enumerate(groups) for s, v in enumerate(group)]
        return summarise(cells, (0, 1), range(len(groups)))

    assert (over((0.7, 0.8)).varies, over((0.7, 0.8)).n) == (DOWNSTREAM, 2)
    assert (over((0.7, 0.8), (0.7, 0.8)).varies, over((0.7, 0.8), (0.7, 0.8)).n) == (DOWNSTREAM, 2), "fixed weights"
    several = over((0.7, 0.8), (0.6, 0.7), (0.7, 0.8))
    assert (several.varies, several.n, several.mean) == (PRETRAINING, 3, pytest.approx(2.15 / 3))
    assert over((0.6, 0.7), (0.7, 0.8), (0.7, 0.8)).varies == PRETRAINING
    one_left = summarise([cell("clip", s, 0.7 + 0.1 * s) for s in (0, 1)], (0, 1), (0, 1))
    assert (one_left.varies, one_left.n, one_left.mean) == (PRETRAINING, 1, pytest.approx(0.75))


def test_values_that_differ_by_the_rounding_are_one_set_of_weights():
    assert independent_values([{0: 0.0, 1: 0.5}, {0: 1e-13, 1: 0.5}])[0] == DOWNSTREAM
    assert independent_values([{0: 0.0, 1: 0.5}, {0: 2e-13, 1: 0.5}])[0] == PRETRAINING


@pytest.mark.parametrize("absent", [0, 1, 2])
def test_the_interval_over_both_seeds_needs_every_value(absent):
    cells = [cell("clip", s, number(p, s), p=p) for p in range(3) for s in range(2)]
    assert summarise(cells, (0, 1), range(3)).both_seeds is not None
    fewer = [c for c in cells if (c.pretrain_seed, c.seed) != (absent, 1)]
    assert summarise(fewer, (0, 1), range(3)).both_seeds is None


# -- comparisons within a column -------------------------------------------------------------------


def test_only_finished_cells_with_a_number_are_compared():
    cells = [cell("clip", 0), cell("clip", 1, None), cell("clip", 2, 0.7, "failed"), cell("simclr", 0, None, "missing")]
    assert cells_by_method(cells) == {"clip": {(0, 0): cells[0]}, "simclr": {}}


def test_pairs_are_compared_up_to_forty_methods():
    for count, pairs in ((2, 1), (40, 780), (41, 0)):
        tested = compare_column([], [f"m{i}" for i in range(count)], "m0", (0,))
        assert sum(t.family == ALL_PAIRS for t in tested) == pairs
        assert sum(t.family == AGAINST_REFERENCE for t in tested) == count - 1
    assert compare_column([], ["a"], None, (0,)) == ()


def test_left_out_seeds_are_named_by_both_where_there_are_two_pretrainings():
    cells = [cell("a", 0, p=0), cell("b", 0, p=0), cell("a", 0, p=1)]
    assert compare_column(cells, ("a", "b"), "b", (0,), (0, 1))[0].left_out == ("p1/s0",)


def test_a_studys_comparisons_are_of_every_column_and_its_ranks_of_all_and_each():
    study = small()
    plan = plan_of(study)
    results = [r if r.encoder != "random" or r.seed else without(r) for r in results_of(study, plan)]
    summaries = study_summaries(study, plan, results)
    found = compare_methods(summaries)
    assert set(found.tested) == {(d, *c) for d, _ in summaries.layout.datasets for c in summaries.layout.columns}
    against = found.against_reference("chexpert", ("FT", 10))
    assert found.reference == "imagenet" and set(against) == {"random", "clip", "simclr", "clip+simclr"}
    for name, test in against.items():
        row = [t for t in found.tested["chexpert", "FT", 10] if t.family == AGAINST_REFERENCE]
        assert test in [t.comparison for t in row] and (test.first, test.second) == (name, "imagenet")
        assert test.n == (2 if name == "random" else 3)
    assert found.against_reference("chexpert", ("FT", 11)) == {}
    whole, *columns = found.ranks
    assert whole.num_blocks == 10 and whole.methods_left_out == ("random",) and len(whole.methods) == 4
    assert [ranks.scope for ranks in columns] == list(summaries.layout.column_titles)
    assert all(ranks.num_blocks == 4 for ranks in columns), "two datasets, two defined findings each"
    assert all(name[-1] != "hernia" for ranks in columns for name in ranks.blocks)


def test_a_pair_is_found_in_either_order_and_table_1_is_the_layouts():
    study = small()
    plan = plan_of(study)
    found = compare_methods(study_summaries(study, plan, results_of(study, plan)))
    dataset, column = found.summaries.layout.datasets[0][0], ("FT", 10)
    pair = found.pair(dataset, column, "simclr", "clip")
    assert pair == found.pair(dataset, column, "clip", "simclr") and {pair.first, pair.second} == {"clip", "simclr"}
    (tested,) = [
        t.comparison
        for t in found.tested[dataset, *column]
        if t.family == ALL_PAIRS and {t.comparison.first, t.comparison.second} == {"clip", "simclr"}
    ]
    assert pair is tested and found.pair(dataset, column, "imagenet", "clip").p_holm == pytest.approx(
        next(t.comparison.p_holm for t in found.tested[dataset, *column]
             if t.family == ALL_PAIRS and (t.comparison.first, t.comparison.second) == ("imagenet", "clip"))
    )  # fmt: skip
    assert found.pair(dataset, column, "clip", "vicreg") is None is found.pair("nowhere", column, "clip", "simclr")
    assert found.table1 == table1_layout(found.summaries.layout)
    assert critical_difference(3, 5) == critical_difference(3, 5, ALPHA), "sentences and ranks go by one level"


def test_the_test_over_both_needs_both_parts_and_keeps_the_order_of_the_tests():
    cells = [cell(m, s, number(m, s)) for m in ("imagenet", "clip", "simclr") for s in range(3 if m != "simclr" else 1)]
    rows = tuple((m, m, "baseline" if m == "imagenet" else "ours") for m in ("imagenet", "clip", "simclr"))
    layout = TableLayout(rows, (("chexpert", "C"),), (("FT", 10),), (0, 1, 2))
    before = compare_methods(make_summaries(layout, cells))
    pairs = [(t.comparison.first, t.comparison.second) for t in before.tested["chexpert", "FT", 10]]
    parts = {("chexpert", "FT", 10, *pair): ErrorPart(0.01 * (i + 1), 50.0) for i, pair in enumerate(pairs)}
    after = with_patients(before, OverPatients(parts=parts)).tested["chexpert", "FT", 10]
    for (place, part), old, new in zip(parts.items(), before.tested["chexpert", "FT", 10], after, strict=True):
        assert (new.family, new.comparison.first, new.comparison.second) == (old.family, *place[3:])
        assert new.comparison.patients_se == part.se
        assert (new.comparison.ci95_both is None) == ("simclr" in place), "one shared seed says nothing of seeds"


# -- ranks -----------------------------------------------------------------------------------------


def ranked(*rows: tuple[float, ...]):
    names = "abcdefgh"[: len(rows[0])]
    return rank_methods("scope", "blocks", [dict(zip(names, row, strict=True)) for row in rows], list(names))


def test_two_methods_over_two_blocks_are_the_fewest_that_are_tested():
    assert ranked((2, 1), (2, 1)).critical_difference == pytest.approx(critical_difference(2, 2))
    assert ranked((2, 1), (2, 1)).chi2 == pytest.approx(2.0)
    for few in (ranked((2,), (2,)), ranked((2, 1))):
        assert (few.critical_difference, few.chi2, few.p, few.cliques) == (None, None, None, ())


def test_blocks_without_all_methods_and_methods_without_a_block_are_counted():
    nothing = rank_methods("scope", "blocks", [{}, {}], ["a", "b"])
    assert (nothing.num_blocks, nothing.blocks_left_out, nothing.methods_left_out) == (0, 2, ("a", "b"))
    whole = ranked((2, 1), (1, 2))
    assert (whole.num_blocks, whole.blocks_left_out, whole.methods_left_out) == (2, 0, ())
    assert rank_methods("scope", "blocks", [{"a": 1.0}, {"b": 1.0}], ["a", "b"]).blocks_left_out == 2
    named = rank_methods("scope", "blocks", {"x": {"a": 1.0, "b": 2.0}, "y": {"a": 1.0}}, ["a", "b"])
    assert named.blocks == ("x",) and named.methods == ("b", "a") and named.mean_ranks == (1.0, 2.0)


def test_equal_values_share_the_mean_of_their_ranks():
    found = ranked((3, 3, 1, 2), (3, 3, 1, 2))
    assert dict(zip(found.methods, found.mean_ranks, strict=True)) == {"a": 1.5, "b": 1.5, "d": 3.0, "c": 4.0}


def test_cliques_of_methods_whose_ranks_are_known():
    """Of eight methods over many blocks in one order the critical difference is below 1, then below 2, then above."""
    rows = [tuple(range(8, 0, -1))] * 200
    assert critical_difference(8, 200) < 1 and ranked(*rows).cliques == (), "none of one method"
    rows = [tuple(range(8, 0, -1))] * 60
    assert 1 < critical_difference(8, 60) < 2
    assert ranked(*rows).cliques == tuple(tuple("abcdefgh"[i : i + 2]) for i in range(7))
    rows = [tuple(range(4, 0, -1))] * 3
    assert 2 < critical_difference(4, 3) < 3 and ranked(*rows).cliques == (("a", "b", "c"), ("b", "c", "d"))
    rows = [tuple(range(3, 0, -1))] * 2
    assert critical_difference(3, 2) > 2 and ranked(*rows).cliques == (("a", "b", "c"),)


def test_friedmans_test_of_many_blocks_is_scipys():
    from scipy.stats import friedmanchisquare

    values = np.random.default_rng(3).normal(size=(12, 4))
    found = ranked(*map(tuple, values.tolist()))
    assert (found.chi2, found.p) == pytest.approx(tuple(friedmanchisquare(*values.T)), rel=1e-9)
