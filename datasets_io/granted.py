"""How many cores of this machine, and how much of its memory and which GPUs, may this process use?

Schedulers and containers grant a part of a machine, each in its own way: CPU affinity (taskset, SLURM's task/affinity
and cpuset), a quota of a control group (containers, Kubernetes), or numbers in the environment alone (a SLURM that
binds nothing). What libraries take by themselves is mostly all of the machine.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

MIB = 1 << 20
NO_GPU = ("", "-1", "NoDevFiles")  # values of CUDA_VISIBLE_DEVICES; the last is SLURM's
CGROUPS, OWN_CGROUPS = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")


@dataclass(frozen=True)
class Grant:
    """granted: of `there`, cores or bytes of this machine. by: what limits them, "" where nothing does."""

    granted: int
    there: int
    by: str = ""


def cores() -> int:
    """How many threads or processes this one may keep busy, at least one."""
    return core_grant().granted


def machine_cores() -> int:
    """All of the machine's, whoever may use them."""
    return os.cpu_count() or 1


def core_grant(environment: Mapping[str, str] = os.environ) -> Grant:
    """The least that anything grants."""
    limits: list[tuple[int, str]] = []
    if hasattr(os, "sched_getaffinity"):  # not on macOS, which binds no process to cores
        limits.append((len(os.sched_getaffinity(0)), "CPU affinity"))
    # A part of a core is left unused: two processes on one and a half cores wait for each other.
    limits += [(max(1, int(quota)), "the control group's CPU quota") for quota in _quotas()]
    limits += _slurm_cores(environment)
    return _least(machine_cores(), limits)


def memory_of_node() -> int:
    """Bytes of memory that this process and its neighbours may have: the node's, its container's or its job's."""
    return memory_grant().granted


def memory_grant(environment: Mapping[str, str] = os.environ) -> Grant:
    """Bytes, as core_grant."""
    limits = [(limit, "the control group's memory limit") for limit in _memory_limits()]
    limits += _slurm_memory(environment)
    return _least(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"), limits)


def gpus(environment: Mapping[str, str] = os.environ) -> int | None:
    """GPUs that are named to this process; None where nothing names any: then all that are there are its own."""
    named = environment.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        return 0 if named in NO_GPU else len([name for name in named.split(",") if name.strip()])
    return _number(environment, "SLURM_GPUS_ON_NODE") if _in_slurm(environment) else None


def _least(there: int, limits: list[tuple[int, str]]) -> Grant:
    granted, by = min(limits, key=lambda limit: limit[0], default=(there, ""))
    return Grant(granted, there, by) if granted < there else Grant(there, there)


# -- SLURM -----------------------------------------------------------------------------------------------


def _in_slurm(environment: Mapping[str, str]) -> bool:
    return bool(environment.get("SLURM_JOB_ID"))


def _number(environment: Mapping[str, str], name: str) -> int | None:
    value = environment.get(name, "")
    return int(value) if value.isascii() and value.isdecimal() else None


def _slurm_cores(environment: Mapping[str, str]) -> list[tuple[int, str]]:
    """Of the job on this node; in a step (srun) of one of its tasks, which has its neighbours beside it."""
    if not _in_slurm(environment):
        return []
    names = ["SLURM_CPUS_ON_NODE"]
    # In the batch script it is the size of tasks that are yet to be started, and all of the job's cores are its own.
    if "SLURM_STEP_ID" in environment:
        names.append("SLURM_CPUS_PER_TASK")
    return [(number, name) for name in names if (number := _number(environment, name))]


def _slurm_memory(environment: Mapping[str, str]) -> list[tuple[int, str]]:
    """SLURM counts in MiB; 0 is all of the node's."""
    if not _in_slurm(environment):
        return []
    if of_node := _number(environment, "SLURM_MEM_PER_NODE"):
        return [(of_node * MIB, "SLURM_MEM_PER_NODE")]
    per_core, count = (_number(environment, name) for name in ("SLURM_MEM_PER_CPU", "SLURM_CPUS_ON_NODE"))
    return [(per_core * count * MIB, "SLURM_MEM_PER_CPU")] if per_core and count else []


# -- control groups ----------------------------------------------------------------------------------------


def _quotas() -> Iterator[float]:
    """Cores of each limit that this process's control group and those above it have."""
    for folder in _groups("cpu"):
        with suppress(OSError, ValueError):  # version 2: "200000 100000", or "max 100000" without a limit
            quota, period = (folder / "cpu.max").read_text().split()
            yield int(quota) / int(period)
        with suppress(OSError, ValueError):  # version 1: -1 without a limit
            quota, period = ((folder / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period"))
            if int(quota) > 0:
                yield int(quota) / int(period)


def _memory_limits() -> Iterator[int]:
    for folder in _groups("memory"):
        for name in ("memory.max", "memory.limit_in_bytes"):
            with suppress(OSError, ValueError):  # "max" without a limit; version 1 then has a very large number
                yield int((folder / name).read_text())


def _groups(controller: str) -> Iterator[Path]:
    """Folders of this process's control group and of each above it; both versions of the kernel's interface."""
    try:
        lines = OWN_CGROUPS.read_text().splitlines()
    except OSError:  # no Linux
        return
    for _, controllers, path in (line.split(":", 2) for line in lines if line.count(":") >= 2):
        if controllers and controller not in controllers.split(","):
            continue
        top = CGROUPS / controller if controllers else CGROUPS
        # In a container the path may be the host's, of which only the container's own part is here: at the top.
        group = top / path.strip("/")
        yield from (group, *group.parents[: len(group.parts) - len(top.parts)])
