"""Is a cluster that a job has, and RAY_ADDRESS does not name, noticed before another Ray starts beside it?"""

import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from datasets_io import local_ray
from datasets_io.build.corpus import _ray_ready
from datasets_io.granted import Grant, cores
from datasets_io.local_ray import (
    CURRENT_CLUSTER,
    LEAST_OBJECT_BYTES,
    granted_to_ray,
    named_cluster,
    overlooked,
    ray_start_options,
)
from datasets_io.ray_private import note_address
from sweep.cli.exit_codes import ClusterLost
from sweep.engine.cluster import start_ray
from sweep.run.__main__ import app as run_app

ROOT = Path(__file__).resolve().parents[2]
JOB = {"SLURM_JOB_ID": "7", "SLURM_JOB_NUM_NODES": "3"}


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """Ray's own folder."""
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    (tmp_path / "ray").mkdir()
    return tmp_path / "ray"


@pytest.fixture
def cluster(folder) -> Iterator[str]:
    """The address of something that answers, as `ray start` writes it down."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        (folder / CURRENT_CLUSTER).write_text(address)
        yield address


def test_ray_writes_the_address_where_it_is_looked_for(folder):
    """What breaks where Ray moves it: a job's cluster is not noticed, and a second Ray starts beside it."""
    assert note_address("192.0.2.1:6379") == "192.0.2.1:6379" == (folder / CURRENT_CLUSTER).read_text()


def test_in_a_job_a_cluster_that_is_not_named_is_refused(cluster):
    found = overlooked(JOB)
    assert found is not None and found.refuse
    assert (
        f"answers at {cluster}, on a node of SLURM job 7: export RAY_ADDRESS={cluster} to run on it" in found.sentence
    )
    assert "or RAY_ADDRESS=local to start another one" in found.sentence


def test_elsewhere_it_is_said(cluster):
    found = overlooked({})
    assert (
        found is not None and not found.refuse and f"a Ray cluster runs at {cluster} and is not used" in found.sentence
    )


def test_what_was_chosen_is_not_asked_again(cluster):
    assert [overlooked(JOB | {"RAY_ADDRESS": address}) for address in ("auto", "local", cluster)] == [None] * 3


def test_a_cluster_that_has_ended_is_none(folder):
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
    (folder / CURRENT_CLUSTER).write_text(address)
    assert overlooked({}) is None and overlooked({"SLURM_JOB_ID": "7"}) is None


def test_nodes_of_a_job_that_stay_unused_are_said(folder):
    found = overlooked(JOB)
    assert found is not None and not found.refuse
    assert found.sentence == (
        "SLURM job 7 has 3 nodes, and RAY_ADDRESS names no cluster of them: this command uses the "
        f"{cores()} cores of this node alone (docs/clusters/slurm.md)"
    )
    assert overlooked({"SLURM_JOB_ID": "7", "SLURM_JOB_NUM_NODES": "1"}) is None


@pytest.mark.parametrize("form", [["--address={}"], ["--address", "{}", "--min-nodes", "2"]])
def test_below_symmetric_run_its_cluster_is_named_and_refused(folder, form):
    """It runs its command as a child, and sets nothing in the environment."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        runs_it = "import subprocess, sys; sys.exit(subprocess.run(sys.argv[sys.argv.index('--') + 1:]).returncode)"
        asks = "from datasets_io.local_ray import overlooked; print(overlooked({}))"
        options = [word.format(address) for word in form]
        command = [sys.executable, "-c", runs_it, "symmetric-run", *options, "--", sys.executable, "-c", asks]
        said = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert f"answers at {address}, which `ray symmetric-run` started: export RAY_ADDRESS={address}" in said
    assert "refuse=True" in said


def test_a_sweep_is_refused_before_any_work(cluster, tmp_path):
    environment = {"COLUMNS": "200", "NO_COLOR": "1", "RAY_ADDRESS": None, "SLURM_JOB_ID": "7"}
    done = CliRunner(env=environment).invoke(run_app, ["--study", "demo", "--storage", str(tmp_path / "storage")])
    assert (
        done.exit_code == 2 and f"error: RAY_ADDRESS is not set, and a Ray cluster answers at {cluster}" in done.output
    )
    assert not (tmp_path / "storage").exists()


def test_ray_does_not_start_beside_it(cluster, monkeypatch):
    """Whoever starts it: sweep.tune too, which checks nothing before."""
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    with pytest.raises(ClusterLost, match=f"answers at {cluster}"):
        start_ray()
    with pytest.raises(ValueError, match=f"answers at {cluster}"):
        _ray_ready(start=True)


def test_local_names_no_cluster():
    assert [named_cluster({"RAY_ADDRESS": value}) for value in ("", "local")] == [None, None]
    assert named_cluster({}) is None and named_cluster({"RAY_ADDRESS": "auto"}) == "auto"


def test_a_local_ray_is_told_what_is_granted(monkeypatch):
    monkeypatch.setattr(local_ray, "memory_grant", lambda: Grant(10 << 30, 100 << 30, "SLURM_MEM_PER_NODE"))
    monkeypatch.setattr(local_ray, "cores", lambda: 3)
    assert granted_to_ray() == {"num_cpus": 3, "object_store_memory": 3 << 30}
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    assert ray_start_options() == ["--num-cpus=3", f"--object-store-memory={3 << 30}", "--num-gpus=2"]
    monkeypatch.setattr(local_ray, "memory_grant", lambda: Grant(1 << 20, 100 << 30, "SLURM_MEM_PER_NODE"))
    assert granted_to_ray()["object_store_memory"] == LEAST_OBJECT_BYTES
    monkeypatch.setattr(local_ray, "memory_grant", lambda: Grant(100 << 30, 100 << 30))
    assert granted_to_ray() == {"num_cpus": 3}, "as much as Ray itself takes where nothing is limited"
