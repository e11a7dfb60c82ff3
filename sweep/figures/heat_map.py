"""Which finding is found by which method: mean AUROC over seeds, a cell for each."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Normalize, to_rgb
from matplotlib.image import AxesImage

from sweep.figures.drawing import CannotDraw, Drawing, finished, new_figure, style
from sweep.figures.style import BACKGROUND, FOREGROUND, HEAT, MUTED, short_name
from sweep.figures.view import View, column_title
from sweep.statistics.summaries import Column
from sweep.statistics.summary import best_of
from sweep.statistics.value_names import in_words
from sweep.studies.study import Dataset

VERSION = 3
FEW = 10  # positives below which an AUROC depends on single images


@dataclass(frozen=True)
class HeatMap:
    """What the figure shows of one dataset. n_pos: positive test images of each of the F findings.

    percent: (rows, F) float64 mean AUROC in percent, NaN where there is none. best: (rows, F) bool, by `best_of`, as in
    the tables of findings.
    """

    dataset: Dataset
    findings: tuple[str, ...]
    percent: np.ndarray
    best: np.ndarray
    n_pos: tuple[int, ...]


def name_of(column: Column) -> str:
    """`findings_ft_100`: the figure's name, and that of its file."""
    return f"findings_{column[0].lower()}_{column[1]}"


def title_of(column: Column) -> str:
    """The figure's title."""
    return f"AUROC for each finding, {column_title(column)}"


def blocks_of(view: View, column: Column) -> list[HeatMap]:
    """The datasets that have a finished cell in the column. Raises CannotDraw where there is no number at all."""
    blocks = [_block_of(view, dataset, column) for dataset in view.datasets]
    blocks = [block for block in blocks if block.findings]
    if not blocks:
        raise CannotDraw(f"No {column_title(column)} cell is finished yet.")
    if not any(np.isfinite(block.percent).any() for block in blocks):
        raise CannotDraw(f"No finding has both classes in the test images of any {column_title(column)} cell.")
    return blocks


def draw(view: View, column: Column) -> Drawing:
    """A block for each dataset: rows are encoders, columns findings."""
    blocks = blocks_of(view, column)
    finite = np.concatenate([block.percent[np.isfinite(block.percent)] for block in blocks])
    scale = Normalize(float(np.floor(finite.min())), float(np.ceil(finite.max())))  # one for all blocks
    with style():
        # Inches: 0.235 a row, 1.9 for the title and the slanted names of findings.
        heights = [0.235 * len(view.rows) + 1.9 for _ in blocks]
        figure = new_figure(9.6, sum(heights))
        axes = figure.subplots(len(blocks), 1, squeeze=False)[:, 0]
        for axis, block in zip(axes, blocks, strict=True):
            image = _block(axis, view, block, scale)
            axis.set_title(f"{block.dataset.display}, {column_title(column)}", pad=8)
        bar = figure.colorbar(image, ax=list(axes), fraction=0.02, pad=0.01)
        bar.set_label("AUROC (%)")
        numbers = _numbers(view, column, blocks)
        return finished(name_of(column), title_of(column), _caption(view, column), figure, numbers)


def _numbers(view: View, column: Column, blocks: Sequence[HeatMap]) -> dict[str, object]:
    return {
        "column": column_title(column),
        "auroc": {
            block.dataset.instance: {
                row.name: dict(zip(block.findings, block.percent[i] / 100, strict=True))
                for i, row in enumerate(view.rows)
            }
            for block in blocks
        },
        "n_pos": {block.dataset.instance: dict(zip(block.findings, block.n_pos, strict=True)) for block in blocks},
    }


def table(view: View, source: str, column: Column) -> tuple[list[str], np.ndarray, list[int]]:
    """The F findings of a dataset, (rows, F) mean AUROC in percent, NaN where there is none, and positives in test."""
    findings = view.summaries.findings(source, column)
    values = np.full((len(view.rows), len(findings)), np.nan)
    for i, row in enumerate(view.rows):
        for j, finding in enumerate(findings):
            mean = view.summaries.of(row.name, source, column, finding.finding).mean
            values[i, j] = np.nan if mean is None else 100 * mean
    return [finding.finding for finding in findings], values, [finding.n_pos for finding in findings]


def _block_of(view: View, dataset: Dataset, column: Column) -> HeatMap:
    findings, percent, n_pos = table(view, dataset.instance, column)
    best = np.zeros(percent.shape, dtype=bool)
    for j, finding in enumerate(findings):
        best[:, j] = best_of([view.summaries.of(row.name, dataset.instance, column, finding) for row in view.rows])
    return HeatMap(dataset, tuple(findings), percent, best, tuple(n_pos))


def _block(axis: Axes, view: View, block: HeatMap, scale: Normalize) -> AxesImage:
    """Draw one block; the image is what the colour bar is made for."""
    values = block.percent
    colors = HEAT.with_extremes(bad="#f0f1f3")
    image = axis.imshow(np.ma.masked_invalid(values), cmap=colors, norm=scale, aspect="auto")
    for i, j in np.ndindex(values.shape):
        if not np.isfinite(values[i, j]):
            axis.text(j, i, "–", ha="center", va="center", color=MUTED)
            continue
        bold = "bold" if block.best[i, j] else "normal"
        color = readable_on(colors(scale(values[i, j])))
        axis.text(j, i, f"{values[i, j]:.1f}", ha="center", va="center", color=color, fontsize=8, fontweight=bold)
    counts = zip(block.findings, block.n_pos, strict=True)
    labels = [f"{in_words(finding)} ({n}{'*' if n < FEW else ''})" for finding, n in counts]
    axis.set_xticks(range(len(labels)), labels, rotation=38, ha="right", rotation_mode="anchor")
    axis.set_yticks(range(len(view.rows)), [short_name(row.display) for row in view.rows])
    axis.tick_params(length=0)
    axis.grid(visible=False)
    axis.spines[:].set_visible(False)
    # A white line where a group of methods ends.
    for place in range(1, len(view.rows)):
        if view.rows[place].group != view.rows[place - 1].group:
            axis.axhline(place - 0.5, color=BACKGROUND, linewidth=2.5)
    return image


def readable_on(color: tuple[float, ...]) -> str:
    """White or the dark text colour, whichever has the higher contrast ratio (WCAG 2) on this colour.

    color: red, green and blue in [0, 1], more is ignored. The ratio of two luminances is (higher + 0.05) / (lower +
    0.05); that of white is 1.
    """
    ground = luminance(color)
    dark = luminance(to_rgb(FOREGROUND))
    return BACKGROUND if (1 + 0.05) / (ground + 0.05) > (ground + 0.05) / (dark + 0.05) else FOREGROUND


def luminance(color: tuple[float, ...]) -> float:
    """Relative luminance in [0, 1] of an sRGB colour (WCAG 2). color: red, green and blue in [0, 1]."""
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in color[:3])
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _caption(view: View, column: Column) -> str:
    return (
        f"AUROC in percent for each finding, {column_title(column)}, mean over the finished seeds. In brackets the "
        f"positive test images, with * where fewer than {FEW}: there an AUROC hangs on single images. Bold: the best "
        "of a finding, among the means over the most seeds and by two decimals, as in the tables. A dash: no finished "
        "cell, or one class only in the test images."
    )
