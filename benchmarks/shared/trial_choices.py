"""What does the driver of a search spend on choosing what runs next, with the sweep's own searcher and scheduler?"""

import tempfile
import time
from collections import deque
from dataclasses import dataclass
from unittest.mock import patch

from ray.tune.experiment import Trial

from sweep.engine import tune_search
from sweep.engine.cell_work import CellWork
from sweep.engine.schedule import ClusterResources, ScheduledJob, shape_of
from sweep.engine.tune_search import ReadyJobs, StartAwareScheduler
from sweep.studies import paper
from trainables.evaluation.cell_job import DownstreamJob, SeedTarget
from trainables.protocols.base import Protocol
from trainables.protocols.registry import PROTOCOLS
from trainables.recipe import Resources

CORES = 8.0


@dataclass
class ListedTrial:
    """As much of Tune's Trial as a choice looks at."""

    trial_id: str
    config: dict
    status: str = Trial.PENDING

    def is_finished(self) -> bool:
        return self.status == Trial.TERMINATED


@dataclass
class Controller:
    """As much of Tune's controller: all trials that ever were."""

    trials: list[ListedTrial]

    def get_trials(self) -> list[ListedTrial]:
        return self.trials


def work_of(protocol: Protocol, num_jobs: int, storage: str) -> CellWork:
    """Jobs that wait for one pretraining, half of them also for another job's result."""
    study, jobs, tasks = paper(), [], []
    recipe, backbone = study.datasets[0].recipe, study.rows[0].recipe.backbone
    for number in range(num_jobs):
        name = f"cells/cell-{number}"
        start = f"cells/cell-{number - 1}" if number % 2 else None
        needs = ("encoders/e",) if start is None else ("encoders/e", start)
        target = SeedTarget(name, name, 0, name, start)
        jobs.append(DownstreamJob(protocol, 100, recipe, backbone, "encoders/e", "data/d", (target,)))
        tasks.append(ScheduledJob(needs, (name,), 1.0, 1.0))
    shape = shape_of(Resources(), ClusterResources(0.0, CORES), 0)
    return CellWork(tuple(jobs), tuple(tasks), {"encoders/e"}, storage, Resources(), shape, (), None, "cells")


def seconds_of_choices(num_trials: int) -> tuple[float, int]:
    """Processor seconds from the first offer to the last, trials that end in order; and how many there were.

    The storage is asked for each result, as in a sweep, and has none: half of the jobs are dropped with their starts.
    """
    with (
        tempfile.TemporaryDirectory() as storage,
        patch.object(tune_search, "resources_at_most", lambda: ClusterResources(0.0, CORES)),
    ):
        searcher = ReadyJobs(work_of(PROTOCOLS["LP"], 2 * num_trials, storage))
        scheduler, controller, running = StartAwareScheduler(searcher), Controller([]), deque[ListedTrial]()
        started = time.process_time()
        while True:
            offered = searcher.suggest(f"trial{len(controller.trials)}")
            if isinstance(offered, dict):
                trial = ListedTrial(f"trial{len(controller.trials)}", offered)
                controller.trials.append(trial)
                scheduler.on_trial_add(controller, trial)
            while (chosen := scheduler.choose_trial_to_run(controller)) is not None:
                chosen.status = Trial.RUNNING
                running.append(chosen)
            if not isinstance(offered, dict):
                if not running:
                    return time.process_time() - started, len(controller.trials)
                ended = running.popleft()
                ended.status = Trial.TERMINATED
                searcher.on_trial_complete(ended.trial_id, {"job": 0})
