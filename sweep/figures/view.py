"""What all figures are drawn from: a storage's snapshot of a study, and the comparisons made of its results."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from datasets_io.corpus.manifest import Manifest
from datasets_io.corpus.read import read_manifest
from datasets_io.storage.artefacts import RESULT
from sweep.figures.drawing import CannotDraw
from sweep.figures.style import LineStyle, baseline_style, method_styles
from sweep.statistics.comparisons import Comparisons, compare_methods
from sweep.statistics.summaries import Column, Summaries, study_summaries
from sweep.statistics.summary import Summary
from sweep.store.records import CellResult
from sweep.store.snapshot import Origin, Snapshot
from sweep.store.store import ReadStore
from sweep.studies.layout import TableLayout
from sweep.studies.plan import Plan
from sweep.studies.study import BASELINE, Dataset, EncoderRow, Study
from trainables.protocols.registry import PROTOCOLS
from trainables.recipe import BackboneSpec

GROUP_TITLES = {BASELINE: "Baselines", "image-text": "Image-text", "image-image": "Image-image", "joint": "Joint"}


@dataclass(frozen=True)
class View:
    """The figures' reading of a snapshot. comparisons: the means and tests of its results, as tables print them.

    data_folders: label of a build -> folder of its shards in the storage; raw: name of a use of a source -> its raw
    archive, where known. Both may lack some: figures that read images then say so.
    """

    snapshot: Snapshot
    comparisons: Comparisons

    @property
    def study(self) -> Study:
        """The study, as the command opened it."""
        return self.snapshot.study

    @property
    def plan(self) -> Plan:
        """The study's encoders and cells, as far as they were asked for."""
        return self.snapshot.plan

    @property
    def store(self) -> ReadStore:
        """Where networks, training logs and training-free numbers are read; never written."""
        return self.snapshot.store

    @property
    def data_folders(self) -> Mapping[str, str]:
        """Label of a build -> folder of its shards in the storage."""
        return self.snapshot.data_folders

    @property
    def raw(self) -> Mapping[str, Path]:
        """Name of a use of a source -> its raw archive, where it is at hand."""
        return self.snapshot.raw

    @property
    def layout(self) -> TableLayout:
        """The rows and columns of the tables: figures show the same, in the same order."""
        return self.summaries.layout

    @cached_property
    def rows(self) -> tuple[EncoderRow, ...]:
        """The study's encoder rows that were asked for, in its order."""
        asked = {name for name, _, _ in self.layout.rows}
        return tuple(row for row in self.study.rows if row.name in asked)

    @cached_property
    def datasets(self) -> tuple[Dataset, ...]:
        """The study's datasets that were asked for, in its order, under the names that tables print."""
        shown = dict(self.layout.datasets)
        asked = (dataset for dataset in self.study.datasets if dataset.instance in shown)
        return tuple(replace(dataset, display=shown[dataset.instance]) for dataset in asked)

    @property
    def columns(self) -> tuple[Column, ...]:
        """(protocol, label_percent) that were asked for, in the tables' order."""
        return self.layout.columns

    @property
    def seeds(self) -> tuple[int, ...]:
        """Downstream seeds that were asked for, rising."""
        return self.layout.seeds

    @property
    def pretrain_seeds(self) -> tuple[int, ...]:
        """Pretraining seeds that were asked for, rising."""
        return self.layout.pretrain_seeds

    @property
    def summaries(self) -> Summaries:
        """The means that the tables print."""
        return self.comparisons.summaries

    @property
    def results(self) -> Sequence[CellResult]:
        """All results, in the plan's order; those that held NaN count as failed."""
        return self.summaries.results

    @property
    def baselines(self) -> tuple[EncoderRow, ...]:
        """Rows of the group of baselines."""
        return tuple(row for row in self.rows if row.group == BASELINE)

    @property
    def methods(self) -> tuple[EncoderRow, ...]:
        """Rows of all other groups."""
        return tuple(row for row in self.rows if row.group != BASELINE)

    @cached_property
    def styles(self) -> dict[str, LineStyle]:
        """Name of each row -> its colour, marker and dashes, the same in every figure and for every part of a study."""
        return styles_of(self.study)

    def folder_of(self, backbone: BackboneSpec, dataset: Dataset) -> str:
        """Folder of the shards that a network's cells read. Raises CannotDraw where they are not in the storage."""
        label = self.study.build_read(backbone, dataset).label
        if label not in self.data_folders:
            raise CannotDraw(f"The storage has no shards of {label}, whose images are needed.")
        return self.data_folders[label]

    def without_logs(self) -> "View":
        """As figures need it in another process: they read no training log from here."""
        return replace(self, snapshot=self.snapshot.without_logs())

    def summary(self, row: str, dataset: str, column: Column) -> Summary:
        """The mean macro AUROC of a place, in [0, 1], as the tables print it."""
        return self.summaries.of(row, dataset, column)

    def reference(self) -> EncoderRow:
        """The row that others are compared with. Raises CannotDraw where there is none."""
        for row in self.rows:
            if row.name == self.comparisons.reference:
                return row
        raise CannotDraw("The study has no baseline row to set the methods against.")

    def digests(self, folders: Sequence[str]) -> list[tuple[str, str | None]]:
        """Each folder of the storage with the SHA-256 of its result.json, None where it has none."""
        # Of the small result.json alone: it holds the digest of every other file of its folder.
        paths, files = [f"{folder}/{RESULT}" for folder in folders], self.store.files
        there = [hashlib.sha256(files.read(path)).hexdigest() if files.exists(path) else None for path in paths]
        return list(zip(folders, there, strict=True))

    def what_varies(self) -> str:
        """Over what an interval is taken, for captions."""
        many, seeds = len(self.pretrain_seeds), len(self.seeds)
        if many > 1:
            return f"{many} pretraining seeds, each the mean of its {seeds} downstream seeds"
        return f"{seeds} downstream seeds on one pretrained encoder; pretraining itself does not vary"


def styles_of(study: Study) -> dict[str, LineStyle]:
    """Name of each row -> its style, in figures and on the page."""
    baselines = [row.name for row in study.rows if row.group == BASELINE]
    methods = [row.name for row in study.rows if row.group != BASELINE]
    return {name: baseline_style(number) for number, name in enumerate(baselines)} | method_styles(methods)


def make_view(
    study: Study,
    plan: Plan,
    results: Sequence[CellResult],
    store: ReadStore,
    data_folders: Mapping[str, str] | None = None,
    raw: Mapping[str, Path] | None = None,
) -> View:
    """From results alone, where nobody has compared them yet."""
    folders = data_folders or {}
    manifests: dict[str, Manifest] = {label: read_manifest(store.files, folder) for label, folder in folders.items()}
    origin = Origin(study.name, store.shown)
    snapshot = Snapshot(study, plan, results, manifests, store, origin, data_folders=folders, raw=raw or {})
    return View(snapshot, compare_methods(study_summaries(study, plan, results)))


def column_title(column: Column) -> str:
    """`LP` for a protocol that has no other percentage, else `FT 10%`."""
    protocol, percent = column
    return protocol if PROTOCOLS[protocol].label_percents == (percent,) else f"{protocol} {percent}%"
