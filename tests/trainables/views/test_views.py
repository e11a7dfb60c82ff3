"""Are views drawn and rendered as torchvision draws and renders them, on the CPU and on an accelerator?"""

from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.stats import ks_2samp, kstest
from torchvision import transforms as v1
from torchvision.transforms.v2 import functional as reference

from benchmarks.shared.view_peers import step_by_step, torchvisions_views
from trainables.views.on_cpu import useful_kernel
from trainables.views.parameters import ViewParameters, draw, draw_for_step
from trainables.views.preprocessing import IMAGENET_MEAN, IMAGENET_STD
from trainables.views.render import normalise, render
from trainables.views.view_spec import ViewSpec, kernel_for, multi_modal_view, ssl_view_1, ssl_view_2

KINDS = {"multi_modal": multi_modal_view, "ssl_1": ssl_view_1, "ssl_2": ssl_view_2}
PATHS = pytest.mark.parametrize("device_path", [False, True], ids=["cpu", "device"])
EACH_KIND = pytest.mark.parametrize("kind", KINDS)


def smooth_images(count: int, side: int) -> torch.Tensor:
    """uint8 (count, side, side): waves and soft blobs over the whole range."""
    y, x = np.mgrid[0:side, 0:side] / side
    waves = [128 + 120 * np.sin(9 * x + i) * np.cos((4 + i % 5) * y - i) for i in range(count)]
    return torch.from_numpy(np.clip(np.stack(waves).round(), 0, 255).astype(np.uint8))


@pytest.fixture(scope="session")
def radiographs(shared_data) -> dict[int, torch.Tensor]:
    """Real NIH images by the side at which they are stored; 300 and 64 are more than the views of 224 and 48 need."""
    files = sorted((shared_data / "real_cxr" / "NIH-ChestX-ray14" / "images").rglob("*.png"))[::16]
    opened = [Image.open(file).convert("L") for file in files]
    assert len(opened) >= 24

    def at(side: int) -> torch.Tensor:
        return torch.from_numpy(np.stack([i.resize((side, side), Image.Resampling.LANCZOS) for i in opened]))

    return {side: at(side) for side in (48, 64, 224, 300)}


def grey_levels_apart(p: ViewParameters, pixels: torch.Tensor, device_path: bool, dtype: torch.dtype) -> list[float]:
    """Mean absolute difference from torchvision of each image, in grey levels of 255."""
    expected = torchvisions_views(p, pixels, dtype)
    ours = render(p, pixels, device_path=device_path)
    assert ours.dtype == torch.float32 and ours.shape == (len(pixels), p.spec.size, p.spec.size)
    return ((ours - expected).abs().mean((1, 2)) * 255).tolist()


@PATHS
@EACH_KIND
def test_smooth_images_are_torchvisions(kind, device_path):
    """At most 2 grey levels in each image's mean. Reached, mean over images and worst image, either path: 0.22 and
    0.28 from float32; 0.81 and 1.16 from uint8, whose brightness and contrast truncate.
    """
    pixels = smooth_images(24, 224)
    p = draw_for_step(KINDS[kind](224), 24, 224, 224, seed=3)
    for dtype in (torch.float32, torch.uint8):
        apart = grey_levels_apart(p, pixels, device_path, dtype)
        assert max(apart) <= 2


@PATHS
@EACH_KIND
@pytest.mark.parametrize(("stored", "size"), [(224, 224), (300, 224), (48, 48), (64, 48)])
def test_radiographs_are_torchvisions(kind, device_path, stored, size, radiographs):
    """At most 2 grey levels in each image's mean. Reached, largest mean over images and worst image, at 224: from
    float32 0.29 and 0.51 on the CPU path, 0.20 and 0.32 on the device path; from uint8 0.83 and 1.20 on either.
    At 48, where every pixel is detail: 0.58 and 1.14, 0.21 and 0.35; from uint8 1.01 and 1.58, 0.81 and 1.18.
    """
    pixels = radiographs[stored]
    p = draw_for_step(KINDS[kind](size), len(pixels), stored, stored, seed=4)
    for dtype in (torch.float32, torch.uint8):
        apart = grey_levels_apart(p, pixels, device_path, dtype)
        assert max(apart) <= 2


