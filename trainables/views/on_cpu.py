"""How views are rendered on the CPU: by OpenCV, one channel, image by image, on one core."""

import math
from typing import TYPE_CHECKING

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

if TYPE_CHECKING:
    from trainables.views.parameters import ViewParameters
    from trainables.views.view_spec import ViewSpec
from trainables.views.parameters import SOLARIZE_SLACK, inverse_affines

# OpenCV's cubic does not smooth before it shrinks. Up to this factor that costs half a grey level in the mean.
MAX_UNSMOOTHED_SHRINK = 1.25
LEVELS = np.arange(256, dtype=np.float32) / np.float32(255)


def render_opencv(p: "ViewParameters", pixels: np.ndarray) -> Tensor:
    """uint8 (B, H, W) -> float32 (B, size, size) in [0, 1].

    As long as a view only maps values to values (jitter, solarisation) that is done in a table of 256 entries and
    looked up once for each pixel; blur mixes neighbours, so what follows it is computed for each pixel.
    """
    spec = p.spec
    out = np.empty((len(pixels), spec.size, spec.size), np.float32)
    matrices = inverse_affines(p.affine, spec.size).numpy() if spec.moves else [None] * len(pixels)
    jitters = zip(p.jitter.tolist(), p.brightness.tolist(), p.contrast.tolist(), p.contrast_first.tolist(), strict=True)
    effects = zip(jitters, p.blur.tolist(), p.sigma.tolist(), p.solarize.tolist(), strict=True)
    geometry = zip(p.crop.tolist(), p.flip.tolist(), matrices, strict=True)
    for image, target, places, (jitter, blur, sigma, solarize) in zip(pixels, out, geometry, effects, strict=True):
        moved = _move(spec, image, *places)
        table = _jitter_table(moved, *jitter[1:]) if jitter[0] else LEVELS
        if not blur:
            # All that is left maps values to values: one look-up for each pixel.
            cv2.LUT(moved, _solarized(table, spec.solarize_threshold) if solarize else table, target)
            continue
        value = cv2.LUT(moved, table)
        kernel = useful_kernel(spec.blur_kernel, sigma)
        cv2.GaussianBlur(value, (kernel, kernel), sigma, target, sigma, cv2.BORDER_REFLECT_101)
        if solarize:
            target[:] = _solarized(target, spec.solarize_threshold)
    return torch.from_numpy(out)


def useful_kernel(kernel: int, sigma: float) -> int:
    """At most `kernel`, cut at four deviations: the tails beyond weigh 6e-5, less than 0.02 grey levels."""
    return min(kernel, 2 * math.ceil(4 * sigma) + 1)


def _move(spec: "ViewSpec", image: np.ndarray, crop: list[int], flip: bool, matrix: np.ndarray | None) -> np.ndarray:
    top, left, height, width = crop
    size = (spec.size, spec.size)
    image = image[top : top + height, left : left + width]
    if max(height, width) > MAX_UNSMOOTHED_SHRINK * spec.size:
        whole = torch.from_numpy(np.ascontiguousarray(image))[None, None]
        image = functional.interpolate(whole, size, mode="bicubic", antialias=True)[0, 0].numpy()
    elif image.shape != size:
        image = cv2.resize(image, size, interpolation=cv2.INTER_CUBIC)
    if flip:
        image = cv2.flip(image, 1)  # 1: about the vertical axis
    if matrix is not None:
        method = cv2.INTER_NEAREST if spec.affine_interpolation == "nearest" else cv2.INTER_LINEAR
        # What comes from outside the crop is 0.
        image = cv2.warpAffine(image, matrix, size, flags=method | cv2.WARP_INVERSE_MAP)
    return image


def _jitter_table(image: np.ndarray, brightness: float, contrast: float, contrast_first: bool) -> np.ndarray:
    """(256,) float32: what each grey level becomes. Contrast is about the image's own mean at that moment."""
    if contrast_first:
        return np.clip(_contrasted(LEVELS, contrast, cv2.mean(image)[0] / 255) * np.float32(brightness), 0, 1)
    table = np.clip(LEVELS * np.float32(brightness), 0, 1)
    # Brightness acts first: the mean is that of the brightened image, by the histogram of the original.
    counts = cv2.calcHist([image], [0], None, [256], [0, 256]).ravel()
    return _contrasted(table, contrast, float(counts.astype(np.float64) @ table) / image.size)


def _contrasted(table: np.ndarray, contrast: float, mean: float) -> np.ndarray:
    return np.clip(table * np.float32(contrast) + np.float32(mean * (1 - contrast)), 0, 1)


def _solarized(value: np.ndarray, threshold: float) -> np.ndarray:
    return np.where(value >= np.float32(threshold - SOLARIZE_SLACK), 1 - value, value)
