"""Is the compiled bootstrap a bootstrap: equal to scikit-learn's AUROC of each resample, honest, and covering."""

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from sweep.statistics.bootstrap import delong_variance, draw_resamples, percentile_interval, presort, resampled_aurocs
from trainables.evaluation.metrics import auroc


def made_up(num_images=400, num_patients=150, num_findings=4, decimals=2, seed=0):
    """Scores with many ties, labels of several prevalences, some unknown, several images of a patient."""
    rng = np.random.default_rng(seed)
    patients = rng.integers(0, num_patients, num_images)
    labels = rng.random((num_images, num_findings)) < np.linspace(0.02, 0.5, num_findings)
    scores = np.round(rng.normal(size=labels.shape) + labels, decimals).astype(np.float32)
    known = rng.random(labels.shape) < 0.9
    return scores, labels.astype(np.int8), known, patients


def by_scikit_learn(scores, labels, known, resamples):
    values = np.full((scores.shape[1], resamples.num), np.nan)
    for r in range(resamples.num):
        rows = resamples.rows(r)
        for f in range(scores.shape[1]):
            chosen = rows[known[rows, f]]
            if len(set(labels[chosen, f])) == 2:
                values[f, r] = roc_auc_score(labels[chosen, f], scores[chosen, f])
    return values


@pytest.mark.parametrize("decimals", [0, 1, 7])
def test_equals_scikit_learn_on_the_same_resamples_with_ties_and_unknown_labels(decimals):
    scores, labels, known, patients = made_up(decimals=decimals)
    resamples = draw_resamples(patients, 130, seed=3)
    ours = resampled_aurocs(scores, labels, known, resamples)
    expected = by_scikit_learn(scores, labels, known, resamples)
    assert ours.shape == (4, 130)
    np.testing.assert_array_equal(np.isnan(ours), np.isnan(expected))
    np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-12)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 1), st.integers(0, 5)), min_size=1, max_size=25))
def test_equals_auroc_of_the_rows_for_any_small_set(images):
    scores, labels, patients = (np.array(column) for column in zip(*images, strict=True))
    resamples = draw_resamples(patients, 5)
    ours = resampled_aurocs(
        scores[:, None].astype(np.float64), labels[:, None], np.ones((len(images), 1), bool), resamples
    )[0]
    for r in range(5):
        expected = auroc(scores[resamples.rows(r)], labels[resamples.rows(r)])
        assert np.isnan(ours[r]) if expected is None else ours[r] == pytest.approx(expected, abs=1e-12)


def test_a_subset_of_images_is_asked_for_by_known_and_uses_the_same_patients():
    scores, labels, known, patients = made_up()
    women = np.arange(len(scores)) % 3 == 0
    resamples = draw_resamples(patients, 70)
    ours = resampled_aurocs(scores, labels, known & women[:, None], resamples, presort(scores))
    expected = by_scikit_learn(scores, labels, known & women[:, None], resamples)
    np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-12)


def test_whole_patients_are_drawn_as_many_as_there_are_and_the_draw_is_reproducible():
    patients = np.array(["b", "a", "b", "c", "b", "a"])
    resamples = draw_resamples(patients, 200, seed=5)
    for r in range(200):
        drawn = patients[resamples.rows(r)]
        times = np.array([(drawn == "a").sum() / 2, (drawn == "b").sum() / 3, (drawn == "c").sum()])
        assert times.sum() == 3 and (times == times.round()).all()
    again, fewer = draw_resamples(patients, 200, seed=5), draw_resamples(patients, 70, seed=5)
    assert all((resamples.rows(r) == again.rows(r)).all() for r in range(200))
    assert all((resamples.rows(r) == fewer.rows(r)).all() for r in range(70))
    other = draw_resamples(patients, 200, seed=6)
    assert any(len(resamples.rows(r)) != len(other.rows(r)) for r in range(200))


def test_a_patient_is_drawn_as_often_as_chance_has_it():
    resamples = draw_resamples(np.arange(50), 2048)
    times = np.array([np.bincount(resamples.rows(r), minlength=50) for r in range(2048)])
    assert times.mean() == 1.0
    # Binomial(50, 1/50): variance 0.98, and e^-1 of the patients are absent, (1 - 1/50)^50 = 0.3642
    assert times.var() == pytest.approx(0.98, abs=0.02)
    assert (times == 0).mean() == pytest.approx(0.3642, abs=0.005)


def test_undefined_resamples_are_excluded_and_counted():
    labels = np.zeros((20, 1), np.int8)
    labels[7] = 1
    scores = np.arange(20.0)[:, None]
    resamples = draw_resamples(np.arange(20), 1000)
    values = resampled_aurocs(scores, labels, np.ones_like(labels, bool), resamples)[0]
    absent = sum(7 not in resamples.rows(r) for r in range(1000))
    interval = percentile_interval(values)
    assert (interval.defined, interval.num) == (1000 - absent, 1000) and 300 < absent < 420
    assert interval.low == pytest.approx(np.nanquantile(values, 0.025)) and interval.high >= interval.low


