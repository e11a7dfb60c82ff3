"""Is the time left what arithmetic says: by what each item costs, by how much ran at once, across pauses?"""

import pytest

from sweep.cli.display import duration_text
from sweep.status.eta import Eta, Piece, estimate, last_run, telling_runs
from sweep.studies.costs import ALONE, PRETRAINING, TOGETHER, Cost

FT, LP = Cost(ALONE, 1, 200, 2000, 1e10), Cost(TOGETHER, 0.2, 0, 300, 5e8)


def one_after_the_other(cost, seconds: float, count: int, start: float, cores: float | None = None) -> list[Piece]:
    return [Piece(cost, seconds, start + seconds * (place + 1), cores) for place in range(count)]


def test_one_worker_needs_the_sum_and_two_need_half():
    alone = one_after_the_other(FT, 60, 4, start=1000)
    one = estimate(alone, [FT] * 10)
    assert (one.per_hour, one.at_once, one.left) == (pytest.approx(60), pytest.approx(1), pytest.approx(600))
    assert (one.since, one.last) == (1000, 1240)
    two = estimate(alone + one_after_the_other(FT, 60, 4, start=1000), [FT] * 10)
    assert (two.at_once, two.left) == (pytest.approx(2), pytest.approx(300))


def test_each_cost_is_expected_to_take_what_its_own_took():
    done = one_after_the_other(LP, 1, 40, start=0) + one_after_the_other(FT, 100, 40, start=40)
    assert estimate(done, [FT, LP]).left == pytest.approx(101, rel=0.05)


def test_a_cost_of_which_nothing_has_finished_is_told_from_its_steps_and_flop():
    half = Cost(ALONE, 1, 100, 1000, 5e9)
    left = estimate(one_after_the_other(FT, 100, 20, start=0), [half]).left
    assert left == pytest.approx(50, rel=0.05)
    assert estimate([Piece(LP, 1, 101)], [Cost(PRETRAINING, 1, 500, 5e4, 2e11, 3e4)]).left > 100


def test_what_reads_data_that_is_not_there_is_not_known():
    assert estimate(one_after_the_other(FT, 100, 2, start=0), [FT, None]).left is None
    assert estimate([Piece(None, 100, 100)], [FT]).left is None


def test_a_cell_beside_others_took_longer_than_those_that_are_left_will():
    """A clock says 2 s a cell while a pretraining runs beside it, and 1 s after that: its core worked 1 s for both."""
    pretraining = Piece(Cost(PRETRAINING, 1, 500, 5e4, 2e11, 3e4), 100, 100, 50)
    done = [pretraining, *one_after_the_other(FT, 2, 50, start=0, cores=1.0)]
    assert estimate(done, [FT] * 30).left == pytest.approx(30, rel=0.05)
    without = [Piece(piece.cost, piece.seconds, piece.ended) for piece in done]
    assert estimate(without, [FT] * 30).left == pytest.approx(30, rel=0.05), "by the clock both halves are longer"
    mixed = [pretraining, *one_after_the_other(FT, 2, 50, start=0)]
    assert estimate(mixed, [FT] * 30).left == estimate(without, [FT] * 30).left, "never some by this, some by that"


def test_what_waited_for_a_core_is_not_longer_work():
    waited, alone = one_after_the_other(FT, 20, 10, start=0, cores=10.0), one_after_the_other(LP, 1, 200, 200, 1.0)
    assert estimate([*waited, *alone], [LP] * 30).left == pytest.approx(30 * 400 / 300, rel=0.01), "not 30"


def test_a_night_without_work_is_not_counted_as_slowness():
    evening, morning = one_after_the_other(FT, 60, 5, start=0), one_after_the_other(FT, 60, 5, start=40_000)
    assert last_run([*evening, *morning]) == morning
    found = estimate([*evening, *morning], [FT])
    assert found.per_hour == pytest.approx(60) and found.since == 40_000


@pytest.mark.parametrize("workers", [1, 4])
def test_a_pretraining_takes_the_places_of_its_workers_and_a_cell_a_part_of_one(workers):
    """Eight GPUs: pretrainings of two hours of them all, so many workers each, then cells of 100 s, four on a GPU."""
    at_once, whole = 8 // workers, Cost(PRETRAINING, 1, 5e4, 5e6, 5e15)
    done = [
        Piece(whole, 7200, 7200 * (wave + 1), None, workers) for wave in range(3) for _ in range(at_once)
    ]  # until 21,600
    assert estimate(done, [whole] * at_once).left == pytest.approx(7200, rel=0.01)
    done += [Piece(FT, 100, 21_600 + 100 * (wave + 1), None, 0.25) for wave in range(30) for _ in range(32)]
    for told in (32, len(done)):
        found = estimate(done[: 3 * at_once + told], [FT] * 32 * 50)
        assert found.left == pytest.approx(5000, rel=0.02), "as many places as pretrainings had"


