"""How does a made-up chest look on a radiograph: bones, lungs, heart and the signs of findings?

Lengths are in half images: x to the right and y down, both from -1 to 1 over the picture. Grey values are from 0
(air) to 1 (bone, metal), float32 of shape (size, size). Nothing here is measured on people: it is a model for tests.
"""

import functools
import itertools
from collections.abc import Callable
from dataclasses import dataclass, replace

import cv2
import numpy as np

from datasets_io.synthetic.patients import BOTH, LEFT, RIGHT, Sign

TISSUE, LUNG, MEDIASTINUM = 0.62, 0.40, 0.16  # grey of the chest wall; what air takes from it; what the middle adds
# Of all signs at contrast 1: a small network that is fine-tuned on 500 pictures has a macro AUROC of about 0.8.
PLAINNESS = 1.25
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
        """-1 at the inner wall of a lung, 1 at the outer wall."""
        return (side * self.x - self.anatomy.lung_x) / self.anatomy.lung_width

    def cover(self, mask: np.ndarray, grey: float = TISSUE + 0.08) -> None:
        """Mix towards a grey value; mask: share from 0 to 1 where the contrast is 1."""
        self.image += np.minimum(mask * self.contrast, 1) * (grey - self.image)


def render(
    anatomy: Anatomy,
    signs: tuple[Sign, ...],
    size: int,
    camera: Camera,
    rng: np.random.Generator,
    contrast: float = 1.0,
) -> np.ndarray:
    """(size, size) float32 grey values about 0..1. rng: of the lungs' texture; contrast: scales all signs."""
    contrast = contrast * PLAINNESS
    # Signs that change the anatomy first, then the chest, then the signs that lie in it.
    anatomy = _reshaped(anatomy, signs, contrast)
    x, y = _places(size, camera)
    lungs = {side: _lung(anatomy, x, y, side) for side in (RIGHT, LEFT)}
    scene = Scene(anatomy, x, y, np.zeros_like(x), lungs, contrast)
    _paint_chest(scene, rng)
    for sign in signs:
        if sign.finding in PAINTERS:
            PAINTERS[sign.finding](scene, sign)
    return scene.image


@functools.lru_cache(maxsize=8)
def _grid(size: int) -> tuple[np.ndarray, np.ndarray]:
    line = ((np.arange(size, dtype=np.float32) + 0.5) * 2 / size - 1).astype(np.float32)
    return np.meshgrid(line, line)


def _places(size: int, camera: Camera) -> tuple[np.ndarray, np.ndarray]:
    x, y = _grid(size)
    cos, sin = np.float32(np.cos(camera.angle) / camera.zoom), np.float32(np.sin(camera.angle) / camera.zoom)
    dx, dy = (np.float32(value) for value in camera.offset)
    return cos * x - sin * y - dx, sin * x + cos * y - dy


def _soft(distance: np.ndarray, width: float) -> np.ndarray:
    """1 inside (distance < 0), 0 outside, over an edge of this width."""
    return np.clip(0.5 - distance / np.float32(width), 0, 1)


def _radius2(scene: Scene, x: float, y: float, rx: float, ry: float) -> np.ndarray:
    """Squared distance from a centre, in units of an ellipse's half axes."""
    return ((scene.x - np.float32(x)) / np.float32(rx)) ** 2 + ((scene.y - np.float32(y)) / np.float32(ry)) ** 2


def _blob(scene: Scene, x: float, y: float, rx: float, ry: float) -> np.ndarray:
    return np.exp(-_radius2(scene, x, y, rx, ry))


def _disk(scene: Scene, x: float, y: float, rx: float, ry: float, edge: float = 0.05) -> np.ndarray:
    r = np.sqrt(_radius2(scene, x, y, rx, ry))
    return _soft((r - 1) * np.float32(min(rx, ry)), edge)


def _segment(scene: Scene, x0: float, y0: float, x1: float, y1: float, width: float) -> np.ndarray:
    """A line of this half width with a soft edge."""
    length = max(1e-6, (x1 - x0) ** 2 + (y1 - y0) ** 2)
    across, down = np.float32(x1 - x0), np.float32(y1 - y0)
    u, v = scene.x - np.float32(x0), scene.y - np.float32(y0)
    along = np.clip((u * across + v * down) / np.float32(length), 0, 1)
    distance = np.hypot(u - along * across, v - along * down)
    return _soft(distance - np.float32(width), 0.03)


