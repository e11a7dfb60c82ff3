"""Jobs that hang, die or come back empty: what is ended, what is recorded, and what else goes on."""

import os
import signal
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import nullcontext
from pathlib import Path

import pytest
import ray
from small_storage import Small, small

import sweep.engine.tune_search
from datasets_io.storage.artefacts import publish, record_failure
from datasets_io.storage.files import Files
from sweep.cli.exit_codes import ClusterLost
from sweep.engine.cell_work import CellWork
from sweep.engine.cluster import ATTEMPTS_TO_START, TIMED_OUT, start_ray
from sweep.engine.execution import LEAST_LIMIT_SECONDS, silence_limit, time_limit
from sweep.engine.progress_actor import ProgressActor
from sweep.engine.schedule import ClusterResources, ScheduledJob, shape_of
from sweep.engine.tune_search import ReadyJobs
from trainables.evaluation.cell_trial import landed
from trainables.pretraining.run_queue import RunQueue
from trainables.process import ALIVE_SECONDS, WorkerProcess, birth_of, end_process
from trainables.recipe import Resources


def test_a_job_that_was_given_up_is_named_no_longer_unless_it_has_begun_again():
    actor = ProgressActor()
    processes = [WorkerProcess("node", 100 + job, "7") for job in (0, 1, 2)]
    for job, process in enumerate(processes):
        actor.started(job, process)
    actor.ended(2)
    running = actor.running()
    assert [(each.job, each.process) for each in running] == [(0, processes[0]), (1, processes[1])]
    assert all(0 <= each.seconds < 60 for each in running)
    actor.started(1, processes[2])
    actor.given_up(running)
    assert [(each.job, each.process) for each in actor.running()] == [(1, processes[2])]
    assert actor.node_of(1) == "node" and actor.node_of(0) is None and actor.node_of(2) is None


def test_a_process_that_says_nothing_is_named_once_and_one_that_speaks_is_not():
    actor = ProgressActor()
    stopped, speaks = WorkerProcess("node", 1, "7"), WorkerProcess("node", 2, "7")
    actor.alive([stopped])
    time.sleep(0.2)
    actor.alive([speaks])
    assert actor.silent(0.1) == [stopped]
    assert actor.silent(0.1) == [] and actor.silent(-1.0) == [speaks]


def test_a_stopped_process_is_ended_from_outside_and_a_gone_one_is_no_error():
    process = subprocess.Popen(["sleep", "1000"])
    os.kill(process.pid, signal.SIGSTOP)
    birth = birth_of(process.pid)
    end_process(WorkerProcess("node", process.pid, "0"))
    assert process.poll() is None, "a later process with the same number is left alone"
    end_process(WorkerProcess("node", process.pid, birth))
    assert process.wait(timeout=30) == -signal.SIGKILL
    end_process(WorkerProcess("node", process.pid, birth))


def test_ray_that_does_not_start_in_time_is_asked_again_and_at_last_named(monkeypatch):
    asked = []

    def busy(**options) -> None:
        asked.append(options)
        if len(asked) != succeeds_at:
            raise Exception(f"The current node {TIMED_OUT}. This could happen because ...")

    monkeypatch.setattr(ray, "init", busy)
    for succeeds_at, attempts in ((2, 2), (0, ATTEMPTS_TO_START)):
        asked.clear()
        with pytest.raises(ClusterLost, match="did not start") if succeeds_at == 0 else nullcontext():
            start_ray()
        assert len(asked) == attempts


def test_ray_whose_dashboard_does_not_start_in_time_is_asked_again_and_at_last_named(monkeypatch):
    """Also where a clock is set while Ray starts: it waits for its dashboard by the clock on the wall."""
    asked = []

    def busy(**options) -> None:
        asked.append(options)
        log = "/tmp/ray/session_1/logs/dashboard.log"
        raise Exception(f"\nThe last 20 lines of {log} (it contains the error message from the dashboard): \nINFO x")

    monkeypatch.setattr(ray, "init", busy)
    with pytest.raises(
        ClusterLost, match=r"did not start in 3 attempts.*\(its dashboard did not answer; see /tmp/ray/"
    ):
        start_ray()
    assert len(asked) == ATTEMPTS_TO_START


def test_the_words_of_ray_that_are_asked_for_are_its_own():
    services = (Path(ray.__file__).parent / "_private" / "services.py").read_text(encoding="utf-8")
    assert "lines of {dashboard_log} " in services and "(it contains the error message from the dashboard)" in services


def test_the_limit_comes_from_the_forecast_or_from_the_user():
    small_task, large_task = (ScheduledJob((), (), 1.0, work) for work in (0.0, 1e16))
    assert time_limit(small_task, Resources(), True) == LEAST_LIMIT_SECONDS
    # 1e16 FLOP at a V100's 3e13 a second are 333 s; 20 times that, and the least.
    assert time_limit(large_task, Resources(), True) == pytest.approx(LEAST_LIMIT_SECONDS + 20 * 1e16 / 3e13)
    assert time_limit(large_task, Resources(cell_time_limit_seconds=5), True) == 5


