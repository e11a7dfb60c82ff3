"""Do the numbers beside a feature map mean what they say: 0.5 and 1 for one population, 1 and 0 for two apart?"""

import numpy as np
import pytest
from sklearn.neighbors import NearestNeighbors

from sweep.figures.separation import classifier_auroc, knn_mixing, separation, tsne


def sets(shift: float, count: int = 200, seed: int = 0):
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(2 * count, 16)).astype(np.float32)
    second = np.arange(2 * count) >= count
    features += np.where(second, shift, -shift)[:, None]
    patients = np.array([f"{int(s)}/{i // 2}" for i, s in enumerate(second)])
    return features, second, patients


def test_one_population_cannot_be_told_apart():
    values = [separation(*sets(0.0, seed=seed)) for seed in range(5)]
    assert np.mean([v.classifier_auroc for v in values]) == pytest.approx(0.5, abs=0.05)
    assert np.mean([v.mixing for v in values]) == pytest.approx(1.0, abs=0.05)


def test_two_populations_apart_are_told_apart():
    found = separation(*sets(5.0))
    assert found.classifier_auroc == 1.0 and found.mixing < 0.01


def test_images_of_one_patient_are_in_one_fold_and_no_neighbours():
    rng = np.random.default_rng(1)
    # Every patient has a place of their own; the sets do not differ but by patients.
    place = rng.normal(size=(80, 100)) * 10
    features = np.repeat(place, 10, axis=0) + rng.normal(size=(800, 100)) * 0.01
    patients = np.repeat(np.arange(80), 10).astype(str)
    second = np.repeat(np.arange(80) % 2 == 1, 10)
    assert abs(classifier_auroc(features, second, patients) - 0.5) < 0.25
    assert classifier_auroc(features, second, np.arange(800).astype(str)) > 0.9  # what a split by image would say
    assert knn_mixing(features, second, patients) == pytest.approx(1, abs=0.2)
    assert knn_mixing(features, second, np.arange(800).astype(str)) < 0.7


def test_mixing_is_that_of_scikit_learns_neighbours():
    features, second, _ = sets(0.4)
    alone = np.arange(len(features)).astype(str)
    near = NearestNeighbors(n_neighbors=16, metric="cosine").fit(features).kneighbors(features)[1][:, 1:]
    share = np.mean(second[near] != second[:, None])
    chance = 200 / 399
    assert knn_mixing(features, second, alone) == pytest.approx(share / chance, abs=1e-6)


def test_too_few_patients_give_no_number():
    features, second, _ = sets(0.0, count=20)
    patients = np.where(second, "one", "other")
    found = separation(features, second, patients)
    assert found.classifier_auroc is None


def test_the_map_is_the_same_each_time_and_shows_two_clusters():
    features, second, _ = sets(3.0, count=60)
    first, again = tsne(features), tsne(features)
    assert first.shape == (120, 2) and np.array_equal(first, again)
    near = NearestNeighbors(n_neighbors=6).fit(first).kneighbors(first)[1][:, 1:]
    assert np.mean(second[near] == second[:, None]) > 0.95


def test_equal_features_are_refused():
    with pytest.raises(ValueError, match="all features are equal"):
        tsne(np.ones((30, 4)))
