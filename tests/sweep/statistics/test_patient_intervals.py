"""Do intervals over patients hold the truth as often as they say, and is there none where they would not?

Coverage is that of benchmarks/simulations/coverage.py: seven shapes of scores at four AUROCs. It is printed with more
repeats by `python -m benchmarks.statistics`. Here each of the 28 has few, so the margin is wide for each and narrow for
their mean.
"""

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import norm, t

from benchmarks.simulations.coverage import (
    Design,
    coverage_of,
    designs_of_findings,
    designs_of_gaps,
    designs_of_macros,
    scan,
    scan_differences,
    scan_gaps,
    simulate,
    simulate_differences,
)
from sweep.statistics.patient_intervals import difference_interval, gap_interval, mean_interval
from sweep.statistics.placements import Placed, classes_of, place

LOW, HIGH = 0.93, 0.97  # what a nominal 95% is to cover
REPEATS = 150


def assert_covers(found, repeats):
    """The mean over all cells within 93 to 97%, and each cell too, to four standard errors of a binomial share.

    The mean is of 1,700 to 4,200 test sets: its standard error is 0.3 to 0.5%. Four for a cell, since the extremes of
    some 30 cells are looked at: one lies farther out by chance once in 500 tests. The seeds are fixed.
    """
    covered = [cell.covered for cell in found.values()]
    assert all(cell.given == 1 for cell in found.values())
    assert LOW <= np.mean(covered) <= HIGH
    assert min(covered) >= LOW - 4 * math.sqrt(LOW * (1 - LOW) / repeats)
    # All of them may hold the truth: at 150 repeats four standard errors above 97% is more than 1.
    assert max(covered) <= min(1.0, HIGH + 4 * math.sqrt(HIGH * (1 - HIGH) / repeats))


@pytest.mark.parametrize("name", [name for name, d in designs_of_findings().items() if 10 <= d.positives[0] < 200])
def test_a_finding_is_covered(name):
    assert_covers(scan(designs_of_findings()[name], REPEATS, 1), REPEATS)


def test_a_finding_with_200_positives_is_covered():
    assert_covers(scan(designs_of_findings()["200 of 1000"], 100, 1), 100)


@pytest.mark.parametrize("name", ["10 findings of valid.csv", "5 findings, 10 each", "3 findings, one rare"])
def test_a_macro_is_covered(name):
    found = scan(designs_of_macros()[name], 60, 2)
    assert_covers(found, 60)


@pytest.mark.parametrize("design", [Design((100,), 300), Design((100,), 300, 2, 0.5)])
def test_a_difference_on_the_same_patients_is_covered(design):
    shapes = ("normal", "positives 1.5 x as spread", "skewed to the left", "exponential, mirrored")
    assert_covers(scan_differences(design, 100, 3, shapes), 100)


@pytest.mark.parametrize("name", ["100 of 200", "5 findings, 20 of 150"])
def test_a_gap_between_two_groups_is_covered(name):
    assert_covers(scan_gaps(designs_of_gaps()[name], 60, 4), 60)


def test_a_difference_is_narrower_the_more_alike_the_methods_are():
    def width(alike):
        rng = np.random.default_rng(0)
        return coverage_of(simulate_differences(Design((120,), 300), "normal", (0.8, 0.8), 50, rng, alike), 0.0).width

    assert width(0.9) < 0.6 * width(0.2)


@pytest.mark.parametrize("positives", [1, 2, 3, 5, 9])
def test_below_ten_positive_patients_there_is_none_and_it_says_so(positives):
    (interval,) = simulate(Design((positives,), 200), "normal", 0.8, 1, np.random.default_rng(0))
    assert (interval.low, interval.high, interval.fewest_patients) == (None, None, positives)
    assert interval.note == "fewer than 10 positive patients: "  # the simulation's findings have no names


