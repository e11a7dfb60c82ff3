"""Pretraining by Ray Train: one worker group works through a list of encoder runs. [ray]"""

import os
import secrets
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import ray
import ray.train
import torch
from ray.train import FailureConfig, RunConfig, ScalingConfig, get_context
from ray.train.torch import TorchTrainer, get_device

from datasets_io.corpus.node_array import CacheFull
from datasets_io.corpus.read import CorpusBatch, StreamPlan, corpus_index, open_split, read_manifest, resident_batches
from datasets_io.corpus.stream import Sharing, streamed_batches
from datasets_io.granted import memory_of_node
from datasets_io.ray_state import ray_state
from datasets_io.storage.artefacts import FAILED, CorruptArtefact, is_done, quarantine
from datasets_io.storage.files import Files
from trainables.events import Progress
from trainables.pretraining.encoder_job import (
    Emit,
    EncoderJob,
    count_attempt,
    fail,
    last_error,
    note_error,
    run_pretraining,
)
from trainables.pretraining.group_work import WorkerGroup
from trainables.pretraining.run_queue import RunQueueHandle
from trainables.pretraining.task import Corpus
from trainables.recipe import Resources
from trainables.training import distributed
from trainables.training.devices import limit_memory
from trainables.training.gloo import GroupConfig
from trainables.training.loop import TrainingDiverged

WAIT_SECONDS = 0.5
GROUP_STARTS = 100
OF_FREE = 0.5  # of the cache's room, that a corpus may take: it can be streamed, what is evaluated on cannot


class GivenUp(RuntimeError):
    """A run whose worker died again and again without a new checkpoint in between."""


def pretrain_all(group: WorkerGroup, scaling: ScalingConfig) -> None:
    """Take runs one after the other in one group of workers, until none is waiting.

    The start of a worker group costs seconds, so the runs of a study share it. A worker that dies makes
    Ray Train start the group again; the run in flight then goes on from its checkpoint.
    """
    # A busy machine, or one that the autoscaler has yet to start, takes longer than Ray's own minute.
    os.environ.setdefault("RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S", "600")
    with ray_state(group.storage, group.name) as folder:
        trainer = TorchTrainer(
            _worker_loop,
            torch_config=GroupConfig(),
            train_loop_config={"group": group},
            scaling_config=scaling,
            run_config=RunConfig(
                name=group.name,
                storage_path=folder,
                # A run's own attempts are counted in its folder, where progress counts too; this only ends a loop.
                failure_config=FailureConfig(max_failures=GROUP_STARTS),
            ),
        )
        trainer.fit()


def open_corpus(
    job: EncoderJob,
    storage: str,
    resources: Resources,
    sharing: Sharing | None = None,
    say: Callable[[str], None] = warnings.warn,
) -> Corpus:
    """The corpus of a job: an array of the node where it fits there, else streamed by Ray Data, in the same order.

    sharing: with the other workers of this node. say: is given a sentence where the node has no room for the array.
    Raises ValueError for a job that needs no corpus.
    """
    files, recipe, folder = Files(storage), job.pretraining, job.data_folder
    if folder is None:
        raise ValueError(f"{job.name} has no data folder: a pretraining reads a corpus that datasets_io.build made")
    manifest = read_manifest(files, folder)
    train = corpus_index(files, folder, manifest, "train", recipe.require_impression)
    val = corpus_index(files, folder, manifest, "val", recipe.require_impression)
    limit = memory_of_node() // 2 if resources.resident_bytes is None else resources.resident_bytes

    def batches(plan: StreamPlan, start_step: int) -> Iterator[CorpusBatch]:
        if train.num_bytes <= limit:
            try:
                pixels = open_split(files, folder, manifest, "train", of_free=OF_FREE).pixels
                return resident_batches(pixels, train, plan, start_step)
            except CacheFull as error:
                say(f"{error}; until then the corpus is streamed in every epoch")
        return streamed_batches(files, folder, manifest, train, plan, start_step, job.name, sharing)

    return Corpus(train, batches, val, open_split(files, folder, manifest, "val").pixels)


