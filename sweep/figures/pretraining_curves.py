"""How did each pretraining go: losses by epoch, for training and validation, with the parts of joint losses."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import LogFormatter, MaxNLocator

from sweep.figures.drawing import CannotDraw, Drawing, finished, new_figure, style
from sweep.figures.style import DARK, FOREGROUND, MUTED, LineStyle, mark, method_styles
from sweep.figures.view import View
from trainables.registry import PAPER_METHODS

VERSION = 2
LOSSES, LOSSES_TITLE = "pretraining_losses", "Pretraining: losses by epoch"
NORMS, NORMS_TITLE = "gradient_norms", "Pretraining: gradient norms of the parts of a loss"
ACROSS = 4  # panels in a row
LOSSES_CAPTION = (
    "Losses by epoch (from 1), weights applied, on a logarithmic axis. Solid: validation, under the same augmentations "
    "in every epoch; dashed: training. Grey: the validation total, where the loss has parts. The dotted line marks "
    "the epoch that was kept."
)
NORMS_CAPTION = (
    "Norm of each part's gradient at the image network, on the first validation batch of an epoch, on a "
    "logarithmic axis: a part that lies far below another is drowned by it. The dotted line marks the epoch that "
    "was kept."
)


@dataclass(frozen=True)
class TrainingCurve:
    """One pretraining as its result has it. history: an entry an epoch; values may be None (not finite).

    An entry has epoch, val_loss and, for each part of the loss, train_PART and val_PART; gradient_norm_PART where
    there are several.
    best_epoch: the one whose weights were kept, from 0; None where it is not known.
    """

    row: str
    display: str
    history: tuple[Mapping[str, float | None], ...]
    best_epoch: int | None

    def parts(self, prefix: str) -> list[str]:
        """Names of the parts of the loss for which `prefix` values were kept."""
        # As a dict for its order: that of the history. val_loss is the total, not a part named "loss".
        names = dict.fromkeys(k.removeprefix(prefix) for entry in self.history for k in entry if k.startswith(prefix))
        return [name for name in names if f"{prefix}{name}" != "val_loss"]

    def line(self, key: str) -> tuple[list[float], list[float]]:
        """x and y of a line: the epochs, from 1, and the key's values, NaN (a gap) where there is none."""
        pairs = [(epoch, entry.get(key)) for entry in self.history if (epoch := entry.get("epoch")) is not None]
        return [epoch + 1 for epoch, _ in pairs], [math.nan if value is None else value for _, value in pairs]


def training_curves(view: View) -> list[TrainingCurve]:
    """One for each finished pretraining that has a history, of the first pretraining seed, in the rows' order."""
    done, _ = view.store.done_and_failed()
    rows = {row.name: row for row in view.rows}
    found = {}
    for run in view.plan.encoders:
        first_seed = run.pretrain_seed == view.pretrain_seeds[0]
        if run.row in rows and first_seed and view.store.folder(run) in done:
            result = view.store.open(run).result
            if history := tuple(result.get("history", ())):
                found[run.row] = TrainingCurve(run.row, rows[run.row].display, history, result.get("best_epoch"))
    return [found[row.name] for row in view.rows if row.name in found]


def draw_losses(view: View) -> Drawing:
    """A panel for each pretraining. Raises CannotDraw where none is finished."""
    shown = training_curves(view)
    if not shown:
        raise CannotDraw("No pretraining is finished yet.")
    return _grid(view, shown, LOSSES, LOSSES_TITLE, "val_", "loss", LOSSES_CAPTION)


def draw_norms(view: View) -> Drawing:
    """A panel for each pretraining of a joint loss. Raises CannotDraw where none is finished."""
    shown = [curve for curve in training_curves(view) if curve.parts("gradient_norm_")]
    if not shown:
        raise CannotDraw("No finished pretraining has a loss of several parts.")
    return _grid(view, shown, NORMS, NORMS_TITLE, "gradient_norm_", "gradient norm", NORMS_CAPTION)


