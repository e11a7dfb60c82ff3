"""How does a made-up chest without findings look on a radiograph: bones, lungs and heart?

Lengths are in half images: x to the right and y down, both from -1 to 1 over the picture. Grey values are from 0
(air) to 1 (bone, metal), float32 of shape (size, size). Nothing here is measured on people: it is a model for tests.
"""

import functools
from dataclasses import dataclass

import cv2
import numpy as np

from datasets_io.synthetic.patients import BOTH, LEFT, RIGHT, Sign

TISSUE, LUNG, MEDIASTINUM = 0.62, 0.40, 0.16  # grey of the chest wall; what air takes from it; what the middle adds
ZONE_HEIGHT = (0.24, 0.5, 0.78)  # middle of the upper, mid and lower zone, from apex to base


@dataclass(frozen=True, slots=True)
class Anatomy:
    """One person's chest."""

    chest: float  # half width of the body
    lung_x: float  # distance of a lung's middle from the spine
    lung_width: float  # half width
    apex: float
    base: float
    dome: float  # height of the diaphragm's dome
    raised: float  # how much higher the right half stands
    aeration: float  # contrast of the lungs, about 1
    mediastinum: float  # half width of its upper part
    heart_x: float
    heart_y: float
    heart_width: float
    heart_height: float
    rib_spacing: float
    rib_slope: float
    rib_phase: float
    rib_contrast: float
    breast: float


@dataclass(frozen=True, slots=True)
class Camera:
    """Where the film lies: zoom > 1 shows less; angle in radians; offset in half images."""

    zoom: float = 1.0
    angle: float = 0.0
    offset: tuple[float, float] = (0.0, 0.0)


def draw_anatomy(rng: np.random.Generator) -> Anatomy:
    """One person, each length drawn evenly from a range. The order of the draws is part of the archives' bytes."""
    vary = rng.uniform
    return Anatomy(
        chest=vary(0.88, 1.0),
        lung_x=vary(0.42, 0.47),
        lung_width=vary(0.32, 0.38),
        apex=vary(-0.88, -0.76),
        base=vary(0.50, 0.68),
        dome=vary(0.08, 0.2),
        raised=vary(0.0, 0.1),
        aeration=vary(0.8, 1.15),
        mediastinum=vary(0.11, 0.18),
        heart_x=vary(0.06, 0.15),
        heart_y=vary(0.26, 0.36),
        heart_width=vary(0.27, 0.38),
        heart_height=vary(0.26, 0.34),
        rib_spacing=vary(0.16, 0.21),
        rib_slope=vary(0.4, 0.8),
        rib_phase=vary(0, 2 * np.pi),
        rib_contrast=vary(0.02, 0.06),
        breast=vary(0.0, 0.08),
    )


@dataclass(slots=True)
class Scene:
    """A picture being painted. x, y: (size, size) places in the chest; image: grey; lungs: side -> soft mask."""

    anatomy: Anatomy
    x: np.ndarray
    y: np.ndarray
    image: np.ndarray
    lungs: dict[int, np.ndarray]
    contrast: float

    def sides(self, sign: Sign) -> tuple[int, ...]:
        """The lungs that show the sign."""
        return (RIGHT, LEFT) if sign.side == BOTH else (sign.side,)

    def centre(self, sign: Sign, side: int) -> tuple[float, float]:
        """Where in a lung the sign is."""
        a = self.anatomy
        height = a.apex + (a.base - a.apex) * (ZONE_HEIGHT[sign.zone] + 0.08 * sign.place[1])
        return side * (a.lung_x + 0.45 * a.lung_width * (sign.place[0] + 0.25)), height

    def lung_u(self, side: int) -> np.ndarray:
        """(size, size), of each pixel: -1 at the inner wall of a lung, 1 at the outer wall."""
        return (side * self.x - self.anatomy.lung_x) / self.anatomy.lung_width

    def cover(self, mask: np.ndarray, grey: float = TISSUE + 0.08) -> None:
        """Mix towards a grey value; mask: (size, size), share from 0 to 1 where the contrast is 1."""
        self.image += np.minimum(mask * self.contrast, 1) * (grey - self.image)


@functools.lru_cache(maxsize=8)
def _grid(size: int) -> tuple[np.ndarray, np.ndarray]:
    line = ((np.arange(size, dtype=np.float32) + 0.5) * 2 / size - 1).astype(np.float32)
    return np.meshgrid(line, line)


def _places(size: int, camera: Camera) -> tuple[np.ndarray, np.ndarray]:
    x, y = _grid(size)
    cos, sin = np.float32(np.cos(camera.angle) / camera.zoom), np.float32(np.sin(camera.angle) / camera.zoom)
    dx, dy = (np.float32(value) for value in camera.offset)
    return cos * x - sin * y - dx, sin * x + cos * y - dy


def soft(distance: np.ndarray, width: float) -> np.ndarray:
    """1 inside (distance < 0), 0 outside, over an edge of this width; of any shape, in the unit of the distance."""
    return np.clip(0.5 - distance / np.float32(width), 0, 1)


def _radius2(scene: Scene, x: float, y: float, rx: float, ry: float) -> np.ndarray:
    """Squared distance from a centre, in units of an ellipse's half axes."""
    return ((scene.x - np.float32(x)) / np.float32(rx)) ** 2 + ((scene.y - np.float32(y)) / np.float32(ry)) ** 2


def blob(scene: Scene, x: float, y: float, rx: float, ry: float) -> np.ndarray:
    """(size, size) Gaussian of height 1 around a centre; rx, ry: where it has fallen to 1/e."""
    return np.exp(-_radius2(scene, x, y, rx, ry))


