"""How does performance grow with the number of labels: fine-tuning at 1, 10 and 100%, with intervals."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, NullLocator

from sweep.figures.drawing import CannotDraw, Drawing, finished, new_figure, style
from sweep.figures.style import BACKGROUND, LineStyle, baseline_line_style, line_style, short_name
from sweep.figures.view import GROUP_TITLES, View
from sweep.statistics.summaries import Column
from sweep.studies.study import BASELINE, EncoderRow

VERSION = 1
NAME, TITLE = "label_efficiency", "Label efficiency"
DODGE = 0.035  # of a decade between neighbours, so that intervals do not hide each other


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
    protocol, percents = _protocol(view)
    rows = {row.name: row for group in _groups(view) for row, _ in _lines(view, group)}
    points = {
        dataset.instance: {
            name: {percent: _point(view, name, dataset.instance, (protocol, percent)) for percent in percents}
            for name in rows
        }
        for dataset in view.datasets
    }
    of_rows = [by_percent for by_row in points.values() for by_percent in by_row.values()]
    # An empty panel among others says something, a figure of empty panels does not.
    if all(point.mean is None for by_percent in of_rows for point in by_percent.values()):
        raise CannotDraw(f"No {protocol} cell is finished yet.")
    return LabelEfficiency(protocol, percents, points)


def draw(view: View) -> Drawing:
    """A panel for each dataset and group of methods, the baselines in each of them."""
    numbers = label_efficiency(view)
    groups = _groups(view)
    with style():
        figure = new_figure(max(4.6, 3.5 * len(groups)), 2.9 * len(view.datasets) + 0.9)
        axes = figure.subplots(len(view.datasets), len(groups), sharex=True, sharey="row", squeeze=False)
        for i, dataset in enumerate(view.datasets):
            for j, group in enumerate(groups):
                _panel(axes[i, j], numbers.macro_auroc[dataset.instance], _lines(view, group), numbers.label_percents)
                group_title = GROUP_TITLES.get(group, group.capitalize())
                axes[i, j].set_title(f"{dataset.display if j == 0 else ''}\n{group_title}")
            axes[i, 0].set_ylabel("macro AUROC (%)")
        for j in range(len(groups)):
            axes[-1, j].set_xlabel("labels used (% of training images)")
            _legend(axes[-1, j], _lines(view, groups[j]))
        return finished(NAME, TITLE, _caption(view, numbers.protocol), figure, asdict(numbers))


def _protocol(view: View) -> tuple[str, tuple[int, ...]]:
    """The protocol with the most percentages of labels, and these."""
    found: dict[str, list[int]] = {}
    for protocol, percent in view.columns:
        found.setdefault(protocol, []).append(percent)
    best = max(found, key=lambda name: len(found[name]), default=None)
    if best is None or len(found[best]) < 2:
        raise CannotDraw("No protocol of this study is run at more than one percentage of the labels.")
    return best, tuple(sorted(found[best]))


def _groups(view: View) -> list[str]:
    """A column of panels each; a study of baselines alone has one."""
    return list(dict.fromkeys(row.group for row in view.methods)) or [BASELINE]


def _lines(view: View, group: str) -> list[tuple[EncoderRow, LineStyle]]:
    """(row, its line style) of a panel: the baselines, then the group's methods."""
    members = [row for row in view.methods if row.group == group]
    baselines = [(row, baseline_line_style(i)) for i, row in enumerate(view.baselines)]
    return baselines + [(row, line_style(i)) for i, row in enumerate(members)]


def _point(view: View, row: str, source: str, column: Column) -> Point:
    summary = view.summary(row, source, column)
    return Point(summary.mean, summary.ci95, summary.n, summary.complete)


def _legend(axis: Axes, lines: list[tuple[EncoderRow, LineStyle]]) -> None:
    handles = [
        Line2D([], [], color=how.color, linestyle=how.line, marker=how.marker, label=short_name(row.display))
        for row, how in lines
    ]
    axis.legend(
        handles=handles, loc="upper left", bbox_to_anchor=(-0.05, -0.2), ncols=2, handlelength=3.4, columnspacing=1
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
        f"{view.what_varies()}. Points are moved sideways so that intervals can be seen. Dotted grey: baselines, the "
        "same in each panel of a row. An open marker stands for a mean that lacks seeds."
    )
