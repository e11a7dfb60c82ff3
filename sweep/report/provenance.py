"""What decided the numbers: recipes, data, versions, hours of compute, and the command that repeats a cell."""

from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from datasets_io.fingerprint import plain
from sweep.report.precision import formats
from sweep.store.snapshot import Snapshot
from sweep.store.status_names import Status
from sweep.studies.inputs import input_line
from sweep.studies.study import study_fingerprint

# Packages whose version may change a number.
SOFTWARE = ("radsweep", "torch", "torchvision", "timm", "transformers", "ray", "numpy", "scikit-learn", "pydicom")


@dataclass(frozen=True)
class ComputeHours:
    """Wall time of finished items, in hours: on GPUs, on CPUs, and where a result does not name its device.

    encoders, cells: how many are finished.
    """

    gpu_hours: float
    cpu_hours: float
    unknown_hours: float
    encoders: int
    cells: int


def compute_hours_of(data: Snapshot) -> ComputeHours:
    """Hours of finished items times their workers. Time of attempts that were lost is in no result and not counted."""
    hours = {"gpu": 0.0, "cpu": 0.0, "unknown": 0.0}
    spent = [(e.seconds, e.workers, e.device) for e in data.encoders]
    spent += [(c.seconds, 1, c.device) for c in data.cells.values()]  # a cell is evaluated by one worker
    for seconds, workers, device in spent:
        # As results name it: `cpu`, or `cuda: NVIDIA A100`.
        kind = "unknown" if device is None else "cpu" if device.startswith("cpu") else "gpu"
        hours[kind] += (seconds or 0.0) * workers / 3600
    done = sum(encoder.status == Status.DONE for encoder in data.encoders)
    return ComputeHours(hours["gpu"], hours["cpu"], hours["unknown"], done, len(data.cells))


def software() -> dict[str, str | None]:
    """Package -> its installed version, None where it is not installed."""
    return {name: _version(name) for name in SOFTWARE}


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def provenance(data: Snapshot) -> dict[str, Any]:
    """The value of study.json: what decides the numbers, namely recipes, data fingerprints and versions."""
    study = data.study
    return {
        "study": study.name,
        "fingerprint": study_fingerprint(study),
        "deviations": list(study.deviations),
        "recipes": {row.name: plain(row.recipe) for row in study.rows},
        "inputs": {row.name: input_line(row.recipe.backbone, study) for row in study.rows},
        "datasets": {dataset.source: plain(dataset.recipe) for dataset in study.datasets},
        "data": {
            source: {
                "fingerprint": m.fingerprint,
                "counts": m.counts,
                "notes": list(m.notes),
                "rejects": m.reject_reasons,
            }
            for source, m in data.manifests.items()
        },
        "resources": plain(study.resources) if study.resources else None,
        "precision": {"cells": formats(data.results), "pretrainings": formats(data.encoders)},
        "versions": software(),
    }