def disk(scene: Scene, x: float, y: float, rx: float, ry: float, edge: float = 0.05) -> np.ndarray:
    """(size, size) mask of an ellipse, 1 inside, with a soft edge of this width."""
    r = np.sqrt(_radius2(scene, x, y, rx, ry))
    return soft((r - 1) * np.float32(min(rx, ry)), edge)


def segment(scene: Scene, x0: float, y0: float, x1: float, y1: float, width: float) -> np.ndarray:
    """(size, size) mask of a line of this half width, with a soft edge."""
    length = max(1e-6, (x1 - x0) ** 2 + (y1 - y0) ** 2)
    across, down = np.float32(x1 - x0), np.float32(y1 - y0)
    u, v = scene.x - np.float32(x0), scene.y - np.float32(y0)
    along = np.clip((u * across + v * down) / np.float32(length), 0, 1)
    distance = np.hypot(u - along * across, v - along * down)
    return soft(distance - np.float32(width), 0.03)


def _lung(a: Anatomy, x: np.ndarray, y: np.ndarray, side: int) -> np.ndarray:
    """Soft mask of one lung: an ellipse above, a box below, cut by the diaphragm."""
    base = a.base - (a.raised if side == RIGHT else 0)
    u = (side * x - np.float32(a.lung_x)) / np.float32(a.lung_width)
    v = (y - np.float32((a.apex + base) / 2)) / np.float32((base - a.apex) / 2)
    u2, v2 = u * u, v * v
    # Above the middle u^2 + v^2 = 1, an ellipse; below u^2 + 0.3 v^4 = 1, whose sides stay wide down to the base.
    r = np.where(v < 0, u2 + v2, u2 + 0.3 * v2 * v2)
    floor = np.float32(base) - np.float32(a.dome) * (1 - u2)
    return soft((r - 1) * 0.25, 0.08) * soft(y - floor, 0.05)


def paint_chest(anatomy: Anatomy, size: int, camera: Camera, contrast: float, rng: np.random.Generator) -> Scene:
    """The chest without what lies in it. contrast: of the signs to come; rng: of the lungs' texture."""
    x, y = _places(size, camera)
    lungs = {side: _lung(anatomy, x, y, side) for side in (RIGHT, LEFT)}
    scene = Scene(anatomy, x, y, np.zeros_like(x), lungs, contrast)
    _paint(scene, rng)
    return scene


def _paint(scene: Scene, rng: np.random.Generator) -> None:
    a, x, y = scene.anatomy, scene.x, scene.y
    shoulders = np.float32(a.chest) * (1 - 0.55 * np.clip(-y - 0.55, 0, 1))
    body = soft(np.abs(x) - shoulders, 0.08)
    lungs = scene.lungs[RIGHT] + scene.lungs[LEFT]
    middle = soft(np.abs(x) - np.float32(a.mediastinum) * (1 + 0.35 * np.clip(y + 0.1, 0, 1)), 0.06)
    heart = disk(scene, a.heart_x, a.heart_y, a.heart_width, a.heart_height, 0.06)
    covered = np.maximum(middle, heart)
    for side in (RIGHT, LEFT):
        scene.lungs[side] = scene.lungs[side] * (1 - covered)
    # The vertebrae: a narrow ridge along the middle, 28 / (2 pi) = 4.5 of them to a half image.
    spine = 0.05 * np.exp(-((x / np.float32(0.06)) ** 2)) * (1 + np.cos(y * 28))
    wall = TISSUE + np.float32(a.breast) * np.clip(1 - ((y - 0.25) / 0.3) ** 2, 0, 1) + 0.06 * np.clip(y - 0.5, 0, 1)
    image = body * (wall + covered * MEDIASTINUM + spine)
    image -= lungs * np.float32(LUNG * a.aeration) * (1 - 0.9 * covered)
    ribs = np.cos(
        (y - np.float32(a.rib_slope) * np.abs(x) * (np.abs(x) - 0.1)) * np.float32(2 * np.pi / a.rib_spacing)
        + np.float32(a.rib_phase)
    )
    image += np.float32(a.rib_contrast) * body * np.clip(ribs, 0, 1) ** 2 * soft(y - 0.5, 0.3) * (1 - 0.7 * covered)
    for side in (RIGHT, LEFT):
        image += 0.08 * _clavicle(scene, side)
    image += lungs * (_vessels(x.shape[0], rng) + 0.07 * _hila(scene))
    scene.image = image


def _clavicle(scene: Scene, side: int) -> np.ndarray:
    a = scene.anatomy
    return segment(scene, side * 0.08, a.apex + 0.22, side * a.chest * 0.8, a.apex + 0.08, 0.025)


def _hila(scene: Scene) -> np.ndarray:
    a = scene.anatomy
    return blob(scene, -0.2, a.heart_y - 0.3, 0.12, 0.2) + blob(scene, 0.2, a.heart_y - 0.33, 0.12, 0.2)


def _vessels(size: int, rng: np.random.Generator) -> np.ndarray:
    """(size, size) mottle of two scales, mean about 0."""
    fine = rng.standard_normal((24, 24), dtype=np.float32)
    coarse = rng.standard_normal((7, 7), dtype=np.float32)
    return 0.025 * cv2.resize(fine, (size, size), interpolation=cv2.INTER_LINEAR) + 0.03 * cv2.resize(
        coarse, (size, size), interpolation=cv2.INTER_CUBIC
    )
