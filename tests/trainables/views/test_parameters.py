"""Parameters of views: crops at each edge of RandomResizedCrop's rule, affines by definition, what is refused."""

import math
from dataclasses import replace

import pytest
import torch

from trainables.views.parameters import draw, draw_for_step, inverse_affines
from trainables.views.view_spec import ViewSpec, multi_modal_view, ssl_view_1


def crops(height: int, width: int, scale: float, ratio: tuple[float, float], count: int = 200) -> torch.Tensor:
    """(count, 4) top, left, height, width of crops of one share of the area."""
    spec = ViewSpec(32, (scale, scale), ratio)
    return draw(spec, count, height, width, torch.Generator().manual_seed(3)).crop


@pytest.mark.parametrize(
    ("height", "width", "ratio", "crop"),
    [
        (60, 400, (3 / 4, 4 / 3), [0, 160, 60, 80]),  # too wide: the widest that is allowed, about the centre
        (400, 60, (3 / 4, 4 / 3), [160, 0, 80, 60]),  # too high
        (401, 60, (3 / 4, 4 / 3), [160, 0, 80, 60]),
        (60, 403, (3 / 4, 4 / 3), [0, 161, 60, 80]),
        (100, 100, (3 / 4, 4 / 3), [0, 0, 100, 100]),  # the whole image, whose ratio is allowed
        (100, 50, (0.5, 2.0), [0, 0, 100, 50]),
        (50, 100, (0.5, 2.0), [0, 0, 50, 100]),
    ],
)
def test_where_no_try_fits_the_crop_is_central(height, width, ratio, crop):
    """A crop that is larger than the image does not fit into it, whatever its ratio."""
    assert torch.unique(crops(height, width, 1.05, ratio), dim=0).tolist() == [crop]


def test_a_crop_has_a_pixel_at_least():
    assert torch.unique(crops(2, 2, 0.01, (0.9, 1.1)), dim=0).tolist() == [[0, 0, 2, 2]], "none fits that has none"
    # Two pixels by a quarter of one, which is none: the central crop that is nine times as wide as high, or as high.
    assert torch.unique(crops(4, 30, 0.5 / 120, (9.0, 9.0)), dim=0).tolist() == [[0, 0, 3, 30]]
    assert torch.unique(crops(30, 4, 0.5 / 120, (1 / 9, 1 / 9)), dim=0).tolist() == [[0, 0, 30, 3]]
    small = crops(3, 3, 1 / 9, (0.99, 1.01))
    assert (small[:, 2:] == 1).all() and small[:, 0].unique().tolist() == small[:, 1].unique().tolist() == [0, 1, 2]


@pytest.mark.parametrize(("height", "width", "ratio"), [(200, 100, 2.0), (100, 200, 0.5)])
def test_a_crop_as_wide_or_as_high_as_the_image_fits(height, width, ratio):
    """Half as high as wide in an image twice as high as wide: as wide as the image, at any height."""
    found = crops(height, width, 0.25, (ratio, ratio))
    sides = [50, 100] if ratio == 2 else [100, 50]
    assert found[:, 2:].unique(dim=0).tolist() == [sides] and len(found[:, 0 if ratio == 2 else 1].unique()) > 50
    assert (found[:, 1 if ratio == 2 else 0] == 0).all()


def test_a_crop_lies_at_every_place_that_it_has():
    assert crops(10, 11, 100 / 110, (1.0, 1.0)).unique(dim=0).tolist() == [[0, 0, 10, 10], [0, 1, 10, 10]]
    assert crops(11, 10, 100 / 110, (1.0, 1.0)).unique(dim=0).tolist() == [[0, 0, 10, 10], [1, 0, 10, 10]]


@pytest.mark.parametrize("size", [5, 8])
def test_an_affine_turns_and_zooms_about_the_centre_then_moves(size):
    centre, generator = (size - 1) / 2, torch.Generator().manual_seed(0)
    for angle, dx, dy, scale in ((0.0, 0, 0, 1.0), (90.0, 0, 0, 1.0), (0.0, 2, -1, 1.0), (20.0, 3, 1, 0.95)):
        (inverse,) = inverse_affines(torch.tensor([[angle, dx, dy, scale]]), size)
        turn, moved = math.radians(angle), torch.tensor([dx, dy], dtype=torch.float64)
        rotation = torch.tensor([[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]]).double()
        for point in torch.rand(3, 2, generator=generator, dtype=torch.float64) * size:
            output = scale * rotation @ (point - centre) + centre + moved
            back = inverse @ torch.cat([output, torch.ones(1, dtype=torch.float64)])
            assert torch.allclose(back, point, rtol=0, atol=1e-6)


@pytest.mark.parametrize("values", [{"degrees": 0.5}, {"translate": (0.0, 0.1)}, {"scale": (0.9, 1.0)}])
def test_whatever_moves_an_image_is_an_affine(values):
    plain = ssl_view_1(48)
    assert replace(plain, **values).moves and not plain.moves


@pytest.mark.parametrize(
    "values", [{"flip_p": -0.5}, {"solarize_threshold": -0.01}, {"scale": (-0.5, 1.0)}, {"brightness": (-0.5, 1.0)}]
)
def test_what_is_below_zero_is_refused(values):
    (name,) = values
    with pytest.raises(ValueError, match=f"ViewSpec.{name} "):
        replace(ssl_view_1(48), **values)


def test_the_bounds_of_a_spec_are_allowed():
    plain = ssl_view_1(48)
    assert replace(plain, blur_kernel=1).blur_kernel == 1 and replace(plain, blur_kernel=95).blur_kernel == 95
    assert replace(plain, flip_p=1.0, jitter_p=0.0, contrast=(0.0, 0.0), crop_scale=(0.5, 0.5)).contrast == (0, 0)


def test_a_seed_has_the_same_views_in_every_version():
    """A draw that is added or moved changes all that follow, and with them every pretraining."""
    found = draw_for_step(multi_modal_view(48), 3, 60, 64, seed=7)
    assert found.crop.tolist() == [[2, 15, 53, 49], [3, 1, 47, 59], [2, 1, 53, 63]]
    assert found.affine[2].tolist() == pytest.approx([14.48371845670502, 3.0, 3.0, 0.9557555833263038], rel=1e-12)
    assert found.brightness[1].item() == pytest.approx(1.2008890227820133, rel=1e-12)
    assert found.contrast[1].item() == pytest.approx(1.2839889946004979, rel=1e-12)
    assert found.sigma[0].item() == pytest.approx(1.205164612629865, rel=1e-12)
    flags = found.flip, found.jitter, found.contrast_first, found.blur
    assert [f.tolist() for f in flags] == [[True, False, False], [True, True, False], [True] * 3, [True, False, True]]
