"""Are masks kept as COCO's run lengths, which pycocotools would read, and back without a changed pixel?"""

import numpy as np
import pytest

from datasets_io.sources.regions import Region, counts_text, mask_of, mask_region, runs_from_text, runs_of


def test_runs_go_down_the_columns_and_begin_outside():
    mask = np.array([[1, 0, 0], [1, 1, 0]], bool)
    assert runs_of(mask).tolist() == [0, 2, 1, 1, 2]
    assert runs_of(np.zeros((2, 3), bool)).tolist() == [6]


@pytest.mark.parametrize(
    ("runs", "text"),
    # By hand from the format: 5 bits a character, bit 6 for more, differences to two before from the fourth on.
    [([6], "6"), ([0, 2, 1, 1, 2], "021O1"), ([31, 1], "o01"), ([16, 16, 16, 16], "`0`0`00"), ([1000], "Xo0")],
)
def test_the_text_of_run_lengths_is_that_of_coco(runs, text):
    assert counts_text(runs) == text
    assert runs_from_text(text, sum(runs)) == runs


def written_out(runs: list[int]) -> str:
    """rleToString of COCO's maskApi.c, loop by loop."""
    text = ""
    for place, run in enumerate(runs):
        value, more = run - runs[place - 2] if place > 2 else run, True
        while more:
            low, value = value & 0x1F, value >> 5
            more = value != (-1 if low & 0x10 else 0)
            text += chr(48 + low + (0x20 if more else 0))
    return text


def test_the_text_of_any_run_lengths_is_that_of_cocos_loop():
    rng = np.random.default_rng(1)
    for _ in range(300):
        runs = (2.0 ** rng.integers(0, 31, rng.integers(0, 30)) + rng.integers(-2, 3)).clip(0).astype(int).tolist()
        assert counts_text(runs) == written_out(runs)


def test_any_mask_comes_back_pixel_by_pixel():
    rng = np.random.default_rng(0)
    for share in (0.001, 0.1, 0.5, 1.0):
        mask = rng.random((rng.integers(1, 90), rng.integers(1, 90))) < share
        region = mask_region("a", "mass", mask)
        if region is None:
            assert not mask.any()
            continue
        assert (region.rows, region.columns) == mask.shape
        np.testing.assert_array_equal(mask_of(region), mask)
    assert mask_region("a", "mass", np.zeros((3, 3), bool)) is None


@pytest.mark.parametrize("text", ["", "5", "7", "0 2", "021O2", "021O", "~", "o" * 40, "O7"])
def test_counts_that_fill_another_size_or_are_no_counts_are_refused(text):
    with pytest.raises(ValueError, match="its counts"):
        mask_of(Region("a", "mass", "mask", rows=2, columns=3, counts=text))
