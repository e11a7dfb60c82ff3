"""How do three made-up hospitals differ: whom they see, and what their machines do to a picture?

The downstream datasets must not look like the corpus, or transfer would be no test: the first hospital (mimic_cxr)
has flat soft pictures, the second (chexpert) harsh ones in black frames, the third (nih_cxr14) noisy tilted ones.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from datasets_io.synthetic.patients import Population, Sign
from datasets_io.synthetic.signs import render
from datasets_io.synthetic.thorax import Anatomy, Camera

SHADING = 0.08  # of grey, between the middle and the border
LETTERS = {"L": ("#...", "#...", "#...", "#...", "####"), "R": ("###.", "#..#", "###.", "#.#.", "#..#")}
# Share of studies with each finding; a hospital changes some of them.
COMMON = (
    ("cardiomegaly", 0.16),
    ("enlarged_cardiomediastinum", 0.11),
    ("edema", 0.12),
    ("consolidation", 0.11),
    ("pneumonia", 0.11),
    ("atelectasis", 0.14),
    ("pneumothorax", 0.10),
    ("effusion", 0.18),
    ("fracture", 0.09),
    ("support_devices", 0.25),
    ("pleural_thickening", 0.09),
    ("nodule", 0.09),
    ("mass", 0.07),
    ("emphysema", 0.08),
    ("fibrosis", 0.08),
    ("hernia", 0.06),
    ("infiltration", 0.10),
)


def _population(healthy: float, **changed: float) -> Population:
    return Population(healthy, tuple((finding, changed.get(finding, share)) for finding, share in COMMON))


@dataclass(frozen=True)
class Hospital:
    """population: whom it sees. The rest are (low, high) ranges of what one exposure draws: gamma (of grey values in
    0..1), gain, noise and blur (in units of 1 and of 1/64 picture), zoom, angle (radians, both ways), offset (half
    images, both ways). frame: share of pictures with black borders; marker: share with a bright letter in a corner."""

    population: Population
    gamma: tuple[float, float]
    gain: tuple[float, float]
    noise: tuple[float, float]
    blur: tuple[float, float]
    zoom: tuple[float, float]
    angle: float
    offset: float
    frame: float
    marker: float


HOSPITALS = {
    "mimic_cxr": Hospital(
        _population(0.20),
        gamma=(0.9, 1.15),
        gain=(0.85, 1.0),
        noise=(0.01, 0.022),
        blur=(0.3, 0.7),
        zoom=(0.97, 1.08),
        angle=0.04,
        offset=0.04,
        frame=0.1,
        marker=0.3,
    ),
    "chexpert": Hospital(
        _population(0.15, support_devices=0.32, effusion=0.24, edema=0.17, cardiomegaly=0.14, emphysema=0.05),
        gamma=(0.65, 0.85),
        gain=(0.95, 1.1),
        noise=(0.012, 0.028),
        blur=(0.2, 0.5),
        zoom=(1.02, 1.16),
        angle=0.06,
        offset=0.06,
        frame=0.4,
        marker=0.6,
    ),
    "nih_cxr14": Hospital(
        _population(
            0.18,
            support_devices=0.15,
            infiltration=0.18,
            atelectasis=0.16,
            cardiomegaly=0.09,
            hernia=0.07,
            emphysema=0.09,
            enlarged_cardiomediastinum=0.05,
            fracture=0.04,
        ),
        gamma=(1.15, 1.4),
        gain=(0.9, 1.05),
        noise=(0.018, 0.035),
        blur=(0.4, 0.8),
        zoom=(0.92, 1.03),
        angle=0.08,
        offset=0.07,
        frame=0.05,
        marker=0.5,
    ),
}


def expose(
    hospital: Hospital,
    anatomy: Anatomy,
    signs: tuple[Sign, ...],
    size: int,
    rng: np.random.Generator,
    *,
    contrast: float = 1.0,
    noise: float = 1.0,
) -> np.ndarray:
    """One radiograph, (size, size) float32 in 0..1. contrast: scales the signs; noise: scales the grain.

    In the order of a real exposure: the chest, an uneven beam, blur, the detector's curve and gain, grain, marks.
    """
    camera = Camera(
        zoom=rng.uniform(*hospital.zoom),
        angle=rng.uniform(-hospital.angle, hospital.angle),
        offset=tuple(rng.uniform(-hospital.offset, hospital.offset, 2)),
    )
    # From here on the order of draws is the archive's bytes: VERSION of archives.py goes with any change.
    image = render(anatomy, signs, size, camera, rng, contrast)
    image += _shading(size, rng)
    sigma = rng.uniform(*hospital.blur) * size / 64
    image = cv2.GaussianBlur(image, (0, 0), sigma)
    image = np.clip(image, 0, 1) ** np.float32(rng.uniform(*hospital.gamma)) * np.float32(rng.uniform(*hospital.gain))
    # Grain is drawn on 64 x 64 cells at most, so that a larger picture is not a cleaner one when it is scaled down.
    cells = min(size, 64)
    grain: np.ndarray = rng.standard_normal((cells, cells), dtype=np.float32)
    if cells != size:
        grain = cv2.resize(grain, (size, size), interpolation=cv2.INTER_LINEAR)
    image += np.float32(noise * rng.uniform(*hospital.noise)) * grain
    _mark(image, hospital, size, rng)
    return np.clip(image, 0, 1, out=image)


def _shading(size: int, rng: np.random.Generator) -> np.ndarray:
    """Beams are never even: one side and one end of the film are brighter."""
    line = np.linspace(-1, 1, size, dtype=np.float32)
    across, along = rng.uniform(-SHADING, SHADING, 2).astype(np.float32)
    return across * line[None, :] + along * line[:, None]


def _mark(image: np.ndarray, hospital: Hospital, size: int, rng: np.random.Generator) -> None:
    """Black borders and a side marker, in place; neither knows anything of the findings."""
    if rng.random() < hospital.frame:
        top, left, bottom, right = rng.integers(0, max(2, size // 16), 4)
        image[:top] = image[size - bottom :] = 0
        image[:, :left] = image[:, size - right :] = 0
    if rng.random() < hospital.marker:
        letter = str(rng.choice(tuple(LETTERS)))
        bitmap = np.array([[cell == "#" for cell in row] for row in LETTERS[letter]], dtype=bool)
        bitmap = np.kron(bitmap, np.ones((max(1, size // 64),) * 2, dtype=bool))
        top, left = int(size * rng.uniform(0.03, 0.12)), int(size * (0.88 if letter == "L" else 0.05))
        patch = image[top : top + bitmap.shape[0], left : left + bitmap.shape[1]]
        patch[bitmap] = 0.95
