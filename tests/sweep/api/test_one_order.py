"""Are images, columns and seeds in another order matched by name or refused, and unknown values known to be so?"""

from itertools import pairwise

import numpy as np
import pandas
import pytest
import torch

import sweep

NAMES = ["edema", "x"]
OTHER = "have another index than"


@pytest.fixture(scope="module")
def data():
    """Scores, labels and patients of 400 images, as frames and a series with names of images."""
    generator = np.random.default_rng(0)
    labels = (generator.random((400, 2)) < 0.5).astype(float)
    scores = labels + generator.normal(size=(400, 2))
    index = pandas.Index([f"i{number}" for number in range(400)])
    patients = pandas.Series(np.repeat(np.arange(200), 2), index=index)
    return *(pandas.DataFrame(values, index, NAMES) for values in (scores, labels)), patients


def shuffled(values):
    return values.sample(frac=1, random_state=1)


def same(found: pandas.DataFrame, expected: pandas.DataFrame) -> None:
    pandas.testing.assert_frame_equal(found, expected)


# -- rows --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("of", [lambda frame: frame, lambda frame: frame["x"]], ids=["frame", "series"])
def test_two_sets_of_scores_are_of_the_same_rows(data, of):
    scores, labels, _ = data
    truth, one, other = of(labels).to_numpy(), of(scores), of(shuffled(scores))
    with pytest.raises(
        ValueError, match=rf"^second {OTHER} first: the same images in another order, row 0 is '.*'i0' "
    ):
        sweep.compare(one, other, truth)
    with pytest.raises(ValueError, match=rf"^second\[0\] {OTHER} first: "):
        sweep.compare(one, [other], truth)
    with pytest.raises(ValueError, match=rf"^scores\[1\] {OTHER} scores\[0\]: .* bring both into one order of images"):
        sweep.evaluate([one, other], truth)
    with pytest.raises(ValueError, match=rf"^scores\[2\] {OTHER} scores\[1\]: "):
        sweep.evaluate((one.to_numpy(), one, other), truth)
    same(sweep.compare(other, other, truth), sweep.compare(*[other.to_numpy()] * 2, truth))


def test_patients_are_of_the_rows_of_the_scores(data):
    scores, labels, patients = data
    for one in (scores, [scores.to_numpy(), scores]):
        with pytest.raises(
            ValueError, match=rf"^scores.* {OTHER} patients: the same images in another order, row 0 is"
        ):
            sweep.evaluate(one, labels.to_numpy(), shuffled(patients))
    with pytest.raises(ValueError, match=rf"^first {OTHER} patients: "):
        sweep.compare(scores["x"], scores["x"], labels["x"].to_numpy(), shuffled(patients))
    with pytest.raises(ValueError, match=rf"^scores {OTHER} patients: row 0 is 'i0', and 0 there; .*, or give arrays"):
        sweep.evaluate(scores, labels.to_numpy(), patients.reset_index(drop=True))
    with pytest.raises(ValueError, match=rf"^patients {OTHER} the labels: the same images in another order"):
        sweep.evaluate(scores.to_numpy(), labels, shuffled(patients))
    expected = sweep.evaluate(scores, labels, patients)
    same(sweep.evaluate(scores.to_numpy(), labels, patients), expected)
    same(sweep.evaluate(scores, labels.to_numpy(), patients, NAMES), expected)
    same(sweep.evaluate(scores.to_numpy(), labels.to_numpy(), shuffled(patients).sort_index(key=rank), NAMES), expected)


def rank(index: pandas.Index) -> pandas.Index:
    return index.str[1:].astype(int)


def test_an_index_is_the_same_as_whatever_type_it_is_stored(data):
    scores, labels, _ = data
    expected, four_times_each = sweep.evaluate(scores, labels), np.arange(400) % 100
    for dtype in (object, "string", "category"):
        same(sweep.evaluate(scores.set_axis(scores.index.astype(dtype)), labels), expected)
    for dtype in (object, "category", "Int64", "UInt16", "float", "int8"):
        index = pandas.Index(four_times_each).astype(dtype)
        same(sweep.evaluate(scores.set_axis(index), labels.set_axis(four_times_each)), expected)


