"""How are views rendered: by OpenCV on the CPU or batched on an accelerator; and normalised?"""

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from trainables.views.on_accelerator import render_torch
from trainables.views.on_cpu import render_opencv
from trainables.views.parameters import ViewParameters
from trainables.views.preprocessing import IMAGENET_MEAN, IMAGENET_STD


def render(parameters: ViewParameters, pixels: Tensor | np.ndarray, *, device_path: bool | None = None) -> Tensor:
    """uint8 (B, H, W) -> float32 (B, size, size) in [0, 1] on the same device; an array is on the CPU.

    device_path: True renders as on an accelerator, None where the pixels are on one. Both ways differ by
    about half a grey level in the mean. Raises ValueError where the parameters are not those of these pixels.
    """
    pixels = torch.as_tensor(pixels)
    _check(parameters, pixels)
    if device_path or (device_path is None and pixels.device.type != "cpu"):
        return render_torch(parameters, pixels)
    return render_opencv(parameters, pixels.numpy())


def _check(parameters: ViewParameters, pixels: Tensor) -> None:
    if pixels.dtype != torch.uint8 or pixels.ndim != 3:
        raise ValueError(f"pixels are {pixels.dtype} {tuple(pixels.shape)}: give uint8 (B, H, W)")
    if len(pixels) != len(parameters.crop):
        raise ValueError(f"{len(parameters.crop)} parameters for {len(pixels)} images: slice the worker's own")
    # crop is (top, left, height, width): the sum of both halves is (bottom, right).
    beyond = (parameters.crop[:, :2] + parameters.crop[:, 2:]) > torch.tensor(pixels.shape[1:])
    if beyond.any():
        raise ValueError(f"a crop reaches beyond {tuple(pixels.shape[1:])}: draw for these images' height and width")


def normalise(
    grey: Tensor,
    mean: tuple[float, ...] = IMAGENET_MEAN,
    std: tuple[float, ...] = IMAGENET_STD,
    *,
    channels_last: bool = False,
) -> Tensor:
    """float32 (B, H, W) -> (B, C, H, W): the channel is repeated, for each of the C means, and standard deviations.

    channels_last: written in that memory format, equal values, so that a network in it need not copy.
    """
    scale, shift = _scale_and_shift(tuple(mean), tuple(std), grey.device)
    count = len(mean)
    if channels_last:
        shape, last = (len(grey), *grey.shape[1:], count), (1, 1, 1, count)
    else:
        shape, last = (len(grey), count, *grey.shape[1:]), (1, count, 1, 1)
    scale, shift = scale.view(last), shift.view(last)
    value = grey[..., None] if channels_last else grey[:, None]
    if grey.device.type != "cpu":
        three = torch.addcmul(shift, value, scale)
    else:
        # numpy asks for huge pages: faulting in fresh small ones costs three times the arithmetic, more than rendering.
        three = torch.addcmul(shift, value, scale, out=torch.from_numpy(np.empty(shape, np.float32)))
    return three.permute(0, 3, 1, 2) if channels_last else three


@lru_cache(maxsize=64)  # on an accelerator once copied: a captured step may not make a tensor from numbers
def _scale_and_shift(mean: tuple[float, ...], std: tuple[float, ...], device: torch.device) -> tuple[Tensor, Tensor]:
    # (x - m) / s = x (1 / s) + (-m / s): one multiplication and one addition for each value.
    # float32 whatever torch's default is: it would be kept.
    scale = torch.tensor([1 / s for s in std], dtype=torch.float32)
    shift = torch.tensor([-m / s for m, s in zip(mean, std, strict=True)], dtype=torch.float32)
    return scale.to(device), shift.to(device)
