"""Are AUROCs those of scikit-learn, and what each patient moves them by the definition, for any labels and ties?"""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from sweep.statistics.placements import classes_of, macro_influence, place, presort
from trainables.evaluation.metrics import auroc


def made_up(num_images=400, num_patients=150, num_findings=4, decimals=2, seed=0):
    """Scores with many ties, labels of several prevalences, some unknown, several images of a patient."""
    rng = np.random.default_rng(seed)
    patients = rng.integers(0, num_patients, num_images)
    labels = rng.random((num_images, num_findings)) < np.linspace(0.02, 0.5, num_findings)
    scores = np.round(rng.normal(size=labels.shape) + labels, decimals).astype(np.float32)
    known = rng.random(labels.shape) < 0.9
    return scores, labels.astype(np.int8), known, patients


def by_definition(scores, labels, patients):
    """AUROC and what each patient moves it by, of one finding, from the matrix of all pairs."""
    names = np.unique(patients)
    positives, negatives = np.flatnonzero(labels == 1), np.flatnonzero(labels == 0)
    wins = (scores[positives][:, None] > scores[negatives]) + 0.5 * (scores[positives][:, None] == scores[negatives])
    moved = np.zeros(len(names))
    for images, placements in ((positives, wins.mean(axis=1)), (negatives, wins.mean(axis=0))):
        counts = np.array([(patients[images] == name).sum() for name in names])
        size = counts.sum() ** 2 / (counts**2).sum()
        for image, placement in zip(images, placements, strict=True):
            factor = np.sqrt(size / (size - 1)) if size >= 2 else np.sqrt(size)
            moved[names == patients[image]] += factor * (placement - wins.mean()) / len(images)
    return wins.mean(), moved


@pytest.mark.parametrize("decimals", [0, 1, 7])
def test_aurocs_and_influence_equal_the_definition_with_ties_and_unknown_labels(decimals):
    scores, labels, known, patients = made_up(decimals=decimals)
    ours = place(scores, classes_of(labels, known, patients))
    assert ours.influence.shape == (4, len(np.unique(patients)))
    for f in range(4):
        k = known[:, f]
        assert ours.aurocs[f] == pytest.approx(roc_auc_score(labels[k, f], scores[k, f]), abs=1e-12)
        expected, moved = by_definition(scores[k, f], labels[k, f], patients[k])
        assert ours.aurocs[f] == pytest.approx(expected, abs=1e-12)
        present = np.isin(np.unique(patients), patients[k])
        np.testing.assert_allclose(ours.influence[f][present], moved, rtol=0, atol=1e-12)
        assert (ours.influence[f][~present] == 0).all()


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 1), st.integers(0, 5)), min_size=1, max_size=25))
def test_equals_auroc_for_any_small_set(images):
    scores, labels, patients = (np.array(column) for column in zip(*images, strict=True))
    ours = place(scores[:, None].astype(float), classes_of(labels[:, None], np.ones((len(images), 1), bool), patients))
    expected = auroc(scores, labels)
    if expected is None:
        assert np.isnan(ours.aurocs[0]) and (ours.influence == 0).all()
    else:
        assert ours.aurocs[0] == pytest.approx(expected, abs=1e-12)
        np.testing.assert_allclose(ours.influence[0], by_definition(scores, labels, patients)[1], rtol=0, atol=1e-12)


@pytest.mark.parametrize("decimals", [0, 7])
def test_with_one_image_of_each_patient_the_sum_of_squares_is_delongs_variance(decimals):
    rng = np.random.default_rng(2)
    labels = (rng.random(600) < 0.3).astype(np.int8)
    scores = np.round(rng.normal(size=600) + labels, decimals)
    positives, negatives = scores[labels == 1], scores[labels == 0]
    wins = (positives[:, None] > negatives) + 0.5 * (positives[:, None] == negatives)
    expected = wins.mean(axis=1).var(ddof=1) / len(positives) + wins.mean(axis=0).var(ddof=1) / len(negatives)
    ours = place(scores[:, None], classes_of(labels[:, None], np.ones((600, 1), bool), np.arange(600)))
    assert (ours.influence**2).sum() == pytest.approx(expected, rel=1e-12)


def test_four_copies_of_each_image_are_no_more_sure_than_one_and_as_images_would_be_twice_as_sure():
    rng = np.random.default_rng(4)
    labels = (rng.random(150) < 0.4).astype(np.int8)
    scores = rng.normal(size=150) + labels

    def sd(times, patients):
        copied = np.repeat(labels, times)[:, None]
        classes = classes_of(copied, np.ones(copied.shape, bool), patients)
        return np.sqrt((place(np.repeat(scores, times)[:, None], classes).influence ** 2).sum())

    assert sd(4, np.repeat(np.arange(150), 4)) == pytest.approx(sd(1, np.arange(150)), rel=1e-12)
    assert sd(4, np.repeat(np.arange(150), 4)) / sd(4, np.arange(600)) == pytest.approx(2.0, rel=0.02)


def test_the_effective_number_of_patients_is_that_of_kish():
    labels = np.array([1, 1, 1, 1, 1, 0, 0, 0])[:, None]
    patients = np.array(["a", "a", "a", "b", "c", "c", "d", "e"])
    classes = classes_of(labels, np.ones(labels.shape, bool), patients)
    # Positive images: a has 3, b and c 1: 25 / 11. Negative images: c, d and e have 1 each.
    np.testing.assert_allclose(classes.sizes, [[25 / 11, 3]])
    assert classes.positive.tolist() == [[True, True, True, False, False]] and classes.num_patients == 5


