"""How fast is work done, and when is the rest? From what has finished, when, and how long it took. Pure."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sweep.studies.costs import Cost
from sweep.studies.learnt_seconds import LearntSeconds, Observations

SHORTEST_PAUSE = 120.0  # seconds without a result that are no pause, however short the work is
# So much must have finished since a pause before it alone tells the pace, in pieces and in the time of the longest: of
# sixteen pieces that run at once the first to finish looks like one at a time, and so does one that is computed again.
FEW_PIECES, FEW_WAVES = 5, 2.0


@dataclass(frozen=True)
class Piece:
    """One finished encoder or cell. cost: None where it cannot be told.

    seconds: how long it took by a clock, 0 where it does not say; ended: when, in seconds since 1970. core_seconds: of
    processors; None where it does not say, and where it ran on a GPU, whose work takes none. places: how many it held
    all that time, of which a clock does not tell: the GPUs of a pretraining, or the part of one that a cell had.
    """

    cost: Cost | None
    seconds: float = 0.0
    ended: float = 0.0
    core_seconds: float | None = None
    places: float = 1.0


@dataclass(frozen=True)
class Eta:
    """What the time since the last pause tells, or since the one before where little has finished; None: not known.

    per_hour: pieces that finished; at_once: seconds of work done in a second; left: seconds. since, last: when the
    first of these pieces began and the last one ended, in seconds since 1970; pauses between them are not counted.
    """

    per_hour: float | None = None
    at_once: float | None = None
    left: float | None = None
    since: float | None = None
    last: float | None = None


def estimate(done: Iterable[Piece], left: Sequence[Cost | None]) -> Eta:
    """At the pace since the last pause, since what stopped overnight is not slow. left: None, unknown.

    done: in any order; expected seconds are learnt from all of it.
    """
    timed = sorted((piece for piece in done if piece.ended and piece.seconds), key=lambda piece: piece.ended)
    if not timed:  # with nothing left, no time is left whatever the rate was
        return Eta(left=None if left else 0.0)
    runs = telling_runs(timed)
    pieces = [piece for run in runs for piece in run]
    wall = max(sum(map(_wall, runs)), 1e-9)  # clocks of two machines may differ by more than the work took
    at_once = sum(piece.seconds for piece in pieces) / wall
    return Eta(3600 * len(pieces) / wall, at_once, _left(timed, pieces, left, wall), _began(pieces), pieces[-1].ended)


def _left(timed: Sequence[Piece], run: Sequence[Piece], left: Sequence[Cost | None], wall: float) -> float | None:
    """Seconds for what is left, at the speed at which the pieces of `run` were done in `wall` seconds.

    Work is in seconds of a processor, or in seconds of a clock times the places that are held meanwhile: a pretraining
    on four GPUs takes the time of four, and four cells that share one the time of one.
    """
    if not left:
        return 0.0
    observations = Observations()
    by_cores = all(piece.core_seconds is not None for piece in timed if piece.cost is not None)
    for piece in timed:
        if piece.cost is not None:
            cores = piece.core_seconds if by_cores else None
            observations.add(piece.cost, cores or piece.seconds * piece.places)
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


def telling_runs(timed: Sequence[Piece]) -> list[Sequence[Piece]]:
    """The run since the last pause, and those before it until enough has finished in them to tell a pace.

    timed: in the order in which they ended, and so are the runs.
    """
    runs: list[Sequence[Piece]] = []
    rest = timed
    while rest:
        runs.insert(0, last_run(rest))
        rest = rest[: -len(runs[0])]
        longest = max(piece.seconds for run in runs for piece in run)
        if sum(map(len, runs)) >= FEW_PIECES and sum(map(_wall, runs)) >= FEW_WAVES * longest:
            break
    return runs


def _wall(run: Sequence[Piece]) -> float:
    """Seconds from the beginning of a run to its end."""
    return run[-1].ended - _began(run)


def _began(pieces: Iterable[Piece]) -> float:
    return min(piece.ended - piece.seconds for piece in pieces)


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
