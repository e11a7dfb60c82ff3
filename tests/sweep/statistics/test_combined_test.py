"""Does the test over seeds and patients hold its level, and is each part of it what its formula says?"""

import math

import numpy as np
import pytest
import scipy.stats
from scipy.special import stdtrit

from sweep.statistics.combined_test import (
    SMALLEST_P,
    ErrorPart,
    combined_half_width,
    combined_p,
    patient_part,
    seed_parts,
)
from sweep.statistics.placements import classes_of, macro_influence, place
from trainables.evaluation.metrics import auroc


def influence_of(scores, labels, known=None, patients=None):
    known = np.ones(labels.shape, bool) if known is None else known
    patients = np.arange(len(labels)) if patients is None else patients
    classes = classes_of(labels, known, patients)
    return macro_influence(place(scores, classes), classes)


def delong_variance(scores, labels):
    """Of one finding, by the definition: placements as means over all pairs."""
    ours, others = scores[labels == 1].astype(float), scores[labels == 0].astype(float)
    right = (ours[:, None] > others).astype(float) + (ours[:, None] == others) / 2
    return right.mean(axis=1).var(ddof=1) / len(ours) + right.mean(axis=0).var(ddof=1) / len(others)


def scored(num=120, findings=3, seed=0):
    rng = np.random.default_rng(seed)
    labels = (rng.random((num, findings)) < 0.3).astype(np.int8)
    return np.round(rng.normal(size=labels.shape) + labels, 1).astype(np.float32), labels  # rounded: with ties


def test_one_part_is_a_t_test():
    values = [0.012, 0.007, -0.003, 0.018, 0.009]
    expected = scipy.stats.ttest_1samp(values, 0)
    parts = [ErrorPart(float(np.std(values, ddof=1)) / math.sqrt(5), 4)]
    assert combined_p(float(np.mean(values)), parts) == pytest.approx(expected.pvalue, rel=1e-9)
    interval = expected.confidence_interval()
    assert combined_half_width(parts) == pytest.approx((interval.high - interval.low) / 2, rel=1e-9)


def test_two_parts_by_hand_and_p_is_where_the_interval_ends():
    parts = [ErrorPart(0.01, 4), ErrorPart(0.02, math.inf)]
    assert combined_half_width(parts) == pytest.approx(math.hypot(2.776445 * 0.01, 1.959964 * 0.02), rel=1e-6)
    p = combined_p(-0.07, parts)
    assert combined_half_width(parts, 1 - p) == pytest.approx(0.07, rel=1e-9) and 0.0001 < p < 0.01
    assert combined_p(0.0, parts) == 1.0 and combined_p(1e3, [parts[1]]) == SMALLEST_P
    assert combined_p(0.01, [ErrorPart(0.01, 4), ErrorPart(0.0, math.inf)]) == pytest.approx(0.37390097, rel=1e-6)


@pytest.mark.parametrize("of_patients", [0.0, 0.5, 1.0, 2.0, 5.0])
def test_equal_rows_are_told_apart_in_at_most_one_study_of_twenty_whatever_dominates(of_patients):
    """Of a t-test over seeds they are in up to 85%, and by one such test and one over patients both in up to 9%."""
    rng, repeats, told = np.random.default_rng(3), 4000, 0
    seeds = math.sqrt(5) * rng.normal(size=(repeats, 5)) + of_patients * rng.normal(size=(repeats, 1))
    for row in seeds:
        (of_seeds,) = seed_parts([dict(enumerate(row.tolist()))])
        told += abs(row.mean()) > combined_half_width([of_seeds, ErrorPart(of_patients, math.inf)])
    assert told / repeats < 0.05 + 2 * math.sqrt(0.05 * 0.95 / repeats)
    assert told / repeats > 0.02  # not by saying nothing


def test_seeds_of_one_pretraining_are_one_part_and_two_crossed_kinds_are_two():
    values = [0.80, 0.82, 0.86]
    (part,) = seed_parts([dict(enumerate(values))])
    assert part == ErrorPart(pytest.approx(np.std(values, ddof=1) / math.sqrt(3)), 2)
    # Row means 0.81, 0.88, of sd 0.0495; column means 0.83, 0.86, of sd 0.0212.
    of_pretrainings, of_seeds = seed_parts([{0: 0.80, 1: 0.82}, {0: 0.86, 1: 0.90}])
    assert of_pretrainings == ErrorPart(pytest.approx(0.07 / 2), 1) and of_seeds == ErrorPart(
        pytest.approx(0.03 / 2), 1
    )
    assert [p.freedom for p in seed_parts([{0: 0.8}, {0: 0.9}, {0: 0.7}])] == [2]


@pytest.mark.parametrize(
    "groups", [[{}], [{0: 0.8}], [{0: 0.8, 1: 0.9}, {0: 0.7}], [{0: 0.8, 1: 0.9}, {}], [{0: 0.3, 1: 0.1 + 0.2, 2: 0.3}]]
)
def test_nothing_is_said_of_seeds_that_are_missing_or_do_not_vary(groups):
    assert seed_parts(groups) == ()


