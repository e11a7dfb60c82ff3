"""Does each row of a column hold the right cells' numbers? Of a small column in memory, without files or trainings.

The functions that a number comes from are tested by themselves; here they are called on what the row is about.
"""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from sweep.statistics import patient_intervals
from sweep.statistics.cell_metrics import CellMetrics, cell_metrics, make_test_set
from sweep.statistics.column_statistics import (
    NO_SUCH_MEAN,
    NOT_AT_HAND,
    ColumnStatistics,
    finding_difference_rows,
    interval_rows,
    metric_rows,
    over_seeds,
    subgroup_rows,
)
from sweep.statistics.combined_test import patient_part
from sweep.statistics.comparison_rows import comparison_rows, with_combined_tests
from sweep.statistics.comparisons import AGAINST_REFERENCE, ALL_PAIRS, compare_methods, with_patients
from sweep.statistics.over_patients import OverPatients
from sweep.statistics.patient_intervals import difference_interval, gap_interval, mean_interval
from sweep.statistics.placements import Placed, macro_influence
from sweep.statistics.summaries import make_summaries
from sweep.store.predictions import Predictions, TestImages
from sweep.store.records import CellResult
from sweep.studies.layout import TableLayout
from trainables.evaluation.metrics import auroc_per_finding, average_precision, brier, calibration_error, macro

FINDINGS = ("edema", "hernia", "mass")  # mass has no positive
STRENGTH = {"imagenet": 0.3, "clip": 1.5, "simclr": 0.8}
LAYOUT = TableLayout(
    tuple((name, name.upper(), "baseline" if name == "imagenet" else "ours") for name in STRENGTH),
    (("nih", "NIH"),), (("FT", 10),), (0, 1), (0, 1),
)  # fmt: skip
CELLS = [(method, p, s) for method in STRENGTH for p in (0, 1) for s in (0, 1)]
NUM = 80


def made() -> tuple[TestImages, pa.Table, dict[tuple[str, int, int], np.ndarray]]:
    rng = np.random.default_rng(11)
    labels = (rng.random((NUM, 3)) < (0.4, 0.2, 0.0)).astype(np.int8)
    known = rng.random(labels.shape) < 0.95
    ids = np.array([f"i{k}" for k in range(NUM)])
    images = TestImages(FINDINGS, ids, np.array([f"p{k // 2}" for k in range(NUM)]), labels, known)
    metadata = pa.table({
        "image_id": ids.tolist(), "sex": ["F" if k % 5 < 2 else "M" for k in range(NUM)],
        "age": pa.array([30] * NUM, pa.int16()), "view_position": [None] * NUM,
    })  # fmt: skip
    scores = {cell: rng.normal(size=labels.shape) + STRENGTH[cell[0]] * labels for cell in CELLS}
    return images, metadata, scores


IMAGES, METADATA, SCORES = made()
TESTS = make_test_set(IMAGES, METADATA)


def key(method: str, p: int, s: int) -> str:
    return f"{method}{p}{s}"


def result(cell: tuple[str, int, int]) -> CellResult:
    method, p, s = cell
    findings = auroc_per_finding(SCORES[cell], IMAGES.labels, IMAGES.known, FINDINGS)
    return CellResult(method, method.upper(), "nih", "FT", 10, p, s, "done", key(*cell), findings, macro(findings))


RESULTS = [result(cell) for cell in CELLS]
MEASURES = {
    r.key: cell_metrics(TESTS, Predictions(IMAGES, SCORES[c], True), r) for c, r in zip(CELLS, RESULTS, strict=True)
}


def column(
    results: list[CellResult] = RESULTS, measures: dict[str, CellMetrics] = MEASURES, tests=TESTS, layout=LAYOUT
) -> ColumnStatistics:
    return ColumnStatistics(compare_methods(make_summaries(layout, results)), "nih", "FT", 10, measures, tests)


@pytest.fixture(autouse=True)
def small_sets_will_do(monkeypatch):
    for name in ("FEWEST_PATIENTS", "FEWEST_IN_ALL", "FEWEST_IN_DIFFERENCE"):
        monkeypatch.setattr(patient_intervals, name, 1)


def row(rows, **wanted):
    (found,) = [r for r in rows if all(getattr(r, name) == value for name, value in wanted.items())]
    return found


def mean_placed(method: str) -> Placed:
    parts = [MEASURES[key(method, p, s)].placed for p in (0, 1) for s in (0, 1)]
    return Placed(np.mean([p.aurocs for p in parts], axis=0), np.mean([p.influence for p in parts], axis=0))


