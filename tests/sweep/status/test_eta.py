"""Is the time left what arithmetic says: by kind of work, by how much ran at once, across pauses?"""

import pytest

from sweep.status.eta import Eta, Piece, duration_text, estimate, expected_seconds, kind_of, last_run
from sweep.studies import demo
from sweep.studies.plan import make_plan

FT, LP = ("cell", False, 100, "nih", "FT"), ("cell", True, 100, "nih", "LP")


def one_after_the_other(kind, seconds: float, count: int, start: float) -> list[Piece]:
    return [Piece(kind, seconds, start + seconds * (place + 1)) for place in range(count)]


def test_one_worker_needs_the_sum_and_two_need_half():
    alone = one_after_the_other(FT, 60, 4, start=1000)
    one = estimate(alone, [Piece(FT)] * 10)
    assert (one.per_hour, one.at_once, one.left) == (pytest.approx(60), pytest.approx(1), pytest.approx(600))
    assert (one.since, one.last) == (1000, 1240)
    two = estimate(alone + one_after_the_other(FT, 60, 4, start=1000), [Piece(FT)] * 10)
    assert (two.at_once, two.left) == (pytest.approx(2), pytest.approx(300))


def test_each_kind_is_expected_to_take_what_its_own_took():
    done = one_after_the_other(LP, 1, 10, start=0) + one_after_the_other(FT, 100, 1, start=10)
    assert estimate(done, [Piece(FT), Piece(LP)]).left == pytest.approx(101)


def test_a_kind_of_which_nothing_has_finished_is_told_from_the_nearest_or_not_at_all():
    timed = [Piece(FT, 100, 100), Piece(LP, 1, 101)]
    assert expected_seconds(("cell", False, 100, "chexpert", "FT"), timed) == 100
    assert expected_seconds(("cell", False, 1, "nih", "FT"), timed) == 100
    assert expected_seconds(("pretraining", 2, False, "simclr"), timed) is None
    assert estimate(timed, [Piece(FT), Piece(("pretraining", 2, False, "simclr"))]).left is None


def test_a_night_without_work_is_not_counted_as_slowness():
    evening, morning = one_after_the_other(FT, 60, 5, start=0), one_after_the_other(FT, 60, 5, start=40_000)
    assert last_run([*evening, *morning]) == morning
    found = estimate([*evening, *morning], [Piece(FT)])
    assert found.per_hour == pytest.approx(60) and found.since == 40_000


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
    assert estimate([Piece(FT, 1e-9, 1e9)], [Piece(FT)]).left is not None, "a clock that has not moved"
    assert Piece(FT) == Piece(FT, 0.0, 0.0)


def test_any_cell_tells_more_than_none():
    assert expected_seconds(LP, [Piece(FT, 100, 100)]) == 100
    assert expected_seconds(LP, [Piece(FT, 100, 100), Piece(("cell", True, 1), 6, 106), Piece(LP[:1], 2, 108)]) == 6


def test_a_long_piece_among_short_ones_is_no_pause():
    timed = [*one_after_the_other(LP, 1, 3, start=0), Piece(FT, 5000, 5000), Piece(LP, 1, 5001)]
    assert last_run(timed) == timed


def test_without_results_nothing_is_claimed():
    assert estimate([], [Piece(FT)]) == Eta(left=None)
    assert estimate([Piece(FT, ended=5.0)], []).left == 0


def test_kinds_of_a_study_share_what_makes_them_alike():
    plan = make_plan(demo(), dict.fromkeys(("mimic_cxr", "chexpert", "nih_cxr14"), "x"), {})
    encoders = {run.row: kind_of(run) for run in plan.encoders}
    assert encoders["simclr"][:3] == encoders["vicreg"][:3] != encoders["clip"][:3]
    assert encoders["imagenet"][0] == "initial" and len({kind_of(cell) for cell in plan.cells}) == 2 * 5


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "unknown"),
        (12.4, "12 s"),
        (200, "3 min"),
        (15_600, "4 h 20 min"),
        (183_600, "2 d 3 h"),
        (99, "99 s"),
        (100, "2 min"),
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
