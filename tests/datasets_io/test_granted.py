"""Are the cores, memory and GPUs those that are granted, by whatever grants them, and asked for in one place?"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from datasets_io import granted
from datasets_io.granted import core_grant, cores, gpus, machine_cores, memory_grant, memory_of_node

ROOT = Path(__file__).resolve().parents[2]
MANY = 1000  # cores of a machine that has more than any limit below
JOB = {"SLURM_JOB_ID": "7"}


@pytest.fixture
def large_machine(monkeypatch, tmp_path) -> Path:
    """A machine of MANY cores, all of which this process is bound to; the folder of its control groups, empty."""
    monkeypatch.setattr(os, "cpu_count", lambda: MANY)
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(MANY)))
    monkeypatch.setattr(granted, "CGROUPS", tmp_path)
    monkeypatch.setattr(granted, "OWN_CGROUPS", tmp_path / "own")
    (tmp_path / "own").write_text("0::/job/step\n4:cpu,cpuacct:/job\n")
    return tmp_path


def write(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text + "\n")


def test_nothing_limits_a_whole_machine(large_machine):
    assert core_grant({}) == granted.Grant(MANY, MANY)


@pytest.mark.skipif(shutil.which("taskset") is None, reason="needs taskset, of util-linux")
def test_affinity_is_what_the_kernel_says():
    """Of a process that is bound to one core, as SLURM's task/affinity does it."""
    one = min(os.sched_getaffinity(0))
    command = ["taskset", "-c", str(one), sys.executable, "-c", "from datasets_io.granted import cores; print(cores())"]
    assert subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip() == "1"


@pytest.mark.parametrize(
    ("files", "wanted"),
    [
        ({"job/step/cpu.max": "400000 100000"}, 4),
        ({"job/step/cpu.max": "max 100000", "job/cpu.max": "800000 100000"}, 8),
        ({"job/step/cpu.max": "250000 100000"}, 2),
        ({"cpu.max": "50000 100000"}, 1),
        ({"cpu/job/cpu.cfs_quota_us": "300000", "cpu/job/cpu.cfs_period_us": "100000"}, 3),
        ({"cpu/job/cpu.cfs_quota_us": "-1", "cpu/job/cpu.cfs_period_us": "100000"}, MANY),
        ({"cpu/cpu.cfs_quota_us": "600000", "cpu/cpu.cfs_period_us": "100000", "job/cpu.max": "500000 100000"}, 5),
        ({"job/step/cpu.max": "odd"}, MANY),
    ],
)
def test_a_quota_of_either_version_of_control_groups_counts(large_machine, files, wanted):
    write(large_machine, files)
    grant = core_grant({})
    assert grant.granted == wanted
    assert grant.by == ("" if wanted == MANY else "the control group's CPU quota")


@pytest.mark.parametrize(
    ("environment", "wanted", "by"),
    [
        ({"SLURM_CPUS_ON_NODE": "8"}, MANY, ""),  # what a shell was left with: there is no job
        ({**JOB, "SLURM_CPUS_ON_NODE": "8"}, 8, "SLURM_CPUS_ON_NODE"),
        ({**JOB, "SLURM_CPUS_ON_NODE": "8", "SLURM_CPUS_PER_TASK": "2"}, 8, "SLURM_CPUS_ON_NODE"),
        (
            {**JOB, "SLURM_CPUS_ON_NODE": "8", "SLURM_CPUS_PER_TASK": "2", "SLURM_STEP_ID": "0"},
            2,
            "SLURM_CPUS_PER_TASK",
        ),
        ({**JOB, "SLURM_CPUS_ON_NODE": "odd"}, MANY, ""),
        ({**JOB, "SLURM_CPUS_ON_NODE": "0"}, MANY, ""),
    ],
)
def test_slurm_may_grant_fewer_than_it_binds_to(large_machine, environment, wanted, by):
    assert core_grant(environment) == granted.Grant(wanted, MANY, by)


