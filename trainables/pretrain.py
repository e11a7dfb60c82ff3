"""Pretraining by Ray Train: one worker group works through a list of encoder runs. [ray]"""

import time
from collections.abc import Iterator
from typing import Any

import ray.train
import torch
from ray.train import FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchTrainer, get_device

from datasets_io.artefacts import FAILED, is_done
from datasets_io.files import Files
from datasets_io.read import CorpusBatch, StreamPlan, corpus_index, open_split, read_manifest, resident_batches
from datasets_io.stream import streamed_batches
from trainables import distributed
from trainables.encoders import Emit, EncoderJob, count_attempt, fail, run_pretraining
from trainables.events import Progress
from trainables.pretraining import Corpus
from trainables.recipe import PretrainRecipe, Resources

WAIT_SECONDS = 0.5


def pretrain_all(
    jobs: list[EncoderJob], storage: str, resources: Resources, scaling: ScalingConfig, name: str, board: Any
) -> None:
    """Run the jobs one after the other in one group of workers, skipping those that are done.

    The start of a worker group costs seconds, so the runs of a study share it. A worker that dies makes
    Ray Train start the group again; the run in flight then goes on from its checkpoint.
    """
    config = {"jobs": jobs, "storage": storage, "resources": resources, "board": board}
    trainer = TorchTrainer(
        _worker_loop,
        train_loop_config=config,
        scaling_config=scaling,
        run_config=RunConfig(
            name=name, storage_path=f"{storage}/ray",
            failure_config=FailureConfig(max_failures=resources.max_failures * len(jobs)),
        ),
    )
    trainer.fit()


def open_corpus(job: EncoderJob, storage: str, resources: Resources) -> Corpus:
    """The corpus of a job: resident in memory where it is small, else streamed by Ray Data, in the same order."""
    files = Files(storage)
    recipe: PretrainRecipe = job.recipe
    manifest = read_manifest(files, job.data_folder)
    train = corpus_index(files, job.data_folder, manifest, "train", recipe.require_impression)
    val = corpus_index(files, job.data_folder, manifest, "val", recipe.require_impression)
    resident = train.num_bytes <= resources.resident_bytes

    def batches(plan: StreamPlan, start_step: int) -> Iterator[CorpusBatch]:
        if resident:
            pixels = open_split(files, job.data_folder, manifest, "train").pixels
            return resident_batches(pixels, train, plan, start_step)
        return streamed_batches(files, job.data_folder, manifest, train, plan, start_step, job.name)

    return Corpus(train, batches, val, open_split(files, job.data_folder, manifest, "val").pixels)


def _worker_loop(config: dict[str, Any]) -> None:
    storage, resources, board = config["storage"], config["resources"], config["board"]
    device = get_device()
    if device.type == "cpu":
        torch.set_num_threads(resources.cpus_per_worker)
    files = Files(storage)

    def emit(progress: Progress) -> None:
        if distributed.rank() == 0 and board is not None:
            board.encoder.remote(progress)

    for job in config["jobs"]:
        if not is_done(files, job.folder) and not files.exists(f"{job.folder}/{FAILED}"):
            _one_job(job, storage, resources, device, emit)
        ray.train.report({"encoder": job.key})


def _one_job(job: EncoderJob, storage: str, resources: Resources, device: torch.device, emit: Emit) -> None:
    files = Files(storage)
    try:
        attempts = count_attempt(files, job) if distributed.rank() == 0 else 1
        if distributed.broadcast_int(attempts) > resources.max_failures:
            raise RuntimeError(f"given up after {resources.max_failures} attempts: its worker died each time")
        _wait_for_initial(job, files)
        run_pretraining(job, storage, open_corpus(job, storage, resources), resources, device, emit)
    except Exception as error:
        if distributed.world_size() > 1 and not _raised_everywhere(error):
            raise  # the other workers wait in a collective: the group must start again
        if distributed.rank() == 0:
            fail(job, files, error, emit)
        distributed.barrier()


def _raised_everywhere(error: Exception) -> bool:
    """Whether every worker of the group raises this error at the same place, since its cause is the same data."""
    return isinstance(error, (ValueError, FloatingPointError)) or type(error).__name__ == "TrainingDiverged"


def _wait_for_initial(job: EncoderJob, files: Files) -> None:
    while job.initial_folder is not None and not is_done(files, job.initial_folder):
        if files.exists(f"{job.initial_folder}/{FAILED}"):
            raise ValueError(f"the encoder it starts from failed: see {job.initial_folder}/{FAILED}")
        time.sleep(WAIT_SECONDS)