@pytest.mark.parametrize("label", [0, 1])
def test_one_class_only_has_no_interval(label):
    labels = np.full((20, 1), label, np.int8)
    values = resampled_aurocs(np.arange(20.0)[:, None], labels, labels >= 0, draw_resamples(np.arange(20), 100))
    interval = percentile_interval(values[0])
    assert (interval.low, interval.high, interval.sd, interval.defined, interval.num) == (None, None, None, 0, 100)


def test_few_defined_resamples_give_no_interval():
    values = np.full(1000, np.nan)
    values[:99] = 0.5
    assert percentile_interval(values).low is None and percentile_interval(values).defined == 99
    values[99] = 0.6
    assert percentile_interval(values).low == 0.5


def test_what_cannot_be_resampled_is_refused_in_words():
    scores, labels, known, patients = made_up(20)
    resamples = draw_resamples(patients, 2)
    with pytest.raises(ValueError, match="must be of the same images"):
        resampled_aurocs(scores[:5], labels[:5], known[:5], resamples)
    scores[3, 1] = np.nan
    with pytest.raises(ValueError, match="1 of 80 scores are NaN"):
        resampled_aurocs(scores, labels, known, resamples)
    with pytest.raises(ValueError, match="of 0 patients"):
        draw_resamples([], 10)


@pytest.mark.parametrize("decimals", [0, 7])
def test_delong_variance_equals_its_definition_and_agrees_with_the_bootstrap(decimals):
    rng = np.random.default_rng(2)
    labels = (rng.random(600) < 0.3).astype(np.int8)
    scores = np.round(rng.normal(size=600) + labels, decimals)
    positives, negatives = scores[labels == 1], scores[labels == 0]
    wins = (positives[:, None] > negatives) + 0.5 * (positives[:, None] == negatives)
    expected = wins.mean(axis=1).var(ddof=1) / len(positives) + wins.mean(axis=0).var(ddof=1) / len(negatives)
    variance = delong_variance(scores, labels)
    assert variance == pytest.approx(expected, rel=1e-12)
    resamples = draw_resamples(np.arange(600), 4000)
    values = resampled_aurocs(scores[:, None], labels[:, None], np.ones((600, 1), bool), resamples)[0]
    # The standard error of a standard deviation over 4,000 values is 1/sqrt(8000) = 1.1% of it.
    assert values.std(ddof=1) == pytest.approx(variance**0.5, rel=0.05)


def test_delong_needs_two_of_each_class():
    assert delong_variance(np.arange(5.0), np.array([1, 0, 0, 0, 0])) is None


def test_clustered_resampling_is_wider_than_by_image_where_a_patients_images_are_alike():
    rng = np.random.default_rng(4)
    patient_labels = (rng.random(150) < 0.4).astype(np.int8)
    patient_scores = rng.normal(size=150) + patient_labels
    scores, labels = np.repeat(patient_scores, 4)[:, None], np.repeat(patient_labels, 4)[:, None]
    known, patients = np.ones_like(labels, bool), np.repeat(np.arange(150), 4)
    clustered = resampled_aurocs(scores, labels, known, draw_resamples(patients, 1000))[0].std()
    by_image = resampled_aurocs(scores, labels, known, draw_resamples(np.arange(600), 1000))[0].std()
    assert clustered / by_image == pytest.approx(2.0, rel=0.1)  # four copies: as if sqrt(4) times too sure


def test_a_95_percent_interval_covers_93_to_97_percent():
    """Two images of each of 120 patients, correlated; the true AUROC of a shift by 1 is Phi(1 / sqrt(2)) = 0.7602."""
    rng, covered, repeats = np.random.default_rng(11), 0, 1000
    patients = np.repeat(np.arange(120), 2)
    for repeat in range(repeats):
        labels = np.repeat(rng.random(120) < 0.4, 2).astype(np.int8)
        own, shared = rng.normal(size=240), np.repeat(rng.normal(size=120), 2)
        scores = (np.sqrt(0.5) * own + np.sqrt(0.5) * shared + labels)[:, None]
        resamples = draw_resamples(patients, 256, seed=repeat)
        values = resampled_aurocs(scores, labels[:, None], np.ones((240, 1), bool), resamples)[0]
        interval = percentile_interval(values)
        covered += interval.low <= 0.760250 <= interval.high
    assert 0.93 <= covered / repeats <= 0.97


def test_a_difference_on_the_same_resamples_covers_too_and_is_narrower_than_on_others():
    rng, covered, repeats = np.random.default_rng(12), 0, 600
    narrower = []
    for repeat in range(repeats):
        labels = (rng.random(200) < 0.4).astype(np.int8)
        shared = rng.normal(size=200)
        methods = np.stack([shared + 0.5 * rng.normal(size=200), shared + 0.5 * rng.normal(size=200)], axis=1)
        methods += labels[:, None]
        two = np.stack([labels, labels], axis=1)
        values = resampled_aurocs(methods, two, two >= 0, draw_resamples(np.arange(200), 256, seed=repeat))
        interval = percentile_interval(values[0] - values[1])
        covered += interval.low <= 0.0 <= interval.high
        narrower.append((values[0] - values[1]).std() / np.hypot(values[0].std(), values[1].std()))
    assert 0.93 <= covered / repeats <= 0.97
    assert np.mean(narrower) < 0.6


def test_no_warning_where_nothing_is_defined():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert percentile_interval(np.full(10, np.nan)).defined == 0
        assert percentile_interval(np.array([])).num == 0
