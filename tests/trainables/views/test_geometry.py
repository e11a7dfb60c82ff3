"""Do resize, crop, padding and boxes follow from a preprocessing as it says; are impossible ones refused?"""

import numpy as np
import pytest
import torch

from trainables.views.backbone_input import BackboneInput, Fit, scaled
from trainables.views.evaluation_spec import EvalSpec
from trainables.views.geometry import _areas, fit, resized_shape, start, view_box
from trainables.views.preprocessing import Preprocessing, torchxrayvision

RAMP = np.tile(np.arange(120, dtype=np.uint8) * 2, (80, 1))  # 80 rows, 120 columns, brighter to the right


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"geometry": "stretch"}, "geometry is 'stretch'; allowed: squash, shortest, longest, cut"),
        ({"resize": 0}, "resize is 0"),
        ({"geometry": "cut", "resize": 70}, "resize is 70: geometry 'cut' resizes to size, 64"),
        ({"interpolation": "area"}, "'area' and 'area_floats' go together"),
        ({"resampler": "area_floats"}, "'area' and 'area_floats' go together"),
        ({"resampler": "torch_bytes", "interpolation": "box"}, "'box', which resampler 'torch_bytes' does not have"),
        ({"rounding": "up"}, "rounding is 'up'"),
        ({"channels": 1}, "mean has 3 values for 1 channels"),
        ({"low": 1.0}, "black must be below white"),
        ({"mean": (123.7, 116.3, 103.5)}, "far from values of 0 to 1: .* that is high=255.0"),
        ({"mean": (-2.1,) * 3}, "mean is .*, far from values of 0 to 1"),
    ],
)
def test_what_cannot_be_is_refused(values, reason):
    with pytest.raises(ValueError, match=reason):
        Preprocessing(64, **values)


def test_sides_after_the_resize():
    assert resized_shape(Preprocessing(64, "shortest", 73), 80, 121) == (73, 110)  # 73 x 121 / 80 = 110.4
    assert resized_shape(Preprocessing(64, "longest"), 80, 121) == (42, 64)  # 64 x 80 / 121 = 42.3
    assert resized_shape(Preprocessing(64, "squash", 73), 80, 121) == (73, 73)


def test_an_odd_margin_goes_where_each_library_puts_it():
    # 7 of 12 and 7 of 10: margins of 2.5 and 1.5 pixels; 6 of 9: 1.5.
    assert [start(12, 7, "even"), start(10, 7, "even"), start(9, 6, "even")] == [2, 2, 2]
    assert [start(12, 7, "down"), start(10, 7, "down"), start(9, 6, "down")] == [2, 1, 1]
    assert [start(12, 7, "halves"), start(10, 7, "halves"), start(9, 6, "halves")] == [3, 2, 1]


def test_padding_is_the_fill_and_covers_what_the_picture_does_not():
    padded = fit(Preprocessing(60, "longest", fill=9), RAMP + 20)
    assert padded.shape == (60, 60)
    assert (padded[:10] == 9).all() and (padded[50:] == 9).all() and padded[10:50].min() >= 20
    floats = fit(Preprocessing(60, "longest", resampler="torch_floats", fill=51), RAMP)
    assert np.allclose(floats[:10], 0.2)


def test_areas_are_means_to_the_fraction_of_a_pixel():
    own = torchxrayvision(32)  # 80 pixels on 32: 2.5 each
    square = RAMP[:, 20:100] / 255
    expected = np.array([(square[0, 0] + square[0, 1] + square[0, 2] / 2) / 2.5])
    assert fit(own, RAMP)[0, :1] == pytest.approx(expected, abs=1e-6)
    assert fit(own, RAMP).mean() == pytest.approx(square.mean(), abs=1e-6)


def test_a_box_is_where_the_network_sees_it():
    """A bright block lies in the fitted picture where its box says."""
    picture = np.zeros((80, 120), np.uint8)
    picture[20:60, 50:80] = 255
    box = (50 / 120, 20 / 80, 30 / 120, 40 / 80)
    for geometry in ("squash", "shortest", "longest", "cut"):
        own = Preprocessing(160, geometry)
        left, top, width, height = BackboneInput(EvalSpec(32), own=own).box_in_view(box, 80, 120)
        rows, columns = np.nonzero(fit(own, picture) > 127)
        found = (columns.min() / 160, rows.min() / 160, np.ptp(columns) / 160, np.ptp(rows) / 160)
        assert found == pytest.approx((left, top, width, height), abs=0.02), geometry
    assert view_box(Preprocessing(64, "squash"), 80, 120) == (0, 0, 1, 1)