def _reshaped(anatomy: Anatomy, signs: tuple[Sign, ...], contrast: float) -> Anatomy:
    """The anatomy with what changes its form: a wide heart or mediastinum, overinflated lungs."""
    for sign in signs:
        amount = contrast * (0.35 + 0.65 * sign.size)
        if sign.finding == "cardiomegaly":
            width, height = anatomy.heart_width + 0.16 * amount, anatomy.heart_height + 0.05 * amount
            anatomy = replace(anatomy, heart_width=width, heart_height=height)
        elif sign.finding == "enlarged_cardiomediastinum":
            anatomy = replace(anatomy, mediastinum=anatomy.mediastinum + 0.08 * amount)
        elif sign.finding == "emphysema":
            anatomy = replace(
                anatomy,
                base=anatomy.base + 0.09 * amount,
                dome=anatomy.dome * (1 - 0.8 * min(1, amount)),
                aeration=anatomy.aeration + 0.10 * amount,
                heart_width=anatomy.heart_width - 0.04 * amount,
            )
    return anatomy


def _lung(a: Anatomy, x: np.ndarray, y: np.ndarray, side: int) -> np.ndarray:
    """Soft mask of one lung: an ellipse above, a box below, cut by the diaphragm."""
    base = a.base - (a.raised if side == RIGHT else 0)
    u = (side * x - np.float32(a.lung_x)) / np.float32(a.lung_width)
    v = (y - np.float32((a.apex + base) / 2)) / np.float32((base - a.apex) / 2)
    u2, v2 = u * u, v * v
    # Above the middle u^2 + v^2 = 1, an ellipse; below u^2 + 0.3 v^4 = 1, whose sides stay wide down to the base.
    r = np.where(v < 0, u2 + v2, u2 + 0.3 * v2 * v2)
    floor = np.float32(base) - np.float32(a.dome) * (1 - u2)
    return _soft((r - 1) * 0.25, 0.08) * _soft(y - floor, 0.05)


def _paint_chest(scene: Scene, rng: np.random.Generator) -> None:
    a, x, y = scene.anatomy, scene.x, scene.y
    shoulders = np.float32(a.chest) * (1 - 0.55 * np.clip(-y - 0.55, 0, 1))
    body = _soft(np.abs(x) - shoulders, 0.08)
    lungs = scene.lungs[RIGHT] + scene.lungs[LEFT]
    middle = _soft(np.abs(x) - np.float32(a.mediastinum) * (1 + 0.35 * np.clip(y + 0.1, 0, 1)), 0.06)
    heart = _disk(scene, a.heart_x, a.heart_y, a.heart_width, a.heart_height, 0.06)
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
    image += np.float32(a.rib_contrast) * body * np.clip(ribs, 0, 1) ** 2 * _soft(y - 0.5, 0.3) * (1 - 0.7 * covered)
    for side in (RIGHT, LEFT):
        image += 0.08 * _clavicle(scene, side)
    image += lungs * (_vessels(x.shape[0], rng) + 0.07 * _hila(scene))
    scene.image = image


def _clavicle(scene: Scene, side: int) -> np.ndarray:
    a = scene.anatomy
    return _segment(scene, side * 0.08, a.apex + 0.22, side * a.chest * 0.8, a.apex + 0.08, 0.025)


def _hila(scene: Scene) -> np.ndarray:
    a = scene.anatomy
    return _blob(scene, -0.2, a.heart_y - 0.3, 0.12, 0.2) + _blob(scene, 0.2, a.heart_y - 0.33, 0.12, 0.2)


def _vessels(size: int, rng: np.random.Generator) -> np.ndarray:
    """(size, size) mottle of two scales, mean about 0."""
    fine = rng.standard_normal((24, 24), dtype=np.float32)
    coarse = rng.standard_normal((7, 7), dtype=np.float32)
    return 0.025 * cv2.resize(fine, (size, size), interpolation=cv2.INTER_LINEAR) + 0.03 * cv2.resize(
        coarse, (size, size), interpolation=cv2.INTER_CUBIC
    )


def _mottle(size: int, cells: int, seed: int) -> np.ndarray:
    """(size, size) smooth noise from 0 to 1 that belongs to a sign."""
    cell = np.random.default_rng(seed).random((cells, cells), dtype=np.float32)
    return cv2.resize(cell, (size, size), interpolation=cv2.INTER_LINEAR)


def _level(sign: Sign, low: float, high: float) -> float:
    return low + (high - low) * sign.strength


def _extent(sign: Sign, low: float, high: float) -> float:
    return low + (high - low) * sign.size


def _effusion(scene: Scene, sign: Sign) -> None:
    """An opaque base whose upper border climbs to the outer wall."""
    a = scene.anatomy
    for side in scene.sides(sign):
        top = a.base - a.dome - _extent(sign, 0.1, 0.45) - (a.raised if side == RIGHT else 0)
        border = top + 0.12 - 0.16 * np.clip(scene.lung_u(side), -1, 1.2) ** 2 * (scene.lung_u(side) > 0)
        scene.cover(_soft(border - scene.y, 0.09) * scene.lungs[side] * _level(sign, 0.75, 1.0))


