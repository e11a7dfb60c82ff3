"""The order of an epoch: a permutation of the kept rows, the same for any number of workers and from any step."""

from itertools import pairwise

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from datasets_io.corpus.order import epoch_order, windows, worker_rows
from datasets_io.corpus.read import CorpusIndex, StreamPlan, resident_batches


def index_of(group_rows: list[int], kept: np.ndarray) -> CorpusIndex:
    places = [("train/00000.parquet", i) for i in range(len(group_rows))]
    return CorpusIndex(group_rows, places, kept, 2, [f"report {i}" for i in range(len(kept))])


@settings(max_examples=50, deadline=None)
@given(
    groups=st.lists(st.integers(1, 9), min_size=1, max_size=8),
    seed=st.integers(0, 99),
    epoch=st.integers(0, 5),
    window=st.integers(1, 40),
    data=st.data(),
)
def test_an_epoch_is_a_permutation_of_the_kept_rows(groups, seed, epoch, window, data):
    kept = np.array(data.draw(st.lists(st.booleans(), min_size=sum(groups), max_size=sum(groups))))
    order = epoch_order(groups, kept, seed, epoch, window)
    assert sorted(order) == list(np.flatnonzero(kept))
    offsets = [(w.offset, len(w.rows)) for w in windows(groups, kept, seed, epoch, window)]
    assert offsets[0][0] == 0 and all(a[0] + a[1] == b[0] for a, b in pairwise(offsets))


def test_epochs_and_seeds_differ_and_repeat():
    kept = np.ones(100, dtype=bool)
    first = epoch_order([25] * 4, kept, 0, 0, 1000)
    assert np.array_equal(first, epoch_order([25] * 4, kept, 0, 0, 1000))
    assert not np.array_equal(first, epoch_order([25] * 4, kept, 0, 1, 1000))
    assert not np.array_equal(first, epoch_order([25] * 4, kept, 1, 0, 1000))


def test_a_window_as_large_as_the_corpus_mixes_all_groups():
    order = epoch_order([50, 50], np.ones(100, dtype=bool), 3, 0, 1000)
    assert 10 < (order[:50] < 50).sum() < 40


def test_workers_share_every_global_batch_and_a_resumed_stream_goes_on():
    kept = np.ones(64, dtype=bool)
    kept[[3, 17]] = False
    index = index_of([10, 20, 34], kept)
    pixels = np.arange(64, dtype=np.uint8)[:, None, None].repeat(2, 1).repeat(2, 2)

    def batches(rank, world, start):
        plan = StreamPlan(7, 8, 3, 25, rank, world)
        return [batch.pixels[:, 0, 0] for batch in resident_batches(pixels, index, plan, start)]

    whole = batches(0, 1, 0)
    assert len(whole) == 3 * (62 // 8)
    for world in (2, 4):
        parts = [batches(rank, world, 0) for rank in range(world)]
        for step, batch in enumerate(whole):
            assert np.array_equal(np.concatenate([part[step] for part in parts]), batch)
    for start in (0, 1, 7, 8, 20):
        again = batches(0, 1, start)
        assert len(again) == len(whole) - start and all(map(np.array_equal, again, whole[start:]))


def test_worker_rows_are_disjoint_and_complete():
    place = np.arange(100)
    parts = np.stack([worker_rows(place, 20, rank, 4) for rank in range(4)])
    assert (parts.sum(axis=0) == 1).all() and (parts.sum(axis=1) == 25).all()


def test_a_window_holds_the_kept_rows_of_its_groups_and_closes_when_it_is_full():
    groups, kept = [2, 5, 3, 4, 1, 6], np.ones(21, dtype=bool)
    kept[[0, 9, 10, 14]] = False
    starts = [0, 2, 7, 10, 14, 15, 21]
    for seed in range(20):
        for window_rows in (1, 4, 7, 100):
            made = list(windows(groups, kept, seed, 3, window_rows))
            assert sorted(group for window in made for group in window.groups) == list(range(6))
            for window in made:
                rows = {row for group in window.groups for row in range(starts[group], starts[group + 1]) if kept[row]}
                assert len(window.rows) == len(rows) and set(window.rows.tolist()) == rows
            for window in made[:-1]:
                sizes = [int(kept[starts[g] : starts[g + 1]].sum()) for g in window.groups]
                assert sum(sizes) >= window_rows > sum(sizes[:-1]), "closed by the first group that fills it"
            assert [window.offset for window in made] == [sum(len(w.rows) for w in made[:i]) for i in range(len(made))]


def test_a_window_that_is_filled_exactly_is_closed():
    sizes = [len(window.rows) for window in windows([2, 2, 2, 2], np.ones(8, dtype=bool), 0, 0, 4)]
    assert sizes == [4, 4]


def test_the_places_of_a_worker_are_its_slice_of_every_batch():
    """8 rows a batch and 2 workers: rank 1 has the places 4 to 7, 12 to 15, ..."""
    found = np.flatnonzero(worker_rows(np.arange(24), 8, 1, 2)).tolist()
    assert found == [4, 5, 6, 7, 12, 13, 14, 15, 20, 21, 22, 23]
    assert np.flatnonzero(worker_rows(np.arange(12), 6, 0, 3)).tolist() == [0, 1, 6, 7]
