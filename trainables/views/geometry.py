"""One stored picture as an encoder's geometry shows it: resized, cut or padded to a square; greys stay greys."""

from functools import lru_cache

import numpy as np
import torch
from PIL import Image

from trainables.views.preprocessing import Preprocessing

PILLOW = {
    name: Image.Resampling[name.upper()] for name in ("nearest", "box", "bilinear", "hamming", "bicubic", "lanczos")
}


def resized_shape(own: Preprocessing, rows: int, columns: int) -> tuple[int, int]:
    """(rows, columns) of a picture after its resize, before anything is cut off or padded."""
    side = own.resize or own.size
    if own.geometry == "shortest":
        # Truncated, as torchvision and transformers do.
        return (side, int(side * columns / rows)) if rows <= columns else (int(side * rows / columns), side)
    if own.geometry == "longest":
        ratio = max(rows / side, columns / side)  # rounded to even, as timm and open_clip do
        return max(1, round(rows / ratio)), max(1, round(columns / ratio))
    return side, side


def fit(own: Preprocessing, picture: np.ndarray) -> np.ndarray:
    """(H, W) uint8 -> (size, size) uint8, or float32 in [0, 1] where `own.floats`."""
    if own.geometry == "cut":
        side = min(picture.shape)
        picture = _cut(picture, side, own.rounding)
    shape = resized_shape(own, *picture.shape)
    grey = _resized(own, picture, shape)
    return _cut(_padded(grey, own.size, own.fill), own.size, own.rounding)


def view_box(own: Preprocessing, rows: int, columns: int) -> tuple[float, float, float, float]:
    """Left, top, width and height of what the network sees, in shares of the whole picture; beyond it where padded."""
    if own.geometry == "cut":
        side = min(rows, columns)
        left, top = start(columns, side, own.rounding), start(rows, side, own.rounding)
        return left / columns, top / rows, side / columns, side / rows
    tall, wide = resized_shape(own, rows, columns)
    left, top = (_offset(side, own.size, own.rounding) for side in (wide, tall))
    return left / wide, top / tall, own.size / wide, own.size / tall


def start(side: int, size: int, rounding: str) -> int:
    """Where the central `size` of `side` pixels begins, by one of ROUNDINGS."""
    if rounding == "halves":
        return side // 2 - size // 2
    return round((side - size) / 2) if rounding == "even" else (side - size) // 2


def _offset(side: int, size: int, rounding: str) -> int:
    return start(side, size, rounding) if side >= size else -((size - side) // 2)


def _resized(own: Preprocessing, picture: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    if own.resampler == "pillow":
        if picture.shape == shape:
            return picture
        return np.asarray(Image.fromarray(picture).resize(shape[::-1], PILLOW[own.interpolation]))
    if own.resampler == "area_floats":
        down, across = (_areas(*sides) for sides in zip(picture.shape, shape, strict=True))
        return (down @ (picture.astype(np.float64) / 255) @ across.T).astype(np.float32)
    # It takes a second to import, which nobody else need pay.
    from torchvision.transforms.v2 import InterpolationMode, functional  # type: ignore[import-untyped]  # the package has no types

    # A copy, since torch wants to write where it reads.
    grey = torch.from_numpy(np.array(picture))[None]
    if own.resampler == "torch_floats":
        grey = grey * (1 / 255)
    mode = InterpolationMode(own.interpolation)
    found: np.ndarray = functional.resize(grey, list(shape), interpolation=mode, antialias=True)[0].numpy()
    return found


@lru_cache(maxsize=64)
def _areas(side: int, size: int) -> np.ndarray:
    """(size, side) float64: which share of each new pixel's extent lies in each old one; rows sum to 1."""
    edges = np.arange(size + 1) * (side / size)
    old = np.arange(side)
    overlap = np.minimum(edges[1:, None], old + 1) - np.maximum(edges[:-1, None], old)
    shares: np.ndarray = np.clip(overlap, 0, None) * (size / side)
    return shares


def _padded(grey: np.ndarray, size: int, fill: int) -> np.ndarray:
    """With margins of `fill` where a side is shorter than `size`; the odd pixel at the bottom and at the right."""
    margins = [max(0, size - side) for side in grey.shape]
    if not any(margins):
        return grey
    value = fill / 255 if grey.dtype == np.float32 else fill
    return np.pad(grey, [(margin // 2, margin - margin // 2) for margin in margins], constant_values=value)


def _cut(grey: np.ndarray, size: int, rounding: str) -> np.ndarray:
    top, left = (start(side, size, rounding) for side in grey.shape)
    return grey[top : top + size, left : left + size]
