"""Downstream jobs as Ray Tune trials whose processes are kept from one to the next. [ray]"""

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import ray
import torch
from ray import tune

from datasets_io.storage.artefacts import FAILED, is_done
from datasets_io.storage.files import Files
from trainables.evaluation.cell_job import DownstreamJob, run_job
from trainables.events import Outcome
from trainables.process import ProcessChannel, granted_gpus, keep_saying_alive, this_process
from trainables.recipe import Resources
from trainables.training.devices import limit_memory, own_device
from trainables.training.precision import resolve

WAIT_SECONDS = 0.5
PART = 256


def landed(files: Files, encoder_folder: str) -> bool:
    """Whether the encoder landed, once it has or has failed: a job may be handed out early, to keep its process."""
    while not is_done(files, encoder_folder):
        if files.exists(f"{encoder_folder}/{FAILED}"):
            return False
        time.sleep(WAIT_SECONDS)
    return True


@dataclass(frozen=True)
class StoredJobs:
    """Jobs in Ray's store, PART of them an object: a process of a search over 100,000 holds those around its own."""

    parts: "tuple[ray.ObjectRef[tuple[DownstreamJob, ...]], ...]"

    def job(self, number: int) -> DownstreamJob:
        """The job of this number, counted from 0."""
        return _fetched(self.parts[number // PART])[number % PART]


def in_parts(jobs: Sequence[DownstreamJob]) -> StoredJobs:
    """Put jobs into Ray's store."""
    return StoredJobs(tuple(ray.put(tuple(jobs[i : i + PART])) for i in range(0, len(jobs), PART)))


@lru_cache(maxsize=1)
def _fetched(part: "ray.ObjectRef[tuple[DownstreamJob, ...]]") -> tuple[DownstreamJob, ...]:
    """Once for the jobs that a process has one after another, which are often neighbours."""
    return ray.get(part)


def run_trial(
    config: dict[str, Any], jobs: StoredJobs, storage: str, resources: Resources, progress_actor: ProcessChannel | None
) -> None:
    """A function trainable: config["job"] is the number of the job; early: before its encoder is there; gpus: its own.

    Results go to the store, not to Tune.
    """
    device = own_device(config["gpus"], granted_gpus())
    limit_memory(device, config["gpus"])
    if device.type == "cpu":
        torch.set_num_threads(resources.cpus_per_cell)
        os.setpriority(os.PRIO_PROCESS, 0, 19)  # pretraining shares these cores, and cells wait for its encoders

    def emit(outcome: Outcome) -> None:
        if progress_actor is not None:
            progress_actor.cell.remote(outcome)

    if progress_actor is not None:
        keep_saying_alive(progress_actor)
    job = jobs.job(config["job"])
    if config["early"] and not landed(Files(storage), job.encoder_folder):
        tune.report({"job": config["job"]})  # its cells stay open, blocked by the encoder
        return
    if progress_actor is not None:
        progress_actor.started.remote(config["job"], this_process())
    run_job(job, storage, resolve(resources.precision, device, resources.deterministic), emit, resources)
    if progress_actor is not None:
        progress_actor.ended.remote(config["job"])
    tune.report({"job": config["job"]})
