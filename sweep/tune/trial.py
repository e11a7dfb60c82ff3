"""One trial of a search: a pretraining with some values, probed at the rungs of ASHA and at its end. [ray]"""

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
from trainables.recipe import DownstreamRecipe, Resources
from trainables.training.checkpoint import weights_from_bytes
from trainables.training.loop import LoopState
from trainables.training.precision import Compute, resolve

METRIC, TIME = "val_auroc", "epoch"


@dataclass(frozen=True)
class Search:
    """What the trials of a search share. run: the encoder that is searched, with the study's own values.

    datasets: (recipe, data folder) of each that probes it; rungs: epochs after which it is probed.
    """

    run: EncoderRun
    data_folder: str
    initial_folder: str | None
    datasets: tuple[tuple[DownstreamRecipe, str], ...]
    rungs: tuple[int, ...]
    storage: str
    resources: Resources

    def run_with(self, values: Mapping[str, float]) -> EncoderRun:
        recipe = self.run.recipe
        return replace(self.run, recipe=replace(recipe, objective=with_values(recipe.objective, values)))

    def job(self, values: Mapping[str, float]) -> EncoderJob:
        run = self.run_with(values)
        return EncoderJob(
            str(run), run.key, Store.folder(run), run.recipe, run.pretrain_seed, self.data_folder, self.initial_folder
        )


@lru_cache(maxsize=8)  # a trial's process is kept: the next trial finds the images here
def _parts(storage: str, folder: str, recipe: DownstreamRecipe) -> tuple[Part, Part]:
    return held_out(Files(storage), folder, recipe)


def probed(search: Search, backbone: torch.nn.Module, compute: Compute) -> float:
    """Mean over the datasets of the macro AUROC on held-out patients. Raises ValueError where none has one."""
    values = []
    for recipe, folder in search.datasets:
        train, val = _parts(search.storage, folder, recipe)
        values.append(validation_auroc(backbone, recipe, train, val, compute))
    defined = [value for value in values if value is not None]
    if not defined:
        raise ValueError("no finding has both classes among the patients held out: there is nothing to tune on")
    return sum(defined) / len(defined)


def run_trial(config: dict[str, float], search: Search) -> None:
    """A function trainable. It reports (epoch, AUROC) at each rung, where ASHA may end it, and at the end.

    The encoder is published in the store like any other: the best one is not trained again by sweep.run.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if device.type == "cpu":
        torch.set_num_threads(search.resources.cpus_per_worker)
    files, job = Files(search.storage), search.job(config)
    compute = resolve(search.resources.precision, device)
    if files.exists(f"{job.folder}/{FAILED}"):
        raise RuntimeError(f"failed before: see {job.folder}/{FAILED}")
    try:
        if not is_done(files, job.folder):
            _pretrain(job, search, device, compute)
        tune.report({METRIC: _of_published(job, search, files, compute), TIME: job.recipe.num_epochs, "whole": True})
    except Exception as error:  # the same values would fail again: a retry sees this file and ends at once
        record_failure(files, job.folder, f"{type(error).__name__}: {error}", traceback.format_exc())
        raise


def _pretrain(job: EncoderJob, search: Search, device: torch.device, compute: Compute) -> None:
    def after_epoch(task: Pretraining, state: LoopState) -> None:
        epoch = state.step // task.loop_plan.steps_per_epoch
        if epoch in search.rungs and epoch < task.loop_plan.num_epochs:
            tune.report({METRIC: probed(search, task.model.backbone, compute), TIME: epoch, "whole": False})

    corpus = open_corpus(job, search.storage, search.resources)
    run_pretraining(job, search.storage, corpus, search.resources, device, lambda _: None, after_epoch=after_epoch)


def _of_published(job: EncoderJob, search: Search, files: Files, compute: Compute) -> float:
    """The probe of the best epoch by validation loss, which is what a study evaluates."""
    backbone = build_backbone(job.recipe.backbone, seed=0)
    backbone.load_state_dict(weights_from_bytes(open_artefacts(files, job.folder).read("backbone.safetensors")))
    return probed(search, backbone.to(compute.device), compute)


def trial_resources(resources: Resources, gpus: float) -> dict[str, Any]:
    """A trial is one worker with one GPU: a search keeps more GPUs busy with more trials, not with larger ones."""
    bundle: dict[str, Any] = {"CPU": float(resources.cpus_per_worker)}
    if gpus:
        bundle["GPU"] = resources.gpus_per_worker or 1.0
    return bundle
