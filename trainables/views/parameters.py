"""Which parameters are drawn for the view of each sample?"""

import math
from collections.abc import Callable
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from trainables.views.view_spec import ViewSpec

# A value at the threshold is inverted, also where dividing by 255 rounded it one bit below.
SOLARIZE_SLACK = 1e-6


@dataclass(frozen=True)
class ViewParameters:
    """One row a sample, on the CPU: flags are bool (n,), factors and sigma float64 (n,).

    crop: int64 (n, 4) top, left, height, width in pixels. affine: float64 (n, 4) angle in degrees (clockwise), dx, dy
    in pixels of the view, scale. contrast_first: contrast before brightness.
    """

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

    def of(self, rows: slice | Tensor) -> "ViewParameters":
        """Those of some samples; a tensor of rows, (n,) int64, in its order."""
        found = {f.name: getattr(self, f.name)[rows] for f in fields(self) if f.name != "spec"}
        return ViewParameters(self.spec, **found)

    def slice(self, start: int, stop: int) -> "ViewParameters":
        """The samples of one worker: rows start to stop - 1."""
        return self.of(slice(start, stop))


def draw(spec: ViewSpec, n: int, height: int, width: int, generator: torch.Generator) -> ViewParameters:
    """Parameters of n views, distributed as torchvision's transforms draw them.

    height, width: of the stored images, in pixels. The order of the draws is part of the result: a draw that is
    added or moved changes all that follow, and with them every pretraining.
    """

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return torch.rand(n, *shape, generator=generator, dtype=torch.float64) * (high - low) + low

    def happens(p: float) -> Tensor:
        return torch.rand(n, generator=generator) < p

    # torchvision draws whole pixels, up to these shares of the side.
    max_dx, max_dy = spec.translate[0] * spec.size, spec.translate[1] * spec.size
    affine = torch.stack(
        [
            uniform(-spec.degrees, spec.degrees),
            uniform(-max_dx, max_dx).round(),
            uniform(-max_dy, max_dy).round(),
            uniform(*spec.scale),
        ],
        dim=1,
    )
    return ViewParameters(
        spec,
        _draw_crops(spec, n, height, width, uniform),
        happens(spec.flip_p),
        affine,
        happens(spec.jitter_p),
        uniform(*spec.brightness),
        uniform(*spec.contrast),
        happens(0.5),
        happens(spec.blur_p),
        uniform(*spec.blur_sigma),
        happens(spec.solarize_p),
    )


def _draw_crops(spec: ViewSpec, n: int, height: int, width: int, uniform: Callable[..., Tensor]) -> Tensor:
    """RandomResizedCrop's rule: ten tries of area and log-uniform ratio, then the central crop. (n, 4) int64.

    uniform(low, high, *shape) draws (n, *shape).
    """
    tries = 10  # all are drawn at once, and each sample takes its first that fits
    area = uniform(*spec.crop_scale, tries) * height * width
    ratio = torch.exp(uniform(math.log(spec.crop_ratio[0]), math.log(spec.crop_ratio[1]), tries))
    # w h = area and w / h = ratio.
    w, h = torch.sqrt(area * ratio).round(), torch.sqrt(area / ratio).round()
    fits = (w > 0) & (w <= width) & (h > 0) & (h <= height)
    first = torch.where(fits.any(1), fits.int().argmax(1), 0)
    rows = torch.arange(n)
    w, h = w[rows, first], h[rows, first]
    fallback = ~fits.any(1)
    if fallback.any():
        # The largest crop about the centre whose ratio is allowed.
        low, high = spec.crop_ratio
        whole = width / height
        w[fallback] = width if whole < low or low <= whole <= high else round(height * high)
        h[fallback] = round(width / low) if whole < low else height
    # One of height - h + 1 places, all equally likely.
    top = torch.floor(uniform(0, 1) * (height - h + 1))
    left = torch.floor(uniform(0, 1) * (width - w + 1))
    top[fallback], left[fallback] = ((height - h) // 2)[fallback], ((width - w) // 2)[fallback]
    return torch.stack([top, left, h, w], dim=1).long()


def draw_for_step(spec: ViewSpec, global_batch_size: int, height: int, width: int, seed: int) -> ViewParameters:
    """Parameters of a whole global batch: a worker takes its slice, so their number changes nothing."""
    return draw(spec, global_batch_size, height, width, torch.Generator().manual_seed(seed))


def inverse_affines(affine: Tensor, size: int) -> Tensor:
    """(n, 4) angle in degrees, dx, dy, scale -> (n, 2, 3) float64: where an output pixel (x, y, 1) comes from.

    Rotation and scale are about the image's centre, as torchvision's functional.affine without shear.
    """
    angle, dx, dy, scale = affine.double().unbind(1)
    cos, sin = torch.cos(torch.deg2rad(angle)) / scale, torch.sin(torch.deg2rad(angle)) / scale
    # With c the centre and d the shift, output = R s (input - c) + c + d; so input = R' / s (output - c - d) + c.
    centre = (size - 1) / 2
    cx, cy = centre + dx, centre + dy
    x_row = torch.stack([cos, sin, centre - cos * cx - sin * cy], dim=1)
    y_row = torch.stack([-sin, cos, centre + sin * cx - cos * cy], dim=1)
    return torch.stack([x_row, y_row], dim=1)