@pytest.mark.parametrize(
    ("device_path", "size", "dtype", "allowed"),
    [(True, 24, torch.float32, 0.5), (True, 96, torch.float32, 0.5), (False, 24, torch.uint8, 0.0)],
)
def test_even_noise_is_resized_as_torchvision_does(device_path, size, dtype, allowed):
    """Interior crops of noise, where kernels and smoothing show: equal but for rounding to grey levels.

    OpenCV's own cubic, for what is not shrunk by more than 1.25, is left out: on noise it is not torchvision's.
    """
    pixels = torch.randint(0, 256, (8, 60, 72), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    p = draw_for_step(ViewSpec(size, (0.5, 0.9), blur_kernel=3), 8, 60, 72, seed=10)
    apart = render(p, pixels, device_path=device_path) - torchvisions_views(p, pixels, dtype).clamp(0, 1)
    assert apart.abs().max() * 255 <= allowed + 1e-3


@PATHS
def test_a_bilinear_affine_is_torchvisions(device_path):
    """Reached, worst image: 0.35 grey levels on the CPU path, 0.16 on the device path."""
    spec = replace(multi_modal_view(96), affine_interpolation="bilinear")
    pixels = smooth_images(16, 96)
    p = draw_for_step(spec, 16, 96, 96, seed=5)
    apart = grey_levels_apart(p, pixels, device_path, torch.float32)
    assert max(apart) <= 2
    nearest = render(replace(p, spec=multi_modal_view(96)), pixels, device_path=device_path)
    assert not torch.equal(nearest, render(p, pixels, device_path=device_path))


@PATHS
@pytest.mark.parametrize("blur_p", [0.0, 1.0])
def test_solarise_is_torchvisions(device_path, blur_p):
    """Whole image, so that nothing but jitter, blur and solarise acts: every pixel but those at the threshold."""
    spec = ViewSpec(64, (1, 1), (1, 1), jitter_p=0.5, blur_p=blur_p, blur_kernel=7, solarize_p=1.0)
    pixels = smooth_images(16, 64)
    p = draw_for_step(spec, 16, 64, 64, seed=6)
    before, after = (torchvisions_views(p, pixels, torch.float32, solarize) for solarize in (False, True))
    ours = render(p, pixels, device_path=device_path)
    certain = (before - spec.solarize_threshold).abs() > 1e-3
    assert certain.float().mean() > 0.9 and (after - before).abs().max() > 0.5
    assert (ours - after)[certain].abs().max() <= 1e-3


@PATHS
def test_a_grey_level_at_the_threshold_is_inverted(device_path):
    spec = ViewSpec(16, (1, 1), (1, 1), flip_p=0.0, solarize_p=1.0, blur_kernel=3)
    pixels = torch.arange(256, dtype=torch.uint8).view(1, 16, 16)
    ours = render(draw_for_step(spec, 1, 16, 16, seed=0), pixels, device_path=device_path)
    expected = reference.solarize(pixels, 128)
    torch.testing.assert_close(ours * 255, expected.float(), atol=1e-4, rtol=0)


@PATHS
def test_one_channel_repeated_is_three_channels(device_path):
    """To 1e-3: torchvision's grey weights for contrast sum to 0.9999."""
    spec = ViewSpec(64, (1, 1), (1, 1), jitter_p=1.0, blur_p=0.5, blur_kernel=7, solarize_p=0.0)
    pixels = smooth_images(16, 64)
    p = draw_for_step(spec, 16, 64, 64, seed=7)
    three = (pixels.float() / 255)[:, None].expand(-1, 3, -1, -1)
    expected = torch.stack([step_by_step(p, row, image) for row, image in enumerate(three)])
    ours = render(p, pixels, device_path=device_path)[:, None].expand(-1, 3, -1, -1)
    assert (ours - expected).abs().max() <= 1e-3
    expected = reference.normalize(three, list(IMAGENET_MEAN), list(IMAGENET_STD))
    torch.testing.assert_close(normalise(three[:, 0]), expected)


@pytest.mark.parametrize("channels_last", [False, True])
def test_normalised_views_are_torchvisions_in_either_memory_format(channels_last):
    grey = torch.rand(3, 20, 28, generator=torch.Generator().manual_seed(0))
    ours = normalise(grey, (0.1, 0.5, 0.9), (0.2, 0.3, 0.4), channels_last=channels_last)
    expected = reference.normalize(grey[:, None].expand(-1, 3, -1, -1), [0.1, 0.5, 0.9], [0.2, 0.3, 0.4])
    torch.testing.assert_close(ours, expected)
    assert ours.is_contiguous(memory_format=torch.channels_last if channels_last else torch.contiguous_format)


@PATHS
def test_pixels_may_be_an_array_and_need_not_be_contiguous(device_path):
    pixels = smooth_images(4, 60)
    p = draw_for_step(multi_modal_view(48), 4, 60, 52, seed=11)
    cut = pixels[:, :, 4:56]
    expected = render(p, cut.contiguous(), device_path=device_path)
    for given in (cut, cut.numpy()):
        assert torch.equal(render(p, given, device_path=device_path), expected)


@PATHS
def test_contrast_is_about_the_images_own_mean(device_path):
    """A bright and a dark image in one batch at contrast 0: each becomes its own mean, before or after brightness."""
    spec = ViewSpec(32, (1, 1), (1, 1), flip_p=0.0, jitter_p=1.0, brightness=(0.5, 0.5), contrast=(0, 0), blur_kernel=3)
    pixels = (smooth_images(4, 32).float() * torch.tensor([0.2, 0.5, 0.9, 1.0])[:, None, None]).byte()
    p = draw_for_step(spec, 4, 32, 32, seed=8)
    ours = render(p, pixels, device_path=device_path)
    expected = pixels.float().mean((1, 2)) / 255 * 0.5
    torch.testing.assert_close(ours, expected[:, None, None].expand(-1, 32, 32), atol=1e-5, rtol=0)


@PATHS
def test_outside_the_crop_is_black(device_path):
    """The affine sees the crop alone: a bright surrounding of the crop does not move in."""
    spec = replace(multi_modal_view(64), jitter_p=0.0, blur_p=0.0, flip_p=0.0)
    pixels = torch.full((1, 64, 64), 255, dtype=torch.uint8)
    p = replace(
        draw_for_step(spec, 1, 64, 64, seed=0),
        crop=torch.tensor([[8, 8, 48, 48]]),
        affine=torch.tensor([[0.0, 5.0, -6.0, 1.0]], dtype=torch.float64),
    )
    ours = render(p, pixels, device_path=device_path)[0]
    assert (ours[:, :5] == 0).all() and (ours[-6:] == 0).all() and (ours[:-6, 5:] == 1).all()


@PATHS
@EACH_KIND
def test_a_workers_slice_is_its_part_of_the_whole(kind, device_path):
    pixels = smooth_images(12, 56)
    p = draw_for_step(KINDS[kind](48), 12, 56, 56, seed=9)
    whole = render(p, pixels, device_path=device_path)
    parts = [render(p.slice(i, i + 4), pixels[i : i + 4], device_path=device_path) for i in (0, 4, 8)]
    assert torch.equal(torch.cat(parts), whole)


@EACH_KIND
def test_the_seed_decides_the_parameters_and_they_decide_the_view(kind):
    spec, pixels = KINDS[kind](48), smooth_images(8, 48)
    first, again, other = (draw_for_step(spec, 8, 48, 48, seed) for seed in (1, 1, 2))
    names = [f.name for f in fields(ViewParameters) if f.name != "spec"]
    assert all(torch.equal(getattr(first, name), getattr(again, name)) for name in names)
    assert not torch.equal(first.crop, other.crop) and not torch.equal(first.sigma, other.sigma)
    assert torch.equal(render(first, pixels), render(again, pixels))
    assert not torch.equal(render(first, pixels), render(other, pixels))


@pytest.mark.parametrize(("height", "width"), [(224, 224), (180, 300), (60, 400)])
def test_crops_are_distributed_as_torchvisions(height, width):
    """Kolmogorov-Smirnov over 4,000 draws each; at 60 x 400 mostly the fallback, the central crop."""
    count, spec = 4000, multi_modal_view(224)
    torch.manual_seed(0)
    image = torch.empty(1, height, width)
    drawn = [v1.RandomResizedCrop.get_params(image, list(spec.crop_scale), list(spec.crop_ratio)) for _ in range(count)]
    theirs = np.array(drawn, dtype=float)
    ours = draw(spec, count, height, width, torch.Generator().manual_seed(1)).crop.double().numpy()
    assert (ours[:, 2:] > 0).all() and (ours[:, :2] + ours[:, 2:] <= [height, width]).all()
    quantities = {
        "top": lambda c: c[:, 0],
        "left": lambda c: c[:, 1],
        "area": lambda c: c[:, 2] * c[:, 3],
        "ratio": lambda c: c[:, 3] / c[:, 2],
        "top share": lambda c: c[:, 0] / np.maximum(1, height - c[:, 2]),
    }
    for name, quantity in quantities.items():
        assert ks_2samp(quantity(ours), quantity(theirs)).pvalue > 1e-3, name


def test_affines_are_distributed_as_torchvisions():
    """translate (0.09, 0.10) is the largest shift as a share of width and height: 20 and 22 pixels at 224."""
    count, spec = 4000, multi_modal_view(224)
    torch.manual_seed(0)
    arguments = [-spec.degrees, spec.degrees], list(spec.translate), list(spec.scale), None, [224, 224]
    drawn = [v1.RandomAffine.get_params(*arguments) for _ in range(count)]
    theirs = np.array([(angle, *moved, scale) for angle, moved, scale, _ in drawn])
    ours = draw(spec, count, 224, 224, torch.Generator().manual_seed(1)).affine.numpy()
    for column, name in enumerate(("angle", "dx", "dy", "scale")):
        assert ks_2samp(ours[:, column], theirs[:, column]).pvalue > 1e-3, name
    assert np.abs(ours[:, 1:3]).max(axis=0).tolist() == [20, 22] == np.abs(theirs[:, 1:3]).max(axis=0).tolist()
    assert (ours[:, 1:3] == ours[:, 1:3].round()).all()


@EACH_KIND
def test_the_rest_is_uniform_with_the_recipes_probabilities(kind):
    count, spec = 4000, KINDS[kind](224)
    p = draw(spec, count, 224, 224, torch.Generator().manual_seed(2))
    for name, values, (low, high) in (
        ("brightness", p.brightness, (0.6, 1.4)),
        ("contrast", p.contrast, (0.6, 1.4)),
        ("sigma", p.sigma, spec.blur_sigma),
    ):
        assert kstest(values.numpy(), "uniform", (low, high - low)).pvalue > 1e-3, name
    for flags, probability in (
        (p.flip, 0.5),
        (p.jitter, spec.jitter_p),
        (p.contrast_first, 0.5),
        (p.blur, spec.blur_p),
        (p.solarize, spec.solarize_p),
    ):
        # Four standard errors of a share; exact where it is 0 or 1.
        assert abs(flags.double().mean() - probability) <= 4 * (probability * (1 - probability) / count) ** 0.5
    assert abs(np.corrcoef(p.brightness, p.contrast)[0, 1]) < 0.07


def test_recipe_values_of_the_paper():
    mm, first, second = multi_modal_view(224), ssl_view_1(224), ssl_view_2(224)
    assert (mm.crop_scale, mm.degrees, mm.translate, mm.scale) == ((0.6, 1.0), 20, (0.09, 0.10), (0.95, 1.05))
    assert (mm.jitter_p, mm.blur_p, mm.blur_sigma, mm.solarize_p) == (0.5, 0.5, (0.1, 3.0), 0)
    assert mm.moves and not first.moves and not second.moves
    assert first.crop_scale == second.crop_scale == (0.75, 1.0) and first.jitter_p == second.jitter_p == 0.8
    assert (first.blur_p, first.solarize_p, second.blur_p, second.solarize_p) == (1.0, 0.0, 0.1, 0.2)
    # ColorJitter(.4, .4) of the self-supervised views is the range that the multi-modal view spells out.
    jitter = v1.ColorJitter(0.4, 0.4)
    assert tuple(jitter.brightness) == first.brightness == mm.brightness
    assert tuple(jitter.contrast) == first.contrast == mm.contrast


def test_the_blur_kernel_is_23_at_224_and_odd_everywhere():
    assert kernel_for(224) == 23 == multi_modal_view(224).blur_kernel
    for size in range(3, 1025):
        kernel = kernel_for(size)
        assert kernel % 2 == 1 and kernel // 2 < size and (size < 30 or abs(kernel - size / 10) <= 1)


def test_a_shortened_blur_kernel_changes_no_grey_level():
    assert useful_kernel(23, 3.0) == 23 and useful_kernel(23, 1.0) == 9 and useful_kernel(23, 0.1) == 3
    noise = torch.rand(1, 224, 224, generator=torch.Generator().manual_seed(0))
    for sigma in (0.1, 0.5, 1.0, 1.5, 2.0):
        kernel = useful_kernel(23, sigma)
        whole, short = (reference.gaussian_blur(noise, [k, k], [sigma, sigma]) for k in (23, kernel))
        assert (whole - short).abs().max() * 255 < 0.05


def test_wrong_pixels_and_parameters_are_refused():
    p = draw_for_step(ssl_view_1(48), 4, 48, 48, seed=0)
    with pytest.raises(ValueError, match="uint8"):
        render(p, torch.zeros(4, 48, 48))
    with pytest.raises(ValueError, match="4 parameters for 3 images"):
        render(p, torch.zeros(3, 48, 48, dtype=torch.uint8))
    with pytest.raises(ValueError, match="beyond"):
        render(p, torch.zeros(4, 30, 30, dtype=torch.uint8))


@pytest.mark.parametrize(
    ("values", "name"),
    [
        ({"blur_kernel": 8}, "blur_kernel"),
        ({"blur_kernel": 97}, "blur_kernel"),
        ({"flip_p": 1.5}, "flip_p"),
        ({"blur_sigma": (0.0, 1.0)}, "blur_sigma"),
        ({"crop_scale": (1.0, 0.5)}, "crop_scale"),
        ({"affine_interpolation": "cubic"}, "affine_interpolation"),
    ],
)
def test_a_spec_that_no_view_can_have_is_refused(values, name):
    with pytest.raises(ValueError, match=f"ViewSpec.{name} "):
        replace(ssl_view_1(48), **values)
