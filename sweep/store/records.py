"""What is read of a finished item: a cell's result and training, an encoder's training."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, cast

from sweep.store.status_names import Status
from sweep.studies.cell import EncoderRun
from trainables.evaluation.metrics import FindingAuroc

Place = tuple[str, str, str, int]  # encoder row, dataset, protocol, label_percent


@dataclass(frozen=True, slots=True)
class CellResult:
    """One cell of the plan. `encoder` is the row's name, `method` its display name; AUROCs are in [0, 1].

    status: done, failed, missing or damaged; without `done` there are no findings and no macro_auroc. A done cell
    has macro_auroc None where no finding has both classes in the test images. studies: how the scores of a study's
    images are one (`max`, `mean`) -> AUROC of each finding over studies; none where each study has one image.
    also_test: name of a second split that is reported -> AUROC of each finding on its images (SplitRecipe.also_test).
    precision: the number format of its network, such as `bfloat16`; None where its result does not say.
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
    studies: tuple[tuple[str, tuple[FindingAuroc, ...]], ...] = ()
    precision: str | None = None
    also_test: tuple[tuple[str, tuple[FindingAuroc, ...]], ...] = ()

    @property
    def place(self) -> Place:
        """Where the table shows it: all seeds of a place are averaged."""
        return self.encoder, self.dataset, self.protocol, self.label_percent

    @property
    def num_defined(self) -> int:
        """How many findings have both classes in the test images, and so an AUROC."""
        return sum(finding.auroc is not None for finding in self.findings)


@dataclass(frozen=True, slots=True)
class CellDetail:
    """What a finished cell's result.json says besides AUROCs; None for what an older version did not write.

    subset_sha256: of the list of its training images; best_epoch: the one whose weights were kept, from 0; seconds:
    wall time; device: on which it was trained. history: one dict an epoch. without_positives: findings that no
    training image has. software: package -> version, of what computed it, and the commit.
    """

    subset_sha256: str | None
    num_train_images: int | None
    best_epoch: int | None
    seconds: float | None
    device: str | None
    history: Sequence[Mapping[str, float | None]]
    without_positives: tuple[str, ...]
    software: Mapping[str, str] | None = None
    core_seconds: float | None = None


@dataclass(frozen=True)
class EncoderDetail:
    """One encoder of the plan; without `done` all from `seconds` on is unknown.

    seconds: wall time of its pretraining on so many workers; device: of one worker, None where its result does not say
    on what it ran. best_epoch: the one whose weights were kept, from 0. history: one dict an epoch. precision: the
    number format of its network, None without a training and where its result does not say. software: as CellDetail's.
    """

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
    precision: str | None = None
    software: Mapping[str, str] | None = None


def settable(kind: type) -> Any:
    """A class of the same slots as a frozen dataclass that lets them be set, until an object is given its class.

    What a frozen dataclass does to set its own fields takes four times as long, and 100,000 results have 1.4 million.
    """
    return type(f"_Open{kind.__name__}", (), {"__slots__": tuple(field.name for field in fields(kind))})


_OpenDetail = settable(CellDetail)


def cell_detail(result: Mapping[str, Any]) -> CellDetail:
    """From a cell's result.json."""
    one, get = _OpenDetail(), result.get  # `get`: results of earlier versions lack what was added since
    one.subset_sha256, one.num_train_images = get("subset_sha256"), get("num_train_images")
    one.best_epoch, one.seconds, one.device = get("best_epoch"), get("seconds"), get("device")
    one.history, one.software, one.core_seconds = get("history", ()), get("software"), get("core_seconds")
    one.without_positives = tuple(get("findings_without_positives_in_training", ()))
    one.__class__ = CellDetail
    return cast(CellDetail, one)


def encoder_detail(run: EncoderRun, folder: str, result: Mapping[str, Any]) -> EncoderDetail:
    """From a finished encoder's result.json."""
    return EncoderDetail(
        str(run),
        run.key,
        run.row,
        folder,
        Status.DONE,
        result.get("seconds"),
        result.get("workers", 1),
        result.get("device"),
        result.get("best_epoch"),
        result.get("num_train_images"),
        result.get("stopped_early"),
        result.get("history", ()),
        result.get("precision"),
        result.get("software"),
    )


def without_nan(results: Iterable[CellResult]) -> tuple[list[CellResult], list[CellResult]]:
    """All results, those that hold NaN or infinity as failed ones; and these alone, for reports to name."""
    kept, broken = [], []
    for result in results:
        # None is an undefined AUROC and stays; NaN would turn every mean it enters into NaN.
        of_studies = (f.auroc for _, findings in result.studies for f in findings)
        of_also = (f.auroc for _, findings in result.also_test for f in findings)
        values = (result.macro_auroc, *(f.auroc for f in result.findings), *of_studies, *of_also)
        if any(value is not None and not math.isfinite(value) for value in values):
            result = replace(result, status=Status.FAILED, findings=(), macro_auroc=None, studies=(), also_test=())
            broken.append(result)
        kept.append(result)
    return kept, broken