def test_the_least_of_all_limits_counts(large_machine, monkeypatch):
    write(large_machine, {"job/cpu.max": "600000 100000"})
    assert core_grant({**JOB, "SLURM_CPUS_ON_NODE": "8"}).granted == 6
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {1, 5, 9})
    assert core_grant({**JOB, "SLURM_CPUS_ON_NODE": "8"}) == granted.Grant(3, MANY, "CPU affinity")


@pytest.mark.parametrize(
    ("environment", "wanted"),
    [
        ({}, None),
        ({"CUDA_VISIBLE_DEVICES": "0,3"}, 2),
        ({"CUDA_VISIBLE_DEVICES": "GPU-8932f937-d72c-4106-c12f-20bd9faed9f6"}, 1),
        ({"CUDA_VISIBLE_DEVICES": ""}, 0),
        ({"CUDA_VISIBLE_DEVICES": "NoDevFiles"}, 0),
        ({"SLURM_GPUS_ON_NODE": "4"}, None),
        ({**JOB, "SLURM_GPUS_ON_NODE": "4"}, 4),
        ({**JOB, "SLURM_GPUS_ON_NODE": "4", "CUDA_VISIBLE_DEVICES": "1"}, 1),
    ],
)
def test_gpus_are_those_that_are_named(environment, wanted):
    assert gpus(environment) == wanted


@pytest.mark.parametrize(
    ("groups", "limits", "wanted"),
    [
        ("0::/job/step\n", {"memory.max": "max", "job/memory.max": "3000", "job/step/memory.max": "max"}, 3000),
        ("0::/job/step\n", {"memory.max": "5000", "job/memory.max": "9000"}, 5000),
        ("0::/of/the/host\n", {"memory.max": "4000"}, 4000),
        ("4:cpu,memory:/job\n0::/\n", {"memory/job/memory.limit_in_bytes": "2000"}, 2000),
        ("4:memory:/of/the/host\n", {"memory/memory.limit_in_bytes": "1000"}, 1000),
        ("4:memory:/\n0::/\n", {"memory/memory.limit_in_bytes": str(2**63 - 4096)}, None),
        ("odd\n", {}, None),
        (None, {"memory.max": "4000"}, None),
    ],
)
def test_the_memory_is_that_of_the_container_or_the_job(monkeypatch, tmp_path, groups, limits, wanted):
    """Both versions of the kernel's control groups, and what a container sees of them."""
    for name, limit in limits.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(limit + "\n")
    if groups is not None:
        (tmp_path / "own").write_text(groups)
    monkeypatch.setattr(granted, "CGROUPS", tmp_path)
    monkeypatch.setattr(granted, "OWN_CGROUPS", tmp_path / "own")
    physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert memory_of_node() == (physical if wanted is None else wanted)


@pytest.mark.parametrize(
    ("environment", "wanted"),
    [
        ({**JOB, "SLURM_MEM_PER_NODE": "512"}, 512 << 20),
        ({**JOB, "SLURM_MEM_PER_CPU": "100", "SLURM_CPUS_ON_NODE": "3"}, 300 << 20),
        ({**JOB, "SLURM_MEM_PER_NODE": "0"}, None),
        ({"SLURM_MEM_PER_NODE": "512"}, None),
    ],
)
def test_the_memory_may_be_what_slurm_grants(environment, wanted):
    grant = memory_grant(environment)
    assert grant.granted == (memory_grant({}).granted if wanted is None else wanted)


def test_it_is_asked_for_in_one_place():
    """A second place would take all of the machine where a part was granted."""
    asked = [
        str(path.relative_to(ROOT))
        for package in ("datasets_io", "trainables", "sweep")
        for path in (ROOT / package).rglob("*.py")
        if any(name in path.read_text(encoding="utf-8") for name in ("cpu_count", "sched_getaffinity"))
    ]
    assert asked == ["datasets_io/granted.py"]
    assert 1 <= cores() <= machine_cores()