def limits(interval) -> tuple[object, ...]:
    return pytest.approx((interval.low, interval.high), abs=1e-12), interval.note, interval.fewest_patients


def shown(r) -> tuple[object, ...]:
    return (r.patients_low, r.patients_high), r.patients_note, r.fewest_patients


def test_a_mean_over_seeds_is_first_over_those_of_each_pretraining():
    vectors = {(0, 0): np.array([1.0, 0.0]), (0, 1): np.array([3.0, 0.0]), (1, 0): np.array([6.0, 1.0])}
    np.testing.assert_array_equal(over_seeds(vectors), [4.0, 0.5])


def test_intervals_have_a_row_for_each_method_and_value():
    rows = interval_rows(column())
    values = ("macro_defined", "macro_10_positives", "macro_competition", *FINDINGS)
    assert [(r.method, r.value) for r in rows] == [(m, v) for m in STRENGTH for v in values]
    ours = row(rows, method="clip", value="macro_defined")
    means = [macro(r.findings) for r in RESULTS if r.encoder == "clip"]
    assert ours.mean == pytest.approx(np.mean(means), abs=1e-12) and (ours.n, ours.n_findings) == (2, 2)
    assert (ours.dataset, ours.protocol, ours.label_percent, ours.display_name) == ("nih", "FT", 10, "CLIP")
    assert ours.n_pos is ours.n_neg is None and ours.ci95_both_seeds > 0
    assert shown(ours) == limits(mean_interval(mean_placed("clip"), TESTS.classes, FINDINGS, [0, 1]))
    hernia = row(rows, method="simclr", value="hernia")
    assert shown(hernia) == limits(mean_interval(mean_placed("simclr"), TESTS.classes, FINDINGS, [1]))
    of_hernia = RESULTS[0].findings[1]
    assert (hernia.n_pos, hernia.n_neg, hernia.n_findings) == (of_hernia.n_pos, of_hernia.n_neg, 1)
    mass = row(rows, method="clip", value="mass")
    assert (mass.mean, mass.undefined, mass.n_pos) == (None, ("p0/s0", "p0/s1", "p1/s0", "p1/s1"), 0)
    none = row(rows, method="clip", value="macro_competition")
    assert shown(none) == ((None, None), NO_SUCH_MEAN.note, None) and none.n_findings == 0


def test_metrics_are_means_over_the_seeds_whose_predictions_are_at_hand():
    rows = metric_rows(column())
    known, labels = IMAGES.known[:, 1], IMAGES.labels[IMAGES.known[:, 1], 1]
    hernia = row(rows, method="clip", finding="hernia")
    for name, measure in (("auprc", average_precision), ("ece", calibration_error), ("brier", brier)):
        scores = [SCORES["clip", p, s][known, 1] for p in (0, 1) for s in (0, 1)]
        values = [measure(z if name == "auprc" else 1 / (1 + np.exp(-z)), labels) for z in scores]
        assert getattr(hernia, name) == pytest.approx(np.mean(values), abs=1e-9), name
        assert getattr(hernia, f"{name}_ci95") > 0
    assert (hernia.n_pos, hernia.n_neg, hernia.n) == (labels.sum(), len(labels) - labels.sum(), 2)
    assert hernia.prevalence == pytest.approx(labels.mean()) and hernia.display_name == "CLIP"
    whole = row(rows, method="clip", finding="macro_defined")
    two = [row(rows, method="clip", finding=f).auprc for f in ("edema", "hernia")]
    assert whole.auprc == pytest.approx(np.mean(two)) and whole.prevalence is whole.n_pos is None
    assert whole.auroc == pytest.approx(row(interval_rows(column()), method="clip", value="macro_defined").mean)
    mass = row(rows, method="clip", finding="mass")
    assert (mass.auprc, mass.auroc, mass.prevalence) == (None, None, 0.0) and mass.brier > 0
    assert [(r.method, r.finding) for r in rows] == [(m, f) for m in STRENGTH for f in ("macro_defined", *FINDINGS)]
    fewer = {k: v for k, v in MEASURES.items() if not k.startswith("clip0")}
    assert row(metric_rows(column(measures=fewer)), method="clip", finding="edema").n == 1
    assert metric_rows(column(measures={}, tests=None)) == []


