"""One downstream job: encoder + dataset + recipe -> for each seed predictions and AUROC, published in the store."""

import logging
import traceback
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from functools import lru_cache, partial

import numpy as np
import torch
from torch import Tensor, nn

from datasets_io.corpus.label_subsets import TRAINING, VALIDATION, ids_sha256, label_subset
from datasets_io.fingerprint import fingerprint
from datasets_io.storage.artefacts import CorruptArtefact, is_done, publish, quarantine, record_failure
from datasets_io.storage.files import Files
from datasets_io.storage.secrets import without_secrets
from trainables.evaluation.agreement import computed_difference
from trainables.evaluation.cell_model import BACKBONE, HEAD
from trainables.evaluation.dataset import Part, Parts, backbone_input, load_parts
from trainables.evaluation.features import test_logits
from trainables.evaluation.metrics import auroc_per_finding, macro
from trainables.evaluation.predictions_file import LOGIT, predictions_parquet
from trainables.evaluation.probe import HeadSettings, ProbeResult, cache_features, heads_or_errors
from trainables.evaluation.study_scores import study_aurocs
from trainables.evaluation.supervised import LabelledImages, Supervised, TrainingSettings, new_head
from trainables.evaluation.tuning.seeds import MOST_SIDE_BY_SIDE, train_seeds
from trainables.events import Outcome
from trainables.networks.backbones import build_backbone, feature_dim
from trainables.protocols.base import Protocol
from trainables.recipe import BackboneSpec, DownstreamRecipe, OptimizerSpec, Resources
from trainables.training.agreement import computed_by
from trainables.training.checkpoint import fill, weights_from_bytes, weights_to_bytes
from trainables.training.gpu_memory import free_memory, once_more_without_memory
from trainables.training.loop import LoopState
from trainables.training.parents import Parents, manifest_of
from trainables.training.precision import Compute
from trainables.training.spent import Spent
from trainables.views.backbone_input import BackboneInput

logger = logging.getLogger(__name__)


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
        """As logs show it: `... +4 seeds` behind the first cell's name where there are more."""
        first = self.targets[0].name
        return first if len(self.targets) == 1 else f"{first} +{len(self.targets) - 1} seeds"


@dataclass(frozen=True)
class JobContext:
    """What all cells of one job share. weights: the encoder's backbone, by the names of its state dict."""

    job: DownstreamJob
    files: Files
    parts: Parts
    weights: dict[str, Tensor]
    compute: Compute
    emit: Callable[[Outcome], None]
    parents: Parents = field(default_factory=Parents)
    resources: Resources = Resources()

    def backbone(self) -> nn.Module:
        """The encoder's network, a new one at each call: fine-tuning changes it."""
        backbone = build_backbone(self.job.backbone, seed=0)
        fill(backbone, self.weights, f"{self.job.encoder_folder}/{BACKBONE}")
        if self.compute.device.type == "cuda":
            backbone = backbone.to(memory_format=torch.channels_last)  # the layout of cuDNN's fast convolutions
            if self.resources.compile:
                backbone.compile()
        return backbone

    def subset(self, seed: int) -> np.ndarray:
        """(n,) rows of the training part whose labels a seed may use: label_percent of them."""
        return self._drawn(self.parts.train, seed, TRAINING)

    def val_subset(self, seed: int) -> np.ndarray:
        """(m,) rows of the validation part that a seed's epoch is picked on: all, or label_percent of them."""
        if not self.job.recipe.budget_validation:
            return np.arange(len(self.parts.val))
        return self._drawn(self.parts.val, seed, VALIDATION)

    def _drawn(self, part: Part, seed: int, stream: str) -> np.ndarray:
        sampler = self.job.recipe.subset
        return label_subset(
            len(part), self.job.label_percent, seed, sampler, part.patient_ids, part.targets, stream=stream
        )


@dataclass(frozen=True)
class SeedLogits:
    """(N, F) logits of the test images, and of those of the recipe's second test split where it has one."""

    test: np.ndarray
    also_test: np.ndarray | None = None


@dataclass(frozen=True)
class TrainedCell:
    """One seed's network at its best epoch, and what it says. spent: on both, its share of what all seeds took.

    subset, val_subset: (n,) training and (m,) validation rows.
    """

    backbone: nn.Module
    head: nn.Linear
    logits: SeedLogits
    subset: np.ndarray
    val_subset: np.ndarray
    best_epoch: int
    history: list[dict[str, float]]
    spent: Spent


