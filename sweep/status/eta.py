"""How fast is work done, and when is the rest? From what has finished, when, and how long it took. Pure."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sweep.studies.costs import Cost
from sweep.studies.learnt_seconds import LearntSeconds, Observations

SHORTEST_PAUSE = 120.0  # seconds without a result that are no pause, however short the work is


@dataclass(frozen=True)
class Piece:
    """One finished encoder or cell. cost: None where it cannot be told.

    seconds: how long it took by a clock, 0 where it does not say; ended: when, in seconds since 1970. core_seconds: of
    processors; None where it does not say, and where it ran on a GPU, whose work takes none.
    """

    cost: Cost | None
    seconds: float = 0.0
    ended: float = 0.0
    core_seconds: float | None = None


@dataclass(frozen=True)
class Eta:
    """What the last uninterrupted run tells; None: not known.

    per_hour: pieces that finished; at_once: seconds of work done in a second; left: seconds. since, last: when the run
    began and its last piece ended, in seconds since 1970.
    """

    per_hour: float | None = None
    at_once: float | None = None
    left: float | None = None
    since: float | None = None
    last: float | None = None


def estimate(done: Iterable[Piece], left: Sequence[Cost | None]) -> Eta:
    """Of the last uninterrupted run, since what stopped overnight is not slow. done: in any order; left: None, unknown.

    Expected seconds are learnt from all that has finished.
    """
    timed = sorted((piece for piece in done if piece.ended and piece.seconds), key=lambda piece: piece.ended)
    if not timed:  # with nothing left, no time is left whatever the rate was
        return Eta(left=None if left else 0.0)
    run = last_run(timed)
    began = min(piece.ended - piece.seconds for piece in run)
    last = run[-1].ended
    wall = max(last - began, 1e-9)  # clocks of two machines may differ by more than the work took
    at_once = sum(piece.seconds for piece in run) / wall
    return Eta(3600 * len(run) / wall, at_once, _left(timed, run, left, wall), began, last)


def _left(timed: Sequence[Piece], run: Sequence[Piece], left: Sequence[Cost | None], wall: float) -> float | None:
    """Seconds for what is left, at the speed at which a run of `wall` seconds did what it did."""
    if not left:
        return 0.0
    observations = Observations()
    by_cores = all(piece.core_seconds is not None for piece in timed if piece.cost is not None)
    for piece in timed:
        if piece.cost is not None:
            observations.add(piece.cost, (piece.core_seconds if by_cores else None) or piece.seconds)
    try:
        learnt = LearntSeconds(observations)
    except ValueError:
        return None
    if any(cost is None for cost in left):
        return None
    # By what the run's pieces are expected to take, as for the rest: what they took themselves is by chance.
    expected = Counter(piece.cost for piece in run if piece.cost is not None)
    speed = sum(count * learnt.of(cost) for cost, count in expected.items()) / wall
    rest = sum(count * learnt.of(cost) for cost, count in Counter(left).items() if cost is not None)
    return rest / speed if speed else None


def last_run(timed: Sequence[Piece]) -> Sequence[Piece]:
    """The pieces since the last pause. timed: in the order in which they ended.

    While work goes on, something ends at least as often as the longest piece takes.
    """
    pause = max(SHORTEST_PAUSE, 1.5 * max(piece.seconds for piece in timed))
    for place in range(len(timed) - 1, 0, -1):
        # From one piece's end to the next one's beginning nothing that has finished was running.
        if timed[place].ended - timed[place].seconds - timed[place - 1].ended > pause:
            return timed[place:]
    return timed
