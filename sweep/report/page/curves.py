"""What do the interactive curves of the page show: means by share of the labels, in the styles of the figures."""

from typing import Any

from sweep.figures.curves import protocol_of
from sweep.figures.style import Line
from sweep.figures.view import GROUP_TITLES, styles_of
from sweep.statistics.comparisons import Comparisons
from sweep.statistics.summary import MACRO_DEFINED
from sweep.studies.study import Study

MOST_ROWS = 60  # curves of more could not be told apart; the tables have them


def curves_value(comparisons: Comparisons, study: Study) -> dict[str, Any] | None:
    """For the page's JSON; None where no protocol has two shares of the labels, or no row a mean.

    rows: name, display name, group's title, colour, marker and dashes. points: by dataset, row and share a list of
    mean, half-width over seeds, low and high over patients, in hundred-thousandths and null where there is none, n, and
    whether every seed is there; or null for a place without a mean.
    """
    means, patients = comparisons.summaries, comparisons.patients.intervals
    protocol, shares = protocol_of(means.layout.columns)
    if len(shares) < 2:
        return None
    styles, rows = styles_of(study), means.layout.rows[:MOST_ROWS]

    def point(row: str, dataset: str, share: int) -> list[int | bool | None] | None:
        summary = means.of(row, dataset, (protocol, share))
        if summary.mean is None:
            return None
        low, high = patients.get(((row, dataset, protocol, share), MACRO_DEFINED), (None, None))
        return [*map(_rounded, (summary.mean, summary.ci95, low, high)), summary.n, summary.complete]

    points = [
        [[point(name, dataset, share) for share in shares] for name, _, _ in rows]
        for dataset, _ in means.layout.datasets
    ]
    if not any(one for of_dataset in points for of_row in of_dataset for one in of_row):
        return None
    return {
        "protocol": protocol,
        "shares": shares,
        "datasets": [display for _, display in means.layout.datasets],
        "rows": [
            [
                name,
                display,
                GROUP_TITLES.get(group, group.capitalize()),
                styles[name].color,
                styles[name].marker,
                _dashes(styles[name].line),
            ]
            for name, display, group in rows
        ],
        "points": points,
    }


def _rounded(value: float | None) -> int | None:
    return None if value is None else round(value * 100_000)


def _dashes(line: Line) -> list[float]:
    """On and off in units of the line's width, as SVG repeats them; empty for a solid line."""
    if line == "-":
        return []
    return [1, 1.65] if isinstance(line, str) else list(line[1])