def test_the_first_row_that_differs_is_named(data):
    scores, labels, _ = data
    for own, others, difference in (
        (map(str, range(400)), range(400), "row 0 is '0', and 0 there"),
        ([0, *range(2, 400), 1], range(400), "the same images in another order, row 1 is 2, and 1 there"),
        ([*"ba"] * 200, [*"ab"] * 200, "the same images in another order, row 0 is 'b', and 'a' there"),
        (pandas.Index([pandas.NA, *"bcd"] * 100, dtype=object), [*"abcd"] * 100, "row 0 is <NA>, and 'a' there"),
    ):
        with pytest.raises(ValueError, match=rf"^scores {OTHER} the labels: {difference}; bring both into one order"):
            sweep.evaluate(scores.set_axis(own), labels.set_axis(others))
    with pytest.raises(ValueError, match=rf"^scores\[0\] {OTHER} the labels: 2 images, and 400 there; "):
        sweep.evaluate([row for _, row in scores.iterrows()], labels)


def test_a_frame_of_seeds_has_images_as_columns(data):
    scores, labels, patients = data
    one, truth = pandas.DataFrame([scores["x"], -scores["x"]], index=["s0", "s1"]), labels["x"]
    expected = sweep.evaluate(one.to_numpy(), truth.to_numpy(), patients.to_numpy(), ["x"])
    for has in (truth, truth.to_numpy()):
        same(sweep.evaluate(one, has, patients, ["x"]), expected)
        with pytest.raises(ValueError, match=rf"^scores {OTHER} .*: the same images in another order"):
            sweep.evaluate(one[one.columns[::-1]], has, patients)
    with pytest.raises(
        ValueError, match=rf"^second {OTHER} first: the same seeds in another order, row 0 is 's1', and"
    ):
        sweep.compare(one, one[::-1], truth)
    with pytest.raises(ValueError, match=r"^scores\[1\] have shape \(399, 2\), scores\[0\] \(400, 2\): give one shape"):
        sweep.evaluate([scores, scores[1:]], labels.to_numpy())


def test_what_numpy_loses_is_kept_wherever_it_stands_in_a_list(data):
    scores, labels, _ = data
    truth, array = labels.to_numpy(), scores.to_numpy()
    expected = sweep.evaluate(np.stack([array, array]), truth, None, NAMES)
    same(sweep.evaluate([array, scores[NAMES[::-1]]], truth, None, NAMES), expected)
    same(sweep.evaluate([array, torch.tensor(array, requires_grad=True)], truth, None, NAMES), expected)
    masked = np.ma.array(array, mask=np.arange(800).reshape(400, 2) == 3)
    with pytest.raises(ValueError, match=r"^scores: 1 of 1600 are NaN, the first of finding 1 in row 1"):
        sweep.evaluate([array, masked], truth)
    with pytest.raises(ValueError, match=r"^scores: 1 of 2 are NaN, the first of finding 0 in row 1"):
        sweep.evaluate([0.1, np.ma.masked], [1, 0])


# -- columns -----------------------------------------------------------------------------------------------------------


def test_columns_of_two_sets_of_scores_are_the_same_ones(data):
    scores, labels, _ = data
    truth, turned = labels.to_numpy(), scores[NAMES[::-1]]
    for has in (truth, pandas.DataFrame(truth, labels.index)):
        with pytest.raises(
            ValueError,
            match=r"^second have other columns than first: column 0 is 'x', and 'edema' there, and labels have no "
            r"names to look for: give labels as a frame with names, or findings; or give arrays \(.to_numpy\(\)\) wh",
        ):
            sweep.compare(scores, turned, has)
        with pytest.raises(ValueError, match=r"^scores\[1\] have other columns than scores\[0\]: column 0 is 'x'"):
            sweep.evaluate([scores, turned], has)
        with pytest.raises(ValueError, match=r"^second have other columns than first: 3 of them, and 2 there"):
            sweep.compare(scores, scores.assign(more=0), has)
        same(sweep.compare(scores, scores, has), sweep.compare(*[scores.to_numpy()] * 2, has))
        numbered = scores.set_axis(range(2), axis=1)
        same(sweep.compare(numbered, scores, has), sweep.compare(scores, scores, has))
    same(sweep.compare(scores, turned, truth, None, NAMES), sweep.compare(scores, scores, labels))


