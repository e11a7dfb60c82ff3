"""How far is each method from the baseline: paired differences over seeds, with intervals."""

from matplotlib.axes import Axes

from sweep.figures.drawing import CannotDraw, Drawing, finished, new_figure, style
from sweep.figures.style import INK, MUTED, PALETTE, PAPER
from sweep.figures.view import Column, View, column_title
from sweep.stats import Comparison, compare, mean

NAME, TITLE = "forest", "Methods against the baseline"
GROUP_COLORS = {"image-text": PALETTE[0], "image-image": PALETTE[1], "joint": PALETTE[2], "baseline": MUTED}
BOX = {"facecolor": PAPER, "edgecolor": "none", "pad": 1.0}
GROUP_MARKERS = {"image-text": "o", "image-image": "s", "joint": "D", "baseline": "X"}


def draw(view: View) -> Drawing:
    """A row of panels for each dataset, a panel for each protocol and percentage of labels."""
    reference = view.reference()
    others = list(view.methods) or [row for row in view.baselines if row.name != reference.name]
    if not others:
        raise CannotDraw(f"Only {reference.display} was asked for: there is nothing to set against it.")
    numbers: dict = {"reference": reference.name, "differences": {}}
    drawn = 0
    with style():
        wide, tall = len(view.columns), len(view.datasets)
        figure = new_figure(2.2 + 1.75 * wide, tall * (0.25 * len(others) + 0.95) + 0.2)
        axes = figure.subplots(tall, wide, sharex="row", sharey=True, squeeze=False)
        for i, dataset in enumerate(view.datasets):
            for j, column in enumerate(view.columns):
                found = differences(view, dataset.source, column, reference.name, [row.name for row in others])
                drawn += _panel(axes[i, j], others, found)
                axes[i, j].set_title(f"{dataset.display if j == 0 else ''}\n{column_title(column)}")
                place = numbers["differences"].setdefault(dataset.source, {})
                place[column_title(column)] = {name: _numbers(one) for name, one in found.items()}
            axes[i, wide // 2].set_xlabel(f"AUROC minus {_plain(reference.display)} (percentage points)")
        if not drawn:
            raise CannotDraw(f"No method shares a finished seed with {reference.display} yet.")
        return finished(NAME, TITLE, _caption(view, reference), figure, numbers)


def differences(view: View, source: str, column: Column, reference: str, names: list[str]) -> dict[str, Comparison]:
    """Row -> its paired comparison with the reference, Holm's correction over the rows together.

    With several pretraining seeds a pair is a pretraining seed's mean over the downstream seeds that both have.
    """
    values = {name: view.by_seed(name, source, column) for name in (reference, *names)}
    if len(view.pretrain_seeds) == 1:
        found = compare(values, [(name, reference) for name in names])
        return dict(zip(names, found, strict=True))
    found = []
    grouped = {}
    for name in names:
        shared = values[name].keys() & values[reference].keys()
        for side in (name, reference):
            grouped[name, side] = {
                p: mean([values[side][key] for key in sorted(shared) if key[0] == p]) for p in {k[0] for k in shared}
            }
    flat = {f"{name}|{side}": by_pretraining for (name, side), by_pretraining in grouped.items()}
    found = compare(flat, [(f"{name}|{name}", f"{name}|{reference}") for name in names])
    return dict(zip(names, found, strict=True))


def _panel(axis: Axes, rows: list, found: dict[str, Comparison]) -> int:
    axis.axvline(0, color=INK, linewidth=0.9)
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
            100 * one.difference, place, xerr=half, color=color, marker=marker, elinewidth=1.4,
            markerfacecolor=color if sure else PAPER, markeredgewidth=1.2, linestyle="none",
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


def _caption(view: View, reference) -> str:
    pairs = "pretraining seeds" if len(view.pretrain_seeds) > 1 else "downstream seeds"
    return (
        f"Difference in macro AUROC from {reference.display}, paired by seed, with 95% t-intervals over {pairs} "
        f"({view.what_varies()}). A filled marker: p < 0.05 in a paired t-test, with Holm's correction over the "
        "methods of a panel. Circles image-text, squares image-image, diamonds joint. The intervals do not cover what "
        "other test images would give."
    )
