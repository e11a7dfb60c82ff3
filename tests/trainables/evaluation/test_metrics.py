"""Are AUROC, AUPRC and calibration right: against scikit-learn, scipy, torchmetrics, with ties, masks, one class."""

import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import mannwhitneyu
from sklearn.metrics import average_precision_score, brier_score_loss, roc_auc_score
from torchmetrics.functional.classification import binary_average_precision, binary_calibration_error

from trainables.evaluation import metrics
from trainables.evaluation.metrics import (
    FindingAuroc,
    auroc,
    auroc_per_finding,
    average_precision,
    brier,
    calibration_error,
    macro,
)


def by_pairs(scores, labels):
    positives, negatives = scores[labels == 1], scores[labels == 0]
    wins = (positives[:, None] > negatives[None, :]) + 0.5 * (positives[:, None] == negatives[None, :])
    return wins.mean()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("decimals", [None, 3, 1, 0])
@pytest.mark.parametrize("prevalence", [0.002, 0.2, 0.5, 0.97])
def test_equals_scikit_learn_and_mann_whitney(dtype, decimals, prevalence):
    rng = np.random.default_rng(7)
    labels = (rng.random((3000, 4)) < prevalence).astype(np.int8)
    labels[0], labels[1] = 1, 0
    scores = rng.normal(size=labels.shape) + labels
    scores = (scores if decimals is None else np.round(scores, decimals)).astype(dtype)
    for f, finding in enumerate(auroc_per_finding(scores, labels)):
        assert finding.auroc == pytest.approx(roc_auc_score(labels[:, f], scores[:, f]), abs=1e-12)
        test = mannwhitneyu(scores[labels[:, f] == 1, f], scores[labels[:, f] == 0, f])
        assert finding.auroc == pytest.approx(test.statistic / (finding.n_pos * finding.n_neg), abs=1e-12)


score = st.one_of(
    st.sampled_from([0.0, -0.0, 1.0, 0.5, float("inf"), float("-inf"), 1e300, 2e300, -1e300, 5e-324, 1e-46]),
    st.floats(allow_nan=False),
    st.integers(-3, 3).map(lambda k: 1.0 + k * 2.0**-40),  # differ as float64, equal as float32
)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(score, st.booleans()), min_size=2, max_size=30))
def test_equals_counting_all_pairs(rows):
    scores = np.array([value for value, _ in rows])
    labels = np.array([int(label) for _, label in rows])
    expected = None if len(set(labels)) == 1 else by_pairs(scores, labels)
    assert auroc(scores, labels) == (None if expected is None else pytest.approx(expected, abs=1e-12))


def test_scores_equal_only_as_float32_are_no_ties():
    scores = np.array([0.5, 0.5 + 1e-12, 0.5 + 2e-12, 0.5 + 3e-12])
    assert auroc(scores, np.array([0, 1, 0, 1])) == 0.75
    assert auroc(scores.astype(np.float32), np.array([0, 1, 0, 1])) == 0.5


def test_masked_labels_are_left_out_whatever_they_are():
    rng = np.random.default_rng(0)
    scores, labels = rng.random(200), rng.integers(0, 2, 200).astype(np.int8)
    known = rng.random(200) < 0.7
    hidden = np.where(known, labels, -1)
    expected = pytest.approx(roc_auc_score(labels[known], scores[known]), abs=1e-12)
    for whatever in (hidden, labels, np.where(known, labels, 1), np.where(known, labels, 0)):
        assert auroc(scores, whatever, known) == expected
    with pytest.raises(ValueError, match="-1"):
        auroc(scores, hidden)


def test_undefined_findings_keep_their_place_and_name_and_are_not_counted():
    scores = np.array([[0.1, 0.9, 0.2], [0.8, 0.3, 0.7], [0.4, 0.5, 0.9]])
    labels = np.array([[0, 0, 1], [1, 0, 1], [0, 0, 0]])
    findings = auroc_per_finding(scores, labels, findings=("edema", "fracture", "hernia"))
    assert findings == (
        FindingAuroc("edema", 1.0, 1, 2),
        FindingAuroc("fracture", None, 0, 3),
        FindingAuroc("hernia", 0.0, 2, 1),
    )
    assert macro(findings) == 0.5
    assert macro(findings[1:2]) is None
    assert macro(()) is None


def test_a_mean_over_defined_findings_is_not_what_a_library_macro_gives():
    scores = np.array([[0.9, 0.5], [0.1, 0.6], [0.5, 0.7]])
    labels = np.array([[1, 0], [0, 0], [1, 0]])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert np.isnan(roc_auc_score(labels, scores, average="macro"))
    assert macro(auroc_per_finding(scores, labels)) == 1.0


def test_float_labels_as_the_loss_takes_them():
    assert auroc(np.array([0.2, 0.8]), np.array([0.0, 1.0], dtype=np.float32)) == 1.0


def test_no_images_is_undefined():
    assert auroc_per_finding(np.zeros((0, 1)), np.zeros((0, 1))) == (FindingAuroc("0", None, 0, 0),)


def test_nan_scores_are_refused_by_name():
    scores = np.array([[0.1], [np.nan], [0.3]])
    with pytest.raises(ValueError, match="edema: 1 of 3 scores are NaN"):
        auroc_per_finding(scores, np.array([[0], [1], [1]]), findings=("edema",))


@pytest.mark.parametrize(
    ("scores", "labels", "findings"), [((3, 2), (3, 1), None), ((3, 2), (3, 2), ("only one",)), ((3,), (3,), None)]
)
def test_shapes_that_do_not_fit_are_refused(scores, labels, findings):
    with pytest.raises(ValueError):
        auroc_per_finding(np.zeros(scores), np.zeros(labels), findings=findings)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("decimals", [None, 3, 1, 0])
