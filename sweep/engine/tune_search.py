"""Ready cells to Ray Tune: a Searcher that offers a job when its encoder and its starting cell are there. [ray]"""

import os
import time
from functools import partial
from typing import TYPE_CHECKING, Any

import ray
from ray import tune
from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler
from ray.tune.search import Searcher

from datasets_io.ray_private import keep_keys_out_of_trials
from datasets_io.ray_state import ray_state
from datasets_io.storage.artefacts import FAILED, RESULT, is_done, record_failure
from datasets_io.storage.files import Files
from sweep.engine.cell_work import CellWork
from sweep.engine.cluster import resources_at_most
from sweep.engine.schedule import ReadyTasks, capacity, groups_wanted
from sweep.store.store import ENCODERS
from trainables.evaluation.cell_trial import in_parts, run_trial

if TYPE_CHECKING:
    from ray.tune.execution.tune_controller import TuneController

REFRESH_SECONDS = 1.0
MOST_TRIALS = 10_000  # the Searcher decides; Tune itself is not to hold anything back


class ReadyJobs(Searcher):
    """Offers the first job that is ready; None while all that is left waits; FINISHED at the end.

    A job whose encoder or starting cell failed is dropped: it stays open in the store and the report
    shows it as blocked.
    """

    def __init__(self, work: CellWork):
        super().__init__(metric="job", mode="max")
        self.work, self.files = work, Files(work.storage)
        coming = {folder: place for place, folder in enumerate(work.pretrainings)}
        self.ready = ReadyTasks(work.tasks, work.done, coming)
        self.running: dict[str, int] = {}
        self.settled: set[str] = set()
        self.fitting = self.offered = 0.0  # how much of the cells' capacity fits, and how much Tune is given: _measure
        self.refreshed_at = -REFRESH_SECONDS

    # Ray's type of this method leaves out FINISHED, which its documentation has a Searcher return.
    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:  # type: ignore[override]  # see above
        """The config of the next trial, by which run_trial finds its job; as Searcher wants it."""
        self._refresh()
        used = sum(self.work.tasks[i].share for i in self.running.values())
        number = self.ready.claim(self.offered - used)
        early = False
        if number is None and not self.work.shape.on_gpus and used < self.offered:
            # A process that is let go costs ten seconds of a core to start again: on cores it waits for its encoder.
            number, early = self.ready.claim_early(), True
        if number is not None:
            self.running[trial_id] = number
            share = self.work.tasks[number].share if self.work.shape.on_gpus else 0
            return {"job": number, "early": early, "name": self.work.jobs[number].name, "gpus": share}
        return None if self.ready.waiting else Searcher.FINISHED

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """What waits for this job's cells is ready, or is dropped; Tune calls it once a trial is not tried again."""
        number = self.running.pop(trial_id)
        job = self.work.jobs[number]
        returned = bool(result) and not error
        node_lost = not returned and self._ran_on_a_lost_node(number)
        for target in job.targets:
            if is_done(self.files, target.folder):
                self.ready.landed(target.folder)
                continue
            self.ready.lost(target.folder)
            # A job that came back without a result quarantined a damaged encoder, and where the node itself was lost
            # each time the job is not to blame: its cells stay open, for the next pass.
            if not (returned or node_lost or self.files.exists(f"{target.folder}/{FAILED}")):
                text = "the trial's process ended each time: killed, out of memory, or over its time limit"
                record_failure(self.files, target.folder, text, "no traceback: see Ray's logs")

    def _ran_on_a_lost_node(self, number: int) -> bool:
        if self.work.progress is None:
            return False
        node = ray.get(self.work.progress.node_of.remote(number))
        return node is not None and node not in {known["NodeID"] for known in ray.nodes() if known["Alive"]}

    def _refresh(self) -> None:
        """Encoders that have landed, and machines that have come or gone."""
        if time.monotonic() - self.refreshed_at < REFRESH_SECONDS:
            return
        self.refreshed_at = time.monotonic()
        failed = []
        for path in self.files.list(ENCODERS):
            folder, _, name = path.rpartition("/")
            if folder in self.settled:
                continue
            if name == RESULT:
                self.settled.add(folder)
                self.ready.landed(folder)
            elif name == FAILED:
                failed.append(folder)  # a result of the same folder, which is listed after it, counts more
        for folder in failed:
            if folder not in self.settled:
                self.settled.add(folder)
                self.ready.lost(folder)
        self._measure()

    def _measure(self) -> None:
        """Pretraining needs all its workers at once: cells leave room for it until the last encoder is there."""
        machines, shape = resources_at_most(), self.work.shape
        left = sum(folder not in self.settled for folder in self.work.pretrainings)
        self.fitting = capacity(shape, machines, groups_wanted(shape, machines, left))
        # One more than fit: Tune keeps a process for the next trial only where one is waiting. Where room is held back
        # for pretraining, or the user set a limit, it would be one cell too many.
        held_back = left and self.fitting < capacity(shape, machines, 0)
        self.offered = self.fitting if held_back or shape.most_cells else self.fitting + 1

    def save(self, checkpoint_path: str) -> None:
        """Nothing to save: the store is the record of what is done."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing to restore."""


