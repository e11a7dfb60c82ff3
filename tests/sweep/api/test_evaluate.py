"""Are the numbers of sweep.evaluate and sweep.compare those of independent implementations, and of a report?"""

import math

import numpy as np
import pandas
import pytest
import torch
from scipy import stats
from sklearn.metrics import average_precision_score, roc_auc_score

import sweep

FINDINGS = ["atelectasis", "edema", "rare", "absent"]


@pytest.fixture(scope="module")
def data():
    """600 images of 300 patients, four findings of which one is never positive; some labels are unknown."""
    generator = np.random.default_rng(0)
    labels = (generator.random((600, 4)) < [0.4, 0.2, 0.01, 0.0]).astype(float)
    labels[generator.random(labels.shape) < 0.1] = np.nan
    noise = generator.normal(size=(2, 3, 600, 4)).round(1)  # with ties
    first, second = (strength * np.nan_to_num(labels) + noise[i] for i, strength in enumerate((1.0, 1.6)))
    return first, second, labels, generator.integers(0, 300, 600)


def by_value(frame: pandas.DataFrame) -> dict:
    return {row["value"]: row for row in frame.to_dict("records")}


# -- independent: placements by all pairs, sums over patients, formulas of docs/statistics.md --------------------------


def moved(scores: np.ndarray, labels: np.ndarray, patients: np.ndarray) -> tuple[float, np.ndarray, dict]:
    """AUROC, what each patient moves it by (m - 1 in the divisor), and effective patients of each class."""
    known = ~np.isnan(labels)
    scores, labels, patients = scores[known], labels[known], patients[known]
    pos, neg = scores[labels == 1], scores[labels == 0]
    wins = (pos[:, None] > neg) + 0.5 * (pos[:, None] == neg)
    total, effective = np.zeros(300), {}
    for label, placements in ((1, wins.mean(axis=1)), (0, wins.mean(axis=0))):
        who = patients[labels == label]
        counts = np.bincount(who, minlength=300)
        effective[label] = counts.sum() ** 2 / (counts**2).sum()
        scale = math.sqrt(effective[label] / (effective[label] - 1))
        for patient, placement in zip(who, placements, strict=True):
            total[patient] += scale * (placement - wins.mean()) / len(who)
    return float(wins.mean()), total, effective


def interval_of_one(scores, labels, patients) -> tuple[float, float]:
    """The module text of patient_intervals.py, for one finding: both added patients in full, r = 1."""
    auroc, total, effective = moved(scores, labels, patients)
    known = ~np.isnan(labels)
    positive = np.isin(np.arange(300), patients[known & (labels == 1)])
    v_pos, v_neg = (total[positive] ** 2).sum(), (total[~positive] ** 2).sum()
    m, n, d = effective[1], effective[0], auroc - 0.5
    with_added = [d**2 / (k + 1) ** 2 - v / k + v for k, v in ((m, v_pos), (n, v_neg))]
    centre = auroc - d * (with_added[0] / (m + 1) + with_added[1] / (n + 1)) / sum(with_added)
    freedom = (v_pos + v_neg) ** 2 / (v_pos**2 / m + v_neg**2 / n) + 10
    half = stats.t.ppf(0.975, freedom) * math.sqrt(sum(with_added))
    place = stats.norm.ppf(centre)
    ends = [stats.norm.cdf(place + sign * half / stats.norm.pdf(place)) for sign in (-1, 1)]
    return min(ends[0], auroc), max(ends[1], auroc)


def test_aurocs_and_precision_are_scikit_learns(data):
    first, _, labels, patients = data
    rows = by_value(sweep.evaluate(first[0], labels, patients, FINDINGS))
    aurocs = {}
    for f, finding in enumerate(FINDINGS[:3]):
        known = ~np.isnan(labels[:, f])
        aurocs[finding] = roc_auc_score(labels[known, f], first[0][known, f])
        precision = average_precision_score(labels[known, f], first[0][known, f])
        assert rows[finding]["auroc"] == pytest.approx(aurocs[finding], abs=1e-12)
        assert rows[finding]["auprc"] == pytest.approx(precision, abs=1e-12)
        assert rows[finding]["n_pos"] == (labels[:, f] == 1).sum()
        assert rows[finding]["n_neg"] == (labels[:, f] == 0).sum()
    assert rows["macro_defined"]["auroc"] == pytest.approx(np.mean(list(aurocs.values())), abs=1e-12)
    assert rows["macro_10_positives"]["n_findings"] == 2