@pytest.mark.parametrize(("one", "other"), [(0, 1), (10, 20), ("0", "1"), (0.0, 1.0), (False, True), (1, 2)])
def test_columns_are_matched_by_what_they_are_called(one, other):
    truth = np.repeat([1.0, 0], 200)
    for a, b in ((one, other), (other, one)):
        labels, scores = pandas.DataFrame({a: truth, b: 1 - truth}), pandas.DataFrame({b: 1 - truth, a: truth})
        for findings in (None, [a, b], [b, a]):
            found = sweep.evaluate(scores, labels, None, findings)
            assert found["auroc"].iloc[0] == 1 and set(found["value"].iloc[3:]) == {str(a), str(b)}, (a, findings)
        found = sweep.evaluate([scores, scores.iloc[:, ::-1]], labels)
        assert found["auroc"].iloc[0] == 1 and found["n"].iloc[0] == 2


def test_numbers_are_names_where_a_finding_is_called_so(data):
    scores, labels, _ = data
    three = [values.assign(more=values["x"]).set_axis(range(3), axis=1) for values in (scores, labels)]
    expected = sweep.evaluate(three[0], three[1]).iloc[[3, 5]].reset_index(drop=True)
    for findings in (None, [0, 2]):  # of labels without the column 1, and of all
        truth = three[1] if findings else three[1][[0, 2]]
        same(sweep.evaluate(three[0], truth, None, findings).iloc[3:].reset_index(drop=True), expected)
    for lacking in ([0, 1], [1, 3]):
        with pytest.raises(ValueError, match=rf"^scores have no column '2'; they have {lacking[0]}, {lacking[1]}"):
            sweep.evaluate(scores.set_axis(lacking, axis=1), labels.set_axis([1, 2], axis=1))
    with pytest.raises(ValueError, match=r"^scores have no column '0'; they have 1, 2"):
        sweep.evaluate(scores.set_axis([1, 2], axis=1), labels.set_axis([0, 1], axis=1))
    with pytest.raises(ValueError, match=r"^labels have no column '2'; they have 0, 1"):
        sweep.evaluate(scores, labels.set_axis([0, 1], axis=1), None, [1, 2])
    with pytest.raises(ValueError, match=r"^scores have the columns 1, 0, and labels have no names, so that they are "):
        sweep.evaluate(scores.set_axis([1, 0], axis=1), labels.to_numpy())
    by_place = [scores, scores.to_numpy(), scores.set_axis([0, 1], axis=1), scores.set_axis([10, 20], axis=1)]
    for truth in (labels.to_numpy(), labels.set_axis([0, 1], axis=1)):
        for a, b in pairwise(by_place):
            same(sweep.evaluate(a, truth), sweep.evaluate(b, truth))
    same(sweep.evaluate(by_place[2], labels), sweep.evaluate(scores, labels))


# -- what is not known -------------------------------------------------------------------------------------------------


def unknown_in(labels: pandas.DataFrame) -> pandas.DataFrame:
    found = labels.copy()
    found.iloc[::7, 0] = np.nan
    return found


def test_frames_of_nullable_types_are_taken(data):
    scores, labels, patients = data
    truth = unknown_in(labels)
    expected = sweep.evaluate(scores, truth, patients)
    for one in (
        truth.convert_dtypes(),
        truth.convert_dtypes(dtype_backend="pyarrow"),
        truth.astype("boolean"),
        truth.astype({"edema": "Int64", "x": bool}),
        truth.astype(object).where(truth.notna(), pandas.NA),
        truth.astype(object).where(truth.notna(), None),
        truth.astype("category"),
    ):
        same(sweep.evaluate(scores.convert_dtypes(), one, patients), expected)
        same(sweep.compare(scores, scores, one, patients), sweep.compare(scores, scores, truth, patients))
        same(sweep.evaluate(scores["edema"], one["edema"]), sweep.evaluate(scores["edema"], truth["edema"]))
        same(sweep.evaluate(scores, one.to_numpy().tolist(), patients, NAMES), expected)


def test_what_is_no_number_is_refused_beside_what_is_not_known(data):
    scores, labels, _ = data
    for one, message in (
        ([[1, "yes"], [pandas.NA, 0]], r"^labels are no numbers \(could not convert string to float: 'yes'\)"),
        ([np.array([1, 0]), np.array([1])], "^labels are no numbers"),
        (pandas.Series([np.array([1, 0]), np.array([1])]), "^labels are no numbers"),
    ):
        with pytest.raises(ValueError, match=message):
            sweep.evaluate([[0.1, 0.2], [0.3, 0.4]], one)
    lacking = scores.convert_dtypes()
    lacking.iloc[3, 1] = pandas.NA
    for one in (lacking, lacking.astype(object)):
        with pytest.raises(ValueError, match=r"^scores: 1 of 800 are NaN, the first of x in row 3"):
            sweep.evaluate(one, labels)
