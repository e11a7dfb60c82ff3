"""What is a report made from: a study's results with their origin, training logs, failures, rejects and compute."""

import shlex
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from datasets_io.manifest import Manifest
from sweep.aggregate import CellResult
from sweep.cell import EncoderRun
from sweep.damage import Damage, data_name
from sweep.plan import Plan
from sweep.status_names import Status
from sweep.store import BIG_READERS, ENCODERS, LOGS, ReadStore
from sweep.studies import Study

SOFTWARE = ("radsweep", "torch", "torchvision", "timm", "transformers", "ray", "numpy", "scikit-learn", "pydicom")


@dataclass(frozen=True)
class Origin:
    """How the command was told about this study, so that a report can print commands that work.

    study: a name or a Python file; raw: SOURCE=DIR as given.
    """

    study: str
    storage: str
    raw: tuple[str, ...] = ()

    def command(self, module: str, *more: str) -> str:
        """A line for a shell."""
        words = ["python", "-m", module, "--study", self.study, "--storage", self.storage]
        words += [word for value in self.raw for word in ("--raw", value)]
        return shlex.join([*words, *more])


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


@dataclass(frozen=True)
class ReportData:
    """All that a report shows, read once. results are in the plan's order; broken: results that held NaN.

    failures: name of an item that failed or is damaged -> error, traceback, and for a damaged one its status.
    damage: name of an item -> what is damaged in it. data_folders: source -> folder of its shards; raw: source -> its
    raw archive, where it is at hand.
    """

    study: Study
    plan: Plan
    results: Sequence[CellResult]
    manifests: Mapping[str, Manifest]
    store: ReadStore
    origin: Origin
    encoders: Sequence[EncoderDetail] = ()
    cells: Mapping[str, CellDetail] = field(default_factory=dict)
    failures: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    broken: Sequence[CellResult] = ()
    data_folders: Mapping[str, str] = field(default_factory=dict)
    raw: Mapping[str, Path] = field(default_factory=dict)
    damage: Mapping[str, Damage] = field(default_factory=dict)

    @property
    def damaged_sources(self) -> tuple[str, ...]:
        """Sources whose shards or manifest are damaged."""
        return tuple(spec.source for spec in self.study.builds() if data_name(spec.source) in self.damage)

    @property
    def logs(self) -> str:
        """Folder of Ray's logs of this storage's runs."""
        return self.store.files.full(LOGS)


def cell_detail(result: Mapping[str, Any]) -> CellDetail:
    """From a cell's result.json."""
    without = result.get("findings_without_positives_in_training", ())
    return CellDetail(
        result.get("subset_sha256"), result.get("num_train_images"), result.get("best_epoch"), result.get("seconds"),
        result.get("device"), result.get("history", ()), tuple(without),
    )


def encoder_details(plan: Plan, store: ReadStore) -> tuple[tuple[EncoderDetail, ...], tuple[Damage, ...]]:
    """Every encoder of the plan, in its order; and what is damaged in some."""
    sizes = store.files.sizes(ENCODERS)
    done, failed = store.done_and_failed(sizes)

    def one(run: EncoderRun) -> EncoderDetail | Damage:
        folder = store.folder(run)
        found = store.examine(folder, sizes) if folder in done else None
        if found is None:
            status = Status.FAILED if folder in failed else Status.MISSING
            return EncoderDetail(str(run), run.key, run.row, folder, status)
        if isinstance(found, Damage):
            return found
        result = found.result
        return EncoderDetail(
            str(run), run.key, run.row, folder, Status.DONE, result.get("seconds"), result.get("workers", 1),
            result.get("device"), result.get("best_epoch"), result.get("num_train_images"),
            result.get("stopped_early"), result.get("history", ()),
        )

    with ThreadPoolExecutor(BIG_READERS if store.thorough else 16) as pool:
        found = list(pool.map(one, plan.encoders))
    details = tuple(
        EncoderDetail(str(run), run.key, run.row, one.folder, Status.DAMAGED) if isinstance(one, Damage) else one
        for run, one in zip(plan.encoders, found, strict=True)
    )
    return details, tuple(one for one in found if isinstance(one, Damage))


def failures_of(plan: Plan, store: ReadStore) -> dict[str, dict[str, str]]:
    """Name of an item that failed -> its error and traceback."""
    _, failed = store.done_and_failed()
    items = [item for item in (*plan.encoders, *plan.cells) if store.folder(item) in failed]
    with ThreadPoolExecutor(16) as pool:
        found = zip(items, pool.map(store.failure, items), strict=True)
        return {str(item): failure for item, failure in found if failure is not None}


def damage_as_failures(damage: Mapping[str, Damage]) -> dict[str, dict[str, str]]:
    """Damaged items as failures.json and the page list them."""
    return {
        name: {"error": found.sentence, "traceback": "", "status": Status.DAMAGED} for name, found in damage.items()
    }


@dataclass(frozen=True)
class Compute:
    """Wall time of finished items, in hours: on GPUs, on CPUs, and where a result does not name its device."""

    gpu_hours: float
    cpu_hours: float
    unknown_hours: float
    encoders: int
    cells: int


def compute_of(data: ReportData) -> Compute:
    """Hours of finished items times their workers. Time of attempts that were lost is in no result and not counted."""
    hours = {"gpu": 0.0, "cpu": 0.0, "unknown": 0.0}
    spent = [(e.seconds, e.workers, e.device) for e in data.encoders] + [
        (c.seconds, 1, c.device) for c in data.cells.values()
    ]
    for seconds, workers, device in spent:
        kind = "unknown" if device is None else "cpu" if device.startswith("cpu") else "gpu"
        hours[kind] += (seconds or 0.0) * workers / 3600
    done = sum(encoder.status == Status.DONE for encoder in data.encoders)
    return Compute(hours["gpu"], hours["cpu"], hours["unknown"], done, len(data.cells))


def software() -> dict[str, str | None]:
    return {name: _version(name) for name in SOFTWARE}


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
