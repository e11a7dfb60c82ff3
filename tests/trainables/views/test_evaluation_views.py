"""Are images prepared for a classifier as torchvision prepares them?"""

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import v2

from datasets_io.pixels.grey import resize
from trainables.views.evaluation import as_tensor, prepare, prepare_test
from trainables.views.evaluation_spec import (
    EvalSpec,
    contents,
    paper_chexpert,
    paper_nih,
    released_chexpert,
    released_nih,
)
from trainables.views.preprocessing import IMAGENET_MEAN, IMAGENET_STD

CPU = torch.device("cpu")
NORMALISE = v2.Normalize(IMAGENET_MEAN, IMAGENET_STD)
STORED = (61, 300)  # one smaller and one larger than what the backbone sees


def images(side: int, count: int = 3) -> np.ndarray:
    """uint8 (count, side, side): smooth shapes and noise, different left and right."""
    y, x = np.mgrid[0:side, 0:side] / side
    rng = np.random.default_rng(0)
    waves = [120 + 90 * np.sin(7 * x + i) * np.cos(5 * y - i) + 10 * rng.standard_normal(x.shape) for i in range(count)]
    return np.clip(np.stack(waves), 0, 255).astype(np.uint8)


def as_torchvision(pixels: np.ndarray, *steps) -> torch.Tensor:
    three = torch.from_numpy(pixels)[:, None].expand(-1, 3, -1, -1)
    return v2.Compose([v2.ToDtype(torch.float32, scale=True), *steps])(three)


@pytest.mark.parametrize("stored", STORED)
@pytest.mark.parametrize("size", [48, 224])
def test_each_recipe_is_torchvisions(size, stored):
    """Size 48 leaves an odd margin of 7 before the central crop."""
    pixels = images(stored)
    side = round(size * 256 / 224)
    square, larger = v2.Resize((size, size)), v2.Resize((side, side))
    expected = {
        paper_chexpert(size): [larger, v2.CenterCrop(size), NORMALISE],
        paper_nih(size): [square, NORMALISE],
        released_chexpert(size): [square],
        released_nih(size): [square, v2.CenterCrop(size), NORMALISE],
    }
    for spec, steps in expected.items():
        torch.testing.assert_close(prepare(spec, pixels, None, CPU), as_torchvision(pixels, *steps), atol=2e-6, rtol=0)
        if not spec.ten_crop:
            assert torch.equal(prepare_test(spec, pixels, CPU), prepare(spec, pixels, None, CPU))


@pytest.mark.parametrize("stored", STORED)
@pytest.mark.parametrize("size", [48, 224])
def test_ten_crops_are_torchvisions_in_its_order(size, stored):
    pixels = images(stored)
    side = round(size * 256 / 224)
    crops = as_torchvision(pixels, v2.Resize((side, side)), v2.TenCrop(size))
    expected = torch.stack([NORMALISE(crop) for crop in crops], dim=1)
    ours = prepare_test(released_nih(size), pixels, CPU)
    assert ours.shape == (3, 10, 3, size, size)
    torch.testing.assert_close(ours, expected, atol=2e-6, rtol=0)


def test_pillow_gives_the_same_to_half_a_grey_level():
    """What the authors ran: 8-bit Pillow. Reached: 0.26 grey levels in the mean, 0.51 at most."""
    pixels = images(300)
    ours = prepare(released_chexpert(224), pixels, None, CPU)[:, 0].numpy() * 255
    pillow = np.stack([np.asarray(Image.fromarray(i).resize((224, 224), Image.Resampling.BILINEAR)) for i in pixels])
    assert np.abs(ours - pillow).mean() <= 0.5 and np.abs(ours - pillow).max() <= 1.0


@pytest.mark.parametrize("spec", [paper_chexpert(48), released_nih(48)])
def test_flips_mirror_the_images_they_name_and_no_other(spec):
    pixels = images(61, count=4)
    plain = prepare(spec, pixels, None, CPU)
    flipped = prepare(spec, pixels, np.array([True, False, False, True]), CPU)
    mirrored = v2.functional.horizontal_flip(plain)
    assert torch.equal(flipped[[0, 3]], mirrored[[0, 3]]) and torch.equal(flipped[[1, 2]], plain[[1, 2]])
    assert not torch.equal(flipped[0], plain[0])
    assert torch.equal(prepare(spec, pixels, np.zeros(4, bool), CPU), plain)


@pytest.mark.parametrize("flip_p", [0.0, 0.5, 1.0])
def test_contents_are_all_that_training_and_evaluation_show(flip_p):
    spec, pixels = EvalSpec(48, flip_p=flip_p), images(61, count=6)
    cached = [prepare(spec, pixels, np.full(6, mirrored), CPU) for mirrored in contents(spec)]
    flips = np.random.default_rng(0).random(6) < flip_p
    seen = prepare(spec, pixels, flips, CPU)
    assert all(torch.equal(seen[i], cached[int(flip)][i]) for i, flip in enumerate(flips))
    assert torch.equal(prepare_test(spec, pixels, CPU), cached[0])
    assert len(cached) == (1 if flip_p == 0 else 2)


