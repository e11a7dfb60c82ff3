"""How does performance grow with the number of labels: fine-tuning at 1, 10 and 100%, with intervals."""

import math

from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, NullLocator

from sweep.figures.drawing import CannotDraw, Drawing, finished, new_figure, style
from sweep.figures.style import BACKGROUND, LineStyle, baseline_line_style, line_style
from sweep.figures.view import GROUP_TITLES, View

VERSION = 1
NAME, TITLE = "label_efficiency", "Label efficiency"
DODGE = 0.035  # of a decade between neighbours, so that intervals do not hide each other


def draw(view: View) -> Drawing:
    """A panel for each dataset and group of methods, the baselines in each of them."""
    protocol, percents = _protocol(view)
    groups = list(dict.fromkeys(row.group for row in view.methods)) or ["baseline"]
    numbers: dict = {"protocol": protocol, "label_percents": percents, "macro_auroc": {}}
    with style():
        figure = new_figure(max(4.6, 3.5 * len(groups)), 2.9 * len(view.datasets) + 0.9)
        axes = figure.subplots(len(view.datasets), len(groups), sharex=True, sharey="row", squeeze=False)
        for i, dataset in enumerate(view.datasets):
            for j, group in enumerate(groups):
                lines = _lines(view, group)
                _panel(axes[i, j], view, dataset, lines, protocol, percents, numbers["macro_auroc"])
                group_title = GROUP_TITLES.get(group, group.capitalize())
                axes[i, j].set_title(f"{dataset.display if j == 0 else ''}\n{group_title}")
            axes[i, 0].set_ylabel("macro AUROC (%)")
        for j in range(len(groups)):
            axes[-1, j].set_xlabel("labels used (% of training images)")
            _legend(axes[-1, j], _lines(view, groups[j]))
        drawn = [v["mean"] for rows in numbers["macro_auroc"].values() for row in rows.values() for v in row.values()]
        if not any(value is not None for value in drawn):
            raise CannotDraw(f"No {protocol} cell is finished yet.")
        return finished(NAME, TITLE, _caption(view, protocol), figure, numbers)


def _protocol(view: View) -> tuple[str, list[int]]:
    """The protocol with the most percentages of labels."""
    found: dict[str, list[int]] = {}
    for protocol, percent in view.columns:
        found.setdefault(protocol, []).append(percent)
    best = max(found, key=lambda name: len(found[name]), default=None)
    if best is None or len(found[best]) < 2:
        raise CannotDraw("No protocol of this study is run at more than one percentage of the labels.")
    return best, sorted(found[best])


def _lines(view: View, group: str) -> list[tuple]:
    """(row, its look) of a panel: the baselines, then the group's methods."""
    members = [row for row in view.methods if row.group == group]
    baselines = [(row, baseline_line_style(i)) for i, row in enumerate(view.baselines)]
    return baselines + [(row, line_style(i)) for i, row in enumerate(members)]


def _legend(axis: Axes, lines: list[tuple]) -> None:
    handles = [
        Line2D([], [], color=how.color, linestyle=how.line, marker=how.marker, label=row.display.split(" (")[0])
        for row, how in lines
    ]
    axis.legend(
        handles=handles, loc="upper left", bbox_to_anchor=(-0.05, -0.2), ncols=2, handlelength=3.4, columnspacing=1
    )


def _panel(axis: Axes, view: View, dataset, lines: list[tuple], protocol: str, percents: list[int], numbers: dict):
    for place, (row, how) in enumerate(lines):
        shift = 10 ** (DODGE * (place - (len(lines) - 1) / 2))
        values = numbers.setdefault(dataset.source, {}).setdefault(row.name, {})
        _line(axis, view, row, dataset.source, protocol, percents, how, shift, values)
    axis.set_xscale("log")
    axis.set_xticks(percents)
    axis.xaxis.set_minor_locator(NullLocator())
    axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_xlim(min(percents) / 1.6, max(percents) * 1.6)
    axis.grid(axis="x", visible=False)


def _line(
    axis: Axes, view: View, row, source: str, protocol: str, percents, how: LineStyle, shift: float, values: dict
):
    x, y, half, hollow = [], [], [], []
    for percent in percents:
        summary = view.summary(row.name, source, (protocol, percent))
        values[percent] = {"mean": summary.mean, "ci95": summary.ci95, "n": summary.n, "complete": summary.complete}
        if summary.mean is not None:
            x.append(percent * shift)
            y.append(100 * summary.mean)
            half.append(math.nan if summary.ci95 is None else 100 * summary.ci95)
            hollow.append(not summary.complete)
    if not x:
        return
    axis.errorbar(x, y, yerr=half, color=how.color, linestyle=how.line, elinewidth=1)
    for one_x, one_y, open_ in zip(x, y, hollow, strict=True):
        face = BACKGROUND if open_ else how.color
        axis.plot([one_x], [one_y], marker=how.marker, color=how.color, markerfacecolor=face, linestyle="none")


def _caption(view: View, protocol: str) -> str:
    return (
        f"{protocol} with 1 to 100% of the labels: macro AUROC, mean and 95% {view.study.interval}-interval over "
        f"{view.what_varies()}. Points are moved sideways so that intervals can be seen. Dotted grey: baselines, the "
        "same in each panel of a row. An open marker stands for a mean that lacks seeds."
    )