def test_what_is_undefined_is_said_to_be(data):
    first, _, labels, patients = data
    rows = by_value(sweep.evaluate(first[0], labels, patients, FINDINGS))
    assert math.isnan(rows["absent"]["auroc"]) and rows["absent"]["n_pos"] == 0 and rows["absent"]["n"] == 0
    assert math.isnan(rows["absent"]["patients_low"]) and "absent" in rows["absent"]["patients_note"]
    assert not math.isnan(rows["rare"]["auroc"]) and math.isnan(rows["rare"]["patients_low"])
    assert "fewer than 10 positive patients" in rows["rare"]["patients_note"]
    assert rows["macro_competition"]["n_findings"] == 0 and math.isnan(rows["macro_competition"]["auroc"])
    compared = by_value(sweep.compare(first[0], first[0], labels, patients, FINDINGS))
    assert math.isnan(compared["absent"]["difference"]) and math.isnan(compared["edema"]["p_both"])
    assert compared["edema"]["difference"] == 0


def test_intervals_over_patients_are_those_of_the_formula(data):
    first, _, labels, patients = data
    rows = by_value(sweep.evaluate(first[0], labels, patients, FINDINGS))
    for f in (0, 1):
        low, high = interval_of_one(first[0][:, f], labels[:, f], patients)
        assert rows[FINDINGS[f]]["patients_low"] == pytest.approx(low, abs=1e-9)
        assert rows[FINDINGS[f]]["patients_high"] == pytest.approx(high, abs=1e-9)


def test_intervals_over_patients_are_near_a_bootstrap_of_patients(data):
    """With 180 positive patients its percentiles are a good interval, whose own error is some percent of the width."""
    first, _, labels, patients = data
    known = ~np.isnan(labels[:, 0])
    scores, truth, who = first[0][known, 0], labels[known, 0], patients[known]
    images = [np.flatnonzero(who == patient) for patient in np.unique(who)]
    generator, found = np.random.default_rng(1), []
    for _ in range(1000):
        drawn = np.concatenate([images[i] for i in generator.integers(0, len(images), len(images))])
        ranks, positive = stats.rankdata(scores[drawn]), truth[drawn] == 1
        n_pos, n_neg = positive.sum(), (~positive).sum()
        found.append((ranks[positive].sum() - n_pos * (n_pos + 1) / 2) / (n_pos * n_neg))
    low, high = np.percentile(found, [2.5, 97.5])
    row = by_value(sweep.evaluate(first[0], labels, patients, FINDINGS))["atelectasis"]
    assert row["patients_low"] == pytest.approx(low, abs=0.15 * (high - low))
    assert row["patients_high"] == pytest.approx(high, abs=0.15 * (high - low))


def test_a_difference_is_tested_over_patients(data):
    """One set of scores each: DeLong's test, clustered by patient, with Student's distribution."""
    first, second, labels, patients = data
    rows = by_value(sweep.compare(second[0], first[0], labels, patients, FINDINGS))
    p_values = []
    for f in (0, 1):
        (a, of_a, _), (b, of_b, _) = (moved(scores[0][:, f], labels[:, f], patients) for scores in (second, first))
        squares = (of_a - of_b) ** 2
        freedom = squares.sum() ** 2 / (squares**2).sum() - 1
        p_values.append(2 * stats.t.sf(abs(a - b) / math.sqrt(squares.sum()), freedom))
        row = rows[FINDINGS[f]]
        assert row["difference"] == pytest.approx(a - b, abs=1e-12)
        assert row["p_both"] == pytest.approx(p_values[-1], rel=1e-6)
        half = stats.t.ppf(0.975, freedom) * math.sqrt(squares.sum())
        assert row["ci95_both"] == pytest.approx(half, abs=1e-9)
        assert math.isnan(row["ci95"]) and row["n"] == 1
    third = rows["rare"]["p_both"]
    ordered = sorted([*p_values, third])
    worst = max(ordered[0] * 3, min(1, ordered[1] * 2), ordered[2])  # Holm (1979), the largest of three
    assert max(rows[name]["p_both_holm"] for name in FINDINGS[:3]) == pytest.approx(min(1, worst), rel=1e-6)


