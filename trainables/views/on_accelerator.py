"""How views are rendered on an accelerator: the whole batch at once, one channel, without waiting for the device.

Every step is a batched product, convolution or elementwise operation whose parameters differ by sample:
cropping, resizing and mirroring are one matrix for rows and one for columns, and "not for this sample" is the
identity (factor 1, a blur kernel of one tap). B samples, H x W stored pixels, S the view's side.
"""

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional

from trainables.transfer import sent
from trainables.views.parameters import SOLARIZE_SLACK, inverse_affines

if TYPE_CHECKING:
    from trainables.views.parameters import ViewParameters

CUBIC = -0.5  # Keys' parameter as Pillow and torchvision take it (OpenCV: -0.75)


def render_torch(p: "ViewParameters", pixels: Tensor) -> Tensor:
    """uint8 (B, H, W) on any device -> float32 (B, S, S) in [0, 1] there."""
    spec, size = p.spec, p.spec.size
    on_device = _Columns(p, pixels.device)
    # Half precision is for networks: grey levels keep 8 bits or less in it.
    with torch.autocast(pixels.device.type, enabled=False):
        value = _crop_resize_flip(pixels.float(), on_device, size).round_().clamp_(0, 255) / 255
        if spec.moves:
            value = _affine(value, on_device.affine, spec.affine_interpolation)
        # Asked of the parameters, which are on the CPU: no question to the device.
        if p.jitter.any():
            value = _jitter(value, on_device)
        if p.blur.any():
            value = _blur(value, on_device, spec.blur_kernel)
        if p.solarize.any():
            inverted = on_device.solarize[:, None, None] & (value >= spec.solarize_threshold - SOLARIZE_SLACK)
            value = torch.where(inverted, 1 - value, value)
    return value


class _Columns:
    """The parameters on the device, brought by one copy that does not wait. Flags are bool (B,), the rest float32."""

    def __init__(self, p: "ViewParameters", device: torch.device) -> None:
        flags = [p.flip, p.jitter, p.contrast_first, p.blur, p.solarize]
        numbers = [p.brightness, p.contrast, p.sigma]
        columns = [p.crop, inverse_affines(p.affine, p.spec.size).flatten(1), *(c[:, None] for c in numbers + flags)]
        # Columns: crop 0 to 3, affine 4 to 9, brightness, contrast, sigma 10 to 12, flags from 13.
        table = sent(torch.cat([column.float() for column in columns], dim=1), device)
        self.crop, self.affine = table[:, :4], table[:, 4:10].unflatten(1, (2, 3))
        self.brightness, self.contrast, self.sigma = table[:, 10:13].unbind(1)
        self.flip, self.jitter, self.contrast_first, self.blur, self.solarize = (table[:, 13:] > 0.5).unbind(1)


def _crop_resize_flip(grey: Tensor, columns: _Columns, size: int) -> Tensor:
    """(B, H, W) -> (B, S, S): torchvision's bicubic with antialias of the crop, mirrored where asked."""
    top, left, height, width = columns.crop.unbind(1)
    rows = resampling_matrix(top, height, grey.shape[1], size)
    across = resampling_matrix(left, width, grey.shape[2], size)
    across = torch.where(columns.flip[:, None, None], across.flip(1), across)
    return rows @ grey @ across.transpose(1, 2)


def resampling_matrix(start: Tensor, length: Tensor, num_in: int, num_out: int) -> Tensor:
    """(B,) first pixel and length of the crop -> (B, num_out, num_in) weights, each row of sum 1, 0 outside the crop.

    When it shrinks the kernel is widened by the factor (antialias).
    """
    step = (length / num_out)[:, None, None]
    pixel = torch.arange(num_in, device=start.device) + 0.5
    centre = start[:, None, None] + (torch.arange(num_out, device=start.device)[:, None] + 0.5) * step
    x = ((pixel - centre) / step.clamp(min=1)).abs_()
    # Keys (1981), cubic convolution with a = CUBIC: near for |x| < 1, far for 1 <= |x| < 2, 0 beyond.
    near = ((CUBIC + 2) * x - (CUBIC + 3)) * x * x + 1
    far = CUBIC * (((x - 5) * x + 8) * x - 4)
    inside = (pixel > start[:, None]) & (pixel < (start + length)[:, None])
    weights = torch.where(x < 1, near, far) * (x < 2) * inside[:, None]
    return weights / weights.sum(-1, keepdim=True)


def _affine(value: Tensor, matrices: Tensor, interpolation: str) -> Tensor:
    """(B, S, S), (B, 2, 3) in pixels -> (B, S, S), 0 where a pixel comes from outside the image."""
    size = value.shape[-1]
    places = torch.arange(size, device=value.device, dtype=torch.float32)
    x, y = places[None, None, :], places[None, :, None]
    # Elementwise and not affine_grid's product, which TF32 would round to a tenth of a pixel.
    pixels = [m[:, 0, None, None] * x + m[:, 1, None, None] * y + m[:, 2, None, None] for m in matrices.unbind(1)]
    # grid_sample counts from -1 to 1 between the outer edges of the image: pixel i of S stands at (2 i + 1) / S - 1.
    grid = (torch.stack(pixels, dim=-1) * 2 + 1) / size - 1
    moved = functional.grid_sample(value[:, None], grid, interpolation, padding_mode="zeros", align_corners=False)
    return moved[:, 0]


def _jitter(value: Tensor, columns: _Columns) -> Tensor:
    """Brightness and contrast in each sample's own order; contrast is about the image's mean at that moment."""
    one = torch.ones_like(columns.brightness)
    brightness = torch.where(columns.jitter, columns.brightness, one)
    contrast = torch.where(columns.jitter, columns.contrast, one)
    for is_contrast in (columns.contrast_first, ~columns.contrast_first):
        factor = torch.where(is_contrast, contrast, brightness)
        # Contrast c about the mean m: c x + (1 - c) m; brightness b: b x.
        pull = torch.where(is_contrast, 1 - contrast, 0 * one) * value.mean(dim=(1, 2))
        value = (value * factor[:, None, None] + pull[:, None, None]).clamp_(0, 1)
    return value


def _blur(value: Tensor, columns: _Columns, kernel: int) -> Tensor:
    """Each sample with its own deviation: samples are the groups of one convolution along x and one along y.

    The weights of a Gaussian, exp(-t^2 / 2 sigma^2) over their sum, are a softmax of the exponents.
    """
    half = kernel // 2
    taps = torch.arange(-half, half + 1, device=value.device)
    weights = torch.softmax(-0.5 * (taps / columns.sigma[:, None]) ** 2, dim=1)
    weights = torch.where(columns.blur[:, None], weights, (taps == 0).float())
    padded = functional.pad(value[None], (half, half, half, half), mode="reflect")
    groups = len(value)
    across = functional.conv2d(padded, weights[:, None, None, :], groups=groups)
    return functional.conv2d(across, weights[:, None, :, None], groups=groups)[0]
