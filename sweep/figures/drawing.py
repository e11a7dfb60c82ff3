"""What a figure is when it is done: SVG and PNG with the same bytes each time, a caption, and the numbers in it."""

import io
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from xml.sax.saxutils import escape, quoteattr

import matplotlib
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from sweep.figures.style import RC

PNG_DPI = 200
# Raise it where every figure comes out otherwise: here, in style.py and in view.py. Each figure's file has a VERSION of
# its own for what it draws, with the numbers that it makes itself: a report keeps figures of the same versions.
VERSION = 1


class CannotDraw(Exception):
    """A figure that has nothing to show; the message is the sentence that stands in its place."""


@dataclass(frozen=True)
class Drawing:
    """One figure. svg: an element ready for a page, its ids begin with `name`; png: the same at 200 dpi.

    numbers: what the picture shows, as plain values for JSON. missing: why there is no picture; then svg and png
    are empty.
    """

    name: str
    title: str
    caption: str
    svg: str = ""
    png: bytes = b""
    numbers: Mapping[str, Any] = field(default_factory=dict)
    missing: str | None = None


def new_figure(width: float, height: float) -> Figure:
    """A figure of this many inches; call it, and draw, within `style()`."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def style():
    """The settings that every figure is drawn with, as a context."""
    return matplotlib.rc_context(RC)


def finished(name: str, title: str, caption: str, figure: Figure, numbers: Mapping[str, Any]) -> Drawing:
    """Render a figure; call it within `style()` too, since the text is laid out here."""
    vector, raster = io.StringIO(), io.BytesIO()
    figure.savefig(vector, format="svg", metadata={"Date": None, "Creator": None})
    figure.set_layout_engine("none")  # keep the places found just now: finding them is half of the work
    figure.savefig(raster, format="png", dpi=PNG_DPI, metadata={"Software": None})
    return Drawing(name, title, caption, inline_svg(vector.getvalue(), name, title), raster.getvalue(), plain(numbers))


def not_drawn(name: str, title: str, reason: str) -> Drawing:
    return Drawing(name, title, "", missing=reason)


def inline_svg(text: str, name: str, title: str) -> str:
    """An SVG file as an element for a page: no prolog, a title, and ids that no other figure of the page has."""
    text = text[text.index("<svg") :]
    prefix = re.sub(r"[^A-Za-z0-9_-]", "-", name)
    text = re.sub(r'\bid="([^"]+)"', rf'id="{prefix}-\1"', text)
    text = re.sub(r'href="#([^"]+)"', rf'href="#{prefix}-\1"', text)
    text = re.sub(r"url\(#([^)]+)\)", rf"url(#{prefix}-\1)", text)
    head, rest = text.split(">", 1)
    return f'{head} role="img" aria-label={quoteattr(title)}>\n <title>{escape(title)}</title>{rest}'


def plain(value: Any) -> Any:
    """Numbers as JSON can hold them: no NaN, no array scalars, tuples as lists."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if hasattr(value, "item"):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
