"""How does a search go on: Optuna and ASHA as they stood, from the trials in the storage. [ray]"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import optuna
from ray.tune import Callback
from ray.tune.schedulers import ASHAScheduler
from ray.tune.search.optuna import OptunaSearch

from datasets_io.fingerprint import derive_seed
from datasets_io.storage.artefacts import FAILED
from sweep.cli.signals import INTERRUPTS
from sweep.studies.tunable import space_of, values_of
from sweep.tune.trial import METRIC, TIME, Search
from sweep.tune.trial_store import BEGUN, DONE, PRUNED, Trial, TrialStore
from sweep.tune.trial_store import FAILED as TRIAL_FAILED

SEED = 0


def make_searcher(search: Search, trial_store: TrialStore) -> OptunaSearch:
    """Optuna's TPE, told of every trial that ended. First come those that a stop cut off, and the study's values.

    The Optuna study lives in this process alone and is made anew from the storage: no database that two
    drivers, or a shared file system, could spoil.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    objective = search.run.recipe.objective
    space = {
        name: optuna.distributions.FloatDistribution(r.low, r.high, log=r.log)
        for name, r in space_of(objective).items()
    }
    first = [trial.values for trial in trial_store.in_order() if trial.state == BEGUN]
    before = values_of(objective)
    if trial_store.of(before) is None and all(r.holds(before[name]) for name, r in space_of(objective).items()):
        first.append(before)
    # A sampler that began with the same seed again would propose the first trials' values again.
    sampler = optuna.samplers.TPESampler(seed=derive_seed(SEED, "tune", len(trial_store.trials)) % 2**32)
    searcher = OptunaSearch(space, metric=METRIC, mode="max", points_to_evaluate=first or None, sampler=sampler)
    for trial in trial_store.ended():
        if trial.last is not None:
            searcher.add_evaluated_point(trial.values, trial.last)
    return searcher


@dataclass(frozen=True)
class Earlier:
    """A trial of an earlier command, as far as a scheduler looks at it."""

    trial_id: str


def make_scheduler(search: Search, trial_store: TrialStore) -> ASHAScheduler:
    """ASHA whose rungs hold what earlier trials reached there."""
    scheduler = ASHAScheduler(
        time_attr=TIME,
        metric=METRIC,
        mode="max",
        max_t=search.run.recipe.num_epochs,
        grace_period=search.rungs[0] if search.rungs else 1,
        reduction_factor=3,
    )
    for trial in trial_store.ended():
        earlier = Earlier(f"earlier-{trial.id}")
        scheduler.on_trial_add(None, earlier)
        for epoch, auroc in trial.rungs:
            scheduler.on_trial_result(None, earlier, {TIME: epoch, METRIC: auroc})
    return scheduler


class TrialRecorder(Callback):
    """Writes down what happens, in the driver: trials only train."""

    def __init__(self, search: Search, trial_store: TrialStore, trials: int, say: Callable[[str], None]):
        self.search, self.trial_store, self.trials, self.say = search, trial_store, trials, say

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Tune pickles its experiment, for a restore that the storage makes needless

    def on_step_begin(self, iteration: int, trials: Sequence[Any], **info: Any) -> None:
        INTERRUPTS.raise_if_received()

    def on_trial_start(self, iteration: int, trials: Sequence[Any], trial: Any, **info: Any) -> None:
        self.trial_store.begin(trial.config, self.search.job(trial.config).folder)

    def on_trial_result(
        self, iteration: int, trials: Sequence[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        if result["whole"]:
            self.trial_store.end(trial.config, DONE, value=result[METRIC])
        else:
            self.trial_store.rung(trial.config, result[TIME], result[METRIC])

    def on_trial_complete(self, iteration: int, trials: Sequence[Any], trial: Any, **info: Any) -> None:
        known = self.trial_store.of(trial.config)
        if known.state != DONE:
            known = self.trial_store.end(trial.config, PRUNED)
            self.trial_store.store.files.remove(known.folder)  # its checkpoint: it is not gone on with
        self._tell(known)

    def on_trial_error(self, iteration: int, trials: Sequence[Any], trial: Any, **info: Any) -> None:
        files, folder = self.trial_store.store.files, self.trial_store.of(trial.config).folder
        error = "its process died each time"
        if files.exists(f"{folder}/{FAILED}"):
            error = json.loads(files.read(f"{folder}/{FAILED}"))["error"].split("\n")[0]
        self._tell(self.trial_store.end(trial.config, TRIAL_FAILED, error=error))

    def _tell(self, trial: Trial) -> None:
        values = ", ".join(f"{name} = {value:.4g}" for name, value in sorted(trial.values.items()))
        how = {
            DONE: f"AUROC {trial.last or 0:.4f}",
            PRUNED: f"ended early at epoch {trial.rungs[-1][0]} with AUROC {trial.last:.4f}" if trial.rungs else "",
            TRIAL_FAILED: f"failed: {trial.error}",
        }[trial.state]
        self.say(f"trial {len(self.trial_store.ended())} of {self.trials}: {values}: {how}")
