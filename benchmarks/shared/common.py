"""How does every benchmark time its sides, and print its figures?"""

import json
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any


def in_turn(
    sides: Mapping[str, Callable[[], Any]],
    rounds: int,
    warm_ups: int = 1,
    values: dict[str, Any] | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, float]:
    """Median seconds of each side over the rounds. The sides alternate, so load from outside hits all.

    values: takes what each side returned last. clock: time.process_time where a side may use several cores.
    """
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(warm_ups + rounds):
        for name, side in sides.items():
            started = clock()
            value = side()
            if number >= warm_ups:
                seconds[name].append(clock() - started)
            if values is not None:
                values[name] = value
    return {name: statistics.median(times) for name, times in seconds.items()}


def row(
    benchmark: str,
    figure: str,
    unit: str,
    ours: float,
    *,
    peer: float | None = None,
    peer_name: str | None = None,
    limit: float | None = None,
    limit_name: str | None = None,
    higher_is_better: bool = False,
) -> dict:
    """One figure. speedup: times better than the peer; of_limit: share of the limit reached, at most 1."""

    def better_than(other: float | None) -> float | None:
        if other is None:
            return None
        return ours / other if higher_is_better else other / ours

    reached = better_than(limit)
    return {
        "benchmark": benchmark,
        "figure": figure,
        "unit": unit,
        "ours": ours,
        "peer": peer,
        "peer_name": peer_name,
        "speedup": better_than(peer),
        "limit": limit,
        "limit_name": limit_name,
        "of_limit": None if reached is None else min(1.0, reached),
    }


def report(rows: list[dict]) -> None:
    """One JSON line for each figure on stdout, then a table on stderr."""
    for figure in rows:
        print(json.dumps(figure), flush=True)
    columns = ("figure", "unit", "ours", "peer", "peer_name", "speedup", "limit", "limit_name", "of_limit")
    cells = [list(columns)] + [[_text(figure[column]) for column in columns] for figure in rows]
    widths = [max(len(line[i]) for line in cells) for i in range(len(columns))]
    for line in cells:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip(), file=sys.stderr)


def _text(value: object) -> str:
    if value is None:
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
