"""How many seconds will a piece of work take, learnt from those that have finished on these machines? Pure.

seconds x share = a x pieces + b x steps + c x FLOP + d x views, none of them negative, for each kind of work by itself;
share: of a GPU, that an item holds. At the
beginning a few results do not tell the four apart, so they start from what they are on one core, at the speed that is
seen, and follow what tells them apart. Work of a kind that has not been seen goes by all that has been.

Seconds are of a processor where there is no GPU: those of a clock are half as many for a cell that has a core to itself
as for one beside a pretraining, and what is left is not beside what has finished was. On GPUs they are of a clock.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import nnls

from sweep.studies.costs import INITIAL, PRETRAINING, Cost

# Seconds of a piece, a step, a FLOP and a view where nothing is known, from small networks on a core. Only their ratios
# matter: a first result sets the speed.
START = np.array([0.03, 0.003, 1 / 2e10, 1e-6])
# Seconds of a place between two jobs of cells, in which Ray takes the result of one and gives the next to a process:
# no result has them, and cells of 0.05 s take twice to four times as long by them. Where nothing is known; runs on two
# cores had 0.04 to 0.11.
BETWEEN = 0.05
TRUST = 1.0  # of the start, in results: so many outweigh it
SMALLEST = 0.05  # of the usual result's seconds: shorter ones are not taken more exactly than to this
OWN = 2.0  # results of the very same cost after which their mean counts as much as what all of the work tell


@dataclass(frozen=True)
class Seen:
    """All observations of one cost. seconds: their sum. whole: of finished items, not of parts of running ones."""

    cost: Cost
    whole: bool
    seconds: float
    count: int

    @property
    def mean(self) -> float:
        """Seconds of one."""
        return self.seconds / self.count


class Observations:
    """Seconds by cost: many cells cost the same, so that a million of them are a few sums."""

    def __init__(self, sums: Mapping[tuple[Cost, bool], tuple[float, int]] | None = None):
        self.sums = dict(sums or {})

    def add(self, cost: Cost, seconds: float, whole: bool = True) -> None:
        """So much work took so many seconds."""
        total, count = self.sums.get((cost, whole), (0.0, 0))
        self.sums[cost, whole] = (total + seconds, count + 1)

    def all(self) -> list[Seen]:
        """Those that tell something: initial weights are made in no time."""
        return [Seen(*kind, *sums) for kind, sums in self.sums.items() if kind[0].work != INITIAL]


class LearntSeconds:
    """What observations tell; `of` a cost gives its seconds."""

    def __init__(self, observations: Observations, between: float = BETWEEN):
        """between: seconds of a place between two jobs of cells. Raises ValueError without an observation."""
        self.between = between
        seen = observations.all()
        if not seen:
            raise ValueError("no work has been observed")
        self.means = {one.cost: (one.mean, one.count) for one in seen if one.whole}
        self.common = _fitted(seen)  # of a whole place: a pretraining on four GPUs does four times the work of one
        works = {one.cost.work for one in seen}
        self.rates = {work: _fitted([one for one in seen if one.cost.work == work]) for work in works}

    def of(self, cost: Cost) -> float:
        """Expected seconds of a place: of the work itself, and of what lies between it and the next."""
        if cost.work == INITIAL:
            return 0.0
        between = 0.0 if cost.work == PRETRAINING else self.between * cost.pieces
        return self._of_work(cost) + between

    def _of_work(self, cost: Cost) -> float:
        told = float(_features(cost) @ self.rates.get(cost.work, self.common)) / (cost.share or 1.0)
        mean, count = self.means.get(cost, (0.0, 0.0))
        return (OWN * told + count * mean) / (OWN + count)


def _features(cost: Cost) -> np.ndarray:
    return np.array([cost.pieces, cost.steps, cost.flops, cost.views])


def _fitted(seen: Sequence[Seen]) -> np.ndarray:
    """(4,) seconds of a piece, a step, a FLOP and a view, by least squares of relative errors."""
    costs = np.array([_features(one.cost) for one in seen])  # (n, 4)
    seconds = np.array([max(one.mean * (one.cost.share or 1.0), 1e-6) for one in seen])  # of a whole place
    counts = np.array([one.count for one in seen])
    speed = float(np.exp(np.average(np.log(seconds / np.maximum(costs @ START, 1e-12)), weights=counts)))
    # One equation for each cost, as heavy as the number of its observations.
    weights = np.sqrt(counts) / np.maximum(seconds, SMALLEST * np.average(seconds, weights=counts))
    start = START * speed
    # In units of the start all numbers are near 1, and the start is TRUST observations of 1 of each.
    equations = np.vstack([costs * start * weights[:, None], TRUST**0.5 * np.eye(len(start))])
    found, _ = nnls(equations, np.concatenate([seconds * weights, np.full(len(start), TRUST**0.5)]))
    return np.asarray(found * start)
