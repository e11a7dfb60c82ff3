"""Are the actors what their handles promise, and do their processes have the titles that faults are aimed by?"""

import inspect
import os
import time

import pytest
import ray

from sweep.engine.progress_actor import ProgressActor, ProgressHandle, start_progress_actor
from sweep.run.chaos import processes, worker_titles
from trainables.events import Outcome
from trainables.pretraining.run_queue import RunQueue, RunQueueHandle, start_run_queue


def methods(kind: type) -> set[str]:
    """Names of a class's public methods and properties, inherited ones included."""
    return {name for name, _ in inspect.getmembers(kind) if not name.startswith("_")}


@pytest.mark.parametrize(("actor", "handle"), [(ProgressActor, ProgressHandle), (RunQueue, RunQueueHandle)])
def test_a_handle_promises_the_methods_of_its_actor_and_no_others(actor, handle):
    assert methods(handle) == methods(actor)


@ray.remote(num_cpus=0)
def title_of_this_process() -> str:
    with open("/proc/self/cmdline", "rb") as file:
        return file.read().replace(b"\0", b" ").decode()


def test_actors_answer_and_their_processes_are_found_by_their_titles(local_ray):
    queue, progress = start_run_queue(2, ("encoders/imagenet",), {}), start_progress_actor({})
    assert ray.get([queue.claim.remote("a", True), queue.left.remote()]) == [0, 2]
    progress.cell.remote(Outcome("k", "done", 0.5))
    assert ray.get(progress.drain.remote()).cells == [Outcome("k", "done", 0.5)]
    wanted, deadline = {"ray::RunQueue", "ray::ProgressActor"}, time.monotonic() + 30
    while True:
        commands = [process.command for process in processes("none").values()]
        found = {title for title in worker_titles() if any(command.startswith(title) for command in commands)}
        if wanted <= found or time.monotonic() > deadline:
            break
        time.sleep(0.2)
    assert wanted <= found


@pytest.mark.parametrize("name", ["initial-random-p0", "pretrain-1a2b3c", "run_tune_search"])
def test_a_task_has_its_name_in_the_title_of_its_process(local_ray, name):
    title = ray.get(title_of_this_process.options(name=name).remote())
    assert title.startswith(worker_titles()) and name in title and str(os.getpid()) not in title
