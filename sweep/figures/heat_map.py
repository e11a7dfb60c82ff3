"""Which finding is found by which method: mean AUROC over seeds, a cell for each."""

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import Normalize, to_rgb

from sweep.figures.drawing import CannotDraw, Drawing, finished, new_figure, style
from sweep.figures.style import BACKGROUND, FOREGROUND, GREY_SCALE, MUTED, spelled
from sweep.figures.view import View, column_title
from sweep.statistics.summaries import Column

VERSION = 1
FEW = 10  # positives below which an AUROC hangs on single images


def name_of(column: Column) -> str:
    return f"findings_{column[0].lower()}_{column[1]}"


def title_of(column: Column) -> str:
    return f"AUROC for each finding, {column_title(column)}"


def draw(view: View, column: Column) -> Drawing:
    """A block for each dataset: rows are encoders, columns findings."""
    blocks = [(dataset, *table(view, dataset.source, column)) for dataset in view.datasets]
    blocks = [block for block in blocks if block[1]]
    if not blocks:
        raise CannotDraw(f"No {column_title(column)} cell is finished yet.")
    finite = np.concatenate([values[np.isfinite(values)] for _, _, values, _ in blocks])
    if not len(finite):
        raise CannotDraw(f"No finding has both classes in the test images of any {column_title(column)} cell.")
    scale = Normalize(float(np.floor(finite.min())), float(np.ceil(finite.max())))
    numbers: dict = {"column": column_title(column), "auroc": {}, "n_pos": {}}
    with style():
        heights = [0.235 * len(view.rows) + 1.9 for _ in blocks]
        figure = new_figure(9.6, sum(heights))
        axes = figure.subplots(len(blocks), 1, squeeze=False)[:, 0]
        for axis, (dataset, findings, values, counts) in zip(axes, blocks, strict=True):
            image = _block(axis, view, findings, values, counts, scale)
            axis.set_title(f"{dataset.display}, {column_title(column)}", pad=8)
            numbers["auroc"][dataset.source] = {
                row.name: dict(zip(findings, values[i] / 100, strict=True)) for i, row in enumerate(view.rows)
            }
            numbers["n_pos"][dataset.source] = dict(zip(findings, counts, strict=True))
        bar = figure.colorbar(image, ax=list(axes), fraction=0.02, pad=0.01)
        bar.set_label("AUROC (%)")
        return finished(name_of(column), title_of(column), _caption(view, column), figure, numbers)


def table(view: View, source: str, column: Column) -> tuple[list[str], np.ndarray, list[int]]:
    """Findings, (rows, findings) mean AUROC in percent with NaN where there is none, and positives in test."""
    findings = view.summaries.findings(source, column)
    values = np.full((len(view.rows), len(findings)), np.nan)
    for i, row in enumerate(view.rows):
        for j, finding in enumerate(findings):
            mean = view.summaries.of(row.name, source, column, finding.finding).mean
            values[i, j] = np.nan if mean is None else 100 * mean
    return [finding.finding for finding in findings], values, [finding.n_pos for finding in findings]


def _block(axis: Axes, view: View, findings: list[str], values: np.ndarray, counts: list[int], scale: Normalize):
    colors = colormaps[GREY_SCALE].with_extremes(bad="#f0f1f3")
    image = axis.imshow(np.ma.masked_invalid(values), cmap=colors, norm=scale, aspect="auto")
    best = np.where(np.isfinite(values), values, -1).max(axis=0)
    for i, j in np.ndindex(values.shape):
        if not np.isfinite(values[i, j]):
            axis.text(j, i, "–", ha="center", va="center", color=MUTED)
            continue
        bold = "bold" if round(values[i, j], 1) == round(best[j], 1) else "normal"
        color = readable_on(colors(scale(values[i, j])))
        axis.text(j, i, f"{values[i, j]:.1f}", ha="center", va="center", color=color, fontsize=8, fontweight=bold)
    labels = [f"{spelled(finding)} ({n}{'*' if n < FEW else ''})" for finding, n in zip(findings, counts, strict=True)]
    axis.set_xticks(range(len(findings)), labels, rotation=38, ha="right", rotation_mode="anchor")
    axis.set_yticks(range(len(view.rows)), [row.display.split(" (")[0] for row in view.rows])
    axis.tick_params(length=0)
    axis.grid(visible=False)
    axis.spines[:].set_visible(False)
    for place in range(1, len(view.rows)):
        if view.rows[place].group != view.rows[place - 1].group:
            axis.axhline(place - 0.5, color=BACKGROUND, linewidth=2.5)
    return image


def readable_on(color: tuple[float, ...]) -> str:
    """White or ink, whichever stands out more by WCAG's contrast ratio."""
    light = luminance(color)
    dark = luminance(to_rgb(FOREGROUND))
    return BACKGROUND if (1 + 0.05) / (light + 0.05) > (light + 0.05) / (dark + 0.05) else FOREGROUND


def luminance(color: tuple[float, ...]) -> float:
    """Relative luminance of an sRGB colour (WCAG 2)."""
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in color[:3])
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _caption(view: View, column: Column) -> str:
    return (
        f"AUROC in percent for each finding, {column_title(column)}, mean over the finished seeds. In brackets the "
        f"positive test images, with * where fewer than {FEW}: there an AUROC hangs on single images. Bold: the best "
        "of a finding. A dash: no finished cell, or one class only in the test images."
    )