def test_an_image_without_a_part_has_no_code_and_one_patient_is_one():
    labels, known = np.array([[1, 0], [0, 1], [1, 1], [0, 0]]), np.array([[1, 0], [0, 0], [1, 1], [0, 0]], bool)
    classes = classes_of(labels, known, np.array(["b", "a", "c", "d"]))
    assert classes.codes.tolist() == [[1, -1], [-1, -1], [1, 1], [-1, -1]]
    assert classes.patients.tolist() == [1, 2] and classes.rows[[0, 2]].tolist() == [0, 1] and (classes.rows >= 0).all()
    assert classes.sizes.tolist() == [[2, 0], [1, 0]] and classes.positive.tolist() == [[True, True], [False, True]]
    alone = classes_of([[1], [0], [1]], np.ones((3, 1)), ["a", "a", "a"])
    assert alone.sizes.tolist() == [[1, 1]] and alone.positive.tolist() == [[True]]


@pytest.mark.parametrize("num_findings", [0, 3])
def test_without_an_image_that_has_a_part_shapes_stay(num_findings):
    shape = 5, num_findings
    classes = classes_of(np.zeros(shape), np.zeros(shape), np.arange(5))
    assert classes.positive.shape == (num_findings, 0) and classes.sizes.shape == (num_findings, 2)
    placed = place(np.zeros(shape), classes)
    assert placed.influence.shape == (num_findings, 0) and placed.aurocs.shape == (num_findings,)


def test_a_mean_over_findings_is_moved_by_the_mean_of_what_moves_each_that_is_defined():
    rng = np.random.default_rng(12)
    labels, known = rng.integers(0, 2, (40, 3)).astype(np.int8), np.ones((40, 3), bool)
    labels[:, 1], known[:4] = 0, False  # the second finding has no positive, and two patients no part
    patients = np.arange(40) // 2
    classes = classes_of(labels, known, patients)
    placed = place(rng.normal(size=(40, 3)) + labels, classes)
    moved = macro_influence(placed, classes)
    assert moved.shape == (20,) and (moved[:2] == 0).all()
    np.testing.assert_allclose(moved[2:], (placed.influence[0] + placed.influence[2]) / 2, rtol=1e-15)
    assert np.isnan(macro_influence(place(np.zeros((40, 3)), classes_of(labels * 0, known, patients)), classes)).all()


@pytest.mark.parametrize(
    ("positives", "known"),
    [([0], False), ([0, 1], False), ([0, 2], False), ([2, 3], False), ([0, 1, 2, 3], False), ([2, 3, 4], True)],
)
def test_classes_of_fewer_than_three_patients_say_nothing_of_patients(positives, known):
    """Images 0 and 1 are of one patient, each other one of its own; 2, 1 and 1 images are of 16 / 6 patients."""
    labels = np.zeros((12, 1), np.int8)
    labels[positives] = 1
    for sign in (labels, 1 - labels):
        classes = classes_of(sign, np.ones((12, 1)), np.array([0, 0, *range(1, 11)]))
        moved = macro_influence(place(np.arange(12.0)[:, None] % 5, classes), classes)
        assert moved.shape == (11,) and np.isfinite(moved).all() == known == np.isfinite(moved).any()


def test_a_subset_of_images_is_asked_for_by_known_and_keeps_the_numbers_of_its_patients():
    scores, labels, known, patients = made_up()
    inside = patients % 3 == 1
    orders = presort(scores)
    classes = classes_of(labels, known & inside[:, None], patients)
    part = place(scores, classes, orders)
    alone = place(scores[inside], classes_of(labels[inside], known[inside], patients[inside]))
    np.testing.assert_array_equal(
        np.unique(patients)[classes.patients], np.unique(patients[inside & known.any(axis=1)])
    )
    np.testing.assert_allclose(part.aurocs, alone.aurocs, rtol=0, atol=1e-15)
    np.testing.assert_allclose(part.influence, alone.influence, rtol=0, atol=1e-15)
    assert classes.num_patients == len(np.unique(patients))


@pytest.mark.parametrize("label", [0, 1])
def test_one_class_only_is_undefined(label):
    labels = np.full((20, 1), label, np.int8)
    ours = place(np.arange(20.0)[:, None], classes_of(labels, labels >= 0, np.arange(20)))
    assert np.isnan(ours.aurocs[0]) and (ours.influence == 0).all()


def test_images_none_of_which_has_a_part_have_no_patients():
    labels = np.zeros((20, 2), np.int8)
    classes = classes_of(labels, np.zeros(labels.shape, bool), np.arange(20))
    assert classes.patients.size == 0 and (classes.sizes == 0).all()
    assert np.isnan(place(np.zeros((20, 2)), classes).aurocs).all()


def test_what_cannot_be_measured_is_refused_in_words():
    scores, labels, known, patients = made_up(20)
    classes = classes_of(labels, known, patients)
    with pytest.raises(ValueError, match="must be of the same images"):
        place(scores[:5], classes)
    with pytest.raises(ValueError, match="all must be of the same images"):
        classes_of(labels, known, patients[:5])
    scores[3, 1] = np.nan
    with pytest.raises(ValueError, match="1 of 80 scores are NaN"):
        place(scores, classes)
