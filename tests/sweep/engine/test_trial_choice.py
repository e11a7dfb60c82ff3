"""Which trial does a process get that is free, and what counts as at work, also after a trial has failed?"""

from dataclasses import dataclass, field
from types import SimpleNamespace

import pytest
from ray.tune.experiment import Trial

from sweep.engine.tune_search import StartAwareScheduler


@dataclass
class FakeTrial:
    """What the scheduler sees of one of Tune's."""

    trial_id: str
    status: str = Trial.PENDING
    config: dict = field(default_factory=dict)

    def is_finished(self) -> bool:
        return self.status in (Trial.TERMINATED, Trial.ERROR)


@pytest.fixture
def chooser():
    """A scheduler of two cells at once with the trials a, b, c, d that Tune has added."""
    made = StartAwareScheduler(SimpleNamespace(fitting=2.0))
    trials = {name: FakeTrial(name) for name in "abcd"}
    for trial in trials.values():
        made.on_trial_add(None, trial)
    return made, trials


def test_the_first_trial_without_a_process_in_the_making_is_chosen(chooser):
    scheduler, trials = chooser
    assert scheduler.choose_trial_to_run(None) is trials["b"]
    trials["a"].status = Trial.RUNNING
    assert scheduler.choose_trial_to_run(None) is trials["b"]
    trials["a"].status = Trial.TERMINATED
    assert scheduler.choose_trial_to_run(None) is trials["c"] and list(scheduler.live) == ["b", "c", "d"]


def test_a_trial_that_failed_and_runs_again_counts_once(chooser):
    """Tune adds it anew, without a choice between its failure and that."""
    scheduler, trials = chooser
    trials["a"].status = Trial.RUNNING
    scheduler.choose_trial_to_run(None)
    trials["a"].status = Trial.ERROR
    trials["a"].status = Trial.PENDING
    scheduler.on_trial_add(None, trials["a"])
    assert list(scheduler.live) == ["b", "c", "d", "a"], "what failed waits behind the others"
    trials["a"].status = Trial.RUNNING
    scheduler.searcher.fitting = 3.0
    assert scheduler.choose_trial_to_run(None) is trials["c"], "of three one is at work, and b is being started"
