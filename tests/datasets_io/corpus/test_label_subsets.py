"""Label subsets: the stated size, the same for every method, different for every seed."""

from itertools import pairwise

import numpy as np
import pytest

from datasets_io.corpus.label_subsets import VALIDATION, ids_sha256, label_subset


@pytest.mark.parametrize("sampler", ["image", "patient", "stratified"])
@pytest.mark.parametrize("percent", [1, 10, 100])
def test_size_and_determinism(sampler, percent):
    patients = np.array([f"p{i // 3}" for i in range(1000)])
    labels = (np.random.default_rng(0).random((1000, 2)) < 0.2).astype(np.float32)
    chosen = label_subset(1000, percent, 4, sampler, patients, labels)
    assert len(chosen) == 1000 * percent // 100 and len(set(chosen)) == len(chosen)
    assert np.array_equal(chosen, label_subset(1000, percent, 4, sampler, patients, labels))
    if percent < 100:
        assert not np.array_equal(chosen, label_subset(1000, percent, 5, sampler, patients, labels))


@pytest.mark.parametrize("sampler", ["image", "patient", "stratified"])
def test_a_smaller_percentage_lies_within_a_larger_one(sampler):
    """As in the paper's released code, which takes the first so many of one permutation."""
    patients = np.array([f"p{i // 3}" for i in range(2000)])
    labels = (np.random.default_rng(0).random((2000, 3)) < 0.2).astype(np.float32)
    for seed in range(5):
        subsets = [label_subset(2000, percent, seed, sampler, patients, labels) for percent in (1, 10, 37, 100)]
        for smaller, larger in pairwise(subsets):
            assert len(smaller) < len(larger) and np.isin(smaller, larger).all()


def test_the_papers_one_percent_lies_within_its_ten():
    for seed in (0, 1):
        assert np.isin(label_subset(191_027, 1, seed), label_subset(191_027, 10, seed)).all()


def test_validation_images_are_drawn_by_a_stream_of_their_own():
    both = [label_subset(10_000, 10, 3), label_subset(10_000, 10, 3, stream=VALIDATION)]
    # Of two independent tenths a tenth is in both: 100 of 1,000, with a standard deviation of 9.
    assert 60 < np.isin(*both).sum() < 140
    assert np.isin(label_subset(10_000, 1, 3, stream=VALIDATION), both[1]).all()


def test_the_papers_counts():
    assert len(label_subset(191_027, 1, 0)) == 1_910
    assert len(label_subset(78_468, 1, 0)) == 784


def test_a_tiny_set_keeps_one_image():
    assert len(label_subset(20, 1, 0)) == 1


def test_patients_are_drawn_whole():
    patients = np.array([f"p{i // 5}" for i in range(500)])
    chosen = set(patients[label_subset(500, 10, 1, "patient", patients)])
    assert len(chosen) == 10


def test_stratified_keeps_each_combinations_share():
    labels = np.array([[1.0]] * 100 + [[0.0]] * 900)
    chosen = label_subset(1000, 10, 2, "stratified", labels=labels)
    assert 8 <= (chosen < 100).sum() <= 12


def test_unknown_sampler_names_the_known_ones():
    with pytest.raises(ValueError, match="image, patient, stratified"):
        label_subset(10, 10, 0, "study")


def test_the_hash_is_of_the_ids():
    assert ids_sha256(["a", "b"]) != ids_sha256(["b", "a"]) and ids_sha256(["a"]) == ids_sha256(["a"])


@pytest.mark.parametrize(("sampler", "needed"), [("patient", "patient_ids"), ("stratified", "labels")])
def test_a_sampler_without_its_array_is_refused_by_name(sampler, needed):
    with pytest.raises(ValueError, match=f"{sampler}.* without {needed}"):
        label_subset(100, 10, seed=0, sampler=sampler)


@pytest.mark.parametrize("percent", [10, 30])
def test_stratified_keeps_the_share_of_each_of_many_combinations(percent):
    """Three combinations and more: with two, ranks that were given to the wrong ones would still be even."""
    labels = np.array([[0, 0]] * 500 + [[0, 1]] * 300 + [[1, 0]] * 150 + [[1, 1]] * 50)
    for seed in range(5):
        chosen = label_subset(1000, percent, seed, "stratified", labels=labels)
        for values in np.unique(labels, axis=0):
            members = (labels == values).all(axis=1)
            assert abs(members[chosen].sum() - members.sum() * percent / 100) <= 1, values


def test_stratified_draws_a_combination_of_one_image_as_often_as_its_share():
    labels = np.array([[1]] + [[0]] * 99)
    drawn = [0 in label_subset(100, 30, seed, "stratified", labels=labels) for seed in range(200)]
    assert 40 <= sum(drawn) <= 80, "30% of 200, four standard errors either way"


def test_the_whole_is_taken_without_any_draw_and_nearly_all_is_not():
    for sampler in ("image", "patient", "stratified"):
        assert np.array_equal(label_subset(50, 100, 0, sampler), np.arange(50)), "needs no patients and no labels"
    assert len(label_subset(200, 99, 0)) == 198


@pytest.mark.parametrize("sampler", ["image", "patient", "stratified"])
def test_indices_are_sorted_and_every_image_may_be_drawn(sampler):
    patients, labels = np.array([f"p{i // 3}" for i in range(60)]), np.arange(60)[:, None] % 2
    seen: set[int] = set()
    for seed in range(60):
        chosen = label_subset(60, 10, seed, sampler, patients, labels)
        assert (np.diff(chosen) > 0).all()
        seen |= set(chosen.tolist())
    assert seen == set(range(60))


def test_patients_are_taken_whole_but_for_the_last_one():
    patients = np.array([f"p{i % 25}" for i in range(100)])  # four images each, far apart
    for seed in range(10):
        chosen = patients[label_subset(100, 10, seed, "patient", patients)]
        counts = sorted(np.unique(chosen, return_counts=True)[1])
        assert counts == [2, 4, 4]


def test_the_hash_is_sha256_of_the_lines():
    assert ids_sha256(["a", "b"]) == "7e18f737311b2dc3b2f269dd78396b0351f14fb66efa879f768cb23181883c78"
