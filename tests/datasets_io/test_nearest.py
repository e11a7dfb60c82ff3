"""Is the nearest known word the one that was meant, and nothing said where none is near?"""

import pytest

from datasets_io.nearest import did_you_mean, nearest

STUDIES = ("demo", "paper", "released", "strict")


@pytest.mark.parametrize(
    ("word", "known", "meant"),
    [
        ("papr", STUDIES, "paper"),
        ("PAPER", STUDIES, "paper"),
        ("lpft", ("LP", "LPFT", "FT"), "LPFT"),
        ("lp", ("LP", "LPFT", "FT"), "LP"),
        ("zeroshot", ("knn", "zero_shot", "retrieval"), "zero_shot"),
        (10, ("1", "100"), "100"),
        ("NIH", ("chexpert", "nih_cxr14", "mimic_cxr"), "nih_cxr14"),
    ],
)
def test_the_nearest_word_ends_the_sentence(word, known, meant):
    assert did_you_mean(word, known) == f"; did you mean {meant!r}?"


@pytest.mark.parametrize(
    ("word", "known"),
    [("dino", STUDIES), ("", STUDIES), ("", ("demo",)), ("paper", ()), ("vi", ("vindr_cxr_2022", "visual_genome"))],
)
def test_nothing_is_said_where_no_word_is_near(word, known):
    assert did_you_mean(word, known) == ""


def test_how_near_is_near_can_be_said():
    assert nearest("mine", ("baseline",), 0.5) == "baseline" and nearest("mine", ("baseline",), 0.8) is None
    assert nearest("basline", ("baseline", "joint"), 0.8) == "baseline"