def one(scores, labels, patients=None):
    labels = np.asarray(labels)
    patients = np.arange(len(labels)) if patients is None else patients
    classes = classes_of(labels[:, None], np.ones((len(labels), 1), bool), patients)
    return place(np.asarray(scores, dtype=float)[:, None], classes), classes


def test_a_perfect_auroc_of_three_positives_has_no_interval_and_of_fifteen_one_that_is_no_point():
    labels = np.repeat([1, 0], [3, 97])
    assert mean_interval(*one(labels, labels), ["edema"], [0]).note == "fewer than 10 positive patients: edema"
    labels = np.repeat([1, 0], [15, 85])
    interval = mean_interval(*one(labels, labels), ["edema"], [0])
    assert interval.note == "" and interval.high == 1.0 and 0.7 < interval.low < 0.95


def test_one_finding_is_the_formula_written_out():
    """Of 12 positives and 60 negatives, one image each: the squares with n in the divisor, an added patient a class."""
    rng = np.random.default_rng(5)
    labels = np.repeat([1, 0], [12, 60])
    scores = rng.normal(size=72) + 1.5 * labels
    x, y = scores[:12], scores[12:]
    wins = x[:, None] > y
    auroc = wins.mean()
    positive = wins.mean(axis=1).var() / 12 + ((auroc - 0.5) / 13) ** 2
    negative = wins.mean(axis=0).var() / 60 + ((auroc - 0.5) / 61) ** 2
    centre = auroc - (auroc - 0.5) * (positive / 13 + negative / 61) / (positive + negative)
    a, b = wins.mean(axis=1).var(ddof=1) / 12, wins.mean(axis=0).var(ddof=1) / 60
    freedom = (a + b) ** 2 / (a**2 / 12 + b**2 / 60) + 10
    half = t.ppf(0.975, freedom) * np.sqrt(positive + negative) / norm.pdf(norm.ppf(centre))
    interval = mean_interval(*one(scores, labels), ["edema"], [0])
    expected = norm.cdf([norm.ppf(centre) - half, norm.ppf(centre) + half])
    assert (interval.low, interval.high) == pytest.approx(expected, abs=1e-12)
    assert interval.fewest_patients == 12


def by_the_formula(terms, add=True):
    """(estimate, centre, half-width in AUROC) of a sum of findings, as the module says it, one finding after the other.

    terms: (placed, classes, rows, weight) of each set of images.
    """
    total = np.zeros(terms[0][1].num_patients)
    for placed, classes, rows, weight in terms:
        for row in rows:
            total[classes.patients] += weight * placed.influence[row]
    estimate, found = 0.0, []
    for placed, classes, rows, weight in terms:
        for row in rows:
            moved, (m, n) = weight * placed.influence[row], classes.sizes[row]
            estimate += weight * placed.aurocs[row]
            squares, d = moved**2, weight * (placed.aurocs[row] - 0.5)
            v_pos, v_neg = squares[classes.positive[row]].sum(), squares[~classes.positive[row]].sum()
            a, shift, own = 0.0, 0.0, v_pos + v_neg
            if add:
                a = d**2 / (m + 1) ** 2 + d**2 / (n + 1) ** 2 - v_pos / m - v_neg / n
                with_pos, with_neg = v_pos - v_pos / m + (d / (m + 1)) ** 2, v_neg - v_neg / n + (d / (n + 1)) ** 2
                own = with_pos + with_neg
                shift = -d * (with_pos / (m + 1) + with_neg / (n + 1)) / own
            found.append((a, shift, own, (moved * total[classes.patients]).sum(), v_pos, v_neg, m, n))
    variance = whole = (total**2).sum() + sum(a for a, *_ in found)
    centre = estimate
    for a, shift, own, covariance, *_ in found:
        correlation = min(1.0, (covariance + a) ** 2 / (own * whole))
        centre, variance = centre + correlation * shift, variance - (1 - correlation) * a
    parts = [v for _, _, _, _, p, n, _, _ in found for v in (p, n)]
    sizes = [size for *_, m, n in found for size in (m, n)]
    freedom = sum(parts) ** 2 / sum(v**2 / size for v, size in zip(parts, sizes, strict=True)) + 10
    return estimate, centre, t.ppf(0.975, freedom) * math.sqrt(variance)


