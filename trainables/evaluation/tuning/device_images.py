"""Where do the labelled images of a training lie, and how does a step get its batch without a copy from the host?"""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from trainables.evaluation.dataset import Part
from trainables.transfer import sent
from trainables.views.evaluation import as_tensor

UPLOADED_TOGETHER = 1024  # images: 51 MB of 224 x 224


def image_budget(device: torch.device) -> int:
    """Bytes of images that may lie on a GPU: half of what this process can still take of it."""
    free, total = torch.cuda.mem_get_info(device)
    own = torch.cuda.memory_allocated(device)
    unused = torch.cuda.memory_reserved(device) - own
    fraction = torch.cuda.get_per_process_memory_fraction(
        device.index
    )  # None: the current one; it takes no bare `cuda`
    left = fraction * total - own
    return max(0, int(min(free + unused, left) / 2))


class TrainingImages:
    """The images that seeds of one dataset may train on, on a device. Seeds share them.

    places: (N,) int64, where each row of the part lies in `targets` (n, F), `known` (n, F) and `pixels` (n, S, S); -1
    where it does not. pixels: None where they take more than `budget` bytes, and are copied batch by batch.
    """

    def __init__(self, part: Part, rows: np.ndarray, device: torch.device, budget: int):
        """rows: of the part, those of all seeds, in any order."""
        self.part, self.device = part, device
        rows = np.unique(rows)
        self.places = np.full(len(part), -1, dtype=np.int64)
        self.places[rows] = np.arange(len(rows))
        self.targets = torch.from_numpy(part.targets[rows]).to(device)
        self.known = torch.from_numpy(part.known[rows]).to(device)
        first = part.pixels[rows[:1]]
        self.pixels: Tensor | None = None
        if first.nbytes * len(rows) <= budget:
            self.pixels = torch.empty((len(rows), *first.shape[1:]), dtype=as_tensor(first).dtype, device=device)
            for start in range(0, len(rows), UPLOADED_TOGETHER):
                some = part.pixels[rows[start : start + UPLOADED_TOGETHER]]
                _send(some, self.pixels[start : start + len(some)])


class StaticBatches:
    """One seed's batches, always in the same memory: `load` fills it, `read` is part of a step that may be captured."""

    def __init__(self, images: TrainingImages, count: int, batch_size: int, flips: bool):
        """count: labelled images of an epoch. flips: whether any is ever mirrored."""
        self.images, self.flips = images, flips
        # Of each image its place and whether it is mirrored, 0 or 1: one copy a step instead of two.
        self._epoch = torch.zeros((2, count), dtype=torch.int64, device=images.device)
        self._now = torch.zeros((2, batch_size), dtype=torch.int64, device=images.device)
        self._rows = np.zeros(0, dtype=np.int64)
        self._staged: Tensor | None = None
        if images.pixels is None:
            one = as_tensor(images.part.pixels[np.zeros(1, dtype=np.int64)])
            self._staged = torch.zeros((batch_size, *one.shape[1:]), dtype=one.dtype, device=images.device)

    def begin_epoch(self, rows: np.ndarray, flips: np.ndarray) -> None:
        """rows: (n,) of the part, in the order of the epoch; flips: (n,) bool, which are mirrored."""
        self._rows = rows
        _send(np.stack([self.images.places[rows], flips.astype(np.int64)]), self._epoch)

    def load(self, start: int, stop: int) -> None:
        """Make the images from start to stop of the epoch the batch. Waits for no GPU."""
        count = stop - start
        self._now[:, :count].copy_(self._epoch[:, start:stop])
        if self._staged is not None:
            _send(self.images.part.pixels[self._rows[start:stop]], self._staged[:count])

    def read(self, count: int) -> tuple[Tensor, Tensor | None, Tensor, Tensor]:
        """Of the batch, of `count` images: pixels (B, S, S), flips (B,) bool, targets (B, F) and known (B, F)."""
        places = self._now[0, :count]
        if self._staged is not None:
            pixels = self._staged[:count]
        else:
            assert self.images.pixels is not None, "either all images are there, or each batch is sent"
            pixels = self.images.pixels.index_select(0, places)
        flips = self._now[1, :count].bool() if self.flips else None
        targets, known = (of_all.index_select(0, places) for of_all in (self.images.targets, self.images.known))
        return pixels, flips, targets, known


def batch_bounds(count: int, batch_size: int) -> Iterator[tuple[int, int]]:
    """Where the batches of an epoch of `count` images begin and end; the last may be smaller."""
    for start in range(0, count, batch_size):
        yield start, min(start + batch_size, count)


def _send(values: np.ndarray, there: Tensor) -> None:
    there.copy_(sent(as_tensor(values), there.device))
