"""Does the benchmark of the intervals over patients run, and print what every benchmark prints?"""

import numpy as np
from benchmark_lines import figures_of
from sklearn.metrics import roc_auc_score

from benchmarks import statistics


def test_quick(capsys):
    found = figures_of(statistics.main, "statistics", capsys)
    shares = {name: row["ours"] for name, row in found.items() if row["unit"] == "share"}
    assert all(0 <= share <= 1 for share in shares.values())
    # None where few patients are positive, and one in every test set where enough are.
    given = {name.removesuffix(": given"): share for name, share in shares.items() if name.endswith(": given")}
    assert given["8 of 300"] == given["macro of 13 findings of valid.csv"] == given["difference, 10 of 300"] == 0
    assert given["10 of 300"] == given["200 of 1000"] == given["macro of 10 findings of valid.csv"] == 1
    assert "8 of 300: mean coverage" not in shares and shares["10 of 300: mean coverage"] > 0.5
    assert found["largest_difference_500x14"]["ours"] <= 1e-12
    assert "bootstrap of 20 resamples" in found["sorting_placements_and_intervals_500x14"]["peer_name"]


def test_the_bootstraps_resamples_are_those_of_the_definition():
    """Each resample's AUROC is scikit-learn's of images that are there as often as their patient was drawn."""
    rng = np.random.default_rng(1)
    labels, patients = rng.random((60, 2)) < 0.3, np.arange(60) // 2
    scores = rng.normal(size=(60, 2)) + labels
    found = statistics.presorted_bootstrap(scores, labels.astype(np.int64), patients, 5)
    again = np.random.default_rng(0)
    for resample in range(6):
        drawn = again.integers(0, 30, 30) if resample else np.arange(30)
        rows = np.concatenate([np.flatnonzero(patients == patient) for patient in drawn])
        expected = roc_auc_score(labels[rows], scores[rows], average=None)
        np.testing.assert_allclose(found[resample], expected, atol=1e-12)
