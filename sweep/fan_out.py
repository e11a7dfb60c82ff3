"""Ready cells to Ray Tune: a Searcher that offers a job when its encoder and its starting cell are there. [ray]"""

import os
import time
import uuid
from typing import Any

import ray
from ray import tune
from ray.tune.search import Searcher

from datasets_io.artefacts import FAILED, RESULT, is_done, record_failure
from datasets_io.files import Files
from sweep.store import ENCODERS, LOGS
from trainables.cells import DownstreamJob
from trainables.downstream import run_trial
from trainables.recipe import Resources

LOOK_AGAIN_SECONDS = 1.0


class ReadyJobs(Searcher):
    """Offers the first job that is ready; None while all that is left waits; FINISHED at the end.

    A job whose encoder or starting cell failed is dropped: it stays open in the store and the report
    shows it as blocked.
    """

    def __init__(
        self, jobs: tuple[DownstreamJob, ...], storage: str, slots: int, slots_beside: int,
        pretrainings: tuple[str, ...],
    ):
        """slots: jobs that fit the machines; slots_beside: that fit while encoder folders `pretrainings` are made."""
        super().__init__(metric="job", mode="max")
        self.slots, self.slots_beside, self.pretrainings = slots, slots_beside, pretrainings
        self.jobs, self.files = jobs, Files(storage)
        self.waiting = list(range(len(jobs)))
        self.running: dict[str, int] = {}
        self.encoders: dict[str, bool] = {}
        self.cells: dict[str, bool] = {}
        self.looked_at = -LOOK_AGAIN_SECONDS

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        self._look()
        if len(self.running) >= self._allowed():
            return None
        for job_number in list(self.waiting):
            ready = self._readiness(self.jobs[job_number])
            if ready is False:
                self.waiting.remove(job_number)
            elif ready:
                self.waiting.remove(job_number)
                self.running[trial_id] = job_number
                return {"job": job_number}
        return None if self.waiting else Searcher.FINISHED

    def on_trial_complete(self, trial_id: str, result: dict | None = None, error: bool = False) -> None:
        job = self.jobs[self.running.pop(trial_id)]
        for target in job.targets:
            done = is_done(self.files, target.folder)
            self.cells[target.folder] = done
            if not done and not self.files.exists(f"{target.folder}/{FAILED}"):
                record_failure(self.files, target.folder, "the trial's process died", "no traceback: see Ray's logs")

    def _look(self) -> None:
        if time.monotonic() - self.looked_at < LOOK_AGAIN_SECONDS:
            return
        self.looked_at = time.monotonic()
        for path in self.files.list(ENCODERS):
            folder, _, name = path.rpartition("/")
            if name == RESULT:
                self.encoders[folder] = True
            elif name == FAILED:
                self.encoders.setdefault(folder, False)

    def _allowed(self) -> int:
        """Pretraining needs all its workers at once: trials leave room for them until the last encoder is there."""
        busy = any(folder not in self.encoders for folder in self.pretrainings)
        if busy and self.slots_beside < self.slots:
            return self.slots_beside
        # One more than fit: Tune keeps a process for the next trial only where one is waiting.
        return self.slots + 1

    def _readiness(self, job: DownstreamJob) -> bool | None:
        """True: now; False: never; None: not yet."""
        states = [self.encoders.get(job.encoder_folder)]
        for target in job.targets:
            if target.starts_from_folder is not None:
                if target.starts_from_folder not in self.cells and is_done(self.files, target.starts_from_folder):
                    self.cells[target.starts_from_folder] = True
                states.append(self.cells.get(target.starts_from_folder))
        if False in states:
            return False
        return None if None in states else True

    def save(self, checkpoint_path: str) -> None:
        """Nothing to save: the store is the record of what is done."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing to restore."""


@ray.remote(num_cpus=0, max_retries=0)
def fan_out(
    jobs: tuple[DownstreamJob, ...], storage: str, resources: Resources, per_cell: dict[str, float],
    slots: int, slots_beside: int, pretrainings: tuple[str, ...], board: Any,
) -> None:
    """Run the jobs as trials to the end."""
    os.environ["TUNE_DISABLE_AUTO_CALLBACK_LOGGERS"] = "1"
    os.environ["RAY_AIR_NEW_OUTPUT"] = "0"
    name = f"cells-{uuid.uuid4().hex[:8]}"
    trainable = tune.with_resources(
        tune.with_parameters(run_trial, jobs=jobs, storage=storage, resources=resources, board=board),
        per_cell,
    )
    tuner = tune.Tuner(
        trainable,
        tune_config=tune.TuneConfig(
            search_alg=ReadyJobs(jobs, storage, slots, slots_beside, pretrainings), num_samples=-1,
            max_concurrent_trials=slots + 1,
            reuse_actors=True, trial_dirname_creator=lambda trial: trial.trial_id,
        ),
        run_config=tune.RunConfig(
            name=name, storage_path=f"{storage}/{LOGS}", verbose=0,
            failure_config=tune.FailureConfig(max_failures=resources.max_failures - 1),
            checkpoint_config=tune.CheckpointConfig(num_to_keep=1),
        ),
    )
    tuner.fit()
    Files(storage).remove(f"{LOGS}/{name}")
