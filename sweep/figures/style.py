"""Which colours, markers, lines and settings do all figures share?

One palette for readers with any colour vision; lines differ in marker and dashes too, so that they differ in grey.
"""

from dataclasses import dataclass
from typing import Any, Literal

FOREGROUND, MUTED, GRID, BACKGROUND = "#1b1b1b", "#5f6570", "#dcdfe4", "#ffffff"
# Okabe and Ito (2008), without yellow, which is too faint on white.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
# Dashes as matplotlib takes them: "-" is solid, ":" dotted, else (offset, (on, off, ...)) in units of the line's width.
Line = Literal["-", ":"] | tuple[float, tuple[float, ...]]
LINES: tuple[Line, ...] = (
    "-",
    (0, (5, 1.6)),
    (0, (1.4, 1.2)),
    (0, (6, 1.4, 1.4, 1.4)),
    (0, (3, 1, 1, 1, 1, 1)),
    (0, (9, 2)),
    "-",
)
BASELINE_GREYS = ("#8a8f98", "#4d525a")
GREY_SCALE = "cividis"  # its lightness rises evenly, so that it reads in grey as well

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


def line_style(number: int) -> LineStyle:
    """The number-th line of a panel; colour, marker and dashes change together, so that any one of them is enough."""
    place = number % len(PALETTE)
    return LineStyle(PALETTE[place], MARKERS[place], LINES[place])


def baseline_line_style(number: int) -> LineStyle:
    """The number-th baseline of a panel: grey and dotted, so that it is not taken for a method."""
    place = number % len(BASELINE_GREYS)
    lines: tuple[Line, ...] = (":", (0, (2, 2)))
    return LineStyle(BASELINE_GREYS[place], ("x", "P")[place], lines[place])


def short_name(display: str) -> str:
    """`CLIP (ours)` -> `CLIP`: a display name without what stands in brackets."""
    return display.split(" (")[0]


def spelled(finding: str) -> str:
    """`pleural_effusion` -> `Pleural effusion`."""
    return finding.replace("_", " ").capitalize()