def test_a_short_time_limit_of_the_user_does_not_end_processes_between_two_of_their_words():
    assert silence_limit(Resources(cell_time_limit_seconds=1)) >= 10 * ALIVE_SECONDS
    assert silence_limit(Resources(cell_time_limit_seconds=100)) == 100
    assert silence_limit(Resources()) == LEAST_LIMIT_SECONDS


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Small:
    found = small(tmp_path_factory.mktemp("small"))
    found.make_encoders()
    return found


@pytest.fixture
def ready(made, monkeypatch) -> ReadyJobs:
    """All jobs of the small study, on a machine of eight cores."""
    machines = ClusterResources(0, 8)
    monkeypatch.setattr(sweep.engine.tune_search, "resources_at_most", lambda: machines)
    tasks = tuple(
        ScheduledJob(
            (job.encoder_folder, *(t.starts_from_folder for t in job.targets if t.starts_from_folder)),
            tuple(t.folder for t in job.targets),
            1.0,
            1.0,
        )
        for job in made.jobs
    )
    for folder in ("cells", "quarantine"):
        made.files.remove(folder)
    shape = shape_of(Resources(), machines, 0)
    return ReadyJobs(CellWork(made.jobs, tasks, set(), made.store.uri, Resources(), shape, (), None, "cells"))


def offered(ready: ReadyJobs) -> dict[str, str]:
    """Trial -> name of the job, of everything that is offered now."""
    found = {}
    while isinstance(config := ready.suggest(f"trial{len(ready.running)}"), dict):
        found[f"trial{len(ready.running) - 1}"] = ready.work.jobs[config["job"]].name
    return found


def test_a_probe_whose_process_dies_blocks_its_followers_and_nothing_else(made, ready):
    trials = offered(ready)
    assert len(trials) == 8 and not any("LPFT" in name for name in trials.values()), trials
    (dead,) = (trial for trial, name in trials.items() if name.startswith("random") and "-LP100-" in name)
    probe = ready.work.jobs[ready.running[dead]]
    ready.on_trial_complete(dead, error=True)
    (failed,) = (cell for cell in made.plan.cells if made.store.folder(cell) == probe.targets[0].folder)
    assert "ended each time" in made.store.failure(failed)["error"]
    for trial in [trial for trial in trials if trial != dead]:
        made.run(ready.work.jobs[ready.running[trial]])
        ready.on_trial_complete(trial, {"job": 1})
    later = offered(ready)
    assert [name.split("-")[0] for name in later.values()] == ["imagenet"], "the other encoder's LPFT, and no more"
    made.files.remove(made.store.folder(failed))


def test_a_job_that_comes_back_without_a_result_stays_open(made, ready):
    trials = offered(ready)
    trial, name = next((t, n) for t, n in trials.items() if "-FT1-" in n)
    job = ready.work.jobs[ready.running[trial]]
    ready.on_trial_complete(trial, {"job": 0})
    assert not made.files.exists(f"{job.targets[0].folder}/failed.json"), name


def test_a_failed_encoder_ends_the_wait_for_it(made, ready):
    (encoder,) = {job.encoder_folder for job in made.jobs if "/random-" in job.encoder_folder}
    result = made.files.read(f"{encoder}/result.json")
    made.files.remove(f"{encoder}/result.json")
    record_failure(made.files, encoder, "no", "traceback")
    try:
        trials = offered(ready)
        assert trials and all(name.startswith("imagenet") for name in trials.values())
        assert ready.ready.waiting == 1, "the LPFT of the encoder that is there"
    finally:
        made.files.remove(f"{encoder}/failed.json")
        made.files.write_once(f"{encoder}/result.json", result)


def test_a_job_handed_out_early_waits_until_its_encoder_lands_or_fails(tmp_path):
    files = Files(str(tmp_path))
    for name, end in (
        ("lands", lambda: publish(files, "encoders/lands", {}, {"key": "k"})),
        ("fails", lambda: record_failure(files, "encoders/fails", "no", "traceback")),
    ):
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(landed, files, f"encoders/{name}")
            assert not wait([waiting], timeout=0.2).done
            end()
            assert waiting.result(timeout=10) == (name == "lands")


def test_encoder_runs_are_taken_once_and_again_by_a_group_that_starts_anew():
    queue = RunQueue(3, ("encoders/imagenet",))
    assert [queue.claim("a", True), queue.claim("b", True)] == [0, 1]
    assert queue.claim("a", True) == 0, "the group was started again"
    assert queue.release("b", again=True) is None and queue.claim("c", True) == 1
    assert [queue.claim("a", False), queue.claim("a", False)] == [2, -1]
    assert queue.left() == 1 and queue.release("c", again=False) == 1 and queue.left() == 0
    assert queue.expects("encoders/imagenet")
    queue.settled("encoders/imagenet")
    assert not queue.expects("encoders/imagenet")
