"""How far is each method from the baseline: paired differences, with intervals over seeds and patients."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes

from sweep.figures.drawing import CannotDraw, Drawing, finished, new_figure, style
from sweep.figures.style import BACKGROUND, FOREGROUND, MUTED, LineStyle, short_name
from sweep.figures.view import View, column_title
from sweep.statistics.comparisons import ALPHA
from sweep.statistics.inference import Comparison
from sweep.statistics.summaries import Column
from sweep.studies.study import EncoderRow

VERSION = 3
NAME, TITLE = "forest", "Methods against the baseline"
BOX = {"facecolor": BACKGROUND, "edgecolor": "none", "pad": 1.0}


@dataclass(frozen=True)
class Forest:
    """What the figure shows: differences in macro AUROC, in [-1, 1], of `Comparisons`.

    rows: those that are shown. corrected_over: rows that Holm's correction covers in a column, also those that are not
    shown, such as another baseline. differences: dataset -> column -> row -> row minus reference.
    """

    reference: EncoderRow
    rows: tuple[EncoderRow, ...]
    corrected_over: int
    differences: Mapping[str, Mapping[Column, Mapping[str, Comparison]]]


def forest_of(view: View) -> Forest:
    """The methods against the reference, or the other baselines where the study has no method.

    Raises CannotDraw where there is no reference, nothing to compare, or no shared seed yet.
    """
    reference = view.reference()
    rows = view.methods or tuple(row for row in view.baselines if row.name != reference.name)
    if not rows:
        raise CannotDraw(f"Only {reference.display} was asked for: there is nothing to set against it.")
    differences: dict[str, dict[Column, dict[str, Comparison]]] = {}
    for dataset in view.datasets:
        for column in view.columns:
            tested = view.comparisons.against_reference(dataset.instance, column)
            differences.setdefault(dataset.instance, {})[column] = {row.name: tested[row.name] for row in rows}
    found = [one for by_column in differences.values() for by_row in by_column.values() for one in by_row.values()]
    if all(one.difference is None for one in found):
        raise CannotDraw(f"No method shares a finished seed with {reference.display} yet.")
    return Forest(reference, rows, len(view.rows) - 1, differences)


def draw(view: View) -> Drawing:
    """A row of panels for each dataset, a panel for each protocol and percentage of labels."""
    forest = forest_of(view)
    with style():
        wide, tall = len(view.columns), len(view.datasets)
        # Inches: 2.2 for the rows' names, 1.75 a panel; 0.25 a row and 0.95 for title and axis.
        figure = new_figure(2.2 + 1.75 * wide, tall * (0.25 * len(forest.rows) + 0.95) + 0.2)
        axes = figure.subplots(tall, wide, sharex="row", sharey=True, squeeze=False)
        for i, dataset in enumerate(view.datasets):
            for j, column in enumerate(view.columns):
                _panel(axes[i, j], forest.rows, view.styles, forest.differences[dataset.instance][column])
                axes[i, j].set_title(f"{dataset.display if j == 0 else ''}\n{column_title(column)}")
            axes[i, wide // 2].set_xlabel(f"AUROC minus {short_name(forest.reference.display)} (percentage points)")
        return finished(NAME, TITLE, _caption(view, forest), figure, _numbers(forest))


def _panel(
    axis: Axes, rows: Sequence[EncoderRow], styles: Mapping[str, LineStyle], found: Mapping[str, Comparison]
) -> None:
    axis.axvline(0, color=FOREGROUND, linewidth=0.9)
    for place, row in enumerate(rows):
        one = found[row.name]
        if one.difference is None:
            # In the row's place, so that the rows of all panels stay in line.
            axis.text(0, place, "no pair of seeds", fontsize=7, color=MUTED, va="center", ha="center", bbox=BOX)
            continue
        how = styles[row.name]
        # Only the marker's filling shows the test: the interval is not corrected and may leave out zero alone.
        sure = one.p_both_holm_table is not None and one.p_both_holm_table < ALPHA
        width = one.ci95 if one.ci95_both is None else one.ci95_both
        half = None if width is None else 100 * width
        axis.errorbar(
            100 * one.difference,
            place,
            xerr=half,
            color=how.color,
            marker=how.marker,
            elinewidth=1.4,
            markerfacecolor=how.color if sure else BACKGROUND,
            markeredgewidth=1.2,
            linestyle="none",
        )
    axis.set_yticks(range(len(rows)), [short_name(row.display) for row in rows])
    axis.set_ylim(len(rows) - 0.4, -0.6)  # downwards: the first row on top
    axis.grid(axis="y", visible=False)
    # A dotted line where a group of methods ends.
    for place in range(1, len(rows)):
        if rows[place].group != rows[place - 1].group:
            axis.axhline(place - 0.5, color=MUTED, linewidth=0.5, linestyle=(0, (1, 3)))


def _numbers(forest: Forest) -> dict[str, object]:
    return {
        "reference": forest.reference.name,
        "corrected_over": forest.corrected_over,
        "differences": {
            source: {
                column_title(column): {name: _shown(one) for name, one in by_row.items()}
                for column, by_row in by_column.items()
            }
            for source, by_column in forest.differences.items()
        },
    }


def _shown(one: Comparison) -> dict[str, float | int | None]:
    names = ("difference", "ci95", "n", "p", "p_holm", "ci95_both", "p_both", "p_both_holm", "p_both_holm_table")
    return {name: getattr(one, name) for name in names}


def _caption(view: View, forest: Forest) -> str:
    found = [
        one for by_column in forest.differences.values() for by_row in by_column.values() for one in by_row.values()
    ]
    if any(one.ci95_both is not None for one in found):
        intervals = "with 95% intervals over seeds and test patients together; over seeds alone where predictions are "
        intervals += "not at hand, or two patients of each class"
    else:
        intervals = "with 95% t-intervals over seeds alone, so none is told from zero: predictions are not at hand"
    return (
        f"Difference in macro AUROC from {forest.reference.display}, paired by seed, {intervals} "
        f"({view.what_varies()}). A filled marker: p < {ALPHA:g} over seeds and patients together, with Holm's "
        f"correction over the {forest.corrected_over} rows beside the reference in all columns of all datasets. "
        "Dotted lines part image-text, image-image and joint methods."
    )
