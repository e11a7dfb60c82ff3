"""How far is a study and when will it be done: from what has finished, when, and how long it took. Pure."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sweep.studies.cell import Cell, EncoderRun
from trainables.recipe import PretrainRecipe
from trainables.registry import PROTOCOLS

SHORTEST_PAUSE = 120.0  # seconds without a result that are no pause, however short the work is


@dataclass(frozen=True)
class Piece:
    """One encoder or cell. kind: what takes about as long, from the general to the particular.

    seconds: how long it took; ended: when, in seconds since 1970; both None for what is left.
    """

    kind: tuple
    seconds: float | None = None
    ended: float | None = None


@dataclass(frozen=True)
class Eta:
    """per_hour: pieces that finished; at_once: seconds of work done in a second; left: seconds; None: not known.

    `since` is when the last uninterrupted run began, `last` when its last piece ended.
    """

    per_hour: float | None = None
    at_once: float | None = None
    left: float | None = None
    since: float | None = None
    last: float | None = None


def kind_of(item: EncoderRun | Cell) -> tuple:
    """LP and FT, and percentages, differ by far more than two encoders of one network do."""
    if isinstance(item, EncoderRun):
        if not isinstance(item.recipe, PretrainRecipe):
            return ("initial", item.row)
        return ("pretraining", len(item.recipe.objective.views), item.recipe.objective_needs_text, item.row)
    together = PROTOCOLS[item.protocol].seeds_together
    return ("cell", together, item.label_percent, item.dataset, item.protocol)


def estimate(done: Iterable[Piece], left: Sequence[Piece]) -> Eta:
    """Of the last uninterrupted run: what stopped overnight is not slow."""
    timed = sorted((piece for piece in done if piece.ended and piece.seconds), key=lambda piece: piece.ended)
    if not timed:
        return Eta(left=None if left else 0.0)
    run = last_run(timed)
    began = min(piece.ended - piece.seconds for piece in run)
    last = run[-1].ended
    wall = max(last - began, 1e-9)
    at_once = sum(piece.seconds for piece in run) / wall
    expected = [expected_seconds(piece.kind, timed) for piece in left]
    known = None not in expected
    return Eta(3600 * len(run) / wall, at_once, sum(expected) / at_once if known else None, began, last)


def last_run(timed: Sequence[Piece]) -> Sequence[Piece]:
    """The pieces at the end that no pause parts. timed: in the order in which they ended.

    While work goes on, something ends at least as often as the longest piece takes.
    """
    pause = max(SHORTEST_PAUSE, 1.5 * max(piece.seconds for piece in timed))
    for place in range(len(timed) - 1, 0, -1):
        if timed[place].ended - timed[place].seconds - timed[place - 1].ended > pause:
            return timed[place:]
    return timed


def expected_seconds(kind: tuple, timed: Sequence[Piece]) -> float | None:
    """Mean over the finished pieces that share the longest beginning of `kind`; None where none has its first part."""
    for length in range(len(kind), 0, -1):
        alike = [piece.seconds for piece in timed if piece.kind[:length] == kind[:length]]
        if alike:
            return sum(alike) / len(alike)
    return None


def duration_text(seconds: float | None) -> str:
    """12 s, 3 min, 4 h 20 min, 2 d 3 h."""
    if seconds is None:
        return "unknown"
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 100:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours < 48 else f"{hours // 24} d {hours % 24} h"
