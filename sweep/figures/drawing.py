"""What a figure is when it is done: SVG and PNG with the same bytes each time, a caption, and the numbers in it."""

import io
import math
import re
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any
from xml.sax.saxutils import escape, quoteattr

import matplotlib
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from sweep.figures.style import RC

PNG_DPI = 200
# Raise it with any change that alters every figure: here, in style.py and in view.py. Each figure's file has a VERSION
# of its own for what it draws, with the numbers that it makes itself: a report keeps figures of the same versions.
VERSION = 3


class CannotDraw(Exception):
    """A figure that has nothing to show; the message is the sentence that stands in its place."""


@dataclass(frozen=True)
class Drawing:
    """One figure. svg: an element ready for a page, its ids begin with `name`; png: the same at 200 dpi.

    numbers: what the picture shows, as plain values for JSON (AUROCs in [0, 1], also where the picture has percent).
    missing: why there is no picture; then svg and png are empty. failed: an error was the reason, which the same inputs
    may not give again: a file that could not be read, say.
    """

    name: str
    title: str
    caption: str
    svg: str = ""
    png: bytes = b""
    numbers: Mapping[str, Any] = field(default_factory=dict)
    missing: str | None = None
    failed: bool = False


def new_figure(width: float, height: float) -> Figure:
    """A figure of this many inches; call it, and draw, within `style()`."""
    # Not by pyplot, which keeps every figure in a global list and is not safe among threads.
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def style() -> AbstractContextManager[None]:
    """The settings that every figure is drawn with, as a context."""
    return matplotlib.rc_context(RC)


def finished(name: str, title: str, caption: str, figure: Figure, numbers: Mapping[str, Any]) -> Drawing:
    """Render a figure; call it within `style()` too, since the text is laid out here.

    numbers: any nesting of mappings, sequences and numpy scalars; they are kept as `plain` values.
    """
    vector, raster = io.StringIO(), io.BytesIO()
    # Without the date and matplotlib's version, which would differ in each file.
    figure.savefig(vector, format="svg", metadata={"Date": None, "Creator": None})
    figure.set_layout_engine("none")  # keep the places found just now: finding them is half of the work
    figure.savefig(raster, format="png", dpi=PNG_DPI, metadata={"Software": None})
    return Drawing(name, title, caption, inline_svg(vector.getvalue(), name, title), raster.getvalue(), plain(numbers))


def not_drawn(name: str, title: str, reason: str, failed: bool = False) -> Drawing:
    """What stands for a figure that there is not. reason: a sentence for the page; failed: as in Drawing."""
    return Drawing(name, title, "", missing=reason, failed=failed)


def inline_svg(text: str, name: str, title: str) -> str:
    """An SVG file as an element for a page: no prolog, a title, and ids that no other figure of the page has."""
    text = text[text.index("<svg") :]
    # matplotlib numbers its ids in each file from the start; on one page they would be those of other figures.
    prefix = re.sub(r"[^A-Za-z0-9_-]", "-", name)
    text = re.sub(r'\bid="([^"]+)"', rf'id="{prefix}-\1"', text)
    text = re.sub(r'href="#([^"]+)"', rf'href="#{prefix}-\1"', text)
    text = re.sub(r"url\(#([^)]+)\)", rf"url(#{prefix}-\1)", text)
    head, rest = text.split(">", 1)
    return f'{head} role="img" aria-label={quoteattr(title)}>\n <title>{escape(title)}</title>{rest}'


def plain(value: Any) -> Any:
    """Numbers as JSON can hold them: NaN and infinity as None, numpy scalars as Python's, tuples as lists."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if hasattr(value, "item"):  # a scalar of numpy or torch
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
