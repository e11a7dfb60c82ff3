"""How images are prepared for a classifier: resize, crop, mirror, normalise; several crops in a test where asked."""

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from trainables.transfer import sent
from trainables.views.evaluation_spec import EvalSpec
from trainables.views.render import normalise


def prepare(spec: EvalSpec, pixels: np.ndarray, flips: np.ndarray | None, device: torch.device) -> Tensor:
    """uint8 (B, H, W) -> float32 (B, 3, size, size) on the device; flips: (B,) bool, which to mirror after the crop."""
    return prepare_there(spec, sent(as_tensor(pixels), device), flips_there(flips, device))


def prepare_there(spec: EvalSpec, pixels: Tensor, flips: Tensor | None) -> Tensor:
    """As prepare, of tensors that are on the device already: nothing is copied to it, and nothing asked of it."""
    grey = _resized(pixels, spec.resize or spec.size)
    grey = mirrored(_crop(grey, *_centre(grey, spec.size), spec.size), flips)
    return _finish(spec, grey)


def flips_there(flips: np.ndarray | None, device: torch.device) -> Tensor | None:
    """(B,) bool on the device, None where none is to be mirrored."""
    # Asked of the array, which is on the CPU: no question to the device.
    return sent(as_tensor(flips), device) if flips is not None and flips.any() else None


def mirrored(grey: Tensor, flips: Tensor | None) -> Tensor:
    """(B, H, W), those of `flips`, (B,) bool, mirrored."""
    return grey if flips is None else torch.where(flips[:, None, None], grey.flip(-1), grey)


def prepare_test(spec: EvalSpec, pixels: np.ndarray, device: torch.device) -> Tensor:
    """As prepare without mirroring; with ten_crop (B, 10, 3, size, size) in torchvision's order."""
    if not spec.ten_crop:
        return prepare(spec, pixels, None, device)
    assert spec.test_resize is not None, "EvalSpec refuses ten_crop without it"
    grey = _resized(sent(as_tensor(pixels), device), spec.test_resize)
    return torch.stack([_finish(spec, crop) for crop in ten_crops(grey, spec.size)], dim=1)


def ten_crops(grey: Tensor, size: int) -> list[Tensor]:
    """(B, T, T) -> ten of (B, size, size): corners and centre, then those of the mirror image, as torchvision's."""
    last = grey.shape[1] - size  # where the last crop along an axis begins
    corners = [(0, 0), (0, last), (last, 0), (last, last), _centre(grey, size)]
    # Crops of the mirror image, and not mirrored crops: an odd margin puts their centres one pixel apart.
    return [_crop(image, y, x, size) for image in (grey, grey.flip(-1)) for y, x in corners]


def as_tensor(pixels: np.ndarray) -> Tensor:
    """The same values on the CPU; of what may not be written, such as a slice of a mapped file, a copy."""
    # torch warns of such an array, since a tensor cannot be protected.
    return torch.from_numpy(np.require(pixels, requirements=["C", "W"]))


def _resized(pixels: Tensor, side: int) -> Tensor:
    """uint8 (B, H, W) -> float32 (B, side, side) in [0, 1]: bilinear, smoothed before it shrinks."""
    grey = pixels.float() / 255
    if grey.shape[1:] != (side, side):
        grey = functional.interpolate(grey[:, None], (side, side), mode="bilinear", antialias=True)[:, 0]
    return grey


def _centre(grey: Tensor, size: int) -> tuple[int, int]:
    """Top and left of the central crop; half a pixel goes to the even side, as in torchvision."""
    return round((grey.shape[1] - size) / 2), round((grey.shape[2] - size) / 2)


def _crop(grey: Tensor, top: int, left: int, size: int) -> Tensor:
    return grey[:, top : top + size, left : left + size]


def _finish(spec: EvalSpec, grey: Tensor) -> Tensor:
    # Without normalisation the channel is repeated as a view: no copy of three equal planes.
    return normalise(grey, spec.mean, spec.std) if spec.normalise else grey[:, None].expand(-1, 3, -1, -1)