def run_job(
    job: DownstreamJob,
    storage: str,
    compute: Compute,
    emit: Callable[[Outcome], None],
    resources: Resources = Resources(),
) -> None:
    """Compute the cells of a job that are not done. A failure is recorded cell by cell and does not raise.

    resources: of what is said there, how a GPU is used (cuda_graphs, cudnn_benchmark, compile, seeds_at_once). A
    damaged encoder or starting cell goes to quarantine, and the cells stay open until it was computed again.
    """
    files = Files(storage)
    waiting = [target for target in job.targets if not is_done(files, target.folder)]
    if not waiting:
        return
    if compute.device.type == "cuda":
        torch.backends.cudnn.benchmark = resources.cudnn_benchmark and not compute.deterministic
    try:
        parts = _parts(storage, job.data_folder, job.recipe, backbone_input(job.backbone, job.recipe))
        parents = Parents()
        weights = weights_from_bytes(
            parents.read(files, job.encoder_folder, BACKBONE), f"{job.encoder_folder}/{BACKBONE}"
        )
        context = JobContext(job, files, parts, weights, compute, emit, parents, resources)
        # With batch norm in eval mode the features of a frozen backbone are constants: computed once for all seeds.
        if job.protocol.last_phase.trains == "head" and job.recipe.linear_probe_bn_eval:
            once_more_without_memory(partial(_probe_together, context, waiting))
            return
    except Exception as error:
        for target in waiting:
            if not is_done(files, target.folder):
                _failed(job, files, target, error, emit)
        return
    at_once = _seeds_at_once(context, len(waiting))
    for start in range(0, len(waiting), at_once):
        _train(context, waiting[start : start + at_once])


def _seeds_at_once(context: JobContext, count: int) -> int:
    """How many of so many are trained side by side: on a CPU none with another."""
    if context.compute.device.type != "cuda":
        return 1
    return min(context.resources.seeds_at_once or count, MOST_SIDE_BY_SIDE)


def _train(context: JobContext, targets: list[SeedTarget]) -> None:
    """Train seeds through the backbone and publish each; one by one where all at once fail, as for want of memory."""
    if len(targets) > 1:
        try:
            _through_backbone(context, targets)
            return
        except Exception as error:
            why = without_secrets(f"{type(error).__name__}: {error}".partition("\n")[0])
        free_memory()  # after the handler, which holds the failed attempt's tensors
        logger.warning("%s: its seeds are trained one after another: %s", context.job.name, why)
        targets = [target for target in targets if not is_done(context.files, target.folder)]
    for target in targets:
        try:
            once_more_without_memory(partial(_through_backbone, context, [target]))
        except Exception as error:
            _failed(context.job, context.files, target, error, context.emit)


def _failed(
    job: DownstreamJob, files: Files, target: SeedTarget, error: Exception, emit: Callable[[Outcome], None]
) -> None:
    """Record why a cell failed; but a damaged input is quarantined, and then the cell has not failed but waits."""
    if (
        isinstance(error, CorruptArtefact)
        and error.path
        and error.path in (job.encoder_folder, target.starts_from_folder)
    ):
        quarantine(files, error.path)
        emit(Outcome(target.key, "waiting", error=str(error)))
        return
    inputs = [place for place in (job.encoder_folder, target.starts_from_folder) if place]
    if isinstance(error, FileNotFoundError) and not all(is_done(files, place) for place in inputs):
        # Another job of the same input has found it damaged and put it into quarantine since this one was offered.
        emit(Outcome(target.key, "waiting", error=str(error)))
        return
    text = f"{type(error).__name__}: {error}"
    record_failure(files, target.folder, text, traceback.format_exc())
    emit(Outcome(target.key, "failed", error=text))


@lru_cache(maxsize=4)  # a trial's process is kept: the next cell of the same dataset finds its images here
def _parts(storage: str, data_folder: str, recipe: DownstreamRecipe, sees: BackboneInput) -> Parts:
    return load_parts(Files(storage), data_folder, manifest_of(storage, data_folder), recipe, sees)


def _head_settings(recipe: DownstreamRecipe) -> tuple[int, OptimizerSpec]:
    """Epochs and optimiser of a linear probe, where it has its own; else those of fine-tuning."""
    return recipe.linear_probe_epochs or recipe.num_epochs, recipe.linear_probe_optimizer or recipe.optimizer


