"""One encoder on this worker, from job to published weights: shared by the initial rows and by pretraining."""

import json
import math
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from functools import partial

import torch
from torch import Tensor

from datasets_io.corpus.read import read_manifest
from datasets_io.fingerprint import fingerprint
from datasets_io.storage.artefacts import is_done, move_to_quarantine, open_artefacts, publish, record_failure
from datasets_io.storage.disk import WrongKind
from datasets_io.storage.files import Files
from datasets_io.storage.secrets import without_secrets
from trainables.events import Progress
from trainables.networks.text import TEXT_TOWER, TextTower
from trainables.pretraining.agreement import computed_difference
from trainables.pretraining.checkpoint_writer import CheckpointWriter, unsealed
from trainables.pretraining.initial import make_initial
from trainables.pretraining.kept_state import is_of_machine
from trainables.pretraining.task import Corpus, Pretraining
from trainables.recipe import EncoderRecipe, PretrainRecipe, Resources
from trainables.training import distributed
from trainables.training.checkpoint import read_weights, weights_to_bytes
from trainables.training.devices import device_name
from trainables.training.loop import LoopPlan, LoopState
from trainables.training.spent import Spent

CHECKPOINT, ATTEMPTS = "checkpoint.pt", "attempts.json"


@dataclass(frozen=True)
class EncoderJob:
    """One encoder run as a worker needs it. Folders are relative to the storage.

    data_folder: the corpus of a pretraining; initial_folder: the encoder whose weights it starts from.
    """

    name: str
    key: str
    folder: str
    recipe: EncoderRecipe
    seed: int
    data_folder: str | None = None
    initial_folder: str | None = None

    @property
    def is_pretraining(self) -> bool:
        """Whether it trains on a corpus."""
        return isinstance(self.recipe, PretrainRecipe)

    @property
    def pretraining(self) -> PretrainRecipe:
        """The recipe of a pretraining. Raises ValueError for a job of another kind."""
        if not isinstance(self.recipe, PretrainRecipe):
            raise ValueError(f"{self.name} has a {type(self.recipe).__name__}, which needs no pretraining")
        return self.recipe


Emit = Callable[[Progress], None]


def run_initial(job: EncoderJob, storage: str, emit: Emit) -> None:
    """Make and publish an encoder that needs no corpus. A failure is recorded, not raised."""
    files = Files(storage)
    if is_done(files, job.folder):
        return
    started = Spent.so_far()
    try:
        if isinstance(job.recipe, PretrainRecipe):
            raise ValueError(f"{job.name} is a pretraining: it needs a corpus, and run_pretraining")
        tensors = make_initial(job.recipe, job.seed)
        spent = asdict(Spent.since(started))
        result = {"name": job.name, "key": job.key, "history": [], **spent, "device": "cpu"}
        contents = {"backbone.safetensors": weights_to_bytes(tensors)}
        publish(files, job.folder, contents, result, recipe=fingerprint(job.recipe))
        emit(Progress(job.key, "done"))
    except Exception as error:
        fail(job, files, error, emit)


def fail(job: EncoderJob, files: Files, error: BaseException, emit: Emit) -> None:
    """Record an encoder's failure, with the traceback of the exception that is being handled, and say so."""
    text = f"{type(error).__name__}: {error}"
    record_failure(files, job.folder, text, traceback.format_exc())
    emit(Progress(job.key, "failed", error=text))


def initial_weights(job: EncoderJob, files: Files) -> dict[str, Tensor] | None:
    """The backbone that a pretraining starts from; None where it starts from its own initialisation."""
    if job.initial_folder is None:
        return None
    return read_weights(open_artefacts(files, job.initial_folder), "backbone.safetensors")


@contextmanager
def advice_on_memory() -> Iterator[None]:
    """Where a GPU's memory runs out, RuntimeError says what to do.

    The batch is never cut: that would be another recipe.
    """
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise RuntimeError(
            f"out of GPU memory ({error}). Share the batch among more GPUs with Resources(pretrain_workers=...), or "
            "let it pass the network in parts with PretrainRecipe.gradient_cache_chunk, which is then another recipe"
        ) from error


