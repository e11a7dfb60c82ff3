"""Which images form a group, and which groups are compared on which findings?"""

import numpy as np
import pyarrow as pa
import pytest

from sweep.statistics.placements import classes_of, place, presort
from sweep.statistics.subgroups import age_band, attributes_of, group_names, place_groups, widest_gap


@pytest.mark.parametrize(
    ("age", "band"),
    [
        (0, "0-19"),
        (19, "0-19"),
        (20, "20-39"),
        (59, "40-59"),
        (79, "60-79"),
        (80, "80+"),
        (120, "80+"),
        (121, "unknown"),
        (414, "unknown"),
        (-1, "unknown"),
        (None, "unknown"),
    ],
)
def test_age_bands(age, band):
    assert age_band(age) == band


def test_groups_follow_the_images_not_the_rows_of_the_shards():
    metadata = pa.table(
        {
            "image_id": ["b", "a"],
            "sex": ["F", None],
            "age": pa.array([45, 12], pa.int16()),
            "view_position": ["PA", "AP"],
        }
    )
    names = group_names(metadata, np.array(["a", "b", "c"]))
    assert names == {
        "sex": ["unknown", "F", "unknown"],
        "age_band": ["0-19", "40-59", "unknown"],
        "view_position": ["AP", "PA", "unknown"],
    }


def attribute(groups, labels, known=None):
    labels = np.array(labels, dtype=np.int8)
    known = np.ones(labels.shape, bool) if known is None else known
    patients = np.array([f"p{i // 2}" for i in range(len(groups))])
    return attributes_of({"sex": groups}, patients, labels, known)[0]


def test_groups_are_compared_on_findings_that_have_both_classes_in_each():
    groups = ["F"] * 30 + ["M"] * 30 + ["unknown"] * 30
    labels = np.zeros((90, 3), np.int8)
    labels[::3] = 1
    labels[30:60, 2] = 0  # no man has the third finding
    found = attribute(groups, labels)
    assert found.groups == ("F", "M", "unknown") and found.compared == ("F", "M")
    assert found.findings.tolist() == [True, True, False]
    assert (found.num_images, found.num_patients, found.fewest_positives) == ((30, 30, 30), (15, 15, 15), 10)


def test_a_group_of_few_images_or_findings_does_not_take_the_findings_from_the_others():
    groups = ["F"] * 40 + ["M"] * 19 + ["O"] * 31
    labels = np.zeros((90, 4), np.int8)
    labels[::3] = 1
    labels[59:, 1:] = 0  # the third group has one finding of four
    found = attribute(groups, labels)
    assert found.compared == ("F",) and found.findings.all()


def test_unknown_labels_are_no_class():
    labels = np.tile([[1], [0]], (20, 1))
    known = np.ones(labels.shape, bool)
    known[20::2] = False  # in the second group only negatives are known
    found = attribute(["F"] * 20 + ["M"] * 20, labels, known)
    assert found.compared == ("F",)


def test_without_any_usable_finding_nothing_is_compared():
    found = attribute(["F"] * 25 + ["M"] * 25, np.zeros((50, 2)))
    assert found.compared == () and found.fewest_positives is None
    scores = np.zeros((50, 2))
    assert found.classes == () and place_groups(found, scores, presort(scores)) == ()


def test_a_group_is_placed_on_its_own_images():
    rng = np.random.default_rng(0)
    groups, labels, scores = (
        ["F", "M"] * 50,
        np.tile([[1, 0], [1, 1], [0, 1], [0, 0], [1, 0]], (20, 1)),
        rng.random((100, 2)),
    )
    found = attribute(groups, labels)
    women, men = place_groups(found, scores, presort(scores))
    for placed, classes, first in ((women, found.classes[0], 0), (men, found.classes[1], 1)):
        patients = [f"p{i // 2}" for i in range(first, 100, 2)]
        alone = place(scores[first::2], classes_of(labels[first::2], np.ones((50, 2), bool), patients))
        np.testing.assert_allclose(placed.aurocs, alone.aurocs, atol=1e-15)
        np.testing.assert_allclose(placed.influence, alone.influence, atol=1e-15)
        assert classes.num_patients == 50


def test_the_gap_is_between_the_highest_and_the_lowest():
    assert widest_gap(np.array([0.7, 0.9, 0.6])) == (1, 2)


@pytest.mark.parametrize(("age", "band"), [(1, "0-19"), (39, "20-39"), (40, "40-59"), (60, "60-79"), (81, "80+")])
def test_the_ends_of_a_band_are_in_it(age, band):
    assert age_band(age) == band


def test_a_group_with_half_of_the_findings_is_compared_and_one_with_fewer_is_not():
    labels = np.zeros((60, 5), np.int8)
    labels[0:20:2, :4] = 1  # the first group has both classes of four, the fifth finding has no positive at all
    labels[20:40:2, :2] = 1  # the second of two, half of four
    labels[40:60:2, :1] = 1  # the third of one
    found = attribute(["A"] * 20 + ["B"] * 20 + ["C"] * 20, labels)
    assert found.compared == ("A", "B") and found.findings.tolist() == [True, True, False, False, False]
    assert found.fewest_positives == 10 and found.num_images == (20, 20, 20)
    thirds = attribute(["A"] * 20 + ["B"] * 20 + ["C"] * 20, labels[:, [0, 1, 2]])
    assert thirds.compared == ("A", "B"), "one of three is less than half"


def test_groups_without_a_finding_in_common_are_not_compared():
    labels = np.zeros((40, 4), np.int8)
    labels[:20:2, :2] = 1
    labels[20::2, 2:] = 1
    found = attribute(["A"] * 20 + ["B"] * 20, labels)
    assert found.compared == () and found.fewest_positives is None and not found.findings.any()


def test_codes_and_labels_of_groups_agree():
    found = attribute(["unknown", "M", "F", "M"], [[1], [0], [1], [0]])
    assert found.groups == ("F", "M", "unknown") and found.codes.tolist() == [2, 1, 0, 1]
    assert (found.num_images, found.num_patients) == ((1, 2, 1), (1, 2, 1))


def test_a_group_of_positives_alone_has_no_auroc():
    labels = np.array([[1], [0]] * 10 + [[1]] * 20)
    assert attribute(["A"] * 20 + ["B"] * 20, labels).compared == ("A",)
    known = np.ones((40, 1), bool)
    known[20:30] = False
    labels[20:30] = 0  # what is not known is no negative
    assert attribute(["A"] * 20 + ["B"] * 20, labels, known).compared == ("A",)
