"""What do Optuna and ASHA know after a stop: both are set up again from the trials in the storage. [ray]

Neither writes a state of its own to the storage: the trials are the one record, and the search continues from them.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import optuna
from ray.tune import Callback
from ray.tune.schedulers import ASHAScheduler
from ray.tune.search.optuna import OptunaSearch

from datasets_io.fingerprint import derive_seed
from datasets_io.interrupts import INTERRUPTS
from sweep.studies.tunable import space_of, values_of
from sweep.tune.rungs import REDUCTION
from sweep.tune.trial import COMPLETE, METRIC, TIME, Search
from sweep.tune.trial_store import Trial, TrialState, TrialStore

SEED = 0


def make_searcher(search: Search, trial_store: TrialStore) -> OptunaSearch:
    """Optuna's TPE (Bergstra et al., 2011) with the results of every trial that ended.

    First it proposes the trials that a stop cut off, then the study's own values, where they were not tried. The Optuna
    study lives in this process alone and is made anew from the storage: no database that two drivers, or a shared file
    system, could damage.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    objective = search.recipe.objective
    space: dict[str, optuna.distributions.BaseDistribution] = {
        name: optuna.distributions.FloatDistribution(r.low, r.high, log=r.log)
        for name, r in space_of(objective).items()
    }
    first = [trial.values for trial in trial_store.in_order() if trial.state == TrialState.BEGUN]
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
class EarlierTrial:
    """A trial of an earlier command. Its id is all that ASHA reads of a trial."""

    trial_id: str


def make_scheduler(search: Search, trial_store: TrialStore) -> ASHAScheduler:
    """ASHA whose rungs hold the AUROCs that earlier trials had there, so that new ones are compared with them."""
    scheduler = ASHAScheduler(
        time_attr=TIME,
        metric=METRIC,
        mode="max",
        max_t=search.recipe.num_epochs,
        grace_period=search.rungs[0] if search.rungs else 1,
        reduction_factor=REDUCTION,
    )
    # Ray has no way to give a scheduler earlier results but to report them as Tune's loop would. ASHA uses nothing of
    # that loop, so there is none here; what it answers, to stop or to go on, was decided when the trial ran.
    for trial in trial_store.ended():
        earlier = EarlierTrial(f"earlier-{trial.id}")
        scheduler.on_trial_add(None, earlier)  # type: ignore[arg-type]  # no loop and no trial of Tune's: see above
        for epoch, auroc in trial.rungs:
            scheduler.on_trial_result(None, earlier, {TIME: epoch, METRIC: auroc})  # type: ignore[arg-type]  # as above
    return scheduler


class TrialRecorder(Callback):
    """Records in the storage what happens to the trials, in the driver, and prints how each ended."""

    def __init__(self, search: Search, trial_store: TrialStore, trials: int, say: Callable[[str], None]) -> None:
        """trials: how many are wanted in all; say: prints a line."""
        self.search, self.trial_store, self.trials, self.say = search, trial_store, trials, say

    def __getstate__(self) -> dict[str, Any]:
        # Tune pickles its callbacks for a restore of its own. The storage makes that needless, and a store and a
        # display cannot be pickled.
        return {}

    def on_step_begin(self, iteration: int, trials: Sequence[Any], **info: Any) -> None:
        """Called several times a second: raises KeyboardInterrupt where the command was interrupted."""
        INTERRUPTS.raise_if_received()

    def on_trial_start(self, iteration: int, trials: Sequence[Any], trial: Any, **info: Any) -> None:
        """Record the trial before it computes anything."""
        self.trial_store.begin(trial.config, self.search.job(trial.config).folder)

    def on_trial_result(
        self, iteration: int, trials: Sequence[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        """Record the AUROC of a rung, or of the published encoder."""
        if result[COMPLETE]:
            self.trial_store.end(trial.config, TrialState.DONE, value=result[METRIC])
        else:
            self.trial_store.rung(trial.config, result[TIME], result[METRIC])

    def on_trial_complete(self, iteration: int, trials: Sequence[Any], trial: Any, **info: Any) -> None:
        """Record a trial that ASHA ended; one that came to its end was recorded with its last result."""
        known = self.trial_store.recorded(trial.config)
        if known.state != TrialState.DONE:
            known = self.trial_store.end(trial.config, TrialState.PRUNED)
            # Its checkpoint: it is not gone on with. Where it lies its file says too, which may name any other folder.
            self.trial_store.store.files.remove(self.search.job(trial.config).folder)
        self._print(known)

    def on_trial_error(self, iteration: int, trials: Sequence[Any], trial: Any, **info: Any) -> None:
        """Record a trial that failed, with the first line of the error that it left in the storage."""
        failure = self.trial_store.store.failure_of(self.search.job(trial.config).folder)
        error = failure["error"].split("\n")[0] if failure else "its process died each time"
        self._print(self.trial_store.end(trial.config, TrialState.FAILED, error=error))

    def _print(self, trial: Trial) -> None:
        values = ", ".join(f"{name} = {value:.4g}" for name, value in sorted(trial.values.items()))
        self.say(f"trial {len(self.trial_store.ended())} of {self.trials}: {values}: {_ending(trial)}")


def _ending(trial: Trial) -> str:
    """How a trial that is done, pruned or failed ended."""
    if trial.state == TrialState.DONE:
        return f"AUROC {trial.final:.4f}"
    if trial.state == TrialState.FAILED:
        return f"failed: {trial.error}"
    if not trial.rungs:
        return ""
    epoch, auroc = trial.rungs[-1]
    return f"ended early at epoch {epoch} with AUROC {auroc:.4f}"
