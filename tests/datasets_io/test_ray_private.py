"""Does the installed Ray still have what it does not promise to keep? Each test says what breaks where it does not."""

import ast
import os
from pathlib import Path

import pytest

from datasets_io.ray_private import (
    PROCESS_TITLE,
    agent_titles,
    autoscaler_limits,
    keep_keys_out_of_trials,
    launcher_config,
    token_that_ray_reads,
    train_titles,
    trial_title,
)

ROOT = Path(__file__).resolve().parents[2]
HOME = ROOT / "datasets_io" / "ray_private.py"
CONFIG = {
    "cluster_name": "small",
    "provider": {"type": "local", "head_ip": "192.0.2.1", "worker_ips": []},
    "auth": {"ssh_user": "user"},
}


def test_a_cluster_that_can_grow_is_offered_work_for_what_it_could_become(local_ray):
    """Without autoscaler_limits a cluster of no GPU yet is planned for as one without GPUs, and never grows."""
    assert dict(autoscaler_limits()) == {}, "a Ray on one machine has no autoscaler"


def test_the_doctor_reads_a_cluster_file_as_ray_up_does():
    """Without launcher_config sweep.doctor cannot say whether `ray up` takes a file, short of starting machines."""
    assert launcher_config(CONFIG)["cluster_name"] == "small"
    with pytest.raises(Exception, match="max_wrokers"):
        launcher_config({**CONFIG, "max_wrokers": 3})


def test_faults_reach_the_processes_of_ray_train_and_ray_tune():
    """Without trial_title and train_titles sweep.run --chaos kills no trial and no pretraining, and proves less."""
    assert trial_title() == "ray::ImplicitFunc"
    assert train_titles() == ("ray::RayTrainWorker", "ray::TrainController")


def test_keys_of_aws_are_in_no_trials_runtime_environment(monkeypatch):
    """Without keep_keys_out_of_trials a user's AWS_SECRET_ACCESS_KEY stands in Ray's logs of every sweep."""
    from ray.tune.execution.class_cache import DEFAULT_ENV_VARS, ENV_VARS_TO_PROPAGATE

    assert "AWS_SECRET_ACCESS_KEY" in ENV_VARS_TO_PROPAGATE and "AWS_SECRET_ACCESS_KEY" not in DEFAULT_ENV_VARS
    monkeypatch.setattr("ray.tune.execution.class_cache.ENV_VARS_TO_PROPAGATE", ENV_VARS_TO_PROPAGATE)
    keep_keys_out_of_trials()
    from ray.tune.execution import class_cache

    assert not [name for name in class_cache.ENV_VARS_TO_PROPAGATE if "AWS" in name]
    assert class_cache.ENV_VARS_TO_PROPAGATE < ENV_VARS_TO_PROPAGATE


def test_agents_of_ray_that_outlive_a_killed_driver_are_told_from_ours():
    """Without agent_titles sweep.run --chaos names Ray's agents, which end 60 s later, as processes left behind."""
    assert len(agent_titles()) == 2 and all(title.startswith(PROCESS_TITLE) for title in agent_titles())


def test_a_token_of_the_environment_is_one_that_ray_reads(monkeypatch):
    """Without token_that_ray_reads no test notices that Ray no longer looks where ensure_token writes."""
    monkeypatch.setenv("RAY_AUTH_TOKEN", "ab" * 32)
    assert token_that_ray_reads() == os.environ["RAY_AUTH_TOKEN"]


def private_modules(path: Path) -> list[str]:
    """Modules of Ray that a file imports, anywhere in it, with a part that begins with an underscore."""
    named = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            named += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            named += [f"{node.module}.{alias.name}" for alias in node.names]
    parts = [name.split(".") for name in named]
    return [".".join(p) for p in parts if p[0] == "ray" and any(part.startswith("_") for part in p)]


def test_no_other_file_reaches_into_ray():
    files = [path for folder in ("datasets_io", "trainables", "sweep", "benchmarks", "tests")
             for path in (ROOT / folder).rglob("*.py")]  # fmt: skip
    found = {str(path.relative_to(ROOT)): private_modules(path) for path in files if path != HOME}
    assert {path: modules for path, modules in found.items() if modules} == {}
    assert len(private_modules(HOME)) >= 5, "this search finds those that are there"
