"""How far is each method from the baseline: paired differences over seeds, with intervals."""

from matplotlib.axes import Axes

from sweep.figures.drawing import CannotDraw, Drawing, finished, new_figure, style
from sweep.figures.style import BACKGROUND, FOREGROUND, MUTED, PALETTE
from sweep.figures.view import View, column_title
from sweep.statistics.inference import Comparison
from sweep.studies.study import EncoderRow

VERSION = 1
NAME, TITLE = "forest", "Methods against the baseline"
GROUP_COLORS = {"image-text": PALETTE[0], "image-image": PALETTE[1], "joint": PALETTE[2], "baseline": MUTED}
BOX = {"facecolor": BACKGROUND, "edgecolor": "none", "pad": 1.0}
GROUP_MARKERS = {"image-text": "o", "image-image": "s", "joint": "D", "baseline": "X"}


def draw(view: View) -> Drawing:
    """A row of panels for each dataset, a panel for each protocol and percentage of labels.

    The numbers are those of `Comparisons`: what is not shown, such as another baseline, was corrected for too.
    """
    reference = view.reference()
    others = list(view.methods) or [row for row in view.baselines if row.name != reference.name]
    if not others:
        raise CannotDraw(f"Only {reference.display} was asked for: there is nothing to set against it.")
    rows = len(view.rows) - 1
    numbers: dict = {"reference": reference.name, "corrected_over": rows, "differences": {}}
    drawn = 0
    with style():
        wide, tall = len(view.columns), len(view.datasets)
        figure = new_figure(2.2 + 1.75 * wide, tall * (0.25 * len(others) + 0.95) + 0.2)
        axes = figure.subplots(tall, wide, sharex="row", sharey=True, squeeze=False)
        for i, dataset in enumerate(view.datasets):
            for j, column in enumerate(view.columns):
                tested = view.comparisons.against_reference(dataset.source, column)
                found = {row.name: tested[row.name] for row in others}
                drawn += _panel(axes[i, j], others, found)
                axes[i, j].set_title(f"{dataset.display if j == 0 else ''}\n{column_title(column)}")
                place = numbers["differences"].setdefault(dataset.source, {})
                place[column_title(column)] = {name: _numbers(one) for name, one in found.items()}
            axes[i, wide // 2].set_xlabel(f"AUROC minus {_plain(reference.display)} (percentage points)")
        if not drawn:
            raise CannotDraw(f"No method shares a finished seed with {reference.display} yet.")
        return finished(NAME, TITLE, _caption(view, reference, rows), figure, numbers)


def _panel(axis: Axes, rows: list, found: dict[str, Comparison]) -> int:
    axis.axvline(0, color=FOREGROUND, linewidth=0.9)
    drawn = 0
    for place, row in enumerate(rows):
        one = found[row.name]
        if one.difference is None:
            axis.text(0, place, "no pair of seeds", fontsize=7, color=MUTED, va="center", ha="center", bbox=BOX)
            continue
        drawn += 1
        color, marker = GROUP_COLORS.get(row.group, MUTED), GROUP_MARKERS.get(row.group, "o")
        sure = one.p_holm is not None and one.p_holm < 0.05
        half = None if one.ci95 is None else 100 * one.ci95
        axis.errorbar(
            100 * one.difference,
            place,
            xerr=half,
            color=color,
            marker=marker,
            elinewidth=1.4,
            markerfacecolor=color if sure else BACKGROUND,
            markeredgewidth=1.2,
            linestyle="none",
        )
    axis.set_yticks(range(len(rows)), [_plain(row.display) for row in rows])
    axis.set_ylim(len(rows) - 0.4, -0.6)
    axis.grid(axis="y", visible=False)
    for place in range(1, len(rows)):
        if rows[place].group != rows[place - 1].group:
            axis.axhline(place - 0.5, color=MUTED, linewidth=0.5, linestyle=(0, (1, 3)))
    return drawn


def _plain(display: str) -> str:
    return display.split(" (")[0]


def _numbers(one: Comparison) -> dict:
    return {"difference": one.difference, "ci95": one.ci95, "n": one.n, "p": one.p, "p_holm": one.p_holm}


def _caption(view: View, reference: EncoderRow, rows: int) -> str:
    pairs = "pretraining seeds" if len(view.pretrain_seeds) > 1 else "downstream seeds"
    return (
        f"Difference in macro AUROC from {reference.display}, paired by seed, with 95% t-intervals over {pairs} "
        f"({view.what_varies()}). A filled marker: p < 0.05 in a paired t-test, with Holm's correction over all {rows} "
        "rows that a panel's column has beside the reference. Circles image-text, squares image-image, diamonds joint. "
        "The intervals do not cover what other test images would give."
    )
