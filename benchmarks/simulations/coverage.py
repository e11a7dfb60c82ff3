"""How often does a 95% interval over patients hold the truth? Simulated test sets whose true AUROC is known.

Scores are monotone functions of normal numbers, which are correlated within a patient, and between findings or methods
where there are several. The shapes are those of scores that real networks give, and some that are worse: positives
more or less spread than negatives, and skewed to either side.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import product

import numpy as np
from scipy.special import gammaincinv, log_ndtr, ndtr, ndtri

from sweep.statistics.patient_intervals import PatientInterval, difference_interval, gap_interval, mean_interval
from sweep.statistics.placements import Classes, Placed, classes_of, place

Scores = Callable[[np.ndarray, float], np.ndarray]  # (normal numbers, true AUROC) -> scores
AUROCS = (0.6, 0.75, 0.85, 0.95)
PAIRS = ((0.75, 0.75), (0.8, 0.75), (0.95, 0.95), (0.95, 0.85))  # of two methods, or two groups


def _spread(ratio: float) -> tuple[Scores, Scores]:
    """Binormal: P(x > y) = Phi(shift / sqrt(1 + ratio^2)) for x ~ N(shift, ratio^2), y ~ N(0, 1)."""
    return (lambda z, auroc: ratio * z + ndtri(auroc) * np.sqrt(1 + ratio**2)), (lambda z, auroc: z)


def _gamma(z: np.ndarray) -> np.ndarray:
    """Normal -> gamma of shape 3, skewness 1.15."""
    return np.asarray(np.interp(z, _NORMAL, _GAMMA))


def _exponential(z: np.ndarray) -> np.ndarray:
    return -np.asarray(log_ndtr(-z))


_NORMAL = np.linspace(-7.5, 7.5, 6001)
_GAMMA = gammaincinv(3, ndtr(_NORMAL))


@lru_cache
def _gamma_shift(auroc: float) -> float:
    """The shift at which a gamma number lies above another one with this probability, by halving."""
    values = gammaincinv(3, (np.arange(20_000) + 0.5) / 20_000)
    low, high = 0.0, 20.0
    for _ in range(40):
        shift = (low + high) / 2
        below = np.searchsorted(values, values + shift).mean() / len(values)
        low, high = (shift, high) if below < auroc else (low, shift)
    return (low + high) / 2


# Name -> scores of positives and of negatives. The last two have P(x > y) = 1 / (1 + rate of x / rate of y), the model
# of Hanley and McNeil (1982), and its mirror image.
SHAPES: dict[str, tuple[Scores, Scores]] = {
    "normal": _spread(1.0),
    "positives 1.5 x as spread": _spread(1.5),
    "positives 0.67 x as spread": _spread(0.67),
    "skewed to the right": (lambda z, auroc: _gamma(z) + _gamma_shift(auroc), lambda z, auroc: _gamma(z)),
    "skewed to the left": (lambda z, auroc: _gamma_shift(auroc) - _gamma(z), lambda z, auroc: -_gamma(z)),
    "exponential": (lambda z, auroc: _exponential(z) * auroc / (1 - auroc), lambda z, auroc: _exponential(z)),
    "exponential, mirrored": (
        lambda z, auroc: -_exponential(z),
        lambda z, auroc: -_exponential(z) * auroc / (1 - auroc),
    ),
}


@dataclass(frozen=True)
class Design:
    """A test set. positives: patients with the finding, one count for each finding; patients: all of them.

    images: of each patient; alike: correlation of scores within a patient. A patient
    with a finding shows it in all images, or, where mixed, in each other image with probability 1/2.
    """

    positives: tuple[int, ...]
    patients: int
    images: int = 1
    alike: float = 0.0
    mixed: bool = False


def designs_of_findings() -> dict[str, Design]:
    """1 to 200 positives, one to five images of a patient, rare positives and rare negatives."""
    found = {f"{n} of 300": Design((n,), 300) for n in (1, 2, 3, 5, 8, 10, 12, 15, 20, 30, 50, 100)}
    found["200 of 1000"] = Design((200,), 1000)
    found["10 of 50"] = Design((10,), 50)
    found["100 of 110"] = Design((100,), 110)
    found["10 of 120, 3 images"] = Design((10,), 120, 3, 0.5)
    found["20 of 80, 5 images"] = Design((20,), 80, 5, 0.3)
    found["30 of 150, 2 images, mixed"] = Design((30,), 150, 2, 0.8, mixed=True)
    return found


def designs_of_macros() -> dict[str, Design]:
    """Like CheXpert's valid.csv without its findings of single images, and small and large sets."""
    return {
        "13 findings of valid.csv": Design((1, 1, 8, 15, 20, 25, 30, 35, 40, 60, 70, 80, 100), 202),
        "10 findings of valid.csv": Design((15, 20, 25, 30, 35, 40, 60, 70, 80, 100), 202),
        "5 findings, 10 each": Design((10,) * 5, 200),
        "3 findings, one rare": Design((10, 100, 100), 250),
        "14 findings, 2 images": Design((10, 12, 15, 20, 20, 25, 30, 40, 40, 50, 60, 80, 100, 150), 300, 2, 0.5),
    }