def _worker_loop(config: dict[str, Any]) -> None:
    group: WorkerGroup = config["group"]
    gpus = 1.0 if group.resources.gpus_per_worker is None else group.resources.gpus_per_worker
    device = get_device() if gpus else torch.device("cpu")  # Ray names a card that it sees, whoever has it
    limit_memory(device, gpus)
    if device.type == "cpu":
        torch.set_num_threads(group.resources.cpus_per_worker)
    files = Files(group.storage)

    def emit(progress: Progress) -> None:
        if distributed.rank() == 0 and group.progress is not None:
            group.progress.encoder.remote(progress)

    again = True  # this group has just started: what it had in hand before is its first place
    while (place := _next_run(group, again)) >= 0:
        again = False
        job = group.jobs[place]
        if not is_done(files, job.folder) and not files.exists(f"{job.folder}/{FAILED}"):
            _one_job(job, group, device, emit, get_context().get_local_world_size())
        ray.train.report({"encoder": job.key})


def _next_run(group: WorkerGroup, again: bool) -> int:
    """A place in group.jobs, the same on all workers of the group, or -1. Only the first worker asks."""
    # If each asked, each would get another run.
    place = ray.get(group.queue.claim.remote(group.name, again)) if distributed.rank() == 0 else 0
    return distributed.broadcast_int(place)


def _one_job(job: EncoderJob, group: WorkerGroup, device: torch.device, emit: Emit, node_workers: int = 1) -> None:
    """Pretrain one encoder. node_workers: of the group, on this node.

    Where only some workers know of an error it is raised, and Ray starts the group again.
    """
    files, workers = Files(group.storage), distributed.world_size()
    try:
        # The first worker counts, and all must decide alike, or one would wait for the others for ever.
        attempts = count_attempt(files, job) if distributed.rank() == 0 else 1
        attempts = distributed.broadcast_int(attempts)
        sharing = Sharing(str(distributed.broadcast_int(secrets.randbits(62))), node_workers)
        if attempts > group.resources.max_failures:
            raise GivenUp(
                f"given up after {group.resources.max_failures} attempts without progress; the last one ended with: "
                f"{last_error(files, job)}"
            )
        _wait_for_initial(job, files, group.queue)
        corpus = open_corpus(
            job,
            group.storage,
            group.resources,
            sharing,
            lambda sentence: emit(Progress(job.key, "running", error=sentence)),
        )
        run_pretraining(job, group.storage, corpus, group.resources, device, emit)
    except CorruptArtefact as error:
        if error.path is None or error.path != job.initial_folder:
            # A shard, perhaps on one worker only: the group must start again.
            fail(job, files, error, emit)
            if workers > 1:
                raise
            return
        # The weights it starts from were damaged: they are computed again, and then this run; it has not failed.
        if distributed.rank() == 0:
            quarantine(files, error.path)
        emit(Progress(job.key, "waiting", error=str(error)))
        distributed.barrier()  # none looks for the folder again before it is gone
    except Exception as error:
        # Where a host is lost, Ray ends the process group under workers that go on: each then takes itself for the only
        # one, and whatever it raises is no fault of the run.
        ended = distributed.world_size() != workers
        if ended or (workers > 1 and not _raised_everywhere(error)):
            note_error(files, job, error)
            raise  # the other workers wait in a collective, or are gone: the group must start again
        _failed(job, files, error, emit)


def _failed(job: EncoderJob, files: Files, error: Exception, emit: Emit) -> None:
    if distributed.rank() == 0:
        fail(job, files, error, emit)
    distributed.barrier()


def _raised_everywhere(error: Exception) -> bool:
    """Whether every worker of the group raises this error at the same place, since its cause is the same data."""
    return isinstance(error, (ValueError, FloatingPointError, TrainingDiverged, GivenUp))


def _wait_for_initial(job: EncoderJob, files: Files, queue: RunQueueHandle) -> None:
    """Return when the encoder that the job starts from is published.

    Raises ValueError where that one failed, CorruptArtefact where it was there and has gone.
    """
    while job.initial_folder is not None and not is_done(files, job.initial_folder):
        if files.exists(f"{job.initial_folder}/{FAILED}"):
            raise ValueError(f"the encoder it starts from failed: see {job.initial_folder}/{FAILED}")
        # Asked for the folder a second time: it may have landed between the first question and the answer of RunQueue.
        if not ray.get(queue.expects.remote(job.initial_folder)) and not is_done(files, job.initial_folder):
            text = f"{job.initial_folder} was finished and is not there any more"
            raise CorruptArtefact(text, job.initial_folder)
        time.sleep(WAIT_SECONDS)