def test_seeds_have_an_interval_of_their_own(data):
    first, second, labels, patients = data
    rows = by_value(sweep.evaluate(first, labels, patients, FINDINGS))
    each = [by_value(sweep.evaluate(one, labels, patients, FINDINGS))["edema"]["auroc"] for one in first]
    assert rows["edema"]["auroc"] == pytest.approx(np.mean(each), abs=1e-12) and rows["edema"]["n"] == 3
    half = stats.t.ppf(0.975, 2) * stats.sem(each)
    assert rows["edema"]["ci95"] == pytest.approx(half, abs=1e-12)
    compared = by_value(sweep.compare(second, first, labels, patients, FINDINGS))["edema"]
    others = [by_value(sweep.evaluate(one, labels, patients, FINDINGS))["edema"]["auroc"] for one in second]
    differences = np.subtract(others, each)
    assert compared["difference"] == pytest.approx(differences.mean(), abs=1e-12)
    assert compared["ci95"] == pytest.approx(stats.t.ppf(0.975, 2) * stats.sem(differences), abs=1e-12)
    influences = [
        np.mean([moved(one[:, 1], labels[:, 1], patients)[1] for one in scores], axis=0) for scores in (second, first)
    ]
    squares = (influences[0] - influences[1]) ** 2
    freedom = squares.sum() ** 2 / (squares**2).sum() - 1
    parts = [stats.t.ppf(0.975, 2) * stats.sem(differences), stats.t.ppf(0.975, freedom) * math.sqrt(squares.sum())]
    assert compared["ci95_both"] == pytest.approx(math.hypot(*parts), abs=1e-9)  # Banerjee (1961)


def test_scores_are_taken_as_people_have_them(data):
    first, _, labels, patients = data
    expected = sweep.evaluate(first[0], labels, patients, FINDINGS)
    frame, truth = pandas.DataFrame(first[0], columns=FINDINGS), pandas.DataFrame(labels, columns=FINDINGS)
    turned = frame[FINDINGS[::-1]].assign(more=1.0)  # other columns, another order
    pandas.testing.assert_frame_equal(sweep.evaluate(turned, truth, patients), expected)
    lists = [[None if np.isnan(value) else int(value) for value in row] for row in labels]
    pandas.testing.assert_frame_equal(sweep.evaluate(first[0].tolist(), lists, patients, FINDINGS), expected)
    several = sweep.evaluate(first, labels, patients, FINDINGS)
    frames = [pandas.DataFrame(one, columns=FINDINGS) for one in first]
    pandas.testing.assert_frame_equal(sweep.evaluate(frames, truth, patients), several)
    one = by_value(sweep.evaluate(first[0][:, 0], labels[:, 0], patients, ["edema"]))
    assert one["edema"]["auroc"] == by_value(expected)["atelectasis"]["auroc"]
    alone = by_value(sweep.evaluate(first[0], labels, findings=FINDINGS))
    assert alone["edema"]["auroc"] == by_value(expected)["edema"]["auroc"]
    assert alone["edema"]["patients_low"] != by_value(expected)["edema"]["patients_low"]


