"""Which colours, markers, lines and settings do all figures share?

A colour means one method in every figure. Lines differ in marker and dashes too, so that they differ in grey.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

from matplotlib import colormaps
from matplotlib.colors import LinearSegmentedColormap

from trainables.registry import PAPER_METHODS

FOREGROUND, MUTED, GRID, BACKGROUND = "#1b1b1b", "#5f6570", "#dcdfe4", "#ffffff"
# One for each of PAPER_METHODS, in their order. Found by a search for the largest smallest difference: CIEDE2000 is at
# least 11 between any two, and 17 between two of a panel, for normal vision and without one kind of cone (Machado et
# al., 2009). On white the contrast is 3 or more, as WCAG 2 asks of graphics.
METHOD_COLORS = (
    "#0062ff",
    "#c42700",
    "#620076",
    "#c48900",
    "#9d4e4e",
    "#890014",
    "#764e89",
    "#3a9bd6",
    "#278976",
    "#ff2776",
    "#76143b",
)
# What is no method, such as a data set or a box, has none of their colours: dark, light, and two that stand out on it.
DARK, LIGHT, SKY, ORANGE = "#33383f", "#e8b04a", "#56B4E9", "#E69F00"
MARKERS = ("o", "s", "^", "D", "v", "p", "*")
# Dashes as matplotlib takes them: "-" is solid, ":" dotted, else (offset, (on, off, ...)) in units of the line's width.
Line = Literal["-", ":"] | tuple[float, tuple[float, ...]]
LINES: tuple[Line, ...] = (
    "-",
    (0, (5, 1.6)),
    (0, (1.4, 1.2)),
    (0, (6, 1.4, 1.4, 1.4)),
    (0, (3, 1, 1, 1, 1, 1)),
    (0, (9, 2)),
)
# Of baselines, in turn: 12 of them differ in marker or dashes.
BASELINE_GREYS = ("#8a8f98", "#4d525a")
BASELINE_MARKERS = ("x", "P", "+", "X", "d", "h")
BASELINE_LINES: tuple[Line, ...] = (":", (0, (2, 2)), (0, (1, 3)), (0, (4, 1.5, 1, 1.5)))
# From light yellow to blue. Its lightness falls evenly, so that it reads in grey as well, and it ends where dark text
# can still be read: at 0.62 of the whole scale the contrast is 4.9.
HEAT = LinearSegmentedColormap.from_list("radsweep-heat", colormaps["YlGnBu"]([0.0, 0.155, 0.31, 0.465, 0.62]))

# Settings of matplotlib for every figure. Any, since the types of the names and values are in its newer versions only.
RC: dict[Any, Any] = {
    "svg.hashsalt": "radsweep",  # ids of an SVG are random without it, and the bytes differ each time
    "svg.fonttype": "path",  # glyphs as outlines, so that a page needs no font
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 9,
    "axes.labelcolor": FOREGROUND,
    "axes.edgecolor": MUTED,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.7,
    "text.color": FOREGROUND,
    "xtick.color": FOREGROUND,
    "ytick.color": FOREGROUND,
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
    "xtick.major.width": 0.8,
    "ytick.major.width": 0.8,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    # Opaque white, so that a figure keeps its contrast on a dark page.
    "figure.facecolor": BACKGROUND,
    "savefig.facecolor": BACKGROUND,
    "axes.facecolor": BACKGROUND,
    "lines.linewidth": 1.6,
    "lines.markersize": 5.5,
    "errorbar.capsize": 2.5,
    "path.simplify": True,
}


@dataclass(frozen=True)
class LineStyle:
    """How one line is drawn: color as #rrggbb; marker and line (dashes) as matplotlib takes them."""

    color: str
    marker: str
    line: Line


def method_styles(names: Iterable[str]) -> dict[str, LineStyle]:
    """Name of each method -> its style: a method of the paper has the same one in every study.

    names: all methods of a study, in its order; those that the paper does not have take the places that are left.
    Colours repeat beyond eleven, with another marker and other dashes.
    """
    names = list(names)
    places = {name: PAPER_METHODS.index(name) for name in names if name in PAPER_METHODS}
    free = (place for place in range(len(names) + len(PAPER_METHODS)) if place not in places.values())
    return {name: _style(places[name] if name in places else next(free)) for name in names}


def _style(place: int) -> LineStyle:
    return LineStyle(METHOD_COLORS[place % len(METHOD_COLORS)], *mark(place))


def mark(place: int) -> tuple[str, Line]:
    """The place-th marker and dashes. As 6 and 7 have no common divisor, 42 places differ in one of the two."""
    return MARKERS[place % len(MARKERS)], LINES[place % len(LINES)]


def baseline_style(number: int) -> LineStyle:
    """The number-th baseline of a study: grey and dotted, so that it is not taken for a method."""
    marker, line = BASELINE_MARKERS[number % len(BASELINE_MARKERS)], BASELINE_LINES[number % len(BASELINE_LINES)]
    return LineStyle(BASELINE_GREYS[number % len(BASELINE_GREYS)], marker, line)


def short_name(display: str) -> str:
    """`CLIP (ours)` -> `CLIP`: a display name without what stands in brackets."""
    return display.split(" (")[0]
