"""Which pictures of textures and shapes stand in for ImageNet when there is no data at all?"""

from collections.abc import Callable

import cv2
import numpy as np

from datasets_io.fingerprint import derive_seed

Painter = Callable[[int, np.random.Generator], np.ndarray]


def textures_and_shapes(n: int, image_size: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """(pixels uint8 (n, H, W), labels int64 (n,)): classes are those of NAMES, as equal in number as n allows.

    Contrast, polarity, place, size, direction and noise are drawn for every picture and tell nothing of the class.
    The same n, image_size and seed give the same arrays. Raises ValueError for n < 1 or image_size < 8.
    """
    if n < 1 or image_size < 8:
        raise ValueError(f"n is {n}, image_size {image_size}; allowed: at least 1 picture of at least 8 pixels")
    rng = np.random.default_rng(derive_seed(seed, "textures_and_shapes"))
    # 0, 1, ..., 14, 0, 1, ... in a drawn order: no two classes differ by more than one picture.
    labels = rng.permutation(np.arange(n, dtype=np.int64) % len(NAMES))
    pixels = np.empty((n, image_size, image_size), dtype=np.uint8)
    for index, label in enumerate(labels):
        picture = PAINTERS[NAMES[label]](image_size, rng).astype(np.float32)
        pixels[index] = _exposed(picture, image_size, rng)
    return pixels, labels


def _exposed(picture: np.ndarray, size: int, rng: np.random.Generator) -> np.ndarray:
    """0..1 -> uint8 with a drawn polarity, range, shading and grain."""
    low, span = rng.uniform(0.05, 0.4), rng.uniform(0.25, 0.55)
    picture = picture if rng.random() < 0.5 else 1 - picture
    # At most 0.4 + 0.55 = 0.95 of the range before shading and grain, so that little is cut off at white.
    x, y = _grid(size)
    shade = rng.uniform(-0.1, 0.1) * x + rng.uniform(-0.1, 0.1) * y
    grain = rng.uniform(0.01, 0.06) * rng.standard_normal((size, size), dtype=np.float32)
    return np.clip((low + span * picture + shade + grain) * 255, 0, 255).astype(np.uint8)


def _grid(size: int) -> tuple[np.ndarray, np.ndarray]:
    line = np.linspace(-1, 1, size, dtype=np.float32)
    return np.meshgrid(line, line)


def _turned(size: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Places along and across a drawn direction, with a drawn phase: two (size, size) float32."""
    x, y = _grid(size)
    angle = rng.uniform(0, np.pi)
    cos, sin = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    return cos * x + sin * y + np.float32(rng.random()), cos * y - sin * x + np.float32(rng.random())


def _stripes(size: int, rng: np.random.Generator) -> np.ndarray:
    return 0.5 + 0.5 * np.sin(_turned(size, rng)[0] * rng.uniform(10, 26))


def _bars(size: int, rng: np.random.Generator) -> np.ndarray:
    return np.sin(_turned(size, rng)[0] * rng.uniform(3, 6)) > 0.3


def _checkers(size: int, rng: np.random.Generator) -> np.ndarray:
    u, v = _turned(size, rng)
    cells = rng.uniform(2, 5)
    # 1 where the row and column of the cell differ in parity.
    return (np.floor(u * cells) + np.floor(v * cells)) % 2


def _dots(size: int, rng: np.random.Generator) -> np.ndarray:
    u, v = _turned(size, rng)
    cells = rng.uniform(8, 14)
    return np.clip(np.cos(u * cells) * np.cos(v * cells) * 4 - 1.5, 0, 1)


def _net(size: int, rng: np.random.Generator) -> np.ndarray:
    u, v = _turned(size, rng)
    cells = rng.uniform(8, 16)
    return np.maximum(np.cos(u * cells), np.cos(v * cells)) > 0.85


def _blobs(size: int, rng: np.random.Generator) -> np.ndarray:
    x, y = _grid(size)
    picture = np.zeros_like(x)
    for _ in range(int(rng.integers(3, 7))):
        cx, cy, r = rng.uniform(-0.8, 0.8), rng.uniform(-0.8, 0.8), rng.uniform(0.12, 0.3)
        picture = np.maximum(picture, np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / r**2))
    return picture


def _place(rng: np.random.Generator) -> tuple[float, float, float]:
    """Centre and radius of a single shape."""
    return rng.uniform(-0.4, 0.4), rng.uniform(-0.4, 0.4), rng.uniform(0.25, 0.55)


def _disk(size: int, rng: np.random.Generator) -> np.ndarray:
    x, y = _grid(size)
    cx, cy, r = _place(rng)
    return np.hypot(x - cx, y - cy) < r


def _ring(size: int, rng: np.random.Generator) -> np.ndarray:
    x, y = _grid(size)
    cx, cy, r = _place(rng)
    return np.abs(np.hypot(x - cx, y - cy) - r) < 0.18 * r + 0.03


def _polygon(size: int, rng: np.random.Generator, corners: int) -> np.ndarray:
    cx, cy, r = _place(rng)
    angles = rng.uniform(0, 2 * np.pi) + np.arange(corners) * 2 * np.pi / corners
    points = np.stack((cx + r * np.cos(angles), cy + r * np.sin(angles)), axis=1)
    picture = np.zeros((size, size), dtype=np.uint8)
    # From -1..1 to pixels 0..size - 1.
    cv2.fillPoly(picture, [np.round((points + 1) * (size - 1) / 2).astype(np.int32)], 1)
    return picture


def _triangle(size: int, rng: np.random.Generator) -> np.ndarray:
    return _polygon(size, rng, 3)


def _square(size: int, rng: np.random.Generator) -> np.ndarray:
    return _polygon(size, rng, 4)


def _cross(size: int, rng: np.random.Generator) -> np.ndarray:
    x, y = _grid(size)
    cx, cy, r = _place(rng)
    u, v = np.abs(x - cx), np.abs(y - cy)
    return ((u < 0.3 * r) & (v < r)) | ((v < 0.3 * r) & (u < r))


def _gradient(size: int, rng: np.random.Generator) -> np.ndarray:
    u = _turned(size, rng)[0]
    return (u - u.min()) / (u.max() - u.min())


def _rings(size: int, rng: np.random.Generator) -> np.ndarray:
    x, y = _grid(size)
    cx, cy, _ = _place(rng)
    return 0.5 + 0.5 * np.sin(np.hypot(x - cx, y - cy) * rng.uniform(12, 24))


def _clouds(size: int, rng: np.random.Generator) -> np.ndarray:
    return _noise(size, rng, 5)


def _grain(size: int, rng: np.random.Generator) -> np.ndarray:
    return _noise(size, rng, max(6, size // 3))


def _noise(size: int, rng: np.random.Generator, cells: int) -> np.ndarray:
    cell = rng.random((cells, cells), dtype=np.float32)
    return np.clip(cv2.resize(cell, (size, size), interpolation=cv2.INTER_CUBIC), 0, 1)


PAINTERS: dict[str, Painter] = {
    "stripes": _stripes,
    "bars": _bars,
    "checkers": _checkers,
    "dots": _dots,
    "net": _net,
    "blobs": _blobs,
    "disk": _disk,
    "ring": _ring,
    "triangle": _triangle,
    "square": _square,
    "cross": _cross,
    "gradient": _gradient,
    "rings": _rings,
    "clouds": _clouds,
    "grain": _grain,
}
NAMES = tuple(PAINTERS)
