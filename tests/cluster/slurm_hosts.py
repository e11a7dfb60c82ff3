"""Three hosts with SLURM: a controller and three nodes of two cores, which two partitions share."""

import os
import re
import time
from collections.abc import Callable
from typing import ClassVar

from hosts import ROOT, SHARED, Hosts, why_not

TOOLS = ("ip", "unshare", "munged", "slurmctld", "slurmd", "sbatch", "srun", "scontrol")
PACKAGES = "iproute2 util-linux slurmctld slurmd slurm-client munge"
LONGEST_WAIT = 900.0  # seconds, of a machine that is busy with other work
CONTROLLER = "n1"

# WaitTime: five seconds after a step's first task has ended srun would end the others, but for --wait.
# cred_expire: a requeued job starts again after six seconds, and not after two minutes. CPUs: of each of three hosts on
# one machine, which may have fewer in all; what a job starts there is told how many it was granted.
CONFIGURATION = """
ClusterName=lab
SlurmctldHost={controller}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
CredType=cred/munge
AuthInfo=cred_expire=5
StateSaveLocation={shared}/slurm/state
SlurmdSpoolDir=/run/slurmd
SlurmctldPidFile=/run/slurmctld.pid
SlurmdPidFile=/run/slurmd.pid
SlurmctldLogFile={shared}/slurm/slurmctld.log
SlurmdLogFile={shared}/slurm/slurmd.%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/affinity
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
MpiDefault=none
SwitchType=switch/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/none
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
ReturnToService=2
KillWait=20
WaitTime=5
SlurmdTimeout=20
SlurmdParameters=config_overrides
SchedulerParameters=sched_interval=2,bf_interval=2
{nodes}
PartitionName=low Nodes=n[1-3] Default=YES MaxTime=INFINITE State=UP PriorityTier=1
PartitionName=high Nodes=n[1-3] MaxTime=INFINITE State=UP PriorityTier=10 PreemptMode=OFF
"""
# The files below /sys/fs/cgroup belong to the machine, not to the host: slurmd shall not look for them.
CGROUPS = "CgroupPlugin=cgroup/v1\n"
# bash stays the first process: slurmd would reap none of the processes whose parent has ended.
START = """
set -e
mount -t tmpfs -o size=64m tmpfs /run
mkdir -p /run/munge /run/slurmd /etc/slurm
mount -t tmpfs tmpfs /etc/slurm
cp {shared}/slurm/*.conf /etc/slurm/
m=/run/munge
munged --force --key-file={shared}/slurm/munge.key --socket=$m/munge.socket.2 --pid-file=$m/pid --log-file=$m/log \\
    --seed-file=$m/seed
test $1 != {controller} || slurmctld -c
slurmd -D -N $1 & wait $!
"""


def why_no_slurm() -> str | None:
    """Why there can be no hosts with SLURM here; None where there can."""
    return why_not(TOOLS, PACKAGES)


class SlurmHosts(Hosts):
    """From `with` to its end. Users' folder is the project's: `submit` gives a job from there."""

    hosts: ClassVar = {"n1": 2, "n2": 3, "n3": 4}
    gateway = CONTROLLER

    def _prepare(self) -> None:
        folder = self.shared / "slurm"
        (folder / "state").mkdir(parents=True)
        nodes = [f"NodeName={name} NodeAddr={self.address(name)} CPUs=2 State=UNKNOWN" for name in self.hosts]
        text = CONFIGURATION.format(controller=CONTROLLER, shared=SHARED, nodes="\n".join(nodes))
        (folder / "slurm.conf").write_text(text)
        (folder / "cgroup.conf").write_text(CGROUPS)
        key = folder / "munge.key"
        key.touch(mode=0o600)
        key.write_bytes(os.urandom(128))
        key.chmod(0o400)
        (folder / "start").write_text(START.format(controller=CONTROLLER, shared=SHARED))

    def _command(self, name: str) -> str:
        return f"bash {SHARED}/slurm/start {name}"

    def _wait_until_up(self) -> None:
        self.wait_until(lambda: self.on(CONTROLLER, "sinfo -h -p low -t idle -o %D").stdout.strip() == "3", 60)

    def submit(self, words: str, **environment: str) -> int:
        """The number of a new job; words: of sbatch, from the project's folder, with this environment besides."""
        given = "".join(f"export {name}={value}; " for name, value in environment.items())
        # What the submitted file has to set itself is not set already; PYTHONPATH stands for an installation.
        done = self.on(CONTROLLER, f"unset RAY_AUTH_MODE; export PYTHONPATH={ROOT}; {given} sbatch --parsable {words}")
        assert done.returncode == 0, done.stderr
        return int(done.stdout)

    def state(self, job: int) -> str:
        """As `PENDING` or `RUNNING`; of an array the states of its tasks, each once. Empty where nobody knows it."""
        shown = self.on(CONTROLLER, f"scontrol show job {job}").stdout
        return " ".join(sorted(set(re.findall(r"JobState=(\w+)", shown))))

    def exit_code(self, job: int) -> str:
        """As `0:0`: exit code and signal; of an array those of its tasks, each once."""
        shown = self.on(CONTROLLER, f"scontrol show job {job}").stdout
        return " ".join(sorted(set(re.findall(r"ExitCode=(\S+)", shown))))

    def wait_for_end(self, job: int, seconds: float = LONGEST_WAIT) -> str:
        """The state in which it ended."""
        self.wait_until(lambda: not {"PENDING", "RUNNING", "COMPLETING"} & set(self.state(job).split()), seconds)
        return self.state(job)

    def wait_until(self, met: Callable[[], bool], seconds: float = LONGEST_WAIT) -> float:
        """Seconds until it was met. Raises TimeoutError."""
        started = time.monotonic()
        while not met():
            if time.monotonic() - started > seconds:
                raise TimeoutError(self._logs())
            time.sleep(0.5)
        return time.monotonic() - started

    def _logs(self) -> str:
        texts = [self.on(CONTROLLER, "sinfo -N -l; squeue; squeue -s").stdout]
        for path in sorted((self.shared / "slurm").glob("*.log")):
            texts.append(f"{path.name}: {path.read_text()[-1000:]}")
        return "\n".join(texts)
