"""How does performance grow with the number of labels: fine-tuning at 1, 10 and 100%, with intervals."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass

from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, NullLocator

from sweep.figures.drawing import CannotDraw, Drawing, finished, new_figure, style
from sweep.figures.style import BACKGROUND, LineStyle, short_name
from sweep.figures.view import GROUP_TITLES, View
from sweep.statistics.summaries import Column
from sweep.studies.study import BASELINE, EncoderRow
from trainables.registry import display_name

VERSION = 2
NAME, TITLE = "label_efficiency", "Label efficiency"
DODGE = 0.045  # of a decade between neighbours, so that intervals do not hide each other
MOST_LINES = 4  # methods in a panel: the lines of more cannot be followed


@dataclass(frozen=True)
class Point:
    """A mean macro AUROC in [0, 1] over n seeds with the half-width of its interval; complete: no seed lacks."""

    mean: float | None
    ci95: float | None
    n: int
    complete: bool


@dataclass(frozen=True)
class LabelEfficiency:
    """What the figure shows. macro_auroc: dataset -> encoder row -> percentage of the labels -> its point."""

    protocol: str
    label_percents: tuple[int, ...]
    macro_auroc: Mapping[str, Mapping[str, Mapping[int, Point]]]


def label_efficiency(view: View) -> LabelEfficiency:
    """The means of all rows under the protocol with the most percentages of labels.

    Raises CannotDraw where none has two of them, or nothing is finished.
    """
    protocol, percents = protocol_of(view.columns)
    if len(percents) < 2:
        raise CannotDraw("No protocol of this study is run at more than one percentage of the labels.")
    points = {
        dataset.instance: {
            row.name: {percent: _point(view, row.name, dataset.instance, (protocol, percent)) for percent in percents}
            for row in (*view.baselines, *view.methods)
        }
        for dataset in view.datasets
    }
    of_rows = [by_percent for by_row in points.values() for by_percent in by_row.values()]
    # An empty panel among others says something, a figure of empty panels does not.
    if all(point.mean is None for by_percent in of_rows for point in by_percent.values()):
        raise CannotDraw(f"No {protocol} cell is finished yet.")
    return LabelEfficiency(protocol, percents, points)


def draw(view: View) -> Drawing:
    """A panel for each dataset and few methods, the baselines in each of them."""
    numbers = label_efficiency(view)
    panels = panels_of(view)
    with style():
        figure = new_figure(max(4.6, 2.75 * len(panels)), 2.8 * len(view.datasets) + 1.1)
        axes = figure.subplots(len(view.datasets), len(panels), sharex=True, sharey="row", squeeze=False)
        for i, dataset in enumerate(view.datasets):
            for j, (title, rows) in enumerate(panels):
                _panel(axes[i, j], numbers.macro_auroc[dataset.instance], _lines(view, rows), numbers.label_percents)
                axes[i, j].set_title(f"{dataset.display if j == 0 else ''}\n{title}")
            axes[i, 0].set_ylabel("macro AUROC (%)")
        for j, (_, rows) in enumerate(panels):
            axes[-1, j].set_xlabel("labels used (%)")
            _legend(axes[-1, j], _lines(view, rows))
        return finished(NAME, TITLE, _caption(view, numbers.protocol), figure, asdict(numbers))


def protocol_of(columns: Iterable[Column]) -> tuple[str, tuple[int, ...]]:
    """The protocol with the most percentages of labels, and these, rising; no name and none without a column."""
    found: dict[str, list[int]] = {}
    for protocol, percent in columns:
        found.setdefault(protocol, []).append(percent)
    best = max(found, key=lambda name: len(found[name]), default="")
    return best, tuple(sorted(found.get(best, ())))


def panels_of(view: View) -> list[tuple[str, list[EncoderRow]]]:
    """(title, its methods) of each column of panels: a group, or of many methods a part of one.

    Joint methods are parted by their first part. A study of baselines alone has one panel without a method.
    """
    panels: list[tuple[str, list[EncoderRow]]] = []
    for group in dict.fromkeys(row.group for row in view.methods):
        members = [row for row in view.methods if row.group == group]
        title = GROUP_TITLES.get(group, group.capitalize())
        if len(members) > MOST_LINES and all("+" in row.name for row in members):
            firsts = dict.fromkeys(row.name.split("+")[0] for row in members)
            parts = [
                (f"{title}, {_called(one)}", [r for r in members if r.name.split("+")[0] == one]) for one in firsts
            ]
        else:
            parts = [(title, members)]
        for name, rows in parts:
            count = math.ceil(len(rows) / MOST_LINES)
            size = math.ceil(len(rows) / count)
            for number in range(count):
                which = f" ({number + 1} of {count})" if count > 1 else ""
                panels.append((name + which, rows[number * size : (number + 1) * size]))
    return panels or [(GROUP_TITLES[BASELINE], [])]


def _called(method: str) -> str:
    """`with CLIP`: a part of joint methods as the paper writes it."""
    try:
        return f"with {display_name(method)}"
    except ValueError:  # a name of the study's own
        return f"with {method}"


def _lines(view: View, rows: Sequence[EncoderRow]) -> list[tuple[EncoderRow, LineStyle]]:
    """(row, its line style) of a panel: the baselines, then its methods."""
    return [(row, view.styles[row.name]) for row in (*view.baselines, *rows)]


def _point(view: View, row: str, source: str, column: Column) -> Point:
    summary = view.summary(row, source, column)
    return Point(summary.mean, summary.ci95, summary.n, summary.complete)


def _legend(axis: Axes, lines: list[tuple[EncoderRow, LineStyle]]) -> None:
    handles = [
        Line2D([], [], color=how.color, linestyle=how.line, marker=how.marker, label=short_name(row.display))
        for row, how in lines
    ]
    axis.legend(
        handles=handles, loc="upper left", bbox_to_anchor=(-0.05, -0.22), ncols=1, handlelength=3.4, columnspacing=1
    )


def _panel(
    axis: Axes,
    points: Mapping[str, Mapping[int, Point]],
    lines: list[tuple[EncoderRow, LineStyle]],
    percents: tuple[int, ...],
) -> None:
    for place, (row, how) in enumerate(lines):
        # Spread about the true percentage; a factor, since the axis is logarithmic.
        shift = 10 ** (DODGE * (place - (len(lines) - 1) / 2))
        _line(axis, points[row.name], how, shift)
    axis.set_xscale("log")
    axis.set_xticks(percents)
    axis.xaxis.set_minor_locator(NullLocator())
    axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_xlim(min(percents) / 1.6, max(percents) * 1.6)
    axis.grid(axis="x", visible=False)


def _line(axis: Axes, points: Mapping[int, Point], how: LineStyle, shift: float) -> None:
    drawn = [(percent * shift, 100 * p.mean, p) for percent, p in points.items() if p.mean is not None]
    if not drawn:
        return
    x, y = [x for x, _, _ in drawn], [y for _, y, _ in drawn]
    half = [math.nan if p.ci95 is None else 100 * p.ci95 for _, _, p in drawn]  # NaN: no bar
    axis.errorbar(x, y, yerr=half, color=how.color, linestyle=how.line, elinewidth=1)
    # Markers one by one: an open one among filled ones cannot be asked of errorbar.
    for one_x, one_y, point in drawn:
        face = how.color if point.complete else BACKGROUND
        axis.plot([one_x], [one_y], marker=how.marker, color=how.color, markerfacecolor=face, linestyle="none")


def _caption(view: View, protocol: str) -> str:
    return (
        f"{protocol} with 1 to 100% of the labels: macro AUROC, mean and 95% {view.study.interval}-interval over "
        f"{view.what_varies()}. Points are moved sideways so that intervals can be seen. Grey: baselines, the "
        "same in each panel of a row. An open marker stands for a mean that lacks seeds."
    )