def test_a_macro_of_no_finding_has_no_quality():
    rare = replace(IMAGES, labels=np.zeros_like(IMAGES.labels))
    tests = make_test_set(rare, None)
    results = []
    for cell in CELLS:
        findings = auroc_per_finding(SCORES[cell], rare.labels, rare.known, FINDINGS)
        results.append(replace(result(cell), findings=findings, macro_auroc=None))
    measures = {
        r.key: cell_metrics(tests, Predictions(rare, SCORES[c], True), r) for c, r in zip(CELLS, results, strict=True)
    }
    found = column(results, measures, tests)
    assert found.quality("clip", "brier", "macro_defined").mean is None and found.placed("clip", []) is None
    assert found.quality("clip", "brier", "edema").n == 2


def test_a_finding_of_which_no_label_is_known_has_no_prevalence():
    known = IMAGES.known & [True, True, False]
    images = replace(IMAGES, known=known)
    results = [replace(result(c), findings=auroc_per_finding(SCORES[c], images.labels, known, FINDINGS)) for c in CELLS]
    mass = row(metric_rows(column(results, {}, make_test_set(images, None))), method="clip", finding="mass")
    assert (mass.n_pos, mass.n_neg, mass.prevalence, mass.brier) == (0, 0, None, None)


def test_comparisons_are_of_both_methods_on_the_same_patients():
    rows = comparison_rows(column())
    assert [(r.family, r.first, r.second) for r in rows] == [
        (AGAINST_REFERENCE, "clip", "imagenet"), (AGAINST_REFERENCE, "simclr", "imagenet"),
        (ALL_PAIRS, "imagenet", "clip"), (ALL_PAIRS, "imagenet", "simclr"), (ALL_PAIRS, "clip", "simclr"),
    ]  # fmt: skip
    ours = row(rows, first="clip", second="simclr")
    a, b = mean_placed("clip"), mean_placed("simclr")
    part = patient_part(macro_influence(Placed(a.aurocs - b.aurocs, a.influence - b.influence), TESTS.classes))
    assert (ours.patients_se, ours.patients_freedom) == pytest.approx((part.se, part.freedom), rel=1e-12)
    assert shown(ours) == limits(difference_interval(a, b, TESTS.classes, FINDINGS, [0, 1]))
    tested = column().comparisons.pair("nih", ("FT", 10), "clip", "simclr")
    for name in ("n", "difference", "ci95", "t", "p", "p_holm", "wilcoxon_p", "wilcoxon_p_holm", "p_holm_table"):
        assert getattr(ours, name) == getattr(tested, name) != "", name
    assert ours.difference == pytest.approx(float(np.nanmean(a.aurocs - b.aurocs))) and ours.left_out == ()


def test_without_predictions_a_comparison_has_no_part_of_patients():
    for without in ({k: v for k, v in MEASURES.items() if k != "simclr01"}, {}):
        ours = row(comparison_rows(column(measures=without)), first="clip", second="simclr")
        assert shown(ours) == ((None, None), NOT_AT_HAND.note, None) and ours.n == 2
        assert ours.patients_se is ours.patients_freedom is None
        back = row(comparison_rows(column(measures=without)), first="simclr", second="imagenet")
        assert shown(back) == ((None, None), NOT_AT_HAND.note, None)
    assert row(comparison_rows(column(measures={}, tests=None)), first="clip", second="simclr").patients_se is None


def test_the_tests_over_both_go_to_their_rows():
    found = column()
    rows = comparison_rows(found)
    parts = {(*found.place, r.first, r.second): found.patient_part(r.first, r.second) for r in rows}
    combined = with_combined_tests(rows, with_patients(found.comparisons, OverPatients(parts=parts)))
    for before, after in zip(rows, combined, strict=True):
        assert replace(after, ci95_both=None, p_both=None, p_both_holm=None, p_both_holm_table=None) == before
        assert after.ci95_both > after.patients_se and 0 < after.p_both <= after.p_both_holm <= 1
        assert after.p_both_holm == after.p_both_holm_table, "one column is the whole table"
    assert len({after.p_both for after in combined if after.family == ALL_PAIRS}) == 3
    with pytest.raises(ValueError):
        with_combined_tests(rows[1:], found.comparisons)