def _probe_together(context: JobContext, targets: list[SeedTarget]) -> None:
    """Train all seeds' heads on features that are computed once, and publish each, whatever becomes of the others."""
    started = Spent.so_far()
    parts, recipe, compute = context.parts, context.job.recipe, context.compute
    backbone = context.backbone().to(compute.device).eval()
    features = cache_features(backbone, recipe, parts.train, parts.val, compute)
    subsets = [context.subset(target.seed) for target in targets]
    val_subsets = [context.val_subset(target.seed) for target in targets]
    settings = HeadSettings(recipe, tuple(target.seed for target in targets), *_head_settings(recipe))
    results = heads_or_errors(features, parts.train, parts.val, subsets, settings, val_subsets)
    heads = [result.as_linear() for result in results if isinstance(result, ProbeResult)]
    every = iter(zip(heads, _test_logits(context, backbone, heads), strict=True))
    # Shared work counts once: each cell has its share of what the job took.
    spent = Spent.since(started, parts=len(targets))
    for s, (target, result) in enumerate(zip(targets, results, strict=True)):
        try:
            if not isinstance(result, ProbeResult):
                raise result
            head, logits = next(every)
            of = (subsets[s], val_subsets[s], result.best_epoch, result.history, spent)
            _publish(context, target, TrainedCell(backbone, head, logits, *of))
        except Exception as error:
            _failed(context.job, context.files, target, error, context.emit)


def _through_backbone(context: JobContext, targets: list[SeedTarget]) -> None:
    """Train seeds through the backbone, each from the best epoch of the cell that it starts from, and publish them.

    Raises torch.OutOfMemoryError; of any other error a seed fails, and the others go on.
    """
    started = Spent.so_far()
    tasks: dict[SeedTarget, Supervised] = {}
    for target in targets:
        try:
            tasks[target] = _supervised(context, target)
        except torch.OutOfMemoryError:
            raise
        except Exception as error:
            _failed(context.job, context.files, target, error, context.emit)
    states = train_seeds(list(tasks.values()), context.resources) if tasks else []
    spent = Spent.since(started, parts=len(targets))  # each has its share of what all took
    assert len(states) == len(tasks)
    for target, task in tasks.items():
        try:
            if isinstance(state := states.pop(0), Exception):
                raise state
            _publish(context, target, _trained(context, target, task, state, spent))
        except torch.OutOfMemoryError:
            raise
        except Exception as error:
            _failed(context.job, context.files, target, error, context.emit)
        finally:
            del state  # a raised error holds this frame: were it held here, all networks would wait for gc


def _supervised(context: JobContext, target: SeedTarget) -> Supervised:
    """One seed's training, from the best epoch of the cell that it starts from."""
    job, parts, compute = context.job, context.parts, context.compute
    backbone = context.backbone()
    head = new_head(feature_dim(backbone), len(parts.findings), target.seed)
    if target.starts_from_folder is not None:
        path = f"{target.starts_from_folder}/{HEAD}"
        start = context.parents.read(context.files, target.starts_from_folder, HEAD)
        fill(head, weights_from_bytes(start, path), path)
    val_subset = context.val_subset(target.seed)
    val = parts.val.take(val_subset) if len(val_subset) < len(parts.val) else parts.val
    phase = job.protocol.last_phase
    num_epochs, optimizer = job.recipe.num_epochs, job.recipe.optimizer
    if phase.trains == "head":
        num_epochs, optimizer = _head_settings(job.recipe)
    settings = TrainingSettings(job.recipe, phase, target.seed, num_epochs, optimizer)
    return Supervised(backbone, head, LabelledImages(parts.train, context.subset(target.seed), val), settings, compute)


def _trained(context: JobContext, target: SeedTarget, task: Supervised, state: LoopState, spent: Spent) -> TrainedCell:
    """One seed at its best epoch, with what it says of the test images. spent: on its training."""
    started = Spent.so_far()
    if "backbone" in state.best_tensors:  # else it was frozen, and is as it was
        task.backbone.load_state_dict(state.best_tensors["backbone"])
    task.head.load_state_dict(state.best_tensors["head"])
    (logits,) = _test_logits(context, task.backbone, [task.head])
    of = (task.rows, context.val_subset(target.seed), state.best_epoch, state.history, spent + Spent.since(started))
    return TrainedCell(task.backbone, task.head, logits, *of)


