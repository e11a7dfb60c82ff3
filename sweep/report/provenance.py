"""What decided the numbers: recipes, data, versions, hours of compute, and the command that repeats a cell."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from datasets_io.corpus.manifest import Manifest
from datasets_io.fingerprint import plain
from datasets_io.storage.made_by import COMMIT, SOFTWARE, software
from datasets_io.untrusted import printable
from sweep.report.precision import formats
from sweep.store.snapshot import Snapshot
from sweep.store.status_names import Status
from sweep.studies.builds import Build
from sweep.studies.inputs import input_line
from sweep.studies.study import study_fingerprint


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


def software_of(data: Snapshot) -> list[tuple[dict[str, str], int]]:
    """What computed the finished encoders and cells, how many of them, the most first; {} where results do not say."""
    made_by = [encoder.software for encoder in data.encoders if encoder.status == Status.DONE]
    made_by += [cell.software for cell in data.cells.values()]
    counts = Counter(tuple(sorted((one or {}).items())) for one in made_by)
    return [(dict(made_by), number) for made_by, number in sorted(counts.items(), key=lambda one: (-one[1], one[0]))]


def software_lines(data: Snapshot) -> list[str]:
    """Versions of what computed the results; where they mix, each with its number and by what it differs."""
    found = software_of(data)
    known = [made_by for made_by, _ in found if made_by]
    shared = dict(set.intersection(*(set(made_by.items()) for made_by in known))) if known else {}
    lines = [f"versions: {_listed(shared)}"] if shared else []
    if len(found) < 2:
        return lines or ["versions: the results do not say with which they were computed"]
    for made_by, number in found:
        own = {name: value for name, value in made_by.items() if shared.get(name) != value}
        what = _listed(own) if made_by else "versions that they do not say"
        lines.append(f"of {number:,} finished encoders and cells: {what or 'no other package'}")
    return [*lines, "these results were not all computed by the same software: differences may be its own"]


def _listed(made_by: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {made_by[name]}" for name in (*SOFTWARE, COMMIT) if name in made_by)


def origin_of(build: Build, manifest: Manifest) -> str:
    """What a build was made of: `source csv_images, table=images.csv; images.csv sha256 0123456789ab`.

    The source where the study calls its use otherwise, the options, and the archive's lists with 12 digits of their
    SHA-256.
    """
    source = [f"source {build.source}"] if build.instance != build.source else []
    options = [f"{name}={value}" for name, value in manifest.spec.get("options", {}).items()]
    lists = ", ".join(f"{name} sha256 {digest[:12]}" for name, digest in sorted(manifest.index_files.items()))
    return printable("; ".join(part for part in (", ".join([*source, *options]), lists) if part))


def _of_manifest(manifest: Manifest) -> dict[str, Any]:
    return {
        "source": manifest.source,
        "build": manifest.spec,
        "index_files": manifest.index_files,
        "fingerprint": manifest.fingerprint,
        "counts": manifest.counts,
        "notes": list(manifest.remarks),
        "rejects": manifest.reject_reasons,
    }


def provenance(data: Snapshot) -> dict[str, Any]:
    """The value of study.json: what decides the numbers, namely recipes, data fingerprints and versions."""
    study = data.study
    return {
        "study": study.name,
        "fingerprint": study_fingerprint(study),
        "deviations": list(study.deviations),
        "recipes": {row.name: plain(row.recipe) for row in study.rows},
        "inputs": {row.name: input_line(row.recipe.backbone, study) for row in study.rows},
        "corpus": {"name": study.corpus_instance, "source": study.corpus.source},
        "datasets": {dataset.instance: plain(dataset.recipe) for dataset in study.datasets},
        "sources": {dataset.instance: dataset.source for dataset in study.datasets},
        # By label of a build: one use of a source may have several, and several uses may share one.
        "data": {
            build.label: {**_of_manifest(data.manifests[build.label]), "name": build.instance}
            for build in study.data_builds()
            if build.label in data.manifests
        },
        "resources": plain(study.resources) if study.resources else None,
        "precision": {"cells": formats(data.results), "pretrainings": formats(data.encoders)},
        "versions": software(),
        "results_by": [{"software": made_by, "items": number} for made_by, number in software_of(data)],
    }