@advice_on_memory()
def run_pretraining(
    job: EncoderJob,
    storage: str,
    corpus: Corpus,
    resources: Resources,
    device: torch.device,
    emit: Emit,
    fail_at_step: int | None = None,
    after_epoch: Callable[[Pretraining, LoopState], None] | None = None,
) -> None:
    """Train from the last checkpoint, if there is one, and publish the best epoch. Raises what goes wrong.

    after_epoch sees the network as it is, before the epoch's checkpoint; what it does must not touch it.
    `fail_at_step` ends the process after that step as a crash would, without saving: for tests of resuming.
    """
    files, started = Files(storage), Spent.so_far()
    made_of = job.pretraining, job.seed, corpus, resources, initial_weights(job, files), device
    task, state = _resumed(partial(Pretraining, *made_of), files, job)
    del made_of  # the initial weights are in the task's network
    first = distributed.rank() == 0
    checkpoints = CheckpointWriter(resources, state.step, lambda data: _store_checkpoint(files, job, data), device)

    def report(state: LoopState) -> None:
        # Four times an epoch, and at its end, when the loop has emptied its sums.
        if first and (state.step % max(1, task.loop_plan.steps_per_epoch // 4) == 0 or not state.sums):
            emit(_running(job, state, task.loop_plan, _spent(started)))

    def save_when_due(state: LoopState) -> None:
        if first:
            checkpoints.save_when_due(state.step, lambda: task.state_tree(state))

    def on_step(state: LoopState) -> None:
        report(state)
        save_when_due(state)
        end_here(state)

    def on_epoch(state: LoopState) -> None:
        report(state)
        if after_epoch is not None:
            after_epoch(task, state)
        if state.step < task.loop_plan.total_steps:  # not after the last epoch: its result is published at once
            save_when_due(state)
        end_here(state)

    def end_here(state: LoopState) -> None:
        if fail_at_step is not None and state.step == fail_at_step:
            raise SystemExit(13)

    if first:  # from here on its speed can be told; of an epoch that ended before this start all was said
        emit(replace(_running(job, state, task.loop_plan, _spent(started)), metrics=None))
    try:
        state = task.run(state, on_step, on_epoch)
    finally:
        checkpoints.close()
    if not state.best_tensors:
        raise FloatingPointError("validation loss was never finite")
    if first:
        emit(_publish(task, state, files, job, _spent(started)))
    # No worker begins with the next run before this one is published.
    distributed.barrier()


def _running(job: EncoderJob, state: LoopState, plan: LoopPlan, spent: Spent) -> Progress:
    """How far a pretraining is; with the epoch's metrics where one has just ended."""
    last = state.history[-1]["val_loss"] if state.history else None
    ended = dict(state.history[-1]) if state.history and not state.sums else None
    done = state.step // plan.steps_per_epoch
    of = (done, state.step, plan.total_steps, last)
    return Progress(job.key, "running", *of, metrics=ended, core_seconds=spent.core_seconds)


def _spent(started: Spent) -> Spent:
    """By a clock, and by the processors of all workers, which do as much as this one."""
    spent = Spent.since(started)
    return replace(spent, core_seconds=spent.core_seconds * distributed.world_size())


def _publish(task: Pretraining, state: LoopState, files: Files, job: EncoderJob, spent: Spent) -> Progress:
    """Publish the best epoch, and only then remove what was for resuming. What is to be said of it."""
    contents = {
        "backbone.safetensors": weights_to_bytes(state.best_tensors["backbone"]),
        "objective.safetensors": weights_to_bytes(task.objective_weights(state.best_tensors["objective"])),
    }
    if task.tokenizer is not None:
        contents["tokenizer.json"] = task.tokenizer.to_json().encode()
        towers = [part for part in task.model.objective.modules() if isinstance(part, TextTower)]
        contents[TEXT_TOWER] = towers[0].to_json().encode()
    result = {
        "name": job.name,
        "key": job.key,
        "best_epoch": state.best_epoch,
        "history": finite_or_null(state.history),
        "num_train_images": task.corpus.train.num_kept,
        "num_val_images": len(task.val_rows),
        "stopped_early": state.stopped,
        "workers": distributed.world_size(),
        **asdict(spent),
        "resources": asdict(task.resources),
        "device": device_name(task.device),
        "precision": task.compute.precision,
        **({"deterministic": True} if task.compute.deterministic else {}),
    }
    recipe, parents, difference = fingerprint(job.recipe), _parents(files, job), computed_difference
    publish(files, job.folder, contents, result, recipe=recipe, parents=parents, difference=difference)
    for name in (CHECKPOINT, ATTEMPTS):
        files.remove(f"{job.folder}/{name}")
    return Progress(job.key, "done", val_loss=-state.best_score, core_seconds=spent.core_seconds)


def _parents(files: Files, job: EncoderJob) -> dict[str, str]:
    """Folder -> content hash of what an encoder was trained from."""
    found = {}
    if job.initial_folder is not None:
        found[job.initial_folder] = open_artefacts(files, job.initial_folder).content_sha256
    if job.data_folder is not None:
        found[job.data_folder] = read_manifest(files, job.data_folder).fingerprint
    return found


def finite_or_null(history: list[dict[str, float]]) -> list[dict[str, float | None]]:
    """JSON knows no NaN: one epoch whose validation overflowed must not cost the whole run."""
    return [{name: v if math.isfinite(v) else None for name, v in entry.items()} for entry in history]


def _store_checkpoint(files: Files, job: EncoderJob, data: memoryview) -> None:
    files.write(f"{job.folder}/{CHECKPOINT}", data)
    files.remove(f"{job.folder}/{ATTEMPTS}")  # progress was made: attempts are counted from here again


def _resumed(make: Callable[[], Pretraining], files: Files, job: EncoderJob) -> tuple[Pretraining, LoopState]:
    """A task with the state of the last checkpoint. The run starts over from one that is damaged or unusable.

    Such a one goes to quarantine. Raises RuntimeError, on all workers, where they found different ones.
    """
    task, state = make(), LoopState()
    data, wrong = _checkpoint(files, job)
    if data is not None:
        try:
            state = task.load_state(data)
        except Exception as error:
            if is_of_machine(error):
                raise
            wrong = f"it is whole, but this training cannot go on from it ({type(error).__name__}: {error})"
    # All have read before it is moved, and begin alike, whatever one of them alone could not use.
    steps = distributed.int_of_each(-1 if wrong else state.step)
    if wrong and distributed.rank() == 0:
        move_to_quarantine(files, f"{job.folder}/{CHECKPOINT}", wrong)
    if min(steps) < 0:
        del task  # half filled, and two are not held at once
        return make(), LoopState()
    if len(set(steps)) > 1:
        raise RuntimeError(f"the workers found checkpoints of different steps, {steps}: to be read again")
    return task, state


def _checkpoint(files: Files, job: EncoderJob) -> tuple[bytes | None, str | None]:
    """Its bytes, or what is wrong with it; neither where there is none."""
    try:
        content = files.read(f"{job.folder}/{CHECKPOINT}")
    except FileNotFoundError:
        return None, None
    except WrongKind as error:
        return None, str(error.strerror)
    data = unsealed(content)
    return data, "its sha256 differs" if data is None else None


def note_error(files: Files, job: EncoderJob, error: BaseException) -> None:
    """Keep why an attempt ended, for the sentence that gives a run up."""
    path = f"{job.folder}/{ATTEMPTS}"
    # It only makes a later message clearer: what cannot be written must not hide the error itself.
    with suppress(FileNotFoundError, ValueError, TypeError, RecursionError, OSError):
        content = {**json.loads(files.read(path)), "error": without_secrets(f"{type(error).__name__}: {error}")}
        files.write(path, json.dumps(content).encode())


def last_error(files: Files, job: EncoderJob) -> str:
    """How the last attempt ended, as far as it could say so."""
    try:
        return str(json.loads(files.read(f"{job.folder}/{ATTEMPTS}"))["error"])
    except (FileNotFoundError, ValueError, KeyError, TypeError, RecursionError):
        return "its worker died"


def count_attempt(files: Files, job: EncoderJob) -> int:
    """How often this run was begun, this time included: a run that kills its process must end some time."""
    path = f"{job.folder}/{ATTEMPTS}"
    try:
        content = json.loads(files.read(path))
        count = 1 + int(content["attempts"])
    except (
        FileNotFoundError,
        ValueError,
        KeyError,
        TypeError,
        OverflowError,
        RecursionError,
    ):  # none, or damaged: it only limits retries
        content, count = {}, 1
    files.write(path, json.dumps({**content, "attempts": count}).encode())
    return count