def _test_logits(context: JobContext, backbone: nn.Module, heads: list[nn.Linear]) -> list[SeedLogits]:
    """Of each head on one network; each test image passes it once."""
    parts, recipe, compute = context.parts, context.job.recipe, context.compute
    heads = [head.to(compute.device) for head in heads]
    of_test = test_logits(backbone, heads, recipe, parts.test, compute)
    if parts.also_test is None:
        return [SeedLogits(logits) for logits in of_test]
    also = test_logits(backbone, heads, recipe, parts.also_test, compute)
    return [SeedLogits(*logits) for logits in zip(of_test, also, strict=True)]


def _publish(context: JobContext, target: SeedTarget, cell: TrainedCell) -> None:
    """Publish predictions, network and result. Raises FloatingPointError for logits that are no numbers."""
    job, parts, compute = context.job, context.parts, context.compute
    logits = _finite(cell.logits.test)
    findings = auroc_per_finding(logits, parts.test.targets, parts.test.known, parts.findings)
    value = macro(findings)
    studies = study_aurocs(logits, parts.test.targets, parts.test.known, parts.test.studies, parts.findings)
    ids = parts.train.image_ids[cell.subset].tolist()
    # (F,): a finding without one positive in the subset cannot be learned, and its AUROC is read with that in mind.
    known_positive = (parts.train.targets[cell.subset] * parts.train.known[cell.subset]).sum(axis=0)
    result = {
        "name": target.name,
        "key": target.key,
        "macro_auroc": value,
        "findings": [asdict(finding) for finding in findings],
        "studies": {how: [asdict(finding) for finding in found] for how, found in studies.items()},
        **computed_by(compute, context.resources),
        "num_train_images": len(cell.subset),
        "num_val_images": len(cell.val_subset),
        "subset_sha256": ids_sha256(ids),
        "findings_without_positives_in_training": [
            name for name, positives in zip(parts.findings, known_positive, strict=True) if positives == 0
        ],
        "best_epoch": cell.best_epoch,
        "history": cell.history,
        "seconds": cell.spent.seconds,
        "core_seconds": cell.spent.core_seconds,
    }
    contents = {"predictions.parquet": predictions_parquet(parts, logits, LOGIT)}
    also, split = parts.also_test, job.recipe.splits.also_test
    if also is not None and split is not None and cell.logits.also_test is not None:
        also_logits = _finite(cell.logits.also_test)
        contents[f"predictions_{split}.parquet"] = predictions_parquet(replace(parts, test=also), also_logits, LOGIT)
        also_findings = auroc_per_finding(also_logits, also.targets, also.known, parts.findings)
        result["also_test"] = {split: [asdict(finding) for finding in also_findings]}
    if job.label_percent < 100:  # at 100% the subset is the whole training part
        contents["subset.txt"] = "\n".join(ids).encode()
    if len(cell.val_subset) < len(parts.val):
        contents["val_subset.txt"] = "\n".join(parts.val.image_ids[cell.val_subset].tolist()).encode()
    contents |= _network_files(job, target, cell)
    inputs = (job.data_folder, job.encoder_folder, target.starts_from_folder)
    parents = context.parents.of(context.files.uri, *inputs)
    recipe, difference = fingerprint(job.recipe), computed_difference
    publish(context.files, target.folder, contents, result, recipe=recipe, parents=parents, difference=difference)
    spent = (cell.spent.seconds, cell.spent.core_seconds)
    context.emit(Outcome(target.key, "done", value, None, *spent))


def _finite(logits: np.ndarray) -> np.ndarray:
    """The same (N, F) logits. Raises FloatingPointError: an AUROC of NaN would look like a missing class."""
    if not np.isfinite(logits).all():
        raise FloatingPointError("a test logit is not finite: the model diverged after its best epoch")
    return logits


def _network_files(job: DownstreamJob, target: SeedTarget, cell: TrainedCell) -> dict[str, bytes]:
    """A probe's head is always stored: its backbone is the encoder's. A tuned network only where it was asked for."""
    head = {HEAD: weights_to_bytes(cell.head.state_dict())}
    if job.protocol.last_phase.trains == "head":
        return head
    if not target.keep_weights:
        return {}
    return {**head, BACKBONE: weights_to_bytes(cell.backbone.state_dict())}