def test_of_one_image_a_patient_and_one_finding_the_squares_add_up_to_delongs_variance():
    scores, labels = scored(findings=1)
    found = influence_of(scores, labels)
    assert (found**2).sum() == pytest.approx(delong_variance(scores[:, 0], labels[:, 0]), rel=1e-12)
    assert found.sum() == pytest.approx(0, abs=1e-12)


def test_two_alike_images_of_a_patient_say_no_more_than_one():
    scores, labels = scored()
    once = influence_of(scores, labels)
    twice = influence_of(scores.repeat(2, axis=0), labels.repeat(2, axis=0), patients=np.arange(len(labels)).repeat(2))
    assert twice == pytest.approx(once, abs=1e-15)


def test_the_macro_of_clustered_images_with_unknown_labels_agrees_with_the_bootstrap():
    rng = np.random.default_rng(5)
    scores, labels = scored(600)
    scores, labels = scores + 0.5 * np.repeat(rng.normal(size=(200, 3)), 3, axis=0), labels
    scores, known, patients = scores.astype(np.float32), rng.random(labels.shape) < 0.8, np.arange(600) // 3
    part = patient_part(influence_of(scores, labels, known, patients))
    macros = []
    for _ in range(1000):
        drawn = (3 * rng.integers(0, 200, 200)[:, None] + np.arange(3)).ravel()
        parts = [(scores[drawn, f], labels[drawn, f], known[drawn, f]) for f in range(3)]
        macros.append([auroc(*each) for each in parts])
    macros = np.mean(macros, axis=1)
    assert part.se == pytest.approx(macros.std(ddof=1), rel=0.08) and 30 < part.freedom < 200


def test_a_class_of_fewer_than_three_patients_leaves_the_part_unknown_and_few_are_few_degrees_of_freedom():
    scores, labels = scored(100, 1)
    labels[:] = 0
    for positives in (1, 2):
        labels[:positives] = 1
        assert patient_part(influence_of(scores, labels)) is None
    labels[:3] = 1
    assert patient_part(influence_of(scores, labels, patients=np.arange(100).clip(1) - 1)) is None
    scores[:3, 0] = (-0.5, 0.5, 1.5)
    assert patient_part(influence_of(scores, labels)).freedom < 2
    assert patient_part(influence_of(scores, np.zeros_like(labels))) is None
    assert patient_part(np.zeros(9)) == ErrorPart(0.0, math.inf)


def test_the_part_of_patients_by_hand():
    # Squares of 1, 4 and 9: their sum squared is 196, the sum of their squares 98, so 2 patients' worth, one degree.
    part = patient_part(np.array([0.01, -0.02, 0.0, 0.03]))
    assert (part.se, part.freedom) == pytest.approx((math.sqrt(14) / 100, 1.0), rel=1e-12)
    assert patient_part(np.array([0.1, 0.001])).freedom == 0.1, "one patient alone has no degree, but some interval"


def test_p_has_a_smallest_value_and_is_right_above_it():
    part = ErrorPart(1.0, math.inf)
    for p in (1.5e-30, 1e-20, 0.3):
        assert combined_p(combined_half_width([part], 1 - p) if p > 0.1 else -stdtrit(1e9, p / 2), [part]) == (
            pytest.approx(p, rel=1e-9, abs=0)
        )
    assert combined_p(-stdtrit(1e9, 0.45e-30), [part]) == SMALLEST_P


def told_with(num_positives, repeats=300):
    """In how many of the repeats are two equal checkpoints told apart, of one finding with skewed scores."""
    rng, told = np.random.default_rng(11), 0
    labels = (np.arange(202) < num_positives).astype(np.int8)[:, None]
    for _ in range(repeats):
        both = 0.87 * rng.exponential(size=labels.shape) + 0.74 * labels
        means, influences = [], []
        for _ in range(2):
            scores = [both + 0.5 * rng.exponential(size=labels.shape)] * 5
            scores = [each + 0.05 * rng.normal(size=labels.shape) for each in scores]
            means.append(np.array([auroc(each[:, 0], labels[:, 0]) for each in scores]))
            influences.append(np.mean([influence_of(each, labels) for each in scores], axis=0))
        of_patients = patient_part(influences[0] - influences[1])
        difference = means[0] - means[1]
        of_seeds = seed_parts([dict(enumerate(difference.tolist()))])
        if of_patients is not None and of_seeds:
            told += combined_p(float(difference.mean()), [*of_seeds, of_patients]) < 0.05
    return told


def test_two_positive_patients_are_not_tested_and_three_hold_the_level():
    """Two agree by chance: their variance is then near 0, and with two equal rows were told apart in 10%."""
    assert told_with(2, 100) == 0
    assert 0 < told_with(3) <= 300 * 0.05
