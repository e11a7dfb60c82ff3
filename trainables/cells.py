"""One downstream job: encoder + dataset + recipe -> for each seed predictions and AUROC, published in the store."""

import gc
import io
import time
import traceback
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import lru_cache, partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor, nn

from datasets_io.artefacts import CorruptArtefact, is_done, open_artefacts, publish, quarantine, record_failure
from datasets_io.files import Files
from datasets_io.fingerprint import fingerprint
from datasets_io.read import read_manifest
from datasets_io.subsets import ids_sha256, label_subset
from trainables.backbones import build_backbone, feature_dim
from trainables.checkpoint import weights_from_bytes, weights_to_bytes
from trainables.devices import device_name
from trainables.downstream_data import Part, Parts, load_parts
from trainables.events import Outcome
from trainables.metrics import auroc_per_finding, macro
from trainables.precision import Compute
from trainables.probe import ProbeResult, cache_features, train_heads
from trainables.protocols.base import Protocol
from trainables.recipe import BackboneSpec, DownstreamRecipe, OptimizerSpec
from trainables.supervised import Supervised, new_head, test_probabilities


@dataclass(frozen=True)
class SeedTarget:
    """One cell of a job: where its result goes, and where the cell it starts from lies.

    keep_weights: whether a tuned network is stored with its result; a probe's head always is.
    """

    name: str
    key: str
    seed: int
    folder: str
    starts_from_folder: str | None = None
    keep_weights: bool = False


@dataclass(frozen=True)
class DownstreamJob:
    """Cells that differ in their seed only. Folders are relative to the storage."""

    protocol: Protocol
    label_percent: int
    recipe: DownstreamRecipe
    backbone: BackboneSpec
    encoder_folder: str
    data_folder: str
    targets: tuple[SeedTarget, ...]

    @property
    def name(self) -> str:
        first = self.targets[0].name
        return first if len(self.targets) == 1 else f"{first} +{len(self.targets) - 1} seeds"


def run_job(job: DownstreamJob, storage: str, compute: Compute, emit: Callable[[Outcome], None]) -> None:
    """Compute the cells of a job that are not done. A failure is recorded cell by cell and does not raise.

    A damaged encoder or starting cell goes to quarantine, and the cells stay open until it was computed again.
    """
    files = Files(storage)
    waiting = [target for target in job.targets if not is_done(files, target.folder)]
    if not waiting:
        return
    try:
        parts = _parts(storage, job.data_folder, job.recipe)
        weights = weights_from_bytes(open_artefacts(files, job.encoder_folder).read("backbone.safetensors"))
        if job.protocol.last_phase.trains == "head" and job.recipe.linear_probe_bn_eval:
            _once_more_without_memory(lambda: _probe_together(job, files, parts, weights, waiting, compute, emit))
            return
    except Exception as error:
        for target in waiting:
            _failed(job, files, target, error, emit)
        return
    for target in waiting:
        try:
            _once_more_without_memory(partial(_one_seed, job, files, parts, weights, target, compute, emit))
        except Exception as error:
            _failed(job, files, target, error, emit)


def _once_more_without_memory(work: Callable[[], None]) -> None:
    """Do it, and once again where the GPU's memory ran out: its neighbours on a shared GPU may have ended by then.

    The batch is never cut: batch norm sees the whole batch, so smaller parts would be another recipe.
    """
    try:
        work()
        return
    except torch.OutOfMemoryError:
        pass  # leave the handler first: it holds the failed attempt's tensors
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    try:
        work()
    except torch.OutOfMemoryError as error:
        raise RuntimeError(
            f"out of GPU memory twice ({error}). Give cells a whole GPU with Resources(gpus_per_cell=1), or take a "
            "smaller batch_size in the recipe, which is then another recipe"
        ) from error


def _failed(
    job: DownstreamJob, files: Files, target: SeedTarget, error: Exception, emit: Callable[[Outcome], None]
) -> None:
    if isinstance(error, CorruptArtefact) and error.path and error.path in (
        job.encoder_folder, target.starts_from_folder
    ):
        quarantine(files, error.path)
        emit(Outcome(target.key, "waiting", error=str(error)))
        return
    text = f"{type(error).__name__}: {error}"
    record_failure(files, target.folder, text, traceback.format_exc())
    emit(Outcome(target.key, "failed", error=text))


@lru_cache(maxsize=4)  # a trial's process is kept: the next cell of the same dataset finds its images here
def _parts(storage: str, data_folder: str, recipe: DownstreamRecipe) -> Parts:
    files = Files(storage)
    return load_parts(files, data_folder, read_manifest(files, data_folder), recipe)


def _backbone(job: DownstreamJob, weights: dict[str, Tensor]) -> nn.Module:
    backbone = build_backbone(job.backbone, seed=0)
    backbone.load_state_dict(weights)
    return backbone


def _subset(job: DownstreamJob, train: Part, seed: int) -> np.ndarray:
    return label_subset(
        len(train), job.label_percent, seed, job.recipe.subset, train.patient_ids, train.targets
    )


def _head_settings(recipe: DownstreamRecipe) -> tuple[int, OptimizerSpec]:
    return recipe.linear_probe_epochs or recipe.num_epochs, recipe.linear_probe_optimizer or recipe.optimizer


