"""Which methods rank first over all comparisons, and which differences of ranks are beyond chance (Demsar, 2006)?"""

from collections.abc import Hashable, Mapping

from matplotlib.axes import Axes

from sweep.figures.drawing import CannotDraw, Drawing, finished, new_figure, style
from sweep.figures.style import FOREGROUND, MUTED, LineStyle, short_name
from sweep.figures.view import View, column_title
from sweep.statistics.comparisons import Ranks
from sweep.studies.study import EncoderRow

VERSION = 4
NAME, TITLE = "critical_difference", "Average ranks with the critical difference"


def draw(view: View) -> Drawing:
    """Blocks are the study's datasets x protocols x percentages, a method's value is its mean over all seeds.

    The numbers are those of `Comparisons.ranks`. Raises CannotDraw for fewer than 3 methods or 2 blocks.
    """
    ranks = view.comparisons.ranks[0]
    distance = ranks.critical_difference
    if len(ranks.methods) < 3 or distance is None:
        raise CannotDraw(
            f"Ranks need at least 3 methods with all seeds in 2 columns of the table; {len(ranks.methods)} share "
            f"{ranks.num_blocks}."
        )
    rows = {row.name: row for row in view.rows}
    displays = {dataset.instance: dataset.display for dataset in view.datasets}
    used = [_block_title(block, displays) for block in ranks.blocks]
    with style():
        figure = new_figure(8.6, 1.15 + 0.19 * len(ranks.methods))
        _diagram(figure.subplots(), ranks, distance, rows, view.styles)
        numbers = {
            "average_rank": dict(zip(ranks.methods, ranks.mean_ranks, strict=True)),
            "blocks": used,
            "critical_difference": distance,
            "friedman_p": ranks.p,
            "cliques": ranks.cliques,
            "left_out": ranks.methods_left_out,
            "blocks_left_out": ranks.blocks_left_out,
        }
        return finished(NAME, TITLE, _caption(ranks, distance, used, rows), figure, numbers)


def _block_title(block: Hashable, displays: Mapping[str, str]) -> str:
    """A column of a dataset as a name: `CheXpert FT 10%`."""
    match block:
        case (str(source), str(protocol), int(percent)):
            return f"{displays[source]} {column_title((protocol, percent))}"
    raise AssertionError(f"block {block!r} is no (dataset, protocol, label_percent), as those over all columns are")


def _diagram(
    axis: Axes, ranking: Ranks, distance: float, rows: Mapping[str, EncoderRow], styles: Mapping[str, LineStyle]
) -> None:
    """The axis of ranks on top, bars for the cliques below it, then a name for each method at either side.

    x is the mean rank; y has no unit: 0 is the axis, names are 0.55 apart and bars 0.5.
    """
    count = len(ranking.methods)
    axis.set_xlim(1 - 0.36 * count, count + 0.36 * count)
    depth = 0.55 * (count + 1) / 2 + 0.55 * len(ranking.cliques) + 0.6
    axis.set_ylim(-depth, 2.0)
    axis.axis("off")  # the axis of ranks is drawn by hand: it stands on top, without a box
    axis.plot([1, count], [0, 0], color=FOREGROUND, linewidth=1)
    for tick in range(1, count + 1):
        axis.plot([tick, tick], [0, 0.22], color=FOREGROUND, linewidth=1)
        axis.text(tick, 0.34, str(tick), ha="center", va="bottom", fontsize=8.5)
    axis.text((1 + count) / 2, 0.95, "average rank (1 is best)", ha="center", va="bottom", fontsize=8.5, color=MUTED)
    shown = min(distance, count - 1)  # with few blocks it may be longer than the axis
    axis.plot([1, 1 + shown], [1.75, 1.75], color=FOREGROUND, linewidth=1.6, marker="|", markersize=7)
    label = f"critical difference {distance:.2f}"
    axis.text(1 + shown + 0.2, 1.75, label, va="center", fontsize=8.5)
    start = 0.42  # of the first bar below the axis
    for number, clique in enumerate(ranking.cliques):
        first, last = (ranking.methods.index(name) for name in (clique[0], clique[-1]))
        height = -start - 0.5 * number
        # A little longer than the clique, so that its outer methods are seen to belong to it.
        ends = [ranking.mean_ranks[first] - 0.08, ranking.mean_ranks[last] + 0.08]
        axis.plot(ends, [height, height], color=FOREGROUND, linewidth=3, solid_capstyle="round")
    below = -start - 0.5 * len(ranking.cliques) - 0.3
    half = (count + 1) // 2
    # The better half has its names at the left, best on top; the others at the right, worst on top: lines do not cross.
    for place, name in enumerate(ranking.methods):
        on_left = place < half
        height = below - 0.55 * (place if on_left else count - 1 - place)
        _leader(axis, ranking.mean_ranks[place], height, on_left, count, rows[name], styles[name])


def _leader(
    axis: Axes, average: float, height: float, on_left: bool, count: int, row: EncoderRow, how: LineStyle
) -> None:
    """A line from a method's mean rank on the axis down and out to its name."""
    end = 1 - 0.05 * count if on_left else count + 0.05 * count
    axis.plot([average, average, end], [0, height, height], color=how.color, linewidth=1)
    axis.plot([average], [0], marker=how.marker, color=how.color, markersize=4.5)
    name = short_name(row.display)
    label = f"{name}  {average:.2f}" if on_left else f"{average:.2f}  {name}"
    axis.text(end + (-0.12 if on_left else 0.12), height, label, ha="right" if on_left else "left", va="center")


def _caption(ranking: Ranks, distance: float, used: list[str], rows: Mapping[str, EncoderRow]) -> str:
    names = ", ".join(rows[name].display for name in ranking.methods_left_out)
    out = f" Left out, since no column of theirs is complete: {names}." if names else ""
    if ranking.blocks_left_out:
        number = ranking.blocks_left_out
        columns, lack, are = ("column", "lacks", "is") if number == 1 else ("columns", "lack", "are")
        out += f" {number} {columns} {lack} a seed of some method and {are} left out."
    p = "" if ranking.p is None else f" (Friedman's test: p = {ranking.p:.2g})"
    return (
        f"Average rank of Table 1's rows by mean macro AUROC over {len(used)} blocks ({', '.join(used)}). Methods "
        f"under one bar do not differ by more than the critical difference of Nemenyi's test at 5%, {distance:.2f} "
        f"ranks{p}. Blocks of one dataset are no independent samples, so the test is a guide, not proof. "
        f"Grey: baselines.{out}"
    )
