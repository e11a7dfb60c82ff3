"""What do encoders know without any training: neighbours, prompts and retrieval, where a study asks for them?"""

from matplotlib.axes import Axes

from sweep.figures.drawing import CannotDraw, Drawing, finished, new_figure, style
from sweep.figures.style import DARK, FOREGROUND, MUTED, mark, short_name
from sweep.figures.view import View
from sweep.training_free.measures import KINDS, items_of, means_of, rows_of

VERSION = 2
NAME, TITLE = "training_free", "Without training: neighbours, prompts, retrieval"
ROW_HEIGHT = 0.24  # inches
PANELS = {
    "knn": "Nearest neighbours",
    "zero_shot": "Zero-shot",
    "image_to_text": "Image to report",
    "text_to_image": "Report to image",
}
Series = dict[str, dict[str, float]]  # name of a line of markers -> row -> value in [0, 1]


def draw(view: View) -> Drawing:
    """A panel a measure, a line a method, in percent. Raises CannotDraw where nothing is asked for or computed."""
    if not view.study.training_free:
        raise CannotDraw(f"This study does not ask for them: Study.training_free may name {', '.join(KINDS)}.")
    panels = measured(view)
    if not panels:
        raise CannotDraw("None is computed yet: python -m sweep.training_free computes what the study asks for.")
    shown = {row for panel in panels.values() for series in panel.values() for row in series}
    rows = [row for row in view.rows if row.name in shown]
    with style():
        figure = new_figure(2.0 + 2.35 * len(panels), 1.35 + ROW_HEIGHT * len(rows))
        axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
        for axis, (kind, series) in zip(axes, panels.items(), strict=True):
            _panel(axis, kind, series, [row.name for row in rows])
        axes[0].set_yticks(range(len(rows)), [short_name(row.display) for row in rows])
        axes[0].set_ylim(len(rows) - 0.5, -0.5)
        return finished(NAME, TITLE, _caption(panels), figure, panels)


def inputs(view: View) -> list[object]:
    """All that it is drawn from: the results of its measures, by digest."""
    return [view.summaries.digest, view.digests([item.folder for item in items_of(view.snapshot)])]


def measured(view: View) -> dict[str, Series]:
    """Panel -> its markers, values in [0, 1]; the mean over pretraining seeds.

    knn and zero_shot have a marker for each data set, retrieval one for each cut, `R@1` to `R@10`.
    """
    displays = {dataset.instance: dataset.display for dataset in view.datasets}
    found: dict[str, dict[str, dict[str, float]]] = {}
    for (method, kind, source, measure), mean in means_of(rows_of(view.snapshot)).items():
        # A retrieval's measure is `image_to_text R@5`: its direction is the panel, its cut the marker.
        panel, name = (kind, displays.get(source, source)) if kind != "retrieval" else measure.split(" ")
        if mean is not None:
            found.setdefault(panel, {}).setdefault(name, {})[method] = mean
    return dict(sorted(found.items(), key=lambda item: list(PANELS).index(item[0])))


def _panel(axis: Axes, kind: str, series: Series, rows: list[str]) -> None:
    for number, (name, values) in enumerate(series.items()):
        marker, _ = mark(number)
        places = [place for place, row in enumerate(rows) if row in values]
        axis.plot([100 * values[rows[p]] for p in places], places, marker, color=DARK, fillstyle="none", label=name)
    by_auroc = kind in KINDS
    if by_auroc:
        axis.axvline(50, color=MUTED, linewidth=0.9, linestyle=(0, (4, 2)))  # chance
    axis.set_title(PANELS[kind])
    axis.set_xlabel("macro AUROC (%)" if by_auroc else "recall (%)", color=FOREGROUND)
    axis.tick_params(axis="y", length=0)
    if not by_auroc:
        axis.set_xlim(left=0)
    below = -0.45 / (ROW_HEIGHT * len(rows))  # inches, as a share of the axes
    axis.legend(loc="upper left", bbox_to_anchor=(-0.05, below), ncols=1 if by_auroc else 3, handletextpad=0.2)


def _caption(panels: dict[str, Series]) -> str:
    text = (
        "What encoders tell without any training. Nearest neighbours: labels of the 20 nearest training images by "
        "cosine. Zero-shot: prompt pairs, for methods that read reports. Dashed: chance."
    )
    if "image_to_text" in panels:
        text += " Recall: share of queries whose own report (or image) is among the first 1, 5 or 10; held-out images."
    return text