def test_finding_differences_are_against_the_reference_over_the_shared_seeds():
    results = [replace(r, status="failed", findings=(), macro_auroc=None) if r.key == "clip01" else r for r in RESULTS]
    rows = finding_difference_rows(column(results))
    assert [(r.method, r.finding) for r in rows] == [(m, f) for m in ("clip", "simclr") for f in ("edema", "hernia")]
    ours = row(rows, method="clip", finding="hernia")
    differences = {
        (p, s): RESULTS[CELLS.index(("clip", p, s))].findings[1].auroc
        - RESULTS[CELLS.index(("imagenet", p, s))].findings[1].auroc
        for p, s in ((0, 0), (1, 0), (1, 1))
    }
    expected = (differences[0, 0] + (differences[1, 0] + differences[1, 1]) / 2) / 2
    assert (ours.num_cells, ours.reference, ours.difference) == (3, "imagenet", pytest.approx(expected, abs=1e-12))
    assert ours.patients_low < ours.difference < ours.patients_high
    assert row(rows, method="simclr", finding="edema").num_cells == 4
    fewer = {k: v for k, v in MEASURES.items() if k != "clip00"}
    assert {r.method for r in finding_difference_rows(column(measures=fewer))} == {"simclr"}
    assert finding_difference_rows(column(measures={k: v for k, v in MEASURES.items() if k != "imagenet00"})) == []
    alone = replace(LAYOUT, rows=tuple((name, display, "ours") for name, display, _ in LAYOUT.rows[1:]))
    assert finding_difference_rows(column(RESULTS[4:], layout=alone)) == []


def test_subgroups_and_gaps_are_those_of_the_mean_over_cells():
    rows, gaps = subgroup_rows(column())
    assert [(r.method, r.attribute, r.group) for r in rows] == [
        (m, a, g) for m in STRENGTH for a, g in (("sex", "F"), ("sex", "M"), ("age_band", "20-39"))
    ]
    sex, age = TESTS.attributes[:2]
    assert sex.name == "sex" and sex.compared == ("F", "M") and age.compared == ("20-39",)
    parts = []
    for g in (0, 1):
        placed = [MEASURES[key("clip", p, s)].groups[0][g] for p in (0, 1) for s in (0, 1)]
        parts.append(
            Placed(np.mean([p.aurocs for p in placed], axis=0), np.mean([p.influence for p in placed], axis=0))
        )
    men = row(rows, method="clip", group="M")
    assert men.macro_auroc == pytest.approx(parts[1].aurocs.mean(), abs=1e-12) and men.num_cells == 4
    assert shown(men) == limits(mean_interval(parts[1], sex.classes[1], FINDINGS[:2], range(2)))
    assert (men.n_images, men.n_patients, men.n_findings) == (sex.num_images[1], sex.num_patients[1], 2)
    assert men.fewest_positives == sex.fewest_positives and men.display_name == "CLIP"
    assert [(g.method, g.attribute) for g in gaps] == [(m, "sex") for m in STRENGTH], "one group has no gap"
    gap = row(gaps, method="clip")
    high, low = (0, 1) if parts[0].aurocs.mean() > parts[1].aurocs.mean() else (1, 0)
    assert (gap.highest, gap.lowest) == (sex.compared[high], sex.compared[low])
    assert gap.gap == pytest.approx(parts[high].aurocs.mean() - parts[low].aurocs.mean(), abs=1e-12) and gap.gap > 0
    expected = gap_interval((parts[high], sex.classes[high]), (parts[low], sex.classes[low]), FINDINGS[:2])
    assert shown(gap) == limits(expected) and (gap.n_findings, gap.num_cells) == (2, 4)
    assert subgroup_rows(column(measures={}, tests=None)) == ([], [])
    fewer = {k: v for k, v in MEASURES.items() if k != "clip00"}
    assert {r.method for r in subgroup_rows(column(measures=fewer))[0]} == {"imagenet", "simclr"}
    assert {r.method for r in subgroup_rows(column(RESULTS[4:]))[0]} == {"clip", "simclr"}


def test_a_column_knows_its_cells_methods_and_place():
    found = column()
    assert found.place == ("nih", "FT", 10) and found.methods == [(m, m.upper()) for m in STRENGTH]
    assert found.cells == RESULTS and found.findings == RESULTS[0].findings
    assert found.members["edema"] == ("edema",) and found.members["macro_defined"] == ("edema", "hernia")
    assert found.placed("clip", [(0, 0)]) is found.placed("clip", [(0, 0)]), "made once"
    assert found.placed("clip", [(0, 0)]).aurocs[0] == RESULTS[CELLS.index(("clip", 0, 0))].findings[0].auroc
    assert (
        found.interval(None, "edema")
        == NOT_AT_HAND
        == replace(found, tests=None).interval(mean_placed("clip"), "edema")
    )
