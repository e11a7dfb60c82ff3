"""Does an image find its report among all, and a report its image: recall at 1, 5 and 10?"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

CUTS, VERSION = (1, 5, 10), 1
BLOCK = 1_024


@dataclass(frozen=True)
class Recall:
    """image_to_text, text_to_image: recall at 1, 5, 10 in [0, 1]. chance: of a random order, for each direction.

    Equal reports are one candidate: an image cannot tell which of them is its own.
    """

    num_images: int
    num_texts: int
    image_to_text: tuple[float, ...]
    text_to_image: tuple[float, ...]
    chance_image_to_text: tuple[float, ...]
    chance_text_to_image: tuple[float, ...]


def recall(images: Tensor, texts: Tensor, own: np.ndarray) -> Recall:
    """images: (N, E), texts: (T, E) of distinct reports, of unit length; own: (N,) each image's report, 0..T-1.

    A report's query is answered by any of its images. Ties count against a hit. Computed in float64, in blocks of
    images. Raises ValueError for fewer than two images or reports.
    """
    if len(images) < 2 or len(texts) < 2:
        raise ValueError(f"retrieval needs at least 2 images and 2 different reports: {len(images)} and {len(texts)}")
    index = torch.from_numpy(np.asarray(own, dtype=np.int64))
    to_text, best = [], torch.full((len(texts),), -torch.inf, dtype=torch.float64)
    for start in range(0, len(images), BLOCK):
        scores = images[start : start + BLOCK].double() @ texts.double().T
        mine = scores.gather(1, index[start : start + BLOCK, None])
        to_text.append((scores >= mine).sum(dim=1) - 1)  # how many others are at least as near
        best.scatter_reduce_(0, index[start : start + BLOCK], mine[:, 0], "amax")
    # best[t]: the highest score of text t's own images; above[t]: how many images of others reach it.
    above = torch.zeros(len(texts), dtype=torch.int64)
    for start in range(0, len(images), BLOCK):
        scores = images[start : start + BLOCK].double() @ texts.double().T
        other = torch.ones_like(scores, dtype=torch.bool)
        other.scatter_(1, index[start : start + BLOCK, None], False)
        above += ((scores >= best) & other).sum(dim=0)
    ranks = torch.cat(to_text)
    have = np.bincount(own, minlength=len(texts))
    return Recall(
        len(images),
        len(texts),
        tuple(float((ranks < k).double().mean()) for k in CUTS),
        tuple(float((above < k).double().mean()) for k in CUTS),
        tuple(min(1.0, k / len(texts)) for k in CUTS),
        tuple(float(np.mean([_chance(len(images), int(n), k) for n in have])) for k in CUTS),
    )


def _chance(total: int, hits: int, drawn: int) -> float:
    """Probability that `drawn` of `total` without return hold at least one of `hits`."""
    # Of `total - i` left in draw i, `total - hits - i` are misses: the product is the chance of misses only.
    missed = 1.0
    for i in range(min(drawn, total)):
        missed *= max(0, total - hits - i) / (total - i)
    return 1 - missed


def distinct(reports: Sequence[str]) -> tuple[list[str], np.ndarray]:
    """The different reports in the order of their first image, and which of them each image has, (N,) int64."""
    places = {text: place for place, text in enumerate(dict.fromkeys(reports))}
    return list(places), np.array([places[text] for text in reports], dtype=np.int64)
