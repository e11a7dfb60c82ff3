"""Views: drawn as parameters a sample, then rendered by OpenCV on the CPU or batched on an accelerator."""

import math
from dataclasses import dataclass, fields

import cv2
import numpy as np
import torch
from torch import Tensor

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class ViewSpec:
    """All recipe values of a view (the paper's B.3). affine fields are 0 / (0, 0) / (1, 1) where there is none.

    brightness and contrast are ranges of factors; blur_kernel is odd and in pixels.
    """

    size: int
    crop_scale: tuple[float, float]
    crop_ratio: tuple[float, float] = (3 / 4, 4 / 3)
    flip_p: float = 0.5
    degrees: float = 0.0
    translate: tuple[float, float] = (0.0, 0.0)
    scale: tuple[float, float] = (1.0, 1.0)
    jitter_p: float = 0.0
    brightness: tuple[float, float] = (0.6, 1.4)
    contrast: tuple[float, float] = (0.6, 1.4)
    blur_p: float = 0.0
    blur_sigma: tuple[float, float] = (0.1, 2.0)
    blur_kernel: int = 23
    solarize_p: float = 0.0
    solarize_threshold: float = 128 / 255


def kernel_for(size: int) -> int:
    """Odd, about a tenth of the size: 23 at 224."""
    return max(3, 2 * round(size * 0.1 / 2) + 1)


def multi_modal_view(size: int, jitter_p: float = 0.5) -> ViewSpec:
    return ViewSpec(
        size, (0.6, 1.0), degrees=20.0, translate=(0.09, 0.10), scale=(0.95, 1.05), jitter_p=jitter_p, blur_p=0.5,
        blur_sigma=(0.1, 3.0), blur_kernel=kernel_for(size),
    )


def ssl_view_1(size: int) -> ViewSpec:
    return ViewSpec(size, (0.75, 1.0), jitter_p=0.8, blur_p=1.0, blur_kernel=kernel_for(size))


def ssl_view_2(size: int) -> ViewSpec:
    return ViewSpec(size, (0.75, 1.0), jitter_p=0.8, blur_p=0.1, blur_kernel=kernel_for(size), solarize_p=0.2)


@dataclass(frozen=True)
class ViewParameters:
    """One row a sample, on the CPU. crop: (n, 4) top, left, height, width in pixels; affine: (n, 4) angle, dx, dy, scale."""

    spec: ViewSpec
    crop: Tensor
    flip: Tensor
    affine: Tensor
    jitter: Tensor
    brightness: Tensor
    contrast: Tensor
    contrast_first: Tensor
    blur: Tensor
    sigma: Tensor
    solarize: Tensor

    def slice(self, start: int, stop: int) -> "ViewParameters":
        """The samples of one worker."""
        rows = {f.name: getattr(self, f.name)[start:stop] for f in fields(self) if f.name != "spec"}
        return ViewParameters(self.spec, **rows)


def draw(spec: ViewSpec, n: int, height: int, width: int, generator: torch.Generator) -> ViewParameters:
    """Parameters distributed as torchvision's transforms draw them."""

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return torch.rand(n, *shape, generator=generator, dtype=torch.float64) * (high - low) + low

    def happens(p: float) -> Tensor:
        return torch.rand(n, generator=generator) < p

    max_dx, max_dy = spec.translate[0] * spec.size, spec.translate[1] * spec.size
    affine = torch.stack(
        [
            uniform(-spec.degrees, spec.degrees), uniform(-max_dx, max_dx).round(), uniform(-max_dy, max_dy).round(),
            uniform(*spec.scale),
        ], dim=1,
    )
    return ViewParameters(
        spec, _draw_crops(spec, n, height, width, uniform), happens(spec.flip_p), affine, happens(spec.jitter_p),
        uniform(*spec.brightness), uniform(*spec.contrast), happens(0.5), happens(spec.blur_p),
        uniform(*spec.blur_sigma), happens(spec.solarize_p),
    )