def test_one_cell_that_is_computed_again_leaves_the_pace_as_it_was():
    half = [piece for _ in range(16) for piece in one_after_the_other(FT, 100, 10, start=0)]
    before = estimate(half, [FT] * 32)
    assert (before.at_once, before.left) == (pytest.approx(16), pytest.approx(200))
    again = [*half[1:], Piece(FT, 100, 90_000)]
    after = estimate(again, [FT] * 32)
    assert after.left == pytest.approx(200 * 16 * 1100 / 16_000, rel=0.01) and after.last == 90_000
    assert after.per_hour == pytest.approx(3600 * 160 / 1100) and after.since == 0
    short = estimate([*half[1:], Piece(FT, 0.157, 90_000)], [])
    assert short.per_hour == pytest.approx(before.per_hour, rel=0.01) and short.at_once == pytest.approx(16, rel=0.01)


def test_a_pace_is_told_by_five_pieces_and_twice_the_time_of_the_longest():
    night = one_after_the_other(FT, 60, 5, start=0)

    def runs(morning: list[Piece]) -> list[int]:
        return [len(run) for run in telling_runs([*night, *morning])]

    assert runs(one_after_the_other(FT, 60, 4, start=40_000)) == [5, 4]
    assert runs(one_after_the_other(FT, 60, 5, start=40_000)) == [5]
    wave = [Piece(FT, 60, 40_060)] * 16
    assert runs(wave) == [5, 16], "who is slower than these has not ended yet"
    assert runs([*wave, Piece(FT, 60, 40_119)]) == [5, 17] and runs([*wave, Piece(FT, 60, 40_120)]) == [17]
    earliest = one_after_the_other(FT, 60, 9, start=-90_000)
    both = telling_runs([*earliest, *night, *wave])
    assert [len(run) for run in both] == [5, 16], "no more than it takes"
    assert both == [night, wave] and telling_runs(wave) == [wave]
    lone, pair = one_after_the_other(FT, 60, 1, start=20_000), one_after_the_other(FT, 60, 2, start=40_000)
    assert telling_runs([*night, *lone, *pair]) == [night, lone, pair], "in their order, and each once"


@pytest.mark.parametrize(
    ("seconds", "gap", "cut"), [(1, 120, False), (1, 120.5, True), (100, 149, False), (100, 151, True)]
)
@pytest.mark.parametrize(("before", "after"), [(1, 1), (1, 3), (2, 1), (3, 2)])
def test_a_pause_is_longer_than_two_minutes_and_than_one_and_a_half_of_the_longest_piece(
    seconds, gap, cut, before, after
):
    early = one_after_the_other(FT, seconds, before, start=0)
    late = one_after_the_other(FT, seconds, after, start=seconds * before + gap)
    assert last_run([*early, *late]) == (late if cut else [*early, *late])
    much_later = one_after_the_other(FT, seconds, 2, start=50_000)
    assert last_run([*early, *late, *much_later]) == much_later


def test_work_of_half_a_second_is_as_fast_as_it_is_and_of_none_no_error():
    assert estimate([Piece(FT, 0.5, 1000.5)], []).per_hour == pytest.approx(7200)
    assert estimate([Piece(FT, 1e-9, 1e9)], [FT]).left is not None, "a clock that has not moved"
    assert Piece(FT) == Piece(FT, 0.0, 0.0, None, 1.0)


def test_a_long_piece_among_short_ones_is_no_pause():
    timed = [*one_after_the_other(LP, 1, 3, start=0), Piece(FT, 5000, 5000), Piece(LP, 1, 5001)]
    assert last_run(timed) == timed


def test_without_results_nothing_is_claimed():
    assert estimate([], [FT]) == Eta(left=None)
    assert estimate([Piece(FT, ended=5.0)], []).left == 0
    assert estimate([Piece(FT, ended=5.0), Piece(FT, seconds=5.0)], [FT]) == Eta(), "how long, or when, is not said"
    assert estimate(one_after_the_other(FT, 60, 4, start=1000), []).left == 0


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "unknown"),
        (12.4, "12 s"),
        (200, "3 min 20 s"),
        (594, "9 min 50 s"),
        (596, "10 min"),
        (239, "4 min"),
        (15_600, "4 h 20 min"),
        (183_600, "2 d 3 h"),
        (99, "99 s"),
        (100, "1 min 40 s"),
        (99 * 60, "99 min"),
        (100 * 60, "1 h 40 min"),
        (47 * 3600 + 3540, "47 h 59 min"),
        (48 * 3600, "2 d 0 h"),
        (70 * 3600, "2 d 22 h"),
        (74 * 3600, "3 d 2 h"),
    ],
)
def test_times_are_spoken(seconds, text):
    assert duration_text(seconds) == text
