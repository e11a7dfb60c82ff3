"""Does an encoder without corpus that ends its process leave the others of that process to be made?"""

import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import ray

from datasets_io.storage.artefacts import FAILED, is_done
from sweep.engine import execution
from sweep.engine.execution import Execution
from sweep.store.store import Store
from sweep.studies import demo
from sweep.studies.plan import Pending, make_plan
from trainables.pretraining.encoder_job import EncoderJob
from trainables.recipe import RandomInit, Resources


class EndsItsProcess(RandomInit):
    """Any but the driver's, in which its key is computed."""

    driver = os.getpid()

    def __getattribute__(self, name: str) -> Any:
        if name == "backbone" and os.getpid() != type(self).driver:
            os._exit(1)
        return super().__getattribute__(name)


class Counted(Execution):
    """With the names of the encoders of each process that was started."""

    processes: tuple[list[str], ...] = ()

    def _start_initial(self, jobs: tuple[EncoderJob, ...]) -> None:
        self.processes += ([job.name for job in jobs],)
        super()._start_initial(jobs)


@pytest.mark.parametrize("cores", [1, 16])
def test_of_encoders_that_share_a_process_the_one_that_ends_it_fails_alone(
    local_ray: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cores: int
) -> None:
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers do not find the tests' modules
    monkeypatch.setattr(execution, "cores", lambda: cores)
    plan = make_plan(demo(), {spec.source: "x" for spec in demo().builds()}, {"method": ("random",)})
    first, second, *others = plan.encoders[:4]
    fatal, whole = replace(second, recipe=EndsItsProcess(second.recipe.backbone)), [first, *others]
    store = Store(str(tmp_path))
    told: set[tuple[str, str]] = set()
    work = Counted(Pending((first, fatal, *others), (), (), (), ()), (), set(), store, {}, {}, Resources())
    work.run(lambda progress: told.update((event.key, event.status) for event in progress.encoders))
    assert all(is_done(store.files, store.folder(run)) for run in whole)
    assert store.files.exists(f"{store.folder(fatal)}/{FAILED}")
    assert told == {*((run.key, "done") for run in whole), (fatal.key, "failed")}
    each = [[str(run)] for run in (first, fatal, *others)]
    if cores == 1:  # together, and then each of those that were left by itself
        assert list(work.processes) == [[str(run) for run in (first, fatal, *others)], *each[1:]]
    else:
        assert list(work.processes) == each