def on_probit(estimate, centre, half):
    half /= norm.pdf(norm.ppf(centre))
    low, high = norm.cdf([norm.ppf(centre) - half, norm.ppf(centre) + half])
    return min(low, estimate), max(high, estimate)


def made(num, positives, strength, seed, num_patients=None):
    """Scores of several findings, with num_patients of several images each; positives: how many of each finding."""
    rng = np.random.default_rng(seed)
    labels = np.zeros((num, len(positives)), np.int8)
    for f, count in enumerate(positives):
        labels[rng.permutation(num)[:count], f] = 1
    patients = np.arange(num) if num_patients is None else rng.integers(0, num_patients, num)
    scores = rng.normal(size=labels.shape) + rng.normal(size=(num, 1)) + np.array(strength) * labels
    classes = classes_of(labels, rng.random(labels.shape) < 0.97, patients)
    return place(scores, classes), classes, scores


@pytest.mark.parametrize(
    ("positives", "strength"),
    [((60, 20, 110), (1.0, 3.0, 0.3)), ((40, 60), (0.0, 0.1)), ((15,), (6.0,)), ((30, 300, 45), (2.5, 4.0, 5.0))],
)
@pytest.mark.parametrize("num_patients", [None, 250])
def test_a_mean_of_unequal_findings_is_the_formula(positives, strength, num_patients):
    placed, classes, _ = made(400, positives, strength, 13, num_patients)
    rows = range(len(positives))
    found = mean_interval(placed, classes, ["f"] * len(positives), rows)
    expected = on_probit(*by_the_formula([(placed, classes, rows, 1 / len(positives))]))
    assert (found.low, found.high) == pytest.approx(expected, abs=1e-11) and found.note == ""


def test_copies_of_a_finding_at_chance_are_correlated_by_no_more_than_one():
    placed, classes, _ = made(200, (60,), (0.0,), 14)
    copied = Placed(np.repeat(placed.aurocs, 2), np.repeat(placed.influence, 2, axis=0))
    many = replace(classes, positive=np.repeat(classes.positive, 2, axis=0), sizes=np.repeat(classes.sizes, 2, axis=0))
    found = mean_interval(copied, many, ["a", "b"], (0, 1))
    expected = on_probit(*by_the_formula([(copied, many, (0, 1), 0.5)]))
    assert (found.low, found.high) == pytest.approx(expected, abs=1e-13)


def test_thousands_of_patients_and_an_auroc_near_one_are_the_formula_too():
    placed, classes, _ = made(4000, (400,), (5.0,), 15)
    found = mean_interval(placed, classes, ["f"], (0,))
    assert placed.aurocs[0] > 0.99 and found.high - found.low < 0.01
    assert (found.low, found.high) == pytest.approx(
        on_probit(*by_the_formula([(placed, classes, (0,), 1.0)])), abs=1e-13
    )


def test_a_difference_of_several_findings_is_the_formula_without_patients_at_chance():
    placed, classes, scores = made(500, (150, 120, 200), (1.0, 2.0, 0.5), 16)
    other = place(scores + np.random.default_rng(17).normal(size=scores.shape), classes)
    rows, names = (0, 2), ["a", "b", "c"]
    found = difference_interval(placed, other, classes, names, rows)
    difference = Placed(placed.aurocs - other.aurocs, placed.influence - other.influence)
    _, centre, half = by_the_formula([(difference, classes, rows, 0.5)], add=False)
    assert centre == pytest.approx(np.mean([placed.aurocs[f] - other.aurocs[f] for f in rows]), abs=1e-15)
    assert (found.low, found.high) == pytest.approx((centre - half, centre + half), abs=1e-12) and found.note == ""