class StartAwareScheduler(FIFOScheduler):
    """Gives a free process to the first trial for which none is being started.

    Tune's own order gives it to the first trial of all, and ends the process that this one was waiting for: seconds in
    the making, begun anew for the next trial, and so on for as long as trials are shorter than a start.
    """

    def __init__(self, searcher: ReadyJobs):
        super().__init__()
        self.searcher = searcher
        # By id, in the order in which they came; of Tune's own list most may have ended.
        self.live: dict[str, Trial] = {}

    def on_trial_add(self, tune_controller: "TuneController", trial: Trial) -> None:
        """A trial that may be chosen from now on: a new one, or one that failed, which comes last as in Tune."""
        self.live.pop(trial.trial_id, None)  # else it would count twice for as long as it runs
        self.live[trial.trial_id] = trial

    def choose_trial_to_run(self, tune_controller: "TuneController") -> Trial | None:
        """The trial for the process that is free. Takes as long as there are trials that have not ended."""
        self.live = {name: trial for name, trial in self.live.items() if not trial.is_finished()}
        trials = self.live.values()
        free = self.searcher.fitting - sum(_share(trial) for trial in trials if trial.status == Trial.RUNNING)
        for trial in trials:
            if trial.status == Trial.PENDING:
                free -= _share(trial)
                if free < _share(trial):  # with the one that is free there would be a process more than fits
                    return trial
        return None


def _share(trial: Trial) -> float:
    """What a trial takes of `capacity`: parts of a GPU, and on cores one cell."""
    return float(trial.config.get("gpus") or 1.0)


# Tune pickles these and the trainable again for every trial: they must hold no job, or n trials cost n^2.


def _bundle(cpus: float, config: dict[str, Any]) -> tune.PlacementGroupFactory:
    gpus = config.get("gpus")  # there once the Searcher has chosen a job; Tune also asks before
    return tune.PlacementGroupFactory([{"CPU": cpus, **({"GPU": gpus} if gpus else {})}])


def _name(trial: Trial) -> str:
    return str(trial.config["name"])


def _folder(trial: Trial) -> str:
    return str(trial.trial_id)


def run_tune_search(work: CellWork) -> None:
    """Run the jobs as trials to the end. Tune's state is gone afterwards."""
    os.environ["TUNE_DISABLE_AUTO_CALLBACK_LOGGERS"] = "1"
    os.environ["RAY_AIR_NEW_OUTPUT"] = "0"  # the display is ours
    keep_keys_out_of_trials()
    trainable = tune.with_resources(
        tune.with_parameters(
            run_trial,
            jobs=in_parts(work.jobs),
            storage=work.storage,
            resources=work.resources,
            progress_actor=work.progress,
        ),
        partial(_bundle, work.shape.cell_cpus),
    )
    searcher = ReadyJobs(work)
    with ray_state(work.storage, work.state) as folder:
        _tuner(work, searcher, trainable, folder).fit()


def _tuner(work: CellWork, searcher: ReadyJobs, trainable: Any, folder: str) -> tune.Tuner:
    """folder: where Tune keeps its state."""
    return tune.Tuner(
        trainable,
        tune_config=tune.TuneConfig(
            search_alg=searcher,
            scheduler=StartAwareScheduler(searcher),
            num_samples=-1,
            max_concurrent_trials=MOST_TRIALS,
            reuse_actors=True,
            trial_name_creator=_name,
            trial_dirname_creator=_folder,
        ),
        run_config=tune.RunConfig(
            name=work.state,
            storage_path=folder,
            verbose=0,
            failure_config=tune.FailureConfig(max_failures=work.resources.max_failures - 1),  # after the first
            checkpoint_config=tune.CheckpointConfig(num_to_keep=1),
        ),
    )
