"""What is read of a finished item: a cell's result and training, an encoder's training."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sweep.store.status_names import Status
from trainables.evaluation.metrics import FindingAuroc

DONE, FAILED, MISSING, DAMAGED = Status.DONE, Status.FAILED, Status.MISSING, Status.DAMAGED
Place = tuple[str, str, str, int]  # encoder row, dataset, protocol, label_percent


@dataclass(frozen=True)
class CellResult:
    """One cell of the plan. `encoder` is the row's name, `method` its display name; AUROCs are in [0, 1].

    status: done, failed, missing or damaged; without `done` there are no findings and no macro_auroc. A done cell
    has macro_auroc None where no finding has both classes in the test images.
    """

    encoder: str
    method: str
    dataset: str
    protocol: str
    label_percent: int
    pretrain_seed: int
    seed: int
    status: Status
    key: str
    findings: tuple[FindingAuroc, ...] = ()
    macro_auroc: float | None = None

    @property
    def place(self) -> Place:
        return self.encoder, self.dataset, self.protocol, self.label_percent

    @property
    def num_defined(self) -> int:
        return sum(finding.auroc is not None for finding in self.findings)


@dataclass(frozen=True)
class CellDetail:
    """What a finished cell's result.json says besides AUROCs. history: one dict an epoch; seconds: wall time."""

    subset_sha256: str | None
    num_train_images: int | None
    best_epoch: int | None
    seconds: float | None
    device: str | None
    history: Sequence[Mapping[str, float | None]]
    without_positives: tuple[str, ...]


@dataclass(frozen=True)
class EncoderDetail:
    """One encoder of the plan. gpus: GPUs it held; None where its result does not say on what it ran."""

    name: str
    key: str
    row: str
    folder: str
    status: Status
    seconds: float | None = None
    workers: int = 1
    device: str | None = None
    best_epoch: int | None = None
    num_train_images: int | None = None
    stopped_early: bool | None = None
    history: Sequence[Mapping[str, float | None]] = ()


def cell_detail(result: Mapping[str, Any]) -> CellDetail:
    """From a cell's result.json."""
    without = result.get("findings_without_positives_in_training", ())
    return CellDetail(
        result.get("subset_sha256"),
        result.get("num_train_images"),
        result.get("best_epoch"),
        result.get("seconds"),
        result.get("device"),
        result.get("history", ()),
        tuple(without),
    )


def without_nan(results: Iterable[CellResult]) -> tuple[list[CellResult], list[CellResult]]:
    """Results whose values are numbers, those with NaN turned into failed ones; and the latter, for a sentence."""
    kept, broken = [], []
    for result in results:
        values = (result.macro_auroc, *(f.auroc for f in result.findings))
        if any(value is not None and not math.isfinite(value) for value in values):
            result = replace(result, status=FAILED, findings=(), macro_auroc=None)
            broken.append(result)
        kept.append(result)
    return kept, broken