def test_a_gap_of_several_findings_is_the_formula_with_a_patient_at_chance_in_each_class_of_both():
    first, classes, _ = made(600, (150, 220), (1.0, 3.0), 18)
    second, others, _ = made(600, (300, 130), (0.5, 1.5), 19)
    found = gap_interval((first, classes), (second, others), ["a", "b"])
    terms = [(first, classes, (0, 1), 0.5), (second, others, (0, 1), -0.5)]
    estimate, centre, half = by_the_formula(terms)
    assert estimate == pytest.approx(first.aurocs.mean() - second.aurocs.mean(), abs=1e-15)
    assert (found.low, found.high) == pytest.approx((centre - half, centre + half), abs=1e-12) and found.note == ""


def test_a_difference_of_aurocs_ends_at_one_and_minus_one():
    labels = np.repeat([1, 0], [120, 130])
    best, worst = one(labels, labels), one(-labels, labels)
    assert gap_interval(best, worst, ["f"]).high == 1.0 and gap_interval(worst, best, ["f"]).low == -1.0
    assert -1.0 < gap_interval(worst, best, ["f"]).high < -0.9 and 0.9 < gap_interval(best, worst, ["f"]).low < 1.0


@pytest.mark.parametrize(("spread", "note"), [(1e-12, "no patient moves it"), (1.1e-12, ""), (1e-7, "")])
def test_a_standard_error_up_to_rounding_is_none(spread, note):
    labels = np.repeat([1, 0], [100, 200])
    _, classes = one(labels, labels)
    moved = np.zeros((1, 300))
    moved[0, 7] = spread
    nothing = Placed(np.array([0.5]), np.zeros((1, 300)))
    found = difference_interval(Placed(np.array([0.5]), moved), nothing, classes, ["f"], (0,))
    assert found.note == note and (found.low is None) == bool(note)


def test_the_fewest_patients_are_enough():
    def note(positives, negatives, differs=False):
        labels = np.repeat([1, 0], [positives, negatives])
        (a, classes), (b, _) = (one(np.random.default_rng(s).normal(size=len(labels)), labels) for s in (0, 1))
        return (
            difference_interval(a, b, classes, ["f"], [0]) if differs else mean_interval(a, classes, ["f"], [0])
        ).note

    assert note(10, 40) == note(40, 10) == "" == note(100, 250, differs=True) == note(250, 100, differs=True)
    assert note(9, 300) == "fewer than 10 positive patients: f" and note(39, 10) == "fewer than 50 patients: f"
    assert note(4, 12) == "fewer than 10 positive patients: f", "each finding is named for one reason"
    for few in ((99, 250), (250, 99)):
        assert note(*few, differs=True) == "fewer than 100 patients of the rarer class carry the difference"


def test_a_mean_of_equal_findings_is_that_finding_and_of_many_independent_ones_the_normal_interval():
    rng = np.random.default_rng(6)
    labels = np.repeat([1, 0], [30, 170])
    column = rng.normal(size=200) + labels
    placed, classes = one(column, labels)
    copies = Placed(np.repeat(placed.aurocs, 5), np.repeat(placed.influence, 5, axis=0))
    many = classes_of(np.repeat(labels[:, None], 5, axis=1), np.ones((200, 5), bool), np.arange(200))
    alone, together = mean_interval(placed, classes, ["a"], [0]), mean_interval(copies, many, list("abcde"), range(5))
    # The degrees of freedom differ, those of the copies being counted five times: by 1% of the width.
    assert together.low == pytest.approx(alone.low, abs=0.003) and together.high == pytest.approx(alone.high, abs=0.003)

    count = 100
    scores = rng.normal(size=(200, count)) + labels[:, None]
    classes = classes_of(np.repeat(labels[:, None], count, axis=1), np.ones((200, count), bool), np.arange(200))
    placed = place(scores, classes)
    interval = mean_interval(placed, classes, [str(f) for f in range(count)], range(count))
    sd = np.sqrt((placed.influence.mean(axis=0) ** 2).sum())
    assert interval.high - interval.low == pytest.approx(2 * 1.96 * sd, rel=0.02)