def _probe_together(
    job: DownstreamJob, files: Files, parts: Parts, weights: dict[str, Tensor], targets: list[SeedTarget],
    compute: Compute, emit: Callable[[Outcome], None],
) -> None:
    started = time.monotonic()
    backbone = _backbone(job, weights).to(compute.device).eval()
    features = cache_features(backbone, job.recipe, parts.train, parts.val, compute)
    subsets = [_subset(job, parts.train, target.seed) for target in targets]
    num_epochs, optimizer = _head_settings(job.recipe)
    seeds = tuple(target.seed for target in targets)
    results = train_heads(features, job.recipe, parts.train, subsets, parts.val, seeds, num_epochs, optimizer)
    for target, subset, result in zip(targets, subsets, results, strict=True):
        seconds = (time.monotonic() - started) / len(targets)
        head = _as_linear(result)
        training = {"best_epoch": result.best_epoch, "history": result.history, "seconds": seconds}
        _publish(job, files, parts, target, subset, backbone, head, training, compute, emit)


def _as_linear(result: ProbeResult) -> nn.Linear:
    head = nn.Linear(result.weight.shape[1], result.weight.shape[0])
    head.load_state_dict({"weight": result.weight, "bias": result.bias})
    return head


def _one_seed(
    job: DownstreamJob, files: Files, parts: Parts, weights: dict[str, Tensor], target: SeedTarget, compute: Compute,
    emit: Callable[[Outcome], None],
) -> None:
    started = time.monotonic()
    backbone = _backbone(job, weights)
    head = new_head(feature_dim(backbone), len(parts.findings), target.seed)
    if target.starts_from_folder is not None:
        start = open_artefacts(files, target.starts_from_folder)
        head.load_state_dict(weights_from_bytes(start.read("head.safetensors")))
    if compute.device.type == "cuda":
        backbone = backbone.to(memory_format=torch.channels_last)
    subset = _subset(job, parts.train, target.seed)
    num_epochs, optimizer = job.recipe.num_epochs, job.recipe.optimizer
    if job.protocol.last_phase.trains == "head":
        num_epochs, optimizer = _head_settings(job.recipe)
    task = Supervised(
        backbone, head, job.protocol.last_phase, job.recipe, parts.train, subset, parts.val, target.seed, compute,
        num_epochs, optimizer,
    )
    state = task.run()
    backbone.load_state_dict(state.best_tensors["backbone"])
    head.load_state_dict(state.best_tensors["head"])
    training = {
        "best_epoch": state.best_epoch, "history": state.history, "seconds": time.monotonic() - started
    }
    _publish(job, files, parts, target, subset, backbone, head, training, compute, emit)


def _publish(
    job: DownstreamJob, files: Files, parts: Parts, target: SeedTarget, subset: np.ndarray, backbone: nn.Module,
    head: nn.Linear, training: dict[str, Any], compute: Compute, emit: Callable[[Outcome], None],
) -> None:
    probabilities = test_probabilities(backbone, head.to(compute.device), job.recipe, parts.test, compute)
    if not np.isfinite(probabilities).all():
        raise FloatingPointError("a test probability is not finite: the model diverged after its best epoch")
    findings = auroc_per_finding(probabilities, parts.test.targets, parts.test.known, parts.findings)
    value = macro(findings)
    ids = parts.train.image_ids[subset].tolist()
    known_positive = (parts.train.targets[subset] * parts.train.known[subset]).sum(axis=0)
    contents = {"predictions.parquet": predictions_parquet(parts, probabilities)}
    if job.label_percent < 100:
        contents["subset.txt"] = "\n".join(ids).encode()
    if job.protocol.last_phase.trains == "head":
        contents["head.safetensors"] = weights_to_bytes(head.state_dict())
    elif target.keep_weights:
        contents["head.safetensors"] = weights_to_bytes(head.state_dict())
        contents["backbone.safetensors"] = weights_to_bytes(backbone.state_dict())
    result = {
        "name": target.name,
        "key": target.key,
        "macro_auroc": value,
        "findings": [asdict(finding) for finding in findings],
        "device": device_name(compute.device),
        "num_train_images": len(subset),
        "subset_sha256": ids_sha256(ids),
        "findings_without_positives_in_training": [
            name for name, positives in zip(parts.findings, known_positive, strict=True) if positives == 0
        ],
        **training,
    }
    parents = _parents(job, files, target)
    publish(files, target.folder, contents, result, recipe=fingerprint(job.recipe), parents=parents)
    emit(Outcome(target.key, "done", value))


def _parents(job: DownstreamJob, files: Files, target: SeedTarget) -> dict[str, str]:
    """Folder -> content hash of what a cell was computed from."""
    folders = [job.encoder_folder, *([target.starts_from_folder] if target.starts_from_folder else [])]
    hashes = {folder: open_artefacts(files, folder).content_sha256 for folder in folders}
    return {**hashes, job.data_folder: read_manifest(files, job.data_folder).fingerprint}


def predictions_parquet(parts: Parts, probabilities: np.ndarray) -> bytes:
    """Test predictions with their truth (null where unknown): every statistic can be made from these later."""
    columns: dict[str, pa.Array] = {
        "image_id": pa.array(parts.test.image_ids.tolist(), pa.string()),
        "patient_id": pa.array(parts.test.patient_ids.tolist(), pa.string()),
    }
    for f, finding in enumerate(parts.findings):
        columns[f"probability_{finding}"] = pa.array(probabilities[:, f], pa.float32())
        columns[f"label_{finding}"] = pa.array(
            parts.test.targets[:, f].astype(np.int8), pa.int8(), mask=~parts.test.known[:, f]
        )
    stream = io.BytesIO()
    pq.write_table(pa.table(columns), stream, compression="zstd", store_schema=False)
    return stream.getvalue()