def _grid(
    view: View, shown: list[TrainingCurve], name: str, title: str, prefix: str, label: str, caption: str
) -> Drawing:
    across = min(ACROSS, len(shown))
    down = math.ceil(len(shown) / across)
    # A part has the style of its place among the parts of all losses: the same in both figures.
    shown_parts = {part for curve in shown for part in curve.parts(prefix)}
    all_parts = dict.fromkeys(part for curve in training_curves(view) for part in curve.parts("val_"))
    styles = {part: part_style(part, i) for i, part in enumerate(all_parts) if part in shown_parts}
    with style():
        figure = new_figure(max(5.0, 2.6 * across), 2.1 * down + 0.6)
        axes = figure.subplots(down, across, squeeze=False, sharex=True)
        for number in range(down * across):
            axis = axes[number // across, number % across]
            if number >= len(shown):  # the last row may be short
                axis.axis("off")
                continue
            _panel(axis, shown[number], prefix, styles)
            # Panels share their x axis: epochs are written under the lowest one of each column only.
            axis.tick_params(axis="x", labelbottom=number + across >= len(shown))
        for axis in axes[-1]:
            axis.set_xlabel("epoch")
        for axis in axes[:, 0]:
            axis.set_ylabel(label)
        handles = _handles(styles, prefix, shown)
        figure.legend(handles=handles, loc="outside lower center", ncols=min(5, len(handles)), handlelength=3)
        seeds = view.pretrain_seeds
        which = f" Pretraining seed {seeds[0]}, the first of {len(seeds)}." if len(seeds) > 1 else ""
        numbers = {curve.row: {"best_epoch": curve.best_epoch, "history": curve.history} for curve in shown}
        return finished(name, title, caption + which, figure, numbers)


def part_style(part: str, place: int) -> LineStyle:
    """The colour of the method that a part of a loss is of, `vicreg_variance` of VICReg; mark and dashes by place."""
    names = [name for name in PAPER_METHODS if part == name or part.startswith(f"{name}_")]
    color = method_styles(PAPER_METHODS)[names[0]].color if names else DARK
    return LineStyle(color, *mark(place))


def _panel(axis: Axes, curve: TrainingCurve, prefix: str, styles: dict[str, LineStyle]) -> None:
    parts = curve.parts(prefix)
    losses = prefix == "val_"
    for part in parts:
        how = styles[part]
        line = "-" if losses else how.line
        axis.plot(*curve.line(prefix + part), color=how.color, linestyle=line, marker=how.marker, markersize=3.5)
        if losses:
            axis.plot(*curve.line(f"train_{part}"), color=how.color, linestyle=(0, (4, 1.6)), linewidth=1.1)
    if losses and len(parts) > 1:
        axis.plot(*curve.line("val_loss"), color=MUTED, marker=".", markersize=4, linewidth=1.2)
    if curve.best_epoch is not None:
        axis.axvline(curve.best_epoch + 1, color=FOREGROUND, linewidth=0.8, linestyle=(0, (1, 2)))
    axis.set_title(curve.display)
    axis.set_yscale("log")
    # Few labels on the minor ticks as well: losses often span less than a decade, and then no major tick is in sight.
    axis.yaxis.set_major_formatter(_PlainLog(minor_thresholds=(2, 0.6)))
    axis.yaxis.set_minor_formatter(_PlainLog(minor_thresholds=(2, 0.6)))
    axis.tick_params(axis="y", which="both", labelsize=7.5)
    axis.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))


def _handles(styles: dict[str, LineStyle], prefix: str, shown: list[TrainingCurve]) -> list[Line2D]:
    losses = prefix == "val_"
    handles = []
    for part, how in styles.items():
        line = "-" if losses else how.line
        handles.append(Line2D([], [], color=how.color, linestyle=line, marker=how.marker, label=part.replace("_", " ")))
    if losses and any(len(curve.parts(prefix)) > 1 for curve in shown):
        handles.append(Line2D([], [], color=MUTED, marker=".", label="total"))
    return handles


class _PlainLog(LogFormatter):
    """The ticks that LogFormatter would label, written without powers."""

    def __call__(self, x: float, pos: int | None = None) -> str:
        return f"{x:g}" if super().__call__(x, pos) else ""