def designs_of_differences() -> dict[str, Design]:
    """Pairs of methods on one finding or several, which share patients."""
    return {
        "10 of 300": Design((10,), 300),
        "100 of 300": Design((100,), 300),
        "100 of 300, 2 images": Design((100,), 300, 2, 0.5),
        "200 of 1000": Design((200,), 1000),
        "10 findings of valid.csv": designs_of_macros()["10 findings of valid.csv"],
    }


def designs_of_gaps() -> dict[str, Design]:
    """Each of two groups; no patient is in both."""
    return {
        "100 of 200": Design((100,), 200),
        "5 findings, 20 of 150": Design((20,) * 5, 150),
        "10 findings, 10 to 80 of 120": Design((10, 12, 15, 20, 25, 30, 40, 50, 60, 80), 120),
    }


def _normals(rng: np.random.Generator, design: Design, repeats: int, num: int) -> np.ndarray:
    """(N, repeats, num) standard normal numbers, correlated within a patient by alike, and among num by 0.4."""
    shape = (design.patients, repeats)
    between = 0.4

    def of(*size: int) -> np.ndarray:
        return np.sqrt(between) * rng.normal(size=(*size, 1)) + np.sqrt(1 - between) * rng.normal(size=(*size, num))

    own = of(design.patients, design.images, repeats)
    shared = of(*shape)[:, None]
    both = np.sqrt(design.alike) * shared + np.sqrt(1 - design.alike) * own
    return both.reshape(-1, repeats, num)


def _labels(rng: np.random.Generator, design: Design, repeats: int) -> np.ndarray:
    """(N, repeats, F) int8 with the design's numbers of positive patients, drawn anew in each repeat."""
    severity = rng.normal(size=(design.patients, repeats, 1))
    liable = 0.6 * severity + 0.8 * rng.normal(size=(design.patients, repeats, len(design.positives)))
    rank = np.argsort(np.argsort(-liable, axis=0), axis=0)
    positive = (rank < np.array(design.positives))[:, None]
    shown = np.ones((design.patients, design.images, *positive.shape[2:]), bool)
    if design.mixed:
        shown[:, 1:] = rng.random(shown[:, 1:].shape) < 0.5
    return (positive & shown).reshape(-1, *positive.shape[2:]).astype(np.int8)


def _placed(scores: np.ndarray, labels: np.ndarray, design: Design) -> tuple[Placed, Classes]:
    """Of (N, repeats x F) scores: one call for all repeats, which are more findings to it."""
    flat = labels.reshape(len(labels), -1)
    patients = np.repeat(np.arange(design.patients), design.images)
    classes = classes_of(flat, np.ones(flat.shape, bool), patients)
    return place(scores.reshape(flat.shape), classes), classes


def simulate(
    design: Design, shape: str, auroc: float, repeats: int, rng: np.random.Generator
) -> Iterator[PatientInterval]:
    """The interval of the mean over the design's findings, of `repeats` test sets."""
    num = len(design.positives)
    labels, normals = _labels(rng, design, repeats), _normals(rng, design, repeats, num)
    of_positives, of_negatives = SHAPES[shape]
    scores = np.where(labels == 1, of_positives(normals, auroc), of_negatives(normals, auroc))
    placed, classes = _placed(scores, labels, design)
    names = [""] * (repeats * num)
    for r in range(repeats):
        yield mean_interval(placed, classes, names, range(r * num, (r + 1) * num))


