"""How images are prepared for a classifier: resize, crop, mirror, normalise; several crops in a test where asked."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from trainables.views import normalise


@dataclass(frozen=True)
class EvalSpec:
    """size: side of what the backbone sees. resize: side of the square before the central crop, None for size.

    flip_p: probability of mirroring in training. normalise: by ImageNet's mean and deviation, else values in [0, 1].
    ten_crop: in a test the mean over four corners and the centre, each also mirrored, of a resize to `test_resize`.
    """

    size: int
    resize: int | None = None
    flip_p: float = 0.0
    normalise: bool = True
    ten_crop: bool = False
    test_resize: int | None = None


def paper_chexpert(size: int) -> EvalSpec:
    return EvalSpec(size, resize=round(size * 256 / 224), flip_p=0.5)


def paper_nih(size: int) -> EvalSpec:
    return EvalSpec(size)


def released_chexpert(size: int) -> EvalSpec:
    return EvalSpec(size, normalise=False)


def released_nih(size: int) -> EvalSpec:
    return EvalSpec(size, flip_p=0.5, ten_crop=True, test_resize=round(size * 256 / 224))


def _resized(pixels: np.ndarray, side: int, device: torch.device) -> Tensor:
    grey = torch.from_numpy(np.ascontiguousarray(pixels)).to(device).float() / 255
    if grey.shape[-1] != side:
        grey = functional.interpolate(grey[:, None], (side, side), mode="bilinear", antialias=True)[:, 0]
    return grey


def _finish(spec: EvalSpec, grey: Tensor) -> Tensor:
    return normalise(grey) if spec.normalise else grey[:, None].expand(-1, 3, -1, -1)


def prepare(spec: EvalSpec, pixels: np.ndarray, flips: np.ndarray | None, device: torch.device) -> Tensor:
    """uint8 (B, H, W) -> (B, 3, size, size); flips: (B,) bool, which to mirror."""
    grey = _resized(pixels, spec.resize or spec.size, device)
    start = (grey.shape[-1] - spec.size) // 2
    grey = grey[:, start : start + spec.size, start : start + spec.size]
    if flips is not None and flips.any():
        mirrored = torch.from_numpy(flips).to(device)[:, None, None]
        grey = torch.where(mirrored, grey.flip(-1), grey)
    return _finish(spec, grey)


def prepare_test(spec: EvalSpec, pixels: np.ndarray, device: torch.device) -> Tensor:
    """As prepare without mirroring; with ten_crop (B, 10, 3, size, size)."""
    if not spec.ten_crop:
        return prepare(spec, pixels, None, device)
    grey = _resized(pixels, spec.test_resize, device)
    last, middle = spec.test_resize - spec.size, (spec.test_resize - spec.size) // 2
    corners = [(0, 0), (0, last), (last, 0), (last, last), (middle, middle)]
    crops = [grey[:, y : y + spec.size, x : x + spec.size] for y, x in corners]
    crops += [crop.flip(-1) for crop in crops]
    return torch.stack([_finish(spec, crop) for crop in crops], dim=1)
