"""What all figures are drawn from: the study's rows and columns that were asked for, and values by place and seed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from datasets_io.manifest import Manifest
from datasets_io.read import read_manifest
from sweep.aggregate import DONE, CellResult, Summary, by_place, summarise
from sweep.figures.drawing import CannotDraw
from sweep.plan import Plan
from sweep.store import ReadStore
from sweep.studies import BASELINE, Study
from trainables.registry import PROTOCOLS

GROUP_TITLES = {
    BASELINE: "Baselines", "image-text": "Image-text", "image-image": "Image-image", "joint": "Joint",
}
Column = tuple[str, int]  # protocol, label_percent


@dataclass(frozen=True)
class View:
    """data_folders: source -> folder of its shards in the storage; raw: source -> its raw archive, where known.

    Both may lack sources: figures that read images then say so.
    """

    study: Study
    plan: Plan
    results: Sequence[CellResult]
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

    @cached_property
    def places(self) -> dict:
        return by_place(self.results)

    @property
    def baselines(self) -> tuple:
        return tuple(row for row in self.rows if row.group == BASELINE)

    @property
    def methods(self) -> tuple:
        return tuple(row for row in self.rows if row.group != BASELINE)

    def cells(self, row: str, dataset: str, column: Column) -> list[CellResult]:
        return self.places.get((row, dataset, *column), [])

    def summary(self, row: str, dataset: str, column: Column) -> Summary:
        return summarise(self.cells(row, dataset, column), self.seeds, self.pretrain_seeds)

    def by_seed(self, row: str, dataset: str, column: Column) -> dict[tuple[int, int], float]:
        """(pretraining seed, seed) -> macro AUROC of the cells that have one."""
        return {
            (cell.pretrain_seed, cell.seed): cell.macro_auroc
            for cell in self.cells(row, dataset, column)
            if cell.status == DONE and cell.macro_auroc is not None
        }

    def reference(self):
        """The baseline that methods are set against: ImageNet, else random, else the study's first baseline."""
        named = {row.name: row for row in self.baselines}
        for name in ("imagenet", "random"):
            if name in named:
                return named[name]
        if not named:
            raise CannotDraw("The study has no baseline row to set the methods against.")
        return next(iter(named.values()))

    def what_varies(self) -> str:
        """The words for captions: over what an interval is taken."""
        many, seeds = len(self.pretrain_seeds), len(self.seeds)
        if many > 1:
            return f"{many} pretraining seeds, each the mean of its {seeds} downstream seeds"
        return f"{seeds} downstream seeds on one pretrained encoder; pretraining itself does not vary"


def column_title(column: Column) -> str:
    protocol, percent = column
    return protocol if PROTOCOLS[protocol].label_percents == (percent,) else f"{protocol} {percent}%"