def test_what_is_not_in_the_value_does_not_count():
    rng = np.random.default_rng(7)
    labels = np.zeros((200, 2), np.int8)
    labels[:40, 0], labels[:4, 1] = 1, 1
    classes = classes_of(labels, np.ones(labels.shape, bool), np.arange(200))
    placed = place(rng.normal(size=labels.shape) + labels, classes)
    assert mean_interval(placed, classes, ["edema", "hernia"], [0]).note == ""
    both = mean_interval(placed, classes, ["edema", "hernia"], [0, 1])
    assert (both.low, both.note, both.fewest_patients) == (None, "fewer than 10 positive patients: hernia", 4)


def test_few_negatives_and_few_patients_of_both_classes_have_none():
    labels = np.repeat([1, 0], [100, 9])
    assert mean_interval(*one(np.arange(109), labels), ["f"], [0]).note == "fewer than 10 negative patients: f"
    labels = np.repeat([1, 0], [20, 29])
    assert mean_interval(*one(np.arange(49), labels), ["f"], [0]).note == "fewer than 50 patients: f"


def test_many_images_of_few_patients_are_few_patients():
    labels = np.repeat([1, 0], [60, 200])
    patients = np.concatenate([np.repeat(np.arange(6), 10), np.arange(6, 206)])
    scores = np.random.default_rng(0).normal(size=260)
    assert mean_interval(*one(scores, labels, patients), ["f"], [0]).note == "fewer than 10 positive patients: f"


def test_equal_predictions_have_no_interval_of_their_difference_and_constant_ones_none():
    labels = np.repeat([1, 0], [110, 190])
    placed, classes = one(np.random.default_rng(0).normal(size=300), labels)
    same = difference_interval(placed, placed, classes, ["f"], [0])
    assert (same.low, same.note) == (None, "no patient moves it")
    assert mean_interval(*one(np.zeros(300), labels), ["f"], [0]).note == "no patient moves it"


def test_a_difference_needs_more_patients_and_turns_its_sign():
    rng = np.random.default_rng(8)
    labels = np.repeat([1, 0], [110, 190])
    (a, classes), (b, _) = (one(rng.normal(size=300) + labels, labels) for _ in range(2))
    forth, back = difference_interval(a, b, classes, ["f"], [0]), difference_interval(b, a, classes, ["f"], [0])
    assert (forth.low, forth.high) == pytest.approx((-back.high, -back.low))
    labels = np.repeat([1, 0], [30, 170])
    (a, classes), (b, _) = (one(rng.normal(size=200) + labels, labels) for _ in range(2))
    assert "fewer than 100 patients" in difference_interval(a, b, classes, ["f"], [0]).note


def test_a_gap_is_between_sets_of_images_that_may_share_patients():
    rng = np.random.default_rng(9)
    labels = (rng.random((800, 2)) < 0.4).astype(np.int8)
    shared = np.repeat(rng.normal(size=(400, 1)), 2, axis=0)  # of a patient, who has an image in either set
    scores, patients, first = shared + labels + 0.3 * rng.normal(size=(800, 2)), np.arange(800) // 2, np.arange(800) % 2
    labels = np.repeat(labels[::2], 2, axis=0)

    def sets(patients):
        classes = [classes_of(labels, np.tile((first == side)[:, None], 2), patients) for side in (0, 1)]
        return [(place(scores, part), part) for part in classes]

    paired, apart = (gap_interval(*sets(ids), ["a", "b"]) for ids in (patients, np.arange(800)))
    (one_set, _), (other_set, _) = sets(patients)
    assert paired.low <= one_set.aurocs.mean() - other_set.aurocs.mean() <= paired.high
    assert paired.high - paired.low < 0.9 * (apart.high - apart.low)
