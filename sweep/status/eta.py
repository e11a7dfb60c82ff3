"""How fast is work done, and when is the rest? From what has finished, when, and how long it took. Pure."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sweep.studies.cell import EncoderRun, Item
from trainables.recipe import PretrainRecipe
from trainables.registry import PROTOCOLS

SHORTEST_PAUSE = 120.0  # seconds without a result that are no pause, however short the work is


Kind = tuple[str | int | bool, ...]


@dataclass(frozen=True)
class Piece:
    """One encoder or cell. kind: what takes about as long, from the general to the particular.

    seconds: how long it took; ended: when, in seconds since 1970; both 0 for what is left, and for what does not say.
    """

    kind: Kind
    seconds: float = 0.0
    ended: float = 0.0


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


def kind_of(item: Item) -> Kind:
    """What takes about as long as an item. LP and FT, and percentages, differ far more than two encoders do."""
    if isinstance(item, EncoderRun):
        if not isinstance(item.recipe, PretrainRecipe):
            return ("initial", item.row)
        return ("pretraining", len(item.recipe.objective.views), item.recipe.objective_needs_text, item.row)
    together = PROTOCOLS[item.protocol].seeds_together
    return ("cell", together, item.label_percent, item.dataset, item.protocol)


def estimate(done: Iterable[Piece], left: Sequence[Piece]) -> Eta:
    """Of the last uninterrupted run, since what stopped overnight is not slow. done: in any order."""
    timed = sorted((piece for piece in done if piece.ended and piece.seconds), key=lambda piece: piece.ended)
    if not timed:  # with nothing left, no time is left whatever the rate was
        return Eta(left=None if left else 0.0)
    run = last_run(timed)
    began = min(piece.ended - piece.seconds for piece in run)
    last = run[-1].ended
    wall = max(last - began, 1e-9)  # clocks of two machines may differ by more than the work took
    at_once = sum(piece.seconds for piece in run) / wall
    expected = [expected_seconds(piece.kind, timed) for piece in left]
    known = [seconds for seconds in expected if seconds is not None]
    # Two workers do two seconds of work in a second: the sum of what is left, divided by that.
    remaining = sum(known) / at_once if len(known) == len(expected) else None
    return Eta(3600 * len(run) / wall, at_once, remaining, began, last)


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


def expected_seconds(kind: Kind, timed: Sequence[Piece]) -> float | None:
    """Mean over the finished pieces that share the longest beginning of `kind`; None where none has its first part."""
    # ("cell", False, 100, "nih", "FT") falls back on any dataset at 100%, then on any percentage, then on any cell.
    for length in range(len(kind), 0, -1):
        alike = [piece.seconds for piece in timed if piece.kind[:length] == kind[:length]]
        if alike:
            return sum(alike) / len(alike)
    return None


def duration_text(seconds: float | None) -> str:
    """`12 s`, `3 min`, `4 h 20 min`, `2 d 3 h`; `unknown` for None."""
    if seconds is None:
        return "unknown"
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 100:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours < 48 else f"{hours // 24} d {hours % 24} h"
