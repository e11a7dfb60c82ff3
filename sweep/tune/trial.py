"""One trial of a search: a pretraining with some values, evaluated at the rungs of ASHA and at its end. [ray]"""

import traceback
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import torch
from ray import tune

from datasets_io.storage.artefacts import FAILED, is_done, open_artefacts, record_failure
from datasets_io.storage.files import Files
from sweep.store.store import Store
from sweep.studies.cell import EncoderRun
from sweep.studies.tunable import with_values
from trainables.evaluation.dataset import Part
from trainables.evaluation.validation_probe import held_out, validation_auroc
from trainables.networks.backbones import build_backbone
from trainables.pretraining.encoder_job import EncoderJob, run_pretraining
from trainables.pretraining.task import Pretraining
from trainables.pretraining.worker_group import open_corpus
from trainables.process import granted_gpus
from trainables.recipe import BackboneSpec, DownstreamRecipe, PretrainRecipe, Resources
from trainables.training.checkpoint import fill, read_weights
from trainables.training.devices import limit_memory, own_device
from trainables.training.loop import LoopState
from trainables.training.precision import Compute, resolve

# What a trial reports: macro AUROC on held-out patients, after which epoch, and whether of its published encoder.
METRIC, TIME, COMPLETE = "val_auroc", "epoch", "complete"


@dataclass(frozen=True)
class Search:
    """What the trials of a search share. run: the pretraining that is searched, with the study's own values.

    datasets: (recipe, data folder) of each that a linear probe is trained on; rungs: epochs after which that is done.
    data_folder: of the corpus; initial_folder: of the encoder that it starts from; all relative to `storage`, a URI.
    """

    run: EncoderRun
    data_folder: str
    initial_folder: str | None
    datasets: tuple[tuple[DownstreamRecipe, str], ...]
    rungs: tuple[int, ...]
    storage: str
    resources: Resources

    @property
    def recipe(self) -> PretrainRecipe:
        """The recipe with the study's own values."""
        recipe = self.run.recipe
        assert isinstance(recipe, PretrainRecipe), recipe  # search_row gives no other row
        return recipe

    def run_with(self, values: Mapping[str, float]) -> EncoderRun:
        """The encoder with other values: the one, with its key, that a study tuned to them asks for."""
        objective = with_values(self.recipe.objective, values)
        return replace(self.run, recipe=replace(self.recipe, objective=objective))

    def job(self, values: Mapping[str, float]) -> EncoderJob:
        """The same as a worker needs it."""
        run = self.run_with(values)
        return EncoderJob(
            str(run), run.key, Store.folder(run), run.recipe, run.pretrain_seed, self.data_folder, self.initial_folder
        )


@lru_cache(maxsize=8)  # a trial's process is kept: the next trial finds the images here
def _parts(storage: str, folder: str, recipe: DownstreamRecipe, backbone: BackboneSpec) -> tuple[Part, Part]:
    return held_out(Files(storage), folder, recipe, backbone)


def probe_auroc(search: Search, backbone: torch.nn.Module, compute: Compute) -> float:
    """Mean over the datasets of a linear probe's macro AUROC on held-out patients, in [0, 1].

    A dataset without one, since no finding has both classes, is left out. Raises ValueError where all are.
    """
    values = []
    for recipe, folder in search.datasets:
        train, val = _parts(search.storage, folder, recipe, search.recipe.backbone)
        values.append(validation_auroc(backbone, recipe, train, val, compute))
    defined = [value for value in values if value is not None]
    if not defined:
        raise ValueError("no finding has both classes among the patients held out: there is nothing to tune on")
    return sum(defined) / len(defined)


def run_trial(config: dict[str, float], search: Search) -> None:
    """A function trainable. It reports (epoch, AUROC) at each rung, where ASHA may end it, and at the end.

    config: the values of this trial. The encoder is published in the store like any other: the best one is not trained
    again by sweep.run. Raises RuntimeError for values that failed before, and whatever a pretraining raises.
    """
    granted = granted_gpus()
    gpus = trial_gpus(search.resources, len(granted))
    device = own_device(gpus, granted)
    limit_memory(device, gpus)
    if device.type == "cpu":
        torch.set_num_threads(search.resources.cpus_per_worker)
    files, job = Files(search.storage), search.job(config)
    compute = resolve(search.resources.precision, device, search.resources.deterministic)
    # Ray retries a trial that raised; where the error is our own the retry would take as long and end the same.
    if files.exists(f"{job.folder}/{FAILED}"):
        raise RuntimeError(f"failed before: see {job.folder}/{FAILED}")
    try:
        if not is_done(files, job.folder):  # by an earlier command, or by sweep.run with the same values
            _pretrain(job, search, device, compute)
        auroc = _published_auroc(job, search, files, compute)
        tune.report({METRIC: auroc, TIME: search.recipe.num_epochs, COMPLETE: True})
    except Exception as error:  # the same values would fail again: a retry sees this file and ends at once
        record_failure(files, job.folder, f"{type(error).__name__}: {error}", traceback.format_exc())
        raise


def _pretrain(job: EncoderJob, search: Search, device: torch.device, compute: Compute) -> None:
    def after_epoch(task: Pretraining, state: LoopState) -> None:
        epoch = state.step // task.loop_plan.steps_per_epoch
        # Where ASHA ends the trial, tune.report does not return.
        if epoch in search.rungs and epoch < task.loop_plan.num_epochs:
            auroc = probe_auroc(search, task.model.backbone, compute)
            tune.report({METRIC: auroc, TIME: epoch, COMPLETE: False})

    corpus = open_corpus(job, search.storage, search.resources)
    run_pretraining(job, search.storage, corpus, search.resources, device, lambda _: None, after_epoch=after_epoch)


def _published_auroc(job: EncoderJob, search: Search, files: Files, compute: Compute) -> float:
    """Of the weights of the best epoch by validation loss, since a study evaluates these."""
    backbone, name = build_backbone(job.recipe.backbone, seed=0), "backbone.safetensors"
    fill(backbone, read_weights(open_artefacts(files, job.folder), name), f"{job.folder}/{name}")
    return probe_auroc(search, backbone.to(compute.device), compute)


def trial_resources(resources: Resources, gpus: float) -> dict[str, Any]:
    """What Ray reserves for a trial. gpus: how many the cluster has.

    A trial is one worker with at most one GPU: a search keeps more GPUs busy with more trials, not with larger ones.
    """
    bundle: dict[str, Any] = {"CPU": float(resources.cpus_per_worker)}
    if share := trial_gpus(resources, gpus):
        bundle["GPU"] = share
    return bundle


def trial_gpus(resources: Resources, gpus: float) -> float:
    """Of a trial: none where there is none, or where the user wants none used. gpus: how many there are."""
    wanted = 1.0 if resources.gpus_per_worker is None else resources.gpus_per_worker
    return wanted if gpus else 0.0