def _pneumothorax(scene: Scene, sign: Sign) -> None:
    """Air without vessels between the wall and a thin pleural line, widest at the apex; the lung within is denser."""
    a = scene.anatomy
    for side in scene.sides(sign):
        gap = _extent(sign, 0.26, 0.52)
        v = (scene.y - (a.apex + a.base) / 2) / ((a.base - a.apex) / 2)
        u = scene.lung_u(side)
        r = np.sqrt(((u + gap * 0.4) / (1 - gap * 0.5)) ** 2 + ((v - gap * 0.7) / (1 - gap * 0.35)) ** 2)
        reach = _soft(scene.y - np.float32(a.apex + (a.base - a.apex) * 0.65), 0.3) * scene.lungs[side]
        scene.cover(reach * _soft((r - 1) * 0.3, 0.05) * _level(sign, 0.06, 0.14))
        scene.cover(reach * _soft((1 - r) * 0.3, 0.05) * _level(sign, 0.5, 0.8), TISSUE - LUNG - 0.2)
        scene.cover(reach * np.clip(1 - np.abs(r - 1) / 0.09, 0, 1) * 0.3)


def _edema(scene: Scene, sign: Sign) -> None:
    """Haze around both hila."""
    a = scene.anatomy
    reach = _extent(sign, 0.26, 0.4)
    for side in (RIGHT, LEFT):
        haze = _blob(scene, side * 0.24, a.heart_y - 0.25, reach, reach * 1.3)
        uneven = 0.7 + 0.6 * _mottle(len(haze), 14, sign.seed)
        scene.cover(haze * uneven * scene.lungs[side] * _level(sign, 0.2, 0.42))


def _consolidation(scene: Scene, sign: Sign) -> None:
    """A dense patch with a border."""
    for side in scene.sides(sign):
        x, y = scene.centre(sign, side)
        r = _extent(sign, 0.18, 0.3)
        patch = _disk(scene, x, y, r * (1 + 0.3 * sign.place[1]), r, 0.1)
        scene.cover(patch * scene.lungs[side] * _level(sign, 0.5, 0.9))


def _pneumonia(scene: Scene, sign: Sign) -> None:
    """A patch without a border, mottled by air that is left in it."""
    for side in scene.sides(sign):
        x, y = scene.centre(sign, side)
        r = _extent(sign, 0.2, 0.34)
        mottle = np.where(_mottle(len(scene.x), 22, sign.seed + side) > 0.45, 1.0, 0.2).astype(np.float32)
        scene.cover(_blob(scene, x, y, r, r * 1.1) * mottle * scene.lungs[side] * _level(sign, 0.6, 0.95))


def _infiltration(scene: Scene, sign: Sign) -> None:
    """Several small faint clouds."""
    detail = np.random.default_rng(sign.seed)
    for side in scene.sides(sign):
        x, y = scene.centre(sign, side)
        clouds = np.zeros_like(scene.x)
        for dx, dy in detail.uniform(-0.2, 0.2, (5, 2)):
            clouds = np.maximum(clouds, _blob(scene, x + dx, y + dy * 1.3, 0.085, 0.085))
        scene.cover(clouds * scene.lungs[side] * _level(sign, 0.6, 0.85))


def _atelectasis(scene: Scene, sign: Sign) -> None:
    """Plates: one or two dense oblique bands."""
    for side in scene.sides(sign):
        x, y = scene.centre(sign, side)
        half, tilt = _extent(sign, 0.24, 0.36), 0.35 * sign.place[0]
        for shift in (0.0, 0.12)[: 1 + sign.seed % 2]:
            band = _segment(scene, x - half, y - half * tilt - shift, x + half, y + half * tilt - shift, 0.04)
            scene.cover(band * scene.lungs[side] * _level(sign, 0.7, 1.0))


def _round(scene: Scene, sign: Sign, low: float, high: float) -> None:
    for side in scene.sides(sign):
        x, y = scene.centre(sign, side)
        r = _extent(sign, low, high)
        scene.cover(_disk(scene, x, y, r, r, 0.03) * scene.lungs[side] * _level(sign, 0.9, 1.1))


def _nodule(scene: Scene, sign: Sign) -> None:
    _round(scene, sign, 0.1, 0.135)


def _mass(scene: Scene, sign: Sign) -> None:
    _round(scene, sign, 0.18, 0.26)


