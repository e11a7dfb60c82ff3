"""Which made-up patients and studies does each archive hold, by the spec and its seed?"""

import csv
import io
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from datasets_io.fingerprint import derive_seed
from datasets_io.synthetic.hospitals import HOSPITALS, expose
from datasets_io.synthetic.patients import Sign, draw_signs
from datasets_io.synthetic.thorax import Anatomy, draw_anatomy

STUDIES_SHARE = (0.6, 0.25, 0.15)  # of patients with 1, 2 and 3 studies
REPORT_EVERY = 50  # images

Progress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class SyntheticSpec:
    """Numbers are of images. contrast scales how plain the signs are, noise the grain of the pictures.

    image_size: side of a picture in pixels. Raises ValueError for a value outside of its range.
    """

    seed: int = 0
    image_size: int = 64
    corpus_train: int = 2000
    corpus_val: int = 200
    chexpert_train: int = 500
    chexpert_valid: int = 240
    nih_train_val: int = 560
    nih_test: int = 280
    contrast: float = 1.0
    noise: float = 1.0

    def __post_init__(self) -> None:
        if not 32 <= self.image_size <= 1024:
            raise ValueError(f"image_size is {self.image_size}; allowed: 32 to 1024 pixels")
        for name in ("corpus_train", "corpus_val", "chexpert_train", "chexpert_valid", "nih_train_val", "nih_test"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; allowed: 1 or more images")
        for name in ("contrast", "noise"):
            if not 0 <= getattr(self, name) <= 3:
                raise ValueError(f"{name} is {getattr(self, name)}; allowed: 0 to 3, where 1 is the usual")

    def image_counts(self) -> dict[str, dict[str, int]]:
        """source -> split -> images. Those of nih_cxr14's train and val are about so: its reader cuts by a hash."""
        val = round(self.nih_train_val / 8)
        return {
            "mimic_cxr": {"train": self.corpus_train, "val": self.corpus_val, "test": 0},
            "chexpert": {"train": self.chexpert_train, "val": self.chexpert_valid, "test": 0},
            "nih_cxr14": {"train": self.nih_train_val - val, "val": val, "test": self.nih_test},
        }


@dataclass(frozen=True)
class ImagingStudy:
    """One visit. patient, number: counted from 0; images: how many exposures it has."""

    patient: int
    number: int
    anatomy: Anatomy
    signs: tuple[Sign, ...]
    images: int


@dataclass
class Counter:
    """Counts images and tells `progress` every so often."""

    total: int
    progress: Progress | None
    done: int = 0

    def add(self, text: str) -> None:
        """Count one image; `text` says what is being written."""
        self.done += 1
        if self.progress and (self.done % REPORT_EVERY == 0 or self.done == self.total):
            self.progress(self.done, self.total, text)


def stream(spec: SyntheticSpec, *names: str | int) -> np.random.Generator:
    """Randomness of one part of the archives, which no other part moves."""
    return np.random.default_rng(derive_seed(spec.seed, "synthetic", *names))


def draw_studies(source: str, images: int, rng: np.random.Generator, second_image: float = 0.0) -> list[ImagingStudy]:
    """Studies of whole patients that hold exactly so many images. second_image: share of studies that have two."""
    population = HOSPITALS[source].population
    studies: list[ImagingStudy] = []
    left, patient = images, 0
    while left > 0:
        anatomy = draw_anatomy(rng)
        signs: tuple[Sign, ...] = ()
        # Also past the last image: the draws of a patient are the same wherever the archive ends.
        for number in range(1 + int(rng.choice(3, p=STUDIES_SHARE))):
            signs = draw_signs(population, rng, signs)
            count = min(left, 1 + int(rng.random() < second_image))
            if count:
                studies.append(ImagingStudy(patient, number, anatomy, signs, count))
            left -= count
        patient += 1
    return studies


def draw_ids(low: int, high: int, count: int, rng: np.random.Generator) -> list[int]:
    """Different numbers of low..high - 1 in no order, so that an id tells nothing."""
    return [int(number) for number in low + rng.choice(high - low, size=count, replace=False)]


def picture(spec: SyntheticSpec, source: str, study: ImagingStudy, rng: np.random.Generator) -> np.ndarray:
    """One exposure of a study, (image_size, image_size) float32 in 0..1."""
    return expose(
        HOSPITALS[source], study.anatomy, study.signs, spec.image_size, rng, contrast=spec.contrast, noise=spec.noise
    )


def csv_text(header: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    """A csv with Unix line ends, so that its bytes are the same on every system."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return text.getvalue()