@pytest.mark.parametrize("prevalence", [0.002, 0.2, 0.5, 0.97])
def test_average_precision_equals_scikit_learn_and_torchmetrics(dtype, decimals, prevalence):
    rng = np.random.default_rng(8)
    labels = (rng.random(2000) < prevalence).astype(np.int8)
    labels[0], labels[1] = 1, 0
    scores = 1 / (1 + np.exp(-(rng.normal(size=2000) + labels)))
    scores = (scores if decimals is None else np.round(scores, decimals)).astype(dtype)
    ours = average_precision(scores, labels)
    assert ours == pytest.approx(average_precision_score(labels, scores), abs=1e-12)
    tensors = torch.from_numpy(scores), torch.from_numpy(labels.astype(np.int64))
    assert ours == pytest.approx(float(binary_average_precision(*tensors)), abs=2e-6)  # theirs is in float32


@pytest.mark.parametrize("decimals", [None, 3, 1])
@pytest.mark.parametrize("prevalence", [0.01, 0.3, 0.9])
def test_brier_equals_scikit_learn(decimals, prevalence):
    rng = np.random.default_rng(9)
    labels = (rng.random(1500) < prevalence).astype(np.int8)
    labels[0], labels[1] = 1, 0
    probabilities = rng.random(1500) if decimals is None else np.round(rng.random(1500), decimals)
    assert brier(probabilities, labels) == pytest.approx(brier_score_loss(labels, probabilities), abs=1e-12)


@pytest.mark.parametrize("num_bins", [4, 15, 16])
@pytest.mark.parametrize("ties", [False, True])
def test_calibration_error_equals_torchmetrics(num_bins, ties):
    rng = np.random.default_rng(10)
    labels = (rng.random(3000) < 0.3).astype(np.int64)
    probabilities = np.clip(rng.beta(1, 3, size=3000) + 0.2 * labels, 0, 0.999)
    if ties:  # multiples of 1/32, exact in binary, many of them on an edge of 4 and of 16 bins
        probabilities = np.floor(probabilities * 32) / 32
    probabilities = probabilities.astype(np.float32)
    expected = binary_calibration_error(torch.from_numpy(probabilities), torch.from_numpy(labels), n_bins=num_bins)
    assert calibration_error(probabilities, labels, num_bins) == pytest.approx(float(expected), abs=2e-6)


def test_calibration_error_by_hand():
    probabilities, labels = np.array([0.1, 0.3, 0.8, 1.0]), np.array([0, 1, 1, 1])
    # Two bins: |0.4 - 1| of the lower, |1.8 - 2| of the upper one, over four images.
    assert calibration_error(probabilities, labels, 2) == pytest.approx((0.6 + 0.2) / 4)
    assert calibration_error(np.array([1.0, 1.0]), np.array([1, 1])) == 0.0


def test_each_bin_counts_for_itself_and_the_last_one_holds_its_upper_end():
    assert calibration_error(np.array([0.1, 0.9]), np.array([1, 0]), 2) == pytest.approx(0.9)
    # 0.9 and 1.0 are of one bin, where one is 0.1 too low and the other 1 too high.
    assert calibration_error(np.array([0.9, 1.0]), np.array([1, 0]), 2) == pytest.approx(0.9 / 2)
    assert calibration_error(np.array([0.5, 0.6]), np.array([1, 0]), 2) == pytest.approx(0.1 / 2), "a lower edge is in"


def test_there_are_fifteen_bins_by_default():
    rng = np.random.default_rng(4)
    probabilities, labels = rng.random(300), rng.integers(0, 2, 300)
    found = [calibration_error(probabilities, labels, bins) for bins in (14, 15, 16)]
    assert calibration_error(probabilities, labels) == found[1] and len(set(found)) == 3


def test_threads_find_what_one_finds(monkeypatch):
    rng = np.random.default_rng(5)
    scores, labels = rng.normal(size=(50, 6)), rng.integers(0, 2, (50, 6))
    alone = auroc_per_finding(scores, labels)
    monkeypatch.setattr(metrics, "THREADS_PAY", 1)
    assert auroc_per_finding(scores, labels) == alone


def test_what_is_wrong_is_named_by_its_first_place():
    with pytest.raises(ValueError, match=r"finding 1: label 3 in row 1"):
        auroc_per_finding(np.zeros((3, 2)), np.array([[1, 0], [0, 3], [2, 1]]))
    with pytest.raises(ValueError, match="3 findings for 2 columns"):
        auroc_per_finding(np.zeros((1, 2)), np.zeros((1, 2)), findings=("a", "b", "c"))
    with pytest.raises(ValueError, match=r"known \(3, 1\)"):
        auroc_per_finding(np.zeros((3, 2)), np.zeros((3, 2)), np.ones((3, 1)))
    with pytest.raises(ValueError, match=r"such as 1\.5"):
        brier(np.array([0.5, 1.5, -2.0]), np.array([0, 1, 1]))


def test_nothing_to_measure_has_no_number():
    empty = np.array([])
    assert brier(empty, empty) is None and calibration_error(empty, empty) is None
    for labels in ([0, 0], [1, 1], []):
        assert average_precision(np.linspace(0, 1, len(labels)), np.array(labels)) is None


@pytest.mark.parametrize("measure", [brier, calibration_error])
@pytest.mark.parametrize("wrong", [1.2, -0.1, float("nan")])
def test_what_is_no_probability_is_refused(measure, wrong):
    with pytest.raises(ValueError, match="1 of 2 probabilities are NaN or outside 0 to 1"):
        measure(np.array([0.5, wrong]), np.array([0, 1]))