def _fibrosis(scene: Scene, sign: Sign) -> None:
    """A net of fine lines, at the outer wall and the base."""
    a = scene.anatomy
    y0 = a.apex + (a.base - a.apex) * ZONE_HEIGHT[sign.zone]
    warp = 0.05 * _mottle(len(scene.x), 8, sign.seed)
    for side in scene.sides(sign):
        net = np.maximum(np.cos((scene.x + scene.y + warp) * 40), np.cos((scene.x - scene.y + warp) * 40))
        where = np.exp(-(((scene.y - np.float32(y0)) / np.float32(_extent(sign, 0.3, 0.5))) ** 2))
        outer = np.clip(0.6 + 0.5 * scene.lung_u(side), 0, 1)
        scene.cover(np.clip(net - 0.2, 0, 1) * where * outer * scene.lungs[side] * _level(sign, 0.9, 1.3))


def _pleural_thickening(scene: Scene, sign: Sign) -> None:
    """A dense rim along the outer wall."""
    a = scene.anatomy
    y0 = a.apex + (a.base - a.apex) * ZONE_HEIGHT[sign.zone]
    for side in scene.sides(sign):
        v = (scene.y - np.float32((a.apex + a.base) / 2)) / np.float32((a.base - a.apex) / 2)
        wall = np.sqrt(np.clip(1 - np.where(v < 0, v * v, 0.3 * v**4), 0.01, 1))
        depth = (wall - scene.lung_u(side)) * np.float32(a.lung_width)
        length = np.exp(-(((scene.y - np.float32(y0)) / np.float32(_extent(sign, 0.28, 0.5))) ** 4))
        scene.cover(_soft(depth - np.float32(_level(sign, 0.12, 0.19)), 0.05) * length * scene.lungs[side] * 0.95)


def _hernia(scene: Scene, sign: Sign) -> None:
    """A bubble of stomach behind the heart: a bright wall, air within, often a level."""
    x, y = 0.05 + 0.06 * sign.place[0], scene.anatomy.base - 0.24 + 0.05 * sign.place[1]
    r = _extent(sign, 0.15, 0.22)
    scene.cover(_disk(scene, x, y, r, r * 0.9, 0.04) * 0.5, 0.95)
    air = _disk(scene, x, y, r * 0.72, r * 0.62, 0.04) * _soft(scene.y - np.float32(y + 0.3 * r), 0.04)
    scene.cover(air * _level(sign, 0.65, 0.95), 0.25)


def _fracture(scene: Scene, sign: Sign) -> None:
    """A rib with a step: two bright ends that do not meet, a dark gap between."""
    a = scene.anatomy
    for side in scene.sides(sign):
        x = side * (a.lung_x + a.lung_width * (0.7 + 0.15 * sign.place[0]))
        y = scene.centre(sign, side)[1]
        length, step, width = _extent(sign, 0.18, 0.26), 0.1, 0.042
        grey = _level(sign, 0.8, 1.0)
        scene.cover(_segment(scene, x - length, y - 0.03, x - 0.03, y, width) * grey, 0.95)
        scene.cover(_segment(scene, x + 0.03, y + step, x + length, y + step + 0.05, width) * grey, 0.95)
        scene.cover(_disk(scene, x, y + step / 2, 0.04, 0.06, 0.03) * grey * 0.8, 0.12)


def _support_devices(scene: Scene, sign: Sign) -> None:
    """A catheter, a tube or a pacemaker: thin, bright, straighter than anything that grew."""
    side = scene.sides(sign)[0]
    grey, kind = _level(sign, 0.7, 1.0), sign.seed % 3
    tip = 0.05 + 0.2 * sign.size
    if kind == 0:  # a central line from the clavicle to the heart
        points = [(side * 0.5, -0.7), (side * 0.16, -0.5), (-0.06, tip)]
    elif kind == 1:  # a tube down the midline
        points = [(0.03 * sign.place[0], -1.0), (0.02, -0.2 + tip)]
    else:
        points = [(side * 0.5, -0.5), (side * 0.2, -0.35), (0.12, tip + 0.15)]
        scene.cover(_disk(scene, side * 0.52, -0.5, 0.1, 0.09, 0.03) * grey, 1.0)
    for (x0, y0), (x1, y1) in itertools.pairwise(points):
        scene.cover(_segment(scene, x0, y0, x1, y1, 0.022) * grey, 1.0)


# Findings that are not here change the anatomy (_reshaped).
PAINTERS: dict[str, Callable[[Scene, Sign], None]] = {
    "effusion": _effusion,
    "pneumothorax": _pneumothorax,
    "edema": _edema,
    "consolidation": _consolidation,
    "pneumonia": _pneumonia,
    "infiltration": _infiltration,
    "atelectasis": _atelectasis,
    "nodule": _nodule,
    "mass": _mass,
    "fibrosis": _fibrosis,
    "pleural_thickening": _pleural_thickening,
    "hernia": _hernia,
    "fracture": _fracture,
    "support_devices": _support_devices,
}
