"""Does an encoder without corpus that ends its process leave the others of that process to be made?"""

import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import ray

from datasets_io.storage.artefacts import is_done
from sweep.engine import execution
from sweep.engine.execution import Execution, initial_processes
from sweep.engine.jobs import encoder_job
from sweep.store.store import Store
from sweep.studies import demo
from sweep.studies.plan import Pending, make_plan
from trainables.pretraining.encoder_job import EncoderJob
from trainables.recipe import ImageNetInit, RandomInit, Resources


class EndsItsProcess(RandomInit):
    """Any but the driver's, in which its key is computed."""

    driver = os.getpid()

    def __getattribute__(self, name: str) -> Any:
        if name == "backbone" and os.getpid() != type(self).driver:
            os._exit(1)
        return super().__getattribute__(name)


class Raises(EndsItsProcess):
    """In any process but the driver's."""

    def __getattribute__(self, name: str) -> Any:
        if name == "backbone" and os.getpid() != type(self).driver:
            raise ValueError("no such weights")
        return RandomInit.__getattribute__(self, name)


class Counted(Execution):
    """With the names of the encoders of each process that was started."""

    processes: tuple[list[str], ...] = ()

    def _start_initial(self, jobs: tuple[EncoderJob, ...]) -> None:
        self.processes += ([job.name for job in jobs],)
        super()._start_initial(jobs)


@pytest.mark.parametrize("cores", [1, 20])
def test_of_encoders_that_share_a_process_the_one_that_ends_it_fails_alone(
    local_ray: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cores: int
) -> None:
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers do not find the tests' modules
    monkeypatch.setattr(execution, "cores", lambda: cores)
    plan = make_plan(demo(), {spec.source: "x" for spec in demo().builds()}, {"method": ("random",)})
    first, second, third, *others = plan.encoders[:5]
    failing = replace(second, recipe=Raises(second.recipe.backbone))
    fatal, whole = replace(third, recipe=EndsItsProcess(third.recipe.backbone)), [first, *others]
    runs = (first, failing, fatal, *others)
    store = Store(str(tmp_path))
    told: list[tuple[str, str]] = []
    work = Counted(Pending(runs, (), (), (), ()), (), set(), store, {}, {}, Resources())
    work.run(lambda progress: told.extend((event.key, event.status) for event in progress.encoders))
    assert all(is_done(store.files, store.folder(run)) for run in whole)
    failures = [store.failure(run) for run in (failing, fatal)]
    assert [failure and failure["error"].split(":")[0] for failure in failures] == ["ValueError", "WorkerCrashedError"]
    # Each once, also what was said by a process that has ended before its word was out.
    assert sorted(told) == sorted(
        [*((run.key, "done") for run in whole), *((run.key, "failed") for run in (failing, fatal))]
    )
    each = [[str(run)] for run in runs]
    if cores == 1:  # together, and then each of those that were left by itself
        assert list(work.processes) == [[str(run) for run in runs], *each[2:]]
    else:
        assert list(work.processes) == each


def test_what_is_fetched_does_not_wait_for_what_is_fetched_before_it() -> None:
    """A download may stand still, and what needs none is not to wait for it."""
    plan = make_plan(demo(), {spec.source: "x" for spec in demo().builds()}, {"method": ("random", "imagenet")})
    made = [encoder_job(run, {}) for run in plan.encoders]
    fetched = [replace(made[0], name=f"fetched{i}", recipe=ImageNetInit(made[0].recipe.backbone)) for i in range(5)]
    names = [[job.name for job in jobs] for jobs in initial_processes([*fetched, *made], 1)]
    assert names == [[job.name for job in made], ["fetched0", "fetched4"], ["fetched1"], ["fetched2"], ["fetched3"]]
    assert initial_processes((), 3) == []