def test_findings_take_the_columns_of_both_frames_by_their_names(data):
    first, second, labels, patients = data
    frames = [pandas.DataFrame(values, columns=FINDINGS) for values in (first[0], second[0], labels)]
    turned = FINDINGS[::-1]
    for found, expected in (
        (sweep.evaluate(frames[0], frames[2], patients, turned), sweep.evaluate(frames[0], frames[2], patients)),
        (sweep.compare(*frames, patients, turned), sweep.compare(*frames, patients)),
    ):
        found, expected = found.set_index("value"), expected.set_index("value")
        pandas.testing.assert_frame_equal(found.loc[list(expected.index)], expected)
    few = by_value(sweep.evaluate(frames[0], frames[2], patients, ["edema"]))
    assert few["edema"]["auroc"] == by_value(sweep.evaluate(frames[0], frames[2]))["edema"]["auroc"]
    numbered = [pandas.DataFrame(values) for values in (first[0], labels)]  # whose columns pandas has numbered
    pandas.testing.assert_frame_equal(
        sweep.evaluate(*numbered, patients, FINDINGS), sweep.evaluate(first[0], labels, patients, FINDINGS)
    )


def test_series_keep_their_name_and_tensors_their_values(data):
    first, _, labels, patients = data
    named = pandas.Series(first[0][:, 1], name="edema"), pandas.Series(labels[:, 1], name="edema")
    expected = sweep.evaluate(first[0][:, 1], labels[:, 1], patients, ["edema"])
    pandas.testing.assert_frame_equal(sweep.evaluate(*named, pandas.Series(patients)), expected)
    tensor = torch.tensor(first, requires_grad=True)
    expected = sweep.evaluate(first, labels, patients)
    for scores in (tensor, list(tensor)):
        pandas.testing.assert_frame_equal(sweep.evaluate(scores, torch.tensor(labels), patients), expected)


def test_patients_are_known_and_in_the_order_of_the_labels(data):
    first, _, labels, patients = data
    scores, truth = pandas.DataFrame(first[0], columns=FINDINGS), pandas.DataFrame(labels, columns=FINDINGS)
    with pytest.raises(ValueError, match="patients have another index than the labels"):
        sweep.evaluate(scores, truth, pandas.Series(patients).sample(frac=1, random_state=0))
    for missing in (None, math.nan, pandas.NA, pandas.NaT):
        lacking = [missing if row % 10 == 3 else str(name) for row, name in enumerate(patients)]
        with pytest.raises(ValueError, match=r"the patient of 60 of 600 images is not known, the first in row 3: "):
            sweep.evaluate(first[0], labels, lacking)


def test_what_is_masked_is_not_known(data):
    first, _, labels, patients = data
    unknown = np.isnan(labels)
    masked = np.ma.array(np.where(unknown, 1, labels).astype(int), mask=unknown)
    expected = sweep.evaluate(first, labels, patients, FINDINGS)
    for truth in (masked, list(masked)):
        pandas.testing.assert_frame_equal(sweep.evaluate(first, truth, patients, FINDINGS), expected)
    seeds = [np.ma.array(one, mask=False) for one in first]
    pandas.testing.assert_frame_equal(sweep.evaluate(seeds, labels, patients, FINDINGS), expected)
    seeds[1].mask = np.zeros(labels.shape, bool)
    seeds[1][7, 2] = np.ma.masked
    with pytest.raises(ValueError, match=r"scores: 1 of 7200 are NaN, the first of rare in row 7"):
        sweep.evaluate(seeds, labels, patients, FINDINGS)
    with pytest.raises(ValueError, match=r"the patient of 1 of 600 images is not known, the first in row 5"):
        sweep.evaluate(first, labels, np.ma.array(patients, mask=np.arange(600) == 5))


def test_notes_say_why_there_is_no_mean(data):
    first, second, labels, patients = data
    named = ["Atelectasis", "Cardiomegaly", "Consolidation", "Edema", "Pleural Effusion"]
    five = [np.resize(values[..., :2], (*values.shape[:-1], 5)) for values in (first[0], second[0], labels)]
    right = [name.lower().replace(" ", "_") for name in named]
    wrong = "it is of atelectasis, cardiomegaly, consolidation, edema, pleural_effusion, and no finding is called "
    for names, note in (
        (named, wrong + "atelectasis or cardiomegaly or consolidation or edema or pleural_effusion"),
        ([*right[:4], "effusions"], wrong + "pleural_effusion"),
        (right, ""),
        ([*right[:4], "effusion"], ""),
    ):
        row = by_value(sweep.evaluate(five[0], five[2], patients, names))["macro_competition"]
        compared = by_value(sweep.compare(*five, patients, names))["macro_competition"]
        assert row["patients_note"] == compared["patients_note"] == note and (row["n_findings"] == 5) == (not note)
    five[2][:, 3] = 0
    rows = by_value(sweep.evaluate(five[0], five[2], patients, right))
    assert rows["macro_competition"]["patients_note"] == "no AUROC: edema"
    few = by_value(sweep.evaluate([0.1, 0.2], [1, 0], None, ["edema"]))
    assert few["macro_10_positives"]["patients_note"] == "no finding with an AUROC has 10 positives"
    none = by_value(sweep.evaluate([0.1, 0.2], [0, 0], None, ["edema"]))
    assert none["macro_10_positives"]["patients_note"] == "no finding of the mean has an AUROC"


