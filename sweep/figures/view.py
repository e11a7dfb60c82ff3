"""What all figures are drawn from: the study's rows and columns that were asked for, and values by place and seed."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from datasets_io.corpus.manifest import Manifest
from datasets_io.corpus.read import read_manifest
from datasets_io.storage.artefacts import RESULT
from sweep.figures.drawing import CannotDraw
from sweep.statistics.comparisons import Comparisons, compare_methods
from sweep.statistics.summaries import Column, Summaries, study_summaries
from sweep.statistics.summary import Summary
from sweep.store.records import CellResult
from sweep.store.store import ReadStore
from sweep.studies.plan import Plan
from sweep.studies.study import BASELINE, EncoderRow, Study
from trainables.registry import PROTOCOLS

GROUP_TITLES = {BASELINE: "Baselines", "image-text": "Image-text", "image-image": "Image-image", "joint": "Joint"}


@dataclass(frozen=True)
class View:
    """comparisons: the means and tests of the study's results, as tables and statistics print them.

    data_folders: source -> folder of its shards in the storage; raw: source -> its raw archive, where known. Both may
    lack sources: figures that read images then say so.
    """

    study: Study
    plan: Plan
    comparisons: Comparisons
    store: ReadStore
    data_folders: Mapping[str, str] = field(default_factory=dict)
    raw: Mapping[str, Path] = field(default_factory=dict)

    @cached_property
    def manifests(self) -> Mapping[str, Manifest]:
        return {source: read_manifest(self.store.files, folder) for source, folder in self.data_folders.items()}

    @cached_property
    def rows(self) -> tuple:
        """The study's encoder rows that were asked for, in its order."""
        asked = {cell.encoder.row for cell in self.plan.cells}
        return tuple(row for row in self.study.rows if row.name in asked)

    @cached_property
    def datasets(self) -> tuple:
        asked = {cell.dataset for cell in self.plan.cells}
        return tuple(dataset for dataset in self.study.datasets if dataset.source in asked)

    @cached_property
    def columns(self) -> tuple[Column, ...]:
        asked = {(cell.protocol, cell.label_percent) for cell in self.plan.cells}
        order = [(name, p) for name in self.study.protocols for p in PROTOCOLS[name].label_percents]
        return tuple(column for column in order if column in asked)

    @cached_property
    def seeds(self) -> tuple[int, ...]:
        return tuple(sorted({cell.seed for cell in self.plan.cells}))

    @cached_property
    def pretrain_seeds(self) -> tuple[int, ...]:
        return tuple(sorted({cell.encoder.pretrain_seed for cell in self.plan.cells}))

    @property
    def summaries(self) -> Summaries:
        return self.comparisons.summaries

    @property
    def results(self) -> Sequence[CellResult]:
        return self.summaries.results

    @property
    def baselines(self) -> tuple:
        return tuple(row for row in self.rows if row.group == BASELINE)

    @property
    def methods(self) -> tuple:
        return tuple(row for row in self.rows if row.group != BASELINE)

    def summary(self, row: str, dataset: str, column: Column) -> Summary:
        """The mean that the tables print."""
        return self.summaries.of(row, dataset, column)

    def reference(self) -> EncoderRow:
        """The row that others are compared with. Raises CannotDraw where there is none."""
        for row in self.rows:
            if row.name == self.comparisons.reference:
                return row
        raise CannotDraw("The study has no baseline row to set the methods against.")

    def digests(self, folders: Sequence[str]) -> list[tuple[str, str | None]]:
        """Each folder of the storage with the SHA-256 of its result.json, None where it has none."""
        paths, files = [f"{folder}/{RESULT}" for folder in folders], self.store.files
        there = [hashlib.sha256(files.read(path)).hexdigest() if files.exists(path) else None for path in paths]
        return list(zip(folders, there, strict=True))

    def what_varies(self) -> str:
        """The words for captions: over what an interval is taken."""
        many, seeds = len(self.pretrain_seeds), len(self.seeds)
        if many > 1:
            return f"{many} pretraining seeds, each the mean of its {seeds} downstream seeds"
        return f"{seeds} downstream seeds on one pretrained encoder; pretraining itself does not vary"


def make_view(
    study: Study,
    plan: Plan,
    results: Sequence[CellResult],
    store: ReadStore,
    data_folders: Mapping[str, str] | None = None,
    raw: Mapping[str, Path] | None = None,
) -> View:
    """From results alone, where nobody has compared them yet."""
    comparisons = compare_methods(study_summaries(study, plan, results))
    return View(study, plan, comparisons, store, data_folders or {}, raw or {})


def column_title(column: Column) -> str:
    protocol, percent = column
    return protocol if PROTOCOLS[protocol].label_percents == (percent,) else f"{protocol} {percent}%"
