"""Which methods rank first over all comparisons, and which differences of ranks are beyond chance (Demsar, 2006)?"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from scipy.stats import friedmanchisquare, rankdata, studentized_range

from sweep.figures.drawing import CannotDraw, Drawing, finished, new_figure, style
from sweep.figures.forest import GROUP_COLORS
from sweep.figures.style import INK, MUTED
from sweep.figures.view import View, column_title

NAME, TITLE = "critical_difference", "Average ranks with the critical difference"
LEVEL = 0.05


@dataclass(frozen=True)
class Ranking:
    """Average ranks of K methods over N blocks, rank 1 the best, ties shared.

    critical: the difference of two average ranks beyond which Nemenyi's test rejects at 5%. p: Friedman's test.
    cliques: (first, last) places in the order of `names`, the longest runs whose ends differ by less than that.
    """

    names: tuple[str, ...]
    average: tuple[float, ...]
    num_blocks: int
    critical: float
    p: float
    cliques: tuple[tuple[int, int], ...]


def rank(names: Sequence[str], values: np.ndarray) -> Ranking:
    """values: (N, K), higher is better. Names come back from best to worst. Needs N >= 2 and K >= 3."""
    blocks, methods = values.shape
    average = np.mean([rankdata(-row) for row in values], axis=0)
    order = np.argsort(average, kind="stable")
    average = average[order]
    quantile = studentized_range.ppf(1 - LEVEL, methods, np.inf) / math.sqrt(2)
    critical = float(quantile * math.sqrt(methods * (methods + 1) / (6 * blocks)))
    p = float(friedmanchisquare(*values.T).pvalue)
    return Ranking(
        tuple(names[i] for i in order), tuple(float(a) for a in average), blocks, critical, p,
        cliques(average, critical),
    )


def cliques(average: Sequence[float], critical: float) -> tuple[tuple[int, int], ...]:
    """Runs of sorted ranks that lie within the critical difference, without those inside a longer run."""
    found: list[tuple[int, int]] = []
    for first in range(len(average)):
        last = max(i for i in range(first, len(average)) if average[i] - average[first] <= critical)
        if last > first and (not found or last > found[-1][1]):
            found.append((first, last))
    return tuple(found)


def draw(view: View) -> Drawing:
    """Blocks are the study's datasets x protocols x percentages, a method's value is its mean over seeds."""
    names, values, blocks, left_out = _blocks(view)
    if len(names) < 3 or len(blocks) < 2:
        raise CannotDraw(
            f"Ranks need at least 3 methods that share 2 columns of the table; {len(names)} share {len(blocks)}."
        )
    ranking = rank(names, values)
    rows = {row.name: row for row in view.rows}
    with style():
        figure = new_figure(8.6, 1.15 + 0.19 * len(names))
        _diagram(figure.subplots(), ranking, rows)
        numbers = {
            "average_rank": dict(zip(ranking.names, ranking.average, strict=True)), "blocks": blocks,
            "critical_difference": ranking.critical, "friedman_p": ranking.p, "left_out": left_out,
        }
        return finished(NAME, TITLE, _caption(ranking, blocks, left_out, rows), figure, numbers)


def _blocks(view: View) -> tuple[list[str], np.ndarray, list[str], list[str]]:
    """Rows that have a value in each block, (blocks, rows) values, the blocks' names, and the rows left out.

    A block that no row has is no block; a row that lacks a block that others have is left out.
    """
    means = {}
    for dataset in view.datasets:
        for column in view.columns:
            name = f"{dataset.display} {column_title(column)}"
            found = {row.name: view.summary(row.name, dataset.source, column).mean for row in view.rows}
            means[name] = {row: value for row, value in found.items() if value is not None}
    blocks = [name for name, found in means.items() if found]
    names = [row.name for row in view.rows if blocks and all(row.name in means[block] for block in blocks)]
    values = np.array([[means[block][name] for name in names] for block in blocks])
    return names, values, blocks, [row.name for row in view.rows if row.name not in names]


def _diagram(axis: Axes, ranking: Ranking, rows: dict) -> None:
    count = len(ranking.names)
    axis.set_xlim(1 - 0.36 * count, count + 0.36 * count)
    depth = 0.55 * (count + 1) / 2 + 0.55 * len(ranking.cliques) + 0.6
    axis.set_ylim(-depth, 2.0)
    axis.axis("off")
    axis.plot([1, count], [0, 0], color=INK, linewidth=1)
    for tick in range(1, count + 1):
        axis.plot([tick, tick], [0, 0.22], color=INK, linewidth=1)
        axis.text(tick, 0.34, str(tick), ha="center", va="bottom", fontsize=8.5)
    axis.text((1 + count) / 2, 0.95, "average rank (1 is best)", ha="center", va="bottom", fontsize=8.5, color=MUTED)
    shown = min(ranking.critical, count - 1)
    axis.plot([1, 1 + shown], [1.75, 1.75], color=INK, linewidth=1.6, marker="|", markersize=7)
    axis.text(1 + shown + 0.2, 1.75, f"critical difference {ranking.critical:.2f}", va="center", fontsize=8.5)
    start = 0.42
    for number, (first, last) in enumerate(ranking.cliques):
        height = -start - 0.5 * number
        ends = [ranking.average[first] - 0.08, ranking.average[last] + 0.08]
        axis.plot(ends, [height, height], color=INK, linewidth=3, solid_capstyle="round")
    below = -start - 0.5 * len(ranking.cliques) - 0.3
    half = (count + 1) // 2
    for place, name in enumerate(ranking.names):
        on_left = place < half
        height = below - 0.55 * (place if on_left else count - 1 - place)
        _leader(axis, ranking.average[place], height, on_left, count, rows[name])


def _leader(axis: Axes, average: float, height: float, on_left: bool, count: int, row) -> None:
    color = GROUP_COLORS.get(row.group, MUTED)
    end = 1 - 0.05 * count if on_left else count + 0.05 * count
    axis.plot([average, average, end], [0, height, height], color=color, linewidth=1)
    axis.plot([average], [0], marker="o", color=color, markersize=4)
    name = row.display.split(" (")[0]
    label = f"{name}  {average:.2f}" if on_left else f"{average:.2f}  {name}"
    axis.text(end + (-0.12 if on_left else 0.12), height, label, ha="right" if on_left else "left", va="center")


def _caption(ranking: Ranking, blocks: list[str], left_out: list[str], rows: dict) -> str:
    names = ", ".join(rows[name].display for name in left_out)
    out = f" Left out, since they lack a column: {names}." if left_out else ""
    return (
        f"Average rank by mean macro AUROC over {len(blocks)} blocks ({', '.join(blocks)}). Methods under one bar do "
        f"not differ by more than the critical difference of Nemenyi's test at 5%, {ranking.critical:.2f} ranks "
        f"(Friedman's test: p = {ranking.p:.2g}). Blocks of one dataset are no independent samples, so the test is "
        f"a guide, not proof. Blue image-text, orange image-image, green joint, grey baselines.{out}"
    )