def _draw_crops(spec: ViewSpec, n: int, height: int, width: int, uniform) -> Tensor:
    """RandomResizedCrop's rule: ten tries of area and log-uniform ratio, then the central crop."""
    tries = 10
    area = uniform(*spec.crop_scale, tries) * height * width
    ratio = torch.exp(uniform(math.log(spec.crop_ratio[0]), math.log(spec.crop_ratio[1]), tries))
    w, h = torch.sqrt(area * ratio).round(), torch.sqrt(area / ratio).round()
    fits = (w > 0) & (w <= width) & (h > 0) & (h <= height)
    first = torch.where(fits.any(1), fits.int().argmax(1), 0)
    rows = torch.arange(n)
    w, h = w[rows, first], h[rows, first]
    fallback = ~fits.any(1)
    if fallback.any():
        low, high = spec.crop_ratio
        whole = width / height
        w[fallback] = width if whole < low or low <= whole <= high else round(height * high)
        h[fallback] = round(width / low) if whole < low else height
    top = torch.floor(uniform(0, 1) * (height - h + 1))
    left = torch.floor(uniform(0, 1) * (width - w + 1))
    top[fallback], left[fallback] = ((height - h) // 2)[fallback], ((width - w) // 2)[fallback]
    return torch.stack([top, left, h, w], dim=1).long()


def draw_for_step(spec: ViewSpec, global_batch_size: int, height: int, width: int, seed: int) -> ViewParameters:
    """Parameters of a whole global batch: a worker takes its slice, so their number changes nothing."""
    return draw(spec, global_batch_size, height, width, torch.Generator().manual_seed(seed))


def render(parameters: ViewParameters, pixels: Tensor) -> Tensor:
    """uint8 (B, H, W) -> float32 (B, size, size) in [0, 1] on the same device."""
    return _render_opencv(parameters, pixels.numpy())


def normalise(grey: Tensor, mean: tuple[float, ...] = IMAGENET_MEAN, std: tuple[float, ...] = IMAGENET_STD) -> Tensor:
    """(B, H, W) in [0, 1] -> (B, 3, H, W): the channel is repeated, each with its mean and deviation."""
    shift = torch.tensor(mean, device=grey.device).view(1, 3, 1, 1)
    scale = torch.tensor(std, device=grey.device).view(1, 3, 1, 1)
    return (grey[:, None] - shift) / scale


def _render_opencv(p: ViewParameters, pixels: np.ndarray) -> Tensor:
    spec, size = p.spec, p.spec.size
    out = np.empty((len(pixels), size, size), np.float32)
    crops, affines = p.crop.tolist(), p.affine.tolist()
    flip, jitter, blur, solarize = (getattr(p, name).tolist() for name in ("flip", "jitter", "blur", "solarize"))
    brightness, contrast, sigma = p.brightness.tolist(), p.contrast.tolist(), p.sigma.tolist()
    contrast_first = p.contrast_first.tolist()
    moves = spec.degrees > 0 or spec.translate != (0.0, 0.0) or spec.scale != (1.0, 1.0)
    for i in range(len(pixels)):
        top, left, h, w = crops[i]
        image = pixels[i, top : top + h, left : left + w]
        if image.shape != (size, size):
            image = cv2.resize(image, (size, size), interpolation=cv2.INTER_CUBIC)
        if flip[i]:
            image = cv2.flip(image, 1)
        if moves:
            matrix = _inverse_affine(affines[i], size)
            image = cv2.warpAffine(image, matrix, (size, size), flags=cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP)
        value = image.astype(np.float32) * (1 / 255)
        if jitter[i]:
            value = _jitter(value, brightness[i], contrast[i], contrast_first[i])
        if blur[i]:
            kernel = (spec.blur_kernel, spec.blur_kernel)
            value = cv2.GaussianBlur(value, kernel, sigma[i], sigma[i], cv2.BORDER_REFLECT_101)
        if solarize[i]:
            value = np.where(value >= spec.solarize_threshold, 1 - value, value)
        out[i] = value
    return torch.from_numpy(out)


def _inverse_affine(affine: list[float], size: int) -> np.ndarray:
    angle, dx, dy, scale = affine
    cos, sin = math.cos(math.radians(angle)) / scale, math.sin(math.radians(angle)) / scale
    centre = (size - 1) / 2
    cx, cy = centre + dx, centre + dy
    return np.array([[cos, sin, centre - cos * cx - sin * cy], [-sin, cos, centre + sin * cx - cos * cy]])


def _jitter(value: np.ndarray, brightness: float, contrast: float, contrast_first: bool) -> np.ndarray:
    for is_contrast in (contrast_first, not contrast_first):
        if is_contrast:
            value = np.clip(value * contrast + value.mean() * (1 - contrast), 0, 1)
        else:
            value = np.clip(value * brightness, 0, 1)
    return value
