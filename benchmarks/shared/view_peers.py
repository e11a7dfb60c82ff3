"""What else renders a view: Pillow as the paper's authors ran it, torchvision v2, kornia, each by its own draws?

Each in three channels, as such code is written for photographs, and in one, which is all that a radiograph has: its
channel is repeated at the end.
"""

import importlib.util
from collections.abc import Callable

import numpy as np
import torch
from PIL import Image, ImageFilter
from torch import Tensor
from torchvision import transforms as v1
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional

from trainables.views.parameters import ViewParameters
from trainables.views.preprocessing import IMAGENET_MEAN, IMAGENET_STD
from trainables.views.view_spec import ViewSpec


class PillowBlur:
    """Pillow's own blur, whose radius is the deviation (three box blurs)."""

    def __init__(self, sigma: tuple[float, float]) -> None:
        self.sigma = sigma

    def __call__(self, image: Image.Image) -> Image.Image:
        return image.filter(ImageFilter.GaussianBlur(float(torch.empty(1).uniform_(*self.sigma))))


class ThreeChannels:
    """(1, H, W) -> (3, H, W): the channel three times, without a copy; other tensors as they are."""

    def __call__(self, image: Tensor) -> Tensor:
        return image.expand(3, -1, -1)


def pillow_peer(spec: ViewSpec, channels: int = 3) -> Callable[[np.ndarray], Tensor]:
    """torchvision's transforms of 8-bit Pillow images, RGB or grey, one by one, as a data loader's worker runs them."""
    steps = [
        v1.RandomResizedCrop(spec.size, spec.crop_scale, spec.crop_ratio, v1.InterpolationMode.BICUBIC),
        v1.RandomHorizontalFlip(spec.flip_p),
    ]
    if spec.moves:
        steps.append(v1.RandomAffine(spec.degrees, spec.translate, spec.scale))
    steps.append(v1.RandomApply([v1.ColorJitter(spec.brightness, spec.contrast)], spec.jitter_p))
    steps.append(v1.RandomApply([PillowBlur(spec.blur_sigma)], spec.blur_p))
    if spec.solarize_p:
        steps.append(v1.RandomSolarize(round(spec.solarize_threshold * 255), spec.solarize_p))
    pipeline = v1.Compose([*steps, v1.ToTensor(), ThreeChannels(), v1.Normalize(IMAGENET_MEAN, IMAGENET_STD)])
    mode = "RGB" if channels == 3 else "L"

    def render_all(pixels: np.ndarray) -> Tensor:
        return torch.stack([pipeline(Image.fromarray(image).convert(mode)) for image in pixels])

    return render_all


def torchvision_peer(spec: ViewSpec, channels: int = 3) -> Callable[[np.ndarray], Tensor]:
    """torchvision v2 on uint8 tensors, one by one."""
    steps = [
        v2.RandomResizedCrop(spec.size, spec.crop_scale, spec.crop_ratio, v2.InterpolationMode.BICUBIC),
        v2.RandomHorizontalFlip(spec.flip_p),
    ]
    if spec.moves:
        steps.append(v2.RandomAffine(spec.degrees, spec.translate, spec.scale))
    steps.append(v2.RandomApply([v2.ColorJitter(spec.brightness, spec.contrast)], spec.jitter_p))
    steps.append(v2.RandomApply([v2.GaussianBlur(spec.blur_kernel, spec.blur_sigma)], spec.blur_p))
    if spec.solarize_p:
        steps.append(v2.RandomSolarize(round(spec.solarize_threshold * 255), spec.solarize_p))
    steps += [v2.ToDtype(torch.float32, scale=True), ThreeChannels(), v2.Normalize(IMAGENET_MEAN, IMAGENET_STD)]
    pipeline = v2.Compose(steps)

    def render_all(pixels: np.ndarray) -> Tensor:
        return torch.stack([pipeline(torch.from_numpy(image).expand(channels, -1, -1)) for image in pixels])

    return render_all


def kornia_peer(spec: ViewSpec, channels: int = 3) -> Callable[[np.ndarray], Tensor] | None:
    """kornia on the whole batch, float channels; None where it is not installed."""
    if importlib.util.find_spec("kornia") is None:
        return None
    from kornia import augmentation as k

    size = (spec.size, spec.size)
    steps = [
        k.RandomResizedCrop(size, spec.crop_scale, spec.crop_ratio, resample="bicubic"),
        k.RandomHorizontalFlip(p=spec.flip_p),
    ]
    if spec.moves:
        steps.append(k.RandomAffine(spec.degrees, spec.translate, spec.scale, resample="nearest", p=1.0))
    if channels == 3:
        steps.append(k.ColorJiggle(spec.brightness, spec.contrast, p=spec.jitter_p))
    else:  # which takes three channels, for their hue; the two parts of it that a grey image has, each by its own draw
        steps.append(k.RandomBrightness(spec.brightness, p=spec.jitter_p))
        steps.append(k.RandomContrast(spec.contrast, p=spec.jitter_p))
    steps.append(k.RandomGaussianBlur((spec.blur_kernel, spec.blur_kernel), spec.blur_sigma, p=spec.blur_p))
    if spec.solarize_p:
        steps.append(k.RandomSolarize((spec.solarize_threshold,) * 2, (0.0, 0.0), p=spec.solarize_p))
    pipeline = k.AugmentationSequential(*steps, data_keys=["input"])
    normalise = k.Normalize(torch.tensor(IMAGENET_MEAN), torch.tensor(IMAGENET_STD))

    def render_all(pixels: np.ndarray) -> Tensor:
        grey = torch.from_numpy(pixels)[:, None].float() / 255
        views = pipeline(grey.expand(-1, channels, -1, -1).contiguous())
        return normalise(views.expand(-1, 3, -1, -1))

    return render_all


def step_by_step(p: ViewParameters, row: int, image: Tensor, solarize: bool = True) -> Tensor:
    """The view that torchvision's functional operations give for the parameters of one row.

    (C, H, W) uint8, or float in [0, 1] -> (C, size, size) of the same type.
    """
    spec = p.spec
    bicubic = v2.InterpolationMode.BICUBIC
    image = functional.resized_crop(image, *p.crop[row].tolist(), [spec.size] * 2, bicubic, antialias=True)
    if p.flip[row]:
        image = functional.horizontal_flip(image)
    if spec.moves:
        angle, dx, dy, scale = p.affine[row].tolist()
        how = v2.InterpolationMode(spec.affine_interpolation)
        image = functional.affine(image, angle, [int(dx), int(dy)], scale, [0.0, 0.0], how)
    if p.jitter[row]:
        steps = [(functional.adjust_brightness, p.brightness), (functional.adjust_contrast, p.contrast)]
        for adjust, factor in reversed(steps) if p.contrast_first[row] else steps:
            image = adjust(image, factor[row].item())
    if p.blur[row]:
        image = functional.gaussian_blur(image, [spec.blur_kernel] * 2, [p.sigma[row].item()] * 2)
    if solarize and p.solarize[row]:
        image = functional.solarize(image, spec.solarize_threshold * (1 if image.is_floating_point() else 255))
    return image


def torchvisions_views(p: ViewParameters, pixels: Tensor, dtype: torch.dtype, solarize: bool = True) -> Tensor:
    """uint8 (B, H, W) -> float32 (B, size, size) in [0, 1], computed in `dtype`: torch.float32, or torch.uint8."""
    stored = functional.to_dtype(pixels, dtype, scale=True)
    views = torch.stack([step_by_step(p, row, image[None], solarize)[0] for row, image in enumerate(stored)])
    return functional.to_dtype(views, torch.float32, scale=True)