@pytest.mark.parametrize(
    ("values", "shape", "box"),
    [
        ({"geometry": "cut", "rounding": "even"}, (80, 121), (20 / 121, 0, 80 / 121, 1)),  # 20.5 to the even side
        ({"geometry": "cut", "rounding": "down"}, (123, 80), (0, 21 / 123, 1, 80 / 123)),
        # 96 columns and 64 rows after the resize.
        ({"geometry": "shortest"}, (80, 120), (16 / 96, 0, 64 / 96, 1)),
        ({"geometry": "shortest", "resize": 73}, (120, 80), (4 / 73, 22 / 109, 64 / 73, 64 / 109)),  # 4.5 and 22.5
        # 43 rows of 64: 10 of the 21 missing ones stand above.
        ({"geometry": "longest"}, (80, 120), (0, -10 / 43, 1, 64 / 43)),
        ({"geometry": "longest", "resize": 60}, (120, 60), (-17 / 30, -2 / 60, 64 / 30, 64 / 60)),
        ({"geometry": "squash", "resize": 80}, (90, 50), (0.1, 0.1, 0.8, 0.8)),
    ],
)
def test_a_box_is_exact(values, shape, box):
    assert view_box(Preprocessing(64, **values), *shape) == pytest.approx(box, abs=1e-12)


def test_a_picture_thinner_than_a_pixel_has_one():
    own = Preprocessing(10, "longest")
    assert resized_shape(own, 300, 2) == (10, 1) and resized_shape(own, 2, 300) == (1, 10)
    assert fit(own, np.full((300, 2), 7, np.uint8)).sum() == 70


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear"])
@pytest.mark.parametrize(("resampler", "kind"), [("torch_bytes", np.uint8), ("torch_floats", np.float32)])
def test_torch_resizes_bytes_or_floats_from_0_to_1(resampler, kind, interpolation):
    stripes = np.repeat(np.array([[0, 255], [0, 51]], np.uint8), 8, axis=1).repeat(8, axis=0)
    found = fit(Preprocessing(4, interpolation=interpolation, resampler=resampler), stripes)
    assert found.dtype == kind and found.shape == (4, 4)
    scale = 255 if kind == np.float32 else 1
    assert np.allclose(found[[0, 3], 3] * scale, [255, 51], atol=1e-4) and not found[:, 0].any()
    assert found[:, 1].any() != (interpolation == "nearest")  # a filter with antialiasing reaches over the edge


def test_odd_margins_stand_at_the_bottom_and_at_the_right():
    own = Preprocessing(7, resize=4, fill=9)
    expected = np.pad(np.zeros((4, 4)), [(1, 2), (1, 2)], constant_values=9)
    assert (fit(own, np.zeros((4, 4), np.uint8)) == expected).all()
    wide = fit(Preprocessing(4, "shortest", 3, fill=9), np.zeros((3, 6), np.uint8))  # padded below, cut at both sides
    assert (wide == [[0] * 4, [0] * 4, [0] * 4, [9] * 4]).all()


@pytest.mark.parametrize(("rounding", "first"), [("even", (0, 2, 2)), ("down", (0, 1, 2)), ("halves", (0, 2, 2))])
def test_what_is_cut_out_begins_where_the_rounding_says(rounding, first):
    squares = [np.arange(side, dtype=np.uint8)[:, None] + np.zeros(side, np.uint8) for side in (5, 6, 7)]
    cut = [fit(Preprocessing(n, resize=len(p), rounding=rounding), p) for n, p in zip((4, 3, 3), squares, strict=True)]
    assert [tuple(part[:, 0]) for part in cut] == [
        tuple(range(begin, begin + size)) for begin, size in zip(first, (4, 3, 3), strict=True)
    ]
    assert [part.shape for part in cut] == [(4, 4), (3, 3), (3, 3)]


def test_areas_share_a_pixel_between_those_that_it_lies_in():
    assert np.array_equal(_areas(4, 2), [[0.5, 0.5, 0, 0], [0, 0, 0.5, 0.5]])
    assert np.allclose(_areas(3, 2), np.array([[2, 1, 0], [0, 1, 2]]) / 3)
    assert np.allclose(_areas(2, 4), [[1, 0], [1, 0], [0, 1], [0, 1]])
    tall = fit(Preprocessing(2, "squash", interpolation="area", resampler="area_floats"), np.eye(4, 6, dtype=np.uint8))
    assert np.allclose(tall * 255, [[2 / 6, 0], [1 / 6, 1 / 6]])


def test_a_square_of_the_wanted_size_is_not_touched():
    assert Fit(Preprocessing(64)).keeps(64) and not Fit(Preprocessing(64)).keeps(65)
    assert not Fit(Preprocessing(64, resize=70)).keeps(64) and not Fit(Preprocessing(64, resize=70)).keeps(70)
    assert not Fit(Preprocessing(64, resampler="torch_floats")).keeps(64)


def test_each_image_is_stretched_where_its_encoder_wants_it():
    own = Preprocessing(2, low=-1.0, high=3.0, min_max=True, mean=(1.0,) * 3, std=(2.0,) * 3)
    grey = torch.tensor([[[0.2, 0.4], [0.6, 0.2]], [[0.5, 0.5], [0.5, 0.5]]])
    images = scaled(own, grey)
    # 0.2, 0.4, 0.6 -> 0, 0.5, 1 -> -1, 1, 3 -> by mean 1 and deviation 2: -1, 0, 1.
    torch.testing.assert_close(images[0, 1], torch.tensor([[-1.0, 0.0], [1.0, -1.0]]))
    assert torch.equal(images[1], torch.full((3, 2, 2), -1.0))
    assert scaled(own, grey, channels_last=True).equal(images)
