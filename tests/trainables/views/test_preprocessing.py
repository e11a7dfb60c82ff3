"""Does a preprocessing refuse values just outside their bounds, scale with its network, and say what it does?"""

import pytest

from trainables.views.preprocessing import Preprocessing, torchxrayvision


@pytest.mark.parametrize("name", ["size", "resize"])
def test_a_side_is_at_least_one_pixel(name):
    assert getattr(Preprocessing(**{"size": 1, name: 1}), name) == 1
    with pytest.raises(ValueError, match=rf"{name} is 0: the side of a picture is at least 1 pixel"):
        Preprocessing(**{"size": 1, name: 0})


def test_a_fill_is_a_grey_value():
    assert [Preprocessing(8, fill=fill).fill for fill in (0, 255)] == [0, 255]
    for fill in (-1, 256):
        with pytest.raises(ValueError, match=f"fill is {fill}: a grey value is 0 to 255"):
            Preprocessing(8, fill=fill)


def test_black_is_below_white_and_a_deviation_above_0():
    assert Preprocessing(8, low=0.0, high=1e-6, mean=(0.0,) * 3).high == 1e-6
    for low, high in ((1.0, 1.0), (2.0, 1.0)):
        with pytest.raises(ValueError, match=f"low is {low} and high {high}: black must be below white"):
            Preprocessing(8, low=low, high=high)
    assert Preprocessing(8, std=(0.5, 1e-6, 0.5)).std[1] == 1e-6
    for value in (0.0, -0.5):
        with pytest.raises(ValueError, match=r"std is .*: each must be above 0"):
            Preprocessing(8, std=(0.5, value, 0.5))


def test_a_mean_and_a_deviation_are_given_for_each_channel():
    assert Preprocessing(8, channels=1, mean=(0.5,), std=(0.2,)).channels == 1
    for mean, std, name in (
        ((0.5,), (0.2,) * 3, "mean"),
        ((0.5,) * 3, (0.2,), "std"),
        ((0.5,) * 4, (0.2,) * 3, "mean"),
    ):
        with pytest.raises(ValueError, match=rf"\.{name} has {len(mean if name == 'mean' else std)} values for 3 chan"):
            Preprocessing(8, mean=mean, std=std)
    for channels in (0, 2, 4):
        with pytest.raises(ValueError, match=f"channels is {channels}; allowed: 1, 3"):
            Preprocessing(8, channels=channels)


def test_a_cut_is_resized_to_the_networks_size_only():
    assert Preprocessing(8, "cut") == Preprocessing(8, "cut", None) != Preprocessing(8, "cut", 8)
    with pytest.raises(ValueError, match="resize is 9: geometry 'cut' resizes to size, 8"):
        Preprocessing(8, "cut", 9)
    assert Preprocessing(8, "shortest", 9).resize == 9


def test_each_librarys_arithmetic_has_its_own_filters():
    assert Preprocessing(8, interpolation="area", resampler="area_floats").floats
    assert Preprocessing(8, resampler="torch_floats").floats
    assert not Preprocessing(8).floats and not Preprocessing(8, resampler="torch_bytes").floats
    assert Preprocessing(8, interpolation="box").interpolation == "box"
    for resampler in ("torch_bytes", "torch_floats"):
        assert Preprocessing(8, interpolation="lanczos", resampler=resampler).resampler == resampler
        with pytest.raises(ValueError, match="it has nearest, bilinear, bicubic, lanczos"):
            Preprocessing(8, interpolation="hamming", resampler=resampler)


def test_what_a_crop_is_cut_from_grows_in_proportion():
    own = Preprocessing(224, "shortest", 256, fill=3)
    assert own.at_size(448) == Preprocessing(448, "shortest", 512, fill=3)
    assert own.at_size(112) == Preprocessing(112, "shortest", 128, fill=3)
    assert own.at_size(100).resize == 114  # 256 x 100 / 224 = 114.3
    assert own.at_size(224) == own
    assert Preprocessing(224, "longest").at_size(99) == Preprocessing(99, "longest")
    assert own.uncropped(300) == Preprocessing(300, "shortest", fill=3)


LINES = {
    "squashed to 8 x 8, bilinear (Pillow); 3 channels, 0 to 1, mean 0.485 0.456 0.406, std 0.229 0.224 0.225": {},
    "squashed to 9 x 9, centre 8 cut out, bicubic (torch)": {
        "resize": 9,
        "interpolation": "bicubic",
        "resampler": "torch_bytes",
    },
    "squashed to 7 x 7, padded to 8 with 5, bilinear (torch, floats)": {
        "resize": 7,
        "fill": 5,
        "resampler": "torch_floats",
    },
    "shorter side to 8, centre 8 cut out, bilinear (Pillow); 3 channels, -1 to 1, each image stretched by min and max,"
    " mean 0.5 0.5 0.25, std 0.5": {
        "geometry": "shortest",
        "low": -1.0,
        "min_max": True,
        "mean": (0.5, 0.5, 0.25),
        "std": (0.5,) * 3,
    },
    "shorter side to 7, centre 8 cut out, padded to 8 with 0, bilinear": {"geometry": "shortest", "resize": 7},
    "longer side to 9, centre 8 cut out, padded to 8 with 0, bilinear": {"geometry": "longest", "resize": 9},
    "central square resized to 8, bilinear (Pillow)": {"geometry": "cut"},
}


@pytest.mark.parametrize("line", LINES)
def test_a_line_says_what_is_done(line):
    assert str(Preprocessing(8, **LINES[line])).startswith(f"8 px: {line}")
    assert str(Preprocessing(8, mean=(0.5,) * 3, std=(0.25,) * 3)).endswith("0 to 1, mean 0.5, std 0.25")


def test_torchxrayvisions_are_fed_so():
    assert str(torchxrayvision()) == (
        "224 px: central square resized to 224, area (floats); 1 channel, -1024 to 1024, mean 0, std 1"
    )
    own = torchxrayvision(512)
    assert (own.size, own.resize, own.rounding, own.low, own.high) == (512, None, "halves", -1024.0, 1024.0)
