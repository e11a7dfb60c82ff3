"""Pairs of one study in a batch: the formula against epochs that are drawn and counted."""

from itertools import permutations, product

import numpy as np
import pytest

from datasets_io.corpus.batch_pairs import BATCH, WINDOW, BatchPairs, batch_pairs, describe
from datasets_io.corpus.order import epoch_order
from trainables.recipe import PretrainRecipe


def counted(group_rows, kept, owners, window, batch, epochs=400):
    """Mean over the whole batches of many epochs, and its standard error over epochs."""
    means = []
    for epoch in range(epochs):
        order = owners[epoch_order(group_rows, kept, 1, epoch, window)]
        batches = [order[start : start + batch] for start in range(0, len(order) - batch + 1, batch)]
        sizes = np.concatenate([np.unique(rows, return_counts=True)[1] for rows in batches])
        means.append((sizes * (sizes - 1) / 2).sum() / len(batches))
    return np.mean(means), np.std(means) / np.sqrt(epochs)


GROUPS = [16] * 12
N = sum(GROUPS)
ARCHIVE = np.arange(N) // 3  # three images a study, one behind the other
SHUFFLED = np.random.default_rng(0).permutation(ARCHIVE)


@pytest.mark.parametrize("window", [1, 16, 40, 64, 10**6])
@pytest.mark.parametrize("batch", [8, 20, 64])
@pytest.mark.parametrize("owners", [ARCHIVE, SHUFFLED], ids=["archive", "shuffled"])
def test_the_formula_is_what_drawn_epochs_have(window, batch, owners):
    kept = np.ones(N, dtype=bool)
    found = batch_pairs(GROUPS, kept, owners, window, batch)
    mean, error = counted(GROUPS, kept, owners, window, batch)
    assert found.expected == pytest.approx(mean, abs=4 * error + 1e-9)
    # The last batch is no exception: of N rows, any two of N (N - 1) / 2 pairs are equally likely to be in a batch.
    assert found.uniform == pytest.approx((N // 3) * 3 * batch * (batch - 1) / (N * (N - 1)), rel=1e-12)


def test_unequal_groups_and_rows_that_take_no_part():
    rng = np.random.default_rng(2)
    groups = [16, 16, 9, 16, 16, 16, 3, 16, 16, 7]
    kept = rng.random(sum(groups)) < 0.8
    owners = np.arange(sum(groups)) // 4
    for window, batch in ((1, 8), (30, 12), (50, 16)):
        found = batch_pairs(groups, kept, owners, window, batch)
        mean, error = counted(groups, kept, owners, window, batch)
        assert found.expected == pytest.approx(mean, rel=0.03, abs=4 * error)


def test_one_window_is_uniform_and_the_archives_order_is_not():
    kept = np.ones(N, dtype=bool)
    whole = batch_pairs(GROUPS, kept, ARCHIVE, N, 16)
    assert whole.expected == pytest.approx(whole.uniform, rel=1e-12)
    assert batch_pairs(GROUPS, kept, ARCHIVE, 1, 16).expected > 5 * whole.uniform
    assert batch_pairs(GROUPS, kept, np.arange(N), 1, 16) == BatchPairs(0.0, 0.0), "every image its own study"


def every_order(group_rows, kept, window):
    """Every epoch that can be drawn: row groups in any order, cut into windows, each window in any order."""
    starts = np.cumsum([0, *group_rows])
    for groups in permutations(range(len(group_rows))):
        parts, rows = [], []
        for group in groups:
            rows += [row for row in range(starts[group], starts[group + 1]) if kept[row]]
            if len(rows) >= window:
                parts, rows = [*parts, rows], []
        yield from (sum(order, ()) for order in product(*(permutations(part) for part in (*parts, rows))))


@pytest.mark.parametrize("window", [1, 3, 6])
@pytest.mark.parametrize("batch", [2, 3, 4, 5, 6])
@pytest.mark.parametrize(("owners", "pairs"), [([3, 3, 3, 0, 0, 3, 0], 6), ([3, 3, 3, 0, 0, 1, 2], 2)])
def test_three_row_groups_in_every_order_that_can_be_drawn(window, batch, owners, pairs):
    """Each has two rows that take part, so the formula is exact; behind the last whole batch rows are left out."""
    group_rows, owners = [3, 2, 2], np.array(owners)
    kept = np.array([True, False, True, True, True, True, True])
    counts = []
    for order in every_order(group_rows, kept, window):
        batches = [owners[list(order[start : start + batch])] for start in range(0, 6 - batch + 1, batch)]
        sizes = np.array([np.bincount(rows, minlength=4) for rows in batches])
        counts.append((sizes * (sizes - 1) / 2).sum() / len(batches))
    found = batch_pairs(group_rows, kept, owners, window, batch)
    assert found.expected == pytest.approx(np.mean(counts), rel=1e-12)
    assert found.uniform == pytest.approx(pairs * batch * (batch - 1) / (6 * 5), rel=1e-12)


def test_a_row_group_of_one_row_has_no_pair_and_takes_none_from_the_others():
    groups, kept, owners = [1, 16, 16, 16], np.ones(49, bool), np.arange(49) // 4
    mean, error = counted(groups, kept, owners, 1, 8)
    assert batch_pairs(groups, kept, owners, 1, 8).expected == pytest.approx(mean, rel=0.03, abs=4 * error)


def test_unequal_groups_have_the_same_number_in_every_manifest():
    """Of them a few epochs are averaged: always the same ones, so that a corpus built again says the same."""
    found = batch_pairs([5, 2, 9, 4], np.ones(20, bool), np.arange(20) // 2, 6, 7)
    assert found.expected == pytest.approx(1.7752759738539934, rel=1e-12)


def test_small_corpora():
    assert batch_pairs([], np.empty(0, bool), np.empty(0, int), 10, 4) == BatchPairs(0.0, 0.0)
    assert batch_pairs([1], np.ones(1, bool), np.zeros(1, int), 10, 4) == BatchPairs(0.0, 0.0)
    assert batch_pairs([3], np.ones(3, bool), np.zeros(3, int), 10, 256) == BatchPairs(3.0, 3.0), "a batch of all"


def test_the_defaults_are_those_of_a_pretraining():
    defaults = PretrainRecipe.__dataclass_fields__
    assert (defaults["global_batch_size"].default, defaults["shuffle_window"].default) == (BATCH, WINDOW)
    owners = np.arange(N) // 2
    assert describe(GROUPS, np.ones(N, bool), owners, owners // 2) == {
        "batch_size": BATCH,
        "window": WINDOW,
        "pairs_of_one": {"study": {"expected": 96, "uniform": 96}, "patient": {"expected": 288, "uniform": 288}},
    }


@pytest.mark.parametrize("window", [1, 1000, WINDOW])
def test_a_tenth_of_mimic_in_both_orders(window):
    """MIMIC-CXR 2.0.0 has 65,379 patients, 227,835 studies and 377,110 images, 83% of them with an impression."""
    rng = np.random.default_rng(0)
    of_study = np.repeat(np.arange(6538), rng.geometric(6538 / 22_784, 6538))
    study = np.repeat(np.arange(len(of_study)), rng.choice([1, 2, 3, 4], len(of_study), p=[0.50, 0.37, 0.10, 0.03]))
    kept = (rng.random(len(of_study)) < 0.83)[study]
    groups = [256] * (len(study) // 256) + [len(study) % 256]
    shuffled = rng.permutation(len(study))
    for owners in (study, of_study[study]):
        archive = batch_pairs(groups, kept, owners, window)
        hashed = batch_pairs(groups, kept[shuffled], owners[shuffled], window)
        assert hashed.expected == pytest.approx(hashed.uniform, rel=0.2)
        assert archive.uniform == pytest.approx(hashed.uniform, rel=1e-9)
        assert archive.expected > 1.9 * archive.uniform
