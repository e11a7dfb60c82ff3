"""Does the benchmark of the time left judge what a run has printed as arithmetic does?"""

import pytest

from benchmarks.shared.time_left import errors, figures, read_lines, seconds_of

LINES = [
    (100.0, "ingest chexpert: 10 of 10 images"),
    (110.0, "to do: 1 of 1 encoders, 10 of 10 cells"),
    (111.0, "cells: 0 of 10 done"),
    (112.0, "all work: 0%, about 1 h 5 min left"),
    (150.0, "cells: 2 of 10 done"),
    (150.0, "all work: 30%, about 1 min 40 s left"),
    (200.0, "cells: 9 of 10 done, 1 failed"),
    (200.0, "all work: 80%, about 5 s left"),
    (210.0, "all work: 100%"),
]


def test_what_is_said_is_compared_with_what_came():
    began, said = read_lines(LINES)
    assert began == 110.0 and [(one.at, one.seconds) for one in said] == [(112.0, 3900), (150.0, 100), (200.0, 5)]
    assert said[0].counted is None and said[1].counted == pytest.approx(160) and said[2].counted == pytest.approx(10)
    ours, counted = errors(said, began, ended=211.0)
    assert ours == [pytest.approx(39 / 61), pytest.approx(6 / 11)], "none before a tenth"
    assert counted == [pytest.approx(99 / 61), pytest.approx(1 / 11)]
    assert errors(said, began, ended=205.0)[0] == [pytest.approx(45 / 55)], "none in the last ten seconds"


def test_times_are_read_as_they_are_spoken():
    assert [seconds_of(text) for text in ("12 s", "3 min 20 s", "14 min", "4 h 20 min", "2 d 3 h")] == [
        12,
        200,
        840,
        15_600,
        183_600,
    ]


def test_figures_are_of_the_lines_between_a_tenth_and_the_end():
    found = {figure["figure"]: figure for figure in figures("demo", LINES, ended=211.0)}
    assert found["time_left_lines_judged"]["ours"] == 2 and found["time_left_within_a_quarter"]["ours"] == 0
    nine = found["time_left_error_of_nine_in_ten"]
    assert nine["ours"] == pytest.approx(100 * 39 / 61) and nine["peer"] == pytest.approx(100 * 99 / 61)
    assert [figure["figure"] for figure in figures("demo", LINES[:2], ended=211.0)] == ["time_left_lines_judged"]