def test_the_papers_crop_of_stored_224_is_their_central_196_enlarged():
    """Away from the edge, where the enlargement sees beyond the 196."""
    pixels = images(224)
    ours = prepare(paper_chexpert(224), pixels, None, CPU)
    central = as_torchvision(pixels[:, 14:210, 14:210], v2.Resize((224, 224)), NORMALISE)
    torch.testing.assert_close(ours[..., 2:-2, 2:-2], central[..., 2:-2, 2:-2], atol=1e-5, rtol=0)


def high_frequencies(image: np.ndarray) -> float:
    """Energy above half of the highest frequency along an axis, of a square image without its mean."""
    power = np.abs(np.fft.fft2(image - image.mean())) ** 2
    frequency = np.abs(np.fft.fftfreq(len(image)))
    return float(power[np.hypot(frequency[:, None], frequency[None]) > 0.25].sum())


@pytest.mark.parametrize(("make", "crop"), [(paper_chexpert, None), (released_nih, 4)])
def test_data_built_at_the_stored_size_keep_the_fine_detail_of_the_archives_images(make, crop):
    """As Resize(256) and a crop of the archive's own image; data of 224 pixels, enlarged, lose a quarter and more."""
    spec, originals = make(224), images(320, count=2)
    assert spec.stored_size == 256
    expected = as_torchvision(originals, v2.Resize((256, 256)), v2.CenterCrop(224), NORMALISE)[:, 0].numpy()
    ratios = {}
    for stored in (spec.stored_size, 224):
        pixels = np.stack([resize(image, stored) for image in originals])
        ours = prepare_test(spec, pixels, CPU)
        ours = (ours if crop is None else ours[:, crop])[:, 0].numpy()
        ratios[stored] = high_frequencies(ours[0]) / high_frequencies(expected[0])
    assert ratios[256] == pytest.approx(1, abs=0.02) and ratios[224] < 0.75


def test_an_image_of_the_right_size_is_only_scaled():
    pixels = images(48)
    ours = prepare(released_chexpert(48), pixels, None, CPU)
    assert torch.equal(ours, torch.from_numpy(pixels)[:, None].expand(-1, 3, -1, -1).float() / 255)


def test_images_need_not_be_square():
    pixels = images(64)[:, :, :48]
    expected = as_torchvision(pixels, v2.Resize((48, 48)))
    torch.testing.assert_close(prepare(released_chexpert(48), pixels, None, CPU), expected, atol=2e-6, rtol=0)


@pytest.mark.parametrize(
    ("values", "name"),
    [
        ({"resize": 47}, "resize"),
        ({"ten_crop": True}, "ten_crop"),
        ({"test_resize": 40}, "test_resize"),
        ({"flip_p": 50}, "flip_p"),
    ],
)
def test_what_cannot_be_cropped_is_refused(values, name):
    with pytest.raises(ValueError, match=f"EvalSpec.{name} "):
        EvalSpec(48, **values)


def test_pixels_that_may_not_be_written_are_copied_and_others_are_not():
    pixels = np.arange(2 * 8 * 8, dtype=np.uint8).reshape(2, 8, 8)
    expected = prepare(EvalSpec(8), pixels, None, CPU), as_tensor(pixels)
    assert expected[1].data_ptr() == pixels.ctypes.data  # no copy where there need be none
    pixels.flags.writeable = False
    # torch warns, once a process, of a tensor that lies on such an array.
    for values in (pixels, pixels[:1], pixels.astype(np.float32)):
        values.flags.writeable = False
        assert as_tensor(values).data_ptr() != values.ctypes.data
    assert torch.equal(prepare(EvalSpec(8), pixels, None, CPU), expected[0])


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"size": 0}, "EvalSpec.size is 0"),
        ({"size": 32, "std": (0.2, 0.2, 0.0)}, "EvalSpec.std is .*: each must be above 0"),
        ({"size": 32, "std": (0.2, 0.2, -0.2)}, "EvalSpec.std is .*: each must be above 0"),
        ({"size": 32, "std": (0.2,)}, "EvalSpec.std has 1 values: give one for each of 3 channels"),
        ({"size": 32, "mean": (0.5, 0.5)}, "EvalSpec.mean has 2 values: give one for each of 3 channels"),
        ({"size": 32, "mean": (123.7, 116.3, 103.5)}, "EvalSpec.mean is .*: divide mean and std by 255"),
    ],
)
def test_values_that_no_image_can_be_given_with_are_refused_when_they_are_written(values, message):
    with pytest.raises(ValueError, match=message):
        EvalSpec(**values)