def test_a_finding_without_a_name_is_not_taken_for_a_count():
    scores = np.arange(20).reshape(10, 2)
    rows = by_value(sweep.evaluate(scores, [[1, 0], [0, 1]] * 5))
    assert rows["macro_defined"]["patients_note"] == "fewer than 10 positive patients: finding 0, finding 1"
    assert rows["0"]["patients_note"] == "fewer than 10 positive patients: finding 0"
    compared = by_value(sweep.compare(scores, scores, [[1, 0], [0, 1]] * 5))
    assert compared["1"]["patients_note"] == "fewer than 10 positive patients: finding 1"
    named = by_value(sweep.evaluate(scores, [[1, 0], [0, 1]] * 5, None, ["edema", "Pleural Effusion"]))
    assert named["macro_defined"]["patients_note"].endswith("patients: edema, pleural effusion")


def twice(values) -> pandas.DataFrame:
    return pandas.DataFrame(values, columns=["a", "b", "a", "b"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([0.1, 0.2], [1, -1]), "label -1 of finding 0 in row 1: allowed are 1, 0, and NaN"),
        (([0.1, float("nan")], [1, 0]), "scores: 1 of 2 are NaN, the first of finding 0 in row 1"),
        ((np.ma.array([0.1, 0.2], mask=[0, 1]), [1, 0]), "scores: 1 of 2 are NaN, the first of finding 0 in row 1"),
        (([0.1, 0.2], [1, 0], None, ["macro_defined"]), "a finding is called macro_defined, as a mean over findings"),
        (([0.1, 0.2], pandas.DataFrame({"macro_competition": [1, 0]})), "called macro_competition, as a mean"),
        (
            (twice([[1, 0] * 2] * 2), pandas.DataFrame({"a": [1, 0], "b": [0, 1]})),
            r"scores .* one name: 'a' \(2\), 'b' \(2\)",
        ),
        (([[1, 0]] * 2, twice([[1, 0] * 2] * 2), None, ["b", "a"]), r"labels .* 'a' \(2\), 'b' \(2\); keep one"),
        (([0.1, 0.2, 0.3], [1, 0]), r"scores have shape \(3,\), labels \(2,\)"),
        (([0.1, 0.2], [1, 0], ["a"]), r"patients have shape \(1,\): give one name for each of 2 images"),
        (([0.1, 0.2], [1, 0], None, "edema"), "give F distinct names"),
        (([0.1, 0.2], ["yes", "no"]), "labels are no numbers"),
        ((["a", "b"], [1, 0]), "scores are no numbers"),
        (([], []), r"labels have shape \(0,\)"),
        ((pandas.DataFrame({"edma": [0.1, 0.2]}), pandas.DataFrame({"edema": [1, 0]})), "did you mean 'edma'"),
        (([0.1, 0.2], pandas.DataFrame({"edema": [1, 0]}), None, ["edma"]), "labels have no column 'edma'.*'edema'"),
        ((pandas.Series([0.1, 0.2], index=[1, 2]), pandas.Series([1, 0])), "another index than the labels"),
    ],
)
def test_what_cannot_be_evaluated_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        sweep.evaluate(*arguments)


def test_seeds_of_a_comparison_are_pairs(data):
    first, second, labels, _ = data
    with pytest.raises(ValueError, match="first has 3 seeds, second 2"):
        sweep.compare(first, second[:2], labels)
