"""Which files does a search write: its trials as CSV, a figure, and a study file that sweep.run takes."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes

from sweep.figures.drawing import Drawing, finished, new_figure, style
from sweep.figures.style import DARK, FOREGROUND, MUTED, ORANGE
from sweep.store.csv_files import csv_text
from sweep.studies.tunable import Range
from sweep.tune.trial_store import Trial, TrialState

PANEL_WIDTH, HEIGHT = 3.1, 2.9  # inches


def trials_csv(trials: Sequence[Trial], names: Sequence[str]) -> str:
    """A row a trial, in the order in which they were begun. names: of the values, a column each; AUROCs in [0, 1]."""
    header = ("number", *names, "state", "val_auroc", "last_epoch_probed", "last_val_auroc", "encoder", "error")
    rows = [
        (
            t.number,
            *(t.values[name] for name in names),
            t.state,
            t.value,
            t.rungs[-1][0] if t.rungs else None,
            t.last,
            t.folder,
            t.error,
        )
        for t in trials
    ]
    return csv_text(header, rows)


def study_file(study: str, method: str, values: Mapping[str, float], auroc: float, trials: int) -> str:
    """Python source of a study: the one that was searched, with the best values. study: a name or a file.

    auroc: of the best trial, in [0, 1]; trials: how many had ended.
    """
    # A relative path would be looked for below wherever the tuned study is used from.
    named = str(Path(study).resolve()) if study.endswith(".py") else study
    # repr of a float has every digit: the study asks for the very encoder that the best trial published.
    lines = [f"        {name!r}: {value!r}," for name, value in sorted(values.items())]
    return "\n".join(
        [
            f'"""Study {study} with the values of {method} that sweep.tune found best of {trials} trials.',
            "",
            f"Validation macro AUROC {auroc:.4f}, on patients held out of the datasets' training splits.",
            'Run it with: python -m sweep.run --study THIS_FILE"""',
            "",
            "from sweep.studies import Study, load_study, tuned",
            "",
            "",
            "def study() -> Study:",
            f"    return tuned(load_study({named!r}), {method!r}, {{",
            *lines,
            "    })",
            "",
        ]
    )


def search_figure(
    trials: Sequence[Trial], space: Mapping[str, Range], before: Mapping[str, float], best: Trial | None, method: str
) -> Drawing:
    """A panel for each value and one for the AUROC over the trials, in their order.

    space: name -> where it was searched; before: the study's own values; best: None where no trial is done.
    """
    evaluated = [trial for trial in trials if trial.last is not None]
    with style():
        # One axis of AUROC for all panels: heights are compared between them.
        figure = new_figure(PANEL_WIDTH * (len(space) + 1), HEIGHT)
        panels = figure.subplots(1, len(space) + 1, sharey=True, squeeze=False)[0]
        for axes, (name, interval) in zip(panels, space.items(), strict=False):  # the last panel is left over
            _value_panel(axes, evaluated, name, interval, before[name], best)
        _order_panel(panels[-1], evaluated)
        panels[0].set_ylabel("validation macro AUROC")
        handles, labels = panels[-1].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=4)
        numbers: dict[str, Any] = {
            "trials": [{"values": t.values, "state": t.state, "val_auroc": t.last} for t in evaluated],
            "study": dict(before),
        }
        caption = (
            f"Search for {', '.join(space)} of {method}: macro AUROC of a linear probe on patients held out of the "
            "training splits, mean over the datasets. Open marks: ended early by ASHA, at the AUROC they then had. "
            "Dotted: the study's own value. Star: the best."
        )
        return finished("search", f"Search: {method}", caption, figure, numbers)


def _split(trials: Sequence[Trial]) -> tuple[list[Trial], list[Trial]]:
    """Those that are done, and all others."""
    done = [trial for trial in trials if trial.state == TrialState.DONE]
    return done, [trial for trial in trials if trial.state != TrialState.DONE]


def _aurocs(trials: Sequence[Trial]) -> list[float]:
    """The latest AUROC of each; all have one."""
    return [trial.last for trial in trials if trial.last is not None]


def _value_panel(
    axes: Axes, trials: Sequence[Trial], name: str, interval: Range, before: float, best: Trial | None
) -> None:
    """AUROC over one value. A margin of 4% of the axis keeps marks at the ends of the interval whole."""
    done, early = _split(trials)
    axes.scatter([t.values[name] for t in early], _aurocs(early), facecolors="none", edgecolors=MUTED, s=28)
    axes.scatter([t.values[name] for t in done], _aurocs(done), color=DARK, s=28)
    if best is not None:
        axes.scatter([best.values[name]], [best.final], color=ORANGE, marker="*", s=130, zorder=3)
    axes.axvline(before, color=FOREGROUND, linestyle=":", linewidth=1)
    if interval.log:
        axes.set_xscale("log")
    margin = (interval.high / interval.low) ** 0.04 if interval.log else 0.04 * (interval.high - interval.low)
    low = interval.low / margin if interval.log else interval.low - margin
    axes.set_xlim(low, interval.high * margin if interval.log else interval.high + margin)
    axes.set_xlabel(name)


def _order_panel(axes: Axes, trials: Sequence[Trial]) -> None:
    """AUROC over the trials in their order, and the best so far."""
    done, early = _split(trials)
    axes.scatter(
        [t.number + 1 for t in early],
        _aurocs(early),
        facecolors="none",
        edgecolors=MUTED,
        s=28,
        label="ended early" if any(t.state == TrialState.PRUNED for t in early) else "unfinished",
    )
    axes.scatter([t.number + 1 for t in done], _aurocs(done), color=DARK, s=28, label="to the end")
    top, steps = -math.inf, []
    for trial in sorted(done, key=lambda trial: trial.number):
        top = max(top, trial.final)
        steps.append((trial.number + 1, top))
    if steps:
        axes.step(*zip(*steps, strict=True), where="post", color=ORANGE, label="best so far")
    axes.set_xlabel("trial")
