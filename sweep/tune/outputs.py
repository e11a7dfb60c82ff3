"""What does a search leave behind: its trials as CSV, a figure, and a study file that sweep.run takes."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sweep.figures.drawing import Drawing, finished, new_figure, style
from sweep.figures.style import FOREGROUND, MUTED, PALETTE
from sweep.store.csv_files import csv_text
from sweep.studies.tunable import Range
from sweep.tune.trial_store import DONE, PRUNED, Trial

PANEL_WIDTH, HEIGHT = 3.1, 2.9  # inches


def trials_csv(trials: Sequence[Trial], names: Sequence[str]) -> str:
    """A row a trial, in the order in which they were begun."""
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
    """Python source of a study: the one that was searched, with the best values. study: a name or a file."""
    named = str(Path(study).resolve()) if study.endswith(".py") else study
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
    """A panel for each value and one for the course of the search; before: the study's own values."""
    seen = [trial for trial in trials if trial.last is not None]
    with style():
        figure = new_figure(PANEL_WIDTH * (len(space) + 1), HEIGHT)
        panels = figure.subplots(1, len(space) + 1, sharey=True, squeeze=False)[0]
        for axes, (name, interval) in zip(panels, space.items(), strict=False):
            _value_panel(axes, seen, name, interval, before[name], best)
        _course_panel(panels[-1], seen)
        panels[0].set_ylabel("validation macro AUROC")
        handles, labels = panels[-1].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=4)
        numbers: dict[str, Any] = {
            "trials": [{"values": t.values, "state": t.state, "val_auroc": t.last} for t in seen],
            "study": dict(before),
        }
        caption = (
            f"Search for {', '.join(space)} of {method}: macro AUROC of a linear probe on patients held out of the "
            "training splits, mean over the datasets. Open marks: ended early by ASHA, at the AUROC they then had. "
            "Dotted: the study's own value. Star: the best."
        )
        return finished("search", f"Search: {method}", caption, figure, numbers)


def _split(trials: Sequence[Trial]) -> tuple[list[Trial], list[Trial]]:
    return [t for t in trials if t.state == DONE], [t for t in trials if t.state != DONE]


def _value_panel(axes, trials: Sequence[Trial], name: str, interval: Range, before: float, best: Trial | None) -> None:
    whole, early = _split(trials)
    axes.scatter([t.values[name] for t in early], [t.last for t in early], facecolors="none", edgecolors=MUTED, s=28)
    axes.scatter([t.values[name] for t in whole], [t.last for t in whole], color=PALETTE[0], s=28)
    if best is not None:
        axes.scatter([best.values[name]], [best.value], color=PALETTE[1], marker="*", s=130, zorder=3)
    axes.axvline(before, color=FOREGROUND, linestyle=":", linewidth=1)
    if interval.log:
        axes.set_xscale("log")
    margin = (interval.high / interval.low) ** 0.04 if interval.log else 0.04 * (interval.high - interval.low)
    low = interval.low / margin if interval.log else interval.low - margin
    axes.set_xlim(low, interval.high * margin if interval.log else interval.high + margin)
    axes.set_xlabel(name)


def _course_panel(axes, trials: Sequence[Trial]) -> None:
    whole, early = _split(trials)
    axes.scatter(
        [t.number + 1 for t in early],
        [t.last for t in early],
        facecolors="none",
        edgecolors=MUTED,
        s=28,
        label="ended early" if any(t.state == PRUNED for t in early) else "unfinished",
    )
    axes.scatter([t.number + 1 for t in whole], [t.last for t in whole], color=PALETTE[0], s=28, label="to the end")
    top, steps = -math.inf, []
    for trial in sorted(whole, key=lambda trial: trial.number):
        top = max(top, trial.value)
        steps.append((trial.number + 1, top))
    if steps:
        axes.step(*zip(*steps, strict=True), where="post", color=PALETTE[1], label="best so far")
    axes.set_xlabel("trial")