def simulate_differences(
    design: Design, shape: str, aurocs: tuple[float, float], repeats: int, rng: np.random.Generator, alike: float = 0.8
) -> Iterator[PatientInterval]:
    """As `simulate`, of two methods' difference. alike: correlation of their scores of an image."""
    num = len(design.positives)
    labels, shared = _labels(rng, design, repeats), _normals(rng, design, repeats, num)
    of_positives, of_negatives = SHAPES[shape]
    both = []
    for auroc in aurocs:
        normals = np.sqrt(alike) * shared + np.sqrt(1 - alike) * _normals(rng, design, repeats, num)
        scores = np.where(labels == 1, of_positives(normals, auroc), of_negatives(normals, auroc))
        both.append(_placed(scores, labels, design))
    (first, classes), (second, _) = both
    names = [""] * (repeats * num)
    for r in range(repeats):
        yield difference_interval(first, second, classes, names, range(r * num, (r + 1) * num))


def simulate_gaps(
    design: Design, shape: str, aurocs: tuple[float, float], repeats: int, rng: np.random.Generator
) -> Iterator[PatientInterval]:
    """As `simulate`, of the gap between two groups of patients of this design each."""
    num = len(design.positives)
    of_positives, of_negatives = SHAPES[shape]
    labels, scores = [], []
    for auroc in aurocs:
        drawn, normals = _labels(rng, design, repeats), _normals(rng, design, repeats, num)
        labels.append(drawn.reshape(len(drawn), -1))
        of_group = np.where(drawn == 1, of_positives(normals, auroc), of_negatives(normals, auroc))
        scores.append(of_group.reshape(len(drawn), -1))
    patients = np.repeat(np.arange(2 * design.patients), design.images)
    is_first = np.arange(len(patients))[:, None] < len(labels[0])
    both = np.concatenate(labels)
    parts = [classes_of(both, np.broadcast_to(side, both.shape), patients) for side in (is_first, ~is_first)]
    placed = [place(np.concatenate(scores), part) for part in parts]
    names = [""] * num
    for r in range(repeats):
        columns = slice(r * num, (r + 1) * num)
        yield gap_interval(
            *((_columns(p, columns), _classes(c, columns)) for p, c in zip(placed, parts, strict=True)), names
        )


def _columns(placed: Placed, columns: slice) -> Placed:
    return Placed(placed.aurocs[columns], placed.influence[columns])


def _classes(classes: Classes, columns: slice) -> Classes:
    return replace(
        classes, codes=classes.codes[:, columns], positive=classes.positive[columns], sizes=classes.sizes[columns]
    )


@dataclass(frozen=True)
class Coverage:
    """covered: share of the intervals that hold the truth, None where none is given; width: their mean width."""

    given: float
    covered: float | None
    below: float | None
    width: float | None


def coverage_of(intervals: Iterator[PatientInterval], truth: float) -> Coverage:
    """below: share whose upper limit is too low."""
    found = list(intervals)
    given = [(i.low, i.high) for i in found if i.low is not None and i.high is not None]
    if not given:
        return Coverage(0.0, None, None, None)
    low, high = np.array(given).T
    inside = (low <= truth) & (truth <= high)
    return Coverage(
        len(given) / len(found), float(inside.mean()), float((high < truth).mean()), float((high - low).mean())
    )


def scan(
    design: Design, repeats: int, seed: int, shapes: Sequence[str] = tuple(SHAPES)
) -> dict[tuple[str, float], Coverage]:
    """(shape, true AUROC) -> coverage of the mean over the design's findings."""
    found = {}
    for number, (shape, auroc) in enumerate(product(shapes, AUROCS)):
        rng = np.random.default_rng([seed, number])
        found[shape, auroc] = coverage_of(simulate(design, shape, auroc, repeats, rng), auroc)
    return found


def scan_differences(
    design: Design, repeats: int, seed: int, shapes: Sequence[str] = tuple(SHAPES)
) -> dict[tuple[str, tuple[float, float], float], Coverage]:
    """(shape, true AUROCs, correlation of the methods' scores) -> coverage of the difference."""
    found = {}
    for number, (shape, pair, alike) in enumerate(product(shapes, PAIRS, (0.5, 0.9))):
        rng = np.random.default_rng([seed, number])
        intervals = simulate_differences(design, shape, pair, repeats, rng, alike)
        found[shape, pair, alike] = coverage_of(intervals, pair[0] - pair[1])
    return found


def scan_gaps(
    design: Design, repeats: int, seed: int, shapes: Sequence[str] = tuple(SHAPES)
) -> dict[tuple[str, tuple[float, float]], Coverage]:
    """(shape, true AUROCs of the groups) -> coverage of the gap between the first and the second."""
    found = {}
    for number, (shape, pair) in enumerate(product(shapes, PAIRS)):
        rng = np.random.default_rng([seed, number])
        found[shape, pair] = coverage_of(simulate_gaps(design, shape, pair, repeats, rng), pair[0] - pair[1])
    return found
