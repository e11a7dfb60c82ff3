"""docs/clusters/*.sbatch, submitted to a SLURM of three nodes: the same table, also when cut off in the middle."""

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from threading import Event, Thread

import pytest
from hosts import ROOT, SHARED
from slurm_hosts import CONTROLLER, LONGEST_WAIT, SlurmHosts, why_no_slurm

from datasets_io.storage.files import Files
from tests.chaos.drivers import ENVIRONMENT, command

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(2400)]
CLUSTER, ARRAY = "docs/clusters/slurm.sbatch", "docs/clusters/slurm-array.sbatch"
STUDY, NAME, ENCODERS, CELLS = "tests/chaos/tiny_study.py", "tiny", 2, 20
TAKEN = re.compile(r"^to do: (\d+) of \d+ encoders, (\d+) of \d+ cells$", re.MULTILINE)
COMPUTES = "^ray::(ImplicitFunc|RayTrainWorker|pretrain-)"  # such command lines have cells and pretrainings


def why_not() -> None:
    if reason := why_no_slurm():
        pytest.skip(reason)


class Alone:
    """The study on this machine, undisturbed; begun while the hosts start, which wait a lot."""

    def __init__(self, folder: Path):
        self.storage, self.log = folder / "storage", folder / "log"
        with open(self.log, "w") as out:
            arguments = command(self.storage, study=STUDY)
            self.run = subprocess.Popen(
                arguments, cwd=ROOT, env=ENVIRONMENT, stdin=subprocess.DEVNULL, stdout=out, stderr=out
            )

    def table(self) -> bytes:
        assert self.run.wait(timeout=600) == 0, self.log.read_text()[-3000:]
        return table(self.storage)


@pytest.fixture(scope="module")
def alone(tmp_path_factory) -> Iterator[Alone]:
    why_not()
    alone = Alone(tmp_path_factory.mktemp("alone"))
    yield alone
    alone.run.terminate()
    alone.run.wait(timeout=120)


@pytest.fixture(scope="module")
def slurm(tmp_path_factory) -> Iterator[SlurmHosts]:
    why_not()
    with SlurmHosts(tmp_path_factory.mktemp("hosts")) as hosts:
        yield hosts
        found = {
            name: hosts.on(name, "pgrep -l 'raylet|gcs_server'; ls -d /tmp/r[0-9]*").stdout for name in hosts.hosts
        }
        assert not any(found.values()), f"after all jobs have ended there is {found}"


@pytest.fixture(autouse=True)
def no_job_is_left(slurm) -> Iterator[None]:
    """Of a test that has failed."""
    yield
    slurm.on(CONTROLLER, "scancel --user root")
    slurm.wait_until(lambda: not slurm.on(CONTROLLER, "squeue -h").stdout)


def table(storage: Path) -> bytes:
    return (storage / "reports" / NAME / "results.csv").read_bytes()


class Job:
    """A shipped file, submitted with the study and a storage of its own; `name` is that of storage and logs."""

    def __init__(self, slurm: SlurmHosts, file: str, name: str, options: str = "", more: str = ""):
        self.slurm, self.name, self.storage = slurm, name, slurm.shared / name
        words = f"--cpus-per-task=1 --time=15 {options} --output={SHARED}/{name}-%j.log {file} --study {STUDY} {more}"
        environment = {"RADSWEEP_STORAGE": f"{SHARED}/{name}", "RADSWEEP_ENV": str(Path(sys.executable).parents[1])}
        self.number = slurm.submit(words, **environment)

    @property
    def logs(self) -> list[str]:
        return [path.read_text() for path in sorted(self.slurm.shared.glob(f"{self.name}-*.log"))]

    def wait_for(self, met: Callable[[], bool], seconds: float = LONGEST_WAIT) -> float:
        """Seconds until then."""
        try:
            return self.slurm.wait_until(met, seconds)
        except TimeoutError as error:
            raise TimeoutError("\n".join([*self.logs, str(error)])) from None

    def end(self, exit_code: str = "0:0") -> None:
        """Wait for its end with this exit code."""
        self.wait_for(lambda: not {"PENDING", "RUNNING", "COMPLETING"} & set(self.slurm.state(self.number).split()))
        assert self.slurm.exit_code(self.number) == exit_code, "\n".join(self.logs)

    @contextmanager
    def held_at(self, cells: int) -> Iterator[dict[str, int]]:
        """From when there are so many cells nothing computes: those that there are then.

        SLURM looks at time limits every half minute, and all of the study takes seconds.
        """
        self.wait_for(lambda: self.num_cells() >= cells)
        over = Event()
        holding = Thread(target=self._hold, args=(over,))
        holding.start()
        try:
            before = None
            while before != (before := stored(self.storage)):  # what was being written
                time.sleep(2)
            assert len(before) < CELLS, "nothing is left to be cut off"
            yield before
        finally:
            over.set()
            holding.join()

    def _hold(self, over: Event) -> None:
        """Also what Ray begins meanwhile."""
        while not over.wait(0.1):
            for node in self.slurm.hosts:
                self.slurm.on(node, f"pkill -STOP -f '{COMPUTES}'")

    def let_its_time_run_out(self) -> None:
        """Shorten its time limit so that SLURM sends the signal before it, then give it time for what is left."""
        ran = self.slurm.on(CONTROLLER, f"squeue -h -j {self.number} -o %M").stdout.split(":")
        limit = int(ran[-2]) + 3  # minutes: as long before its end the file asks for the signal
        assert self.slurm.on(CONTROLLER, f"scontrol update jobid={self.number} TimeLimit={limit}").returncode == 0
        self.wait_for(lambda: "Interrupted. What is finished is kept" in self.logs[0])
        assert self.slurm.on(CONTROLLER, f"scontrol update jobid={self.number} TimeLimit=15").returncode == 0

    def num_cells(self) -> int:
        return len(list(self.storage.glob("cells/*/result.json")))

    def found_at_its_start(self) -> int:
        """Cells that were stored when SLURM started it last.

        More than were held: SLURM wakes what is stopped before it ends it, and a cell may be finished then.
        """
        shown = self.slurm.on(CONTROLLER, f"scontrol show job {self.number}").stdout
        started = datetime.fromisoformat(re.findall(r"StartTime=(\S+)", shown)[0]).timestamp()
        return sum(written < started * 1e9 for written in stored(self.storage).values())


def stored(storage: Path) -> dict[str, int]:
    """Result of each cell -> when it was written."""
    return {path.parent.name: path.stat().st_mtime_ns for path in storage.glob("cells/*/result.json")}


def test_a_job_that_gets_nothing_done_is_not_submitted_again(slurm):
    job = Job(slurm, ARRAY, "nothing", "--array=0")
    job.wait_for(lambda: slurm.state(job.number) == "RUNNING" and bool(job.logs))
    slurm.on(CONTROLLER, f"scancel --batch --signal=USR1 {job.number}")
    job.end("1:0")
    assert "give it more --time" in job.logs[0]


@pytest.mark.parametrize(("options", "cores"), [("--cpus-per-task=1", 1), ("--cpus-per-task=2", 2)])
def test_the_cores_that_are_granted_are_those_that_are_told_to_ray(slurm, options, cores):
    words = f"--wait --output={SHARED}/granted.log {options} --wrap 'srun python -m datasets_io.local_ray'"
    slurm.submit(words)
    cores = min(cores, len(os.sched_getaffinity(0)))
    assert (slurm.shared / "granted.log").read_text().split()[0] == f"--num-cpus={cores}"


def test_a_sweep_on_three_nodes_that_is_cut_off_twice_beside_another_job_loses_nothing(slurm, alone):
    """First by the signal of its time limit, then by SLURM itself, for a job of higher priority.

    Another job shares a node: each has ports, folders and a token of its own, and ends no Ray but its own.
    """
    wanted = alone.table()
    job = Job(slurm, CLUSTER, "three-nodes", "--nodes=3")
    other = Job(slurm, CLUSTER, "beside", "--nodes=1 --nodelist=n1", "--dry-run")
    with job.held_at(3) as first:
        other.end()
        asked = ask_ray(slurm, job.number, "print(len(ray.nodes()), ray.cluster_resources()['CPU'])")
        assert asked == "3 3.0", "each node offers the one core that it was granted, of two"
        job.let_its_time_run_out()
    job.wait_for(lambda: len(TAKEN.findall(job.logs[0])) == 2)
    found = [0, job.found_at_its_start()]
    with job.held_at(found[1] + 1) as second:
        before_it = slurm.submit("--partition=high --nodes=3 --exclusive --output=/dev/null --wrap 'sleep 1'")
        job.wait_for(lambda: job.logs[0].count("Interrupted. What is finished is kept") == 2)
    job.wait_for(lambda: len(TAKEN.findall(job.logs[0])) == 3)
    found.append(job.found_at_its_start())
    assert slurm.state(before_it) == "COMPLETED"
    job.end()
    (log,) = job.logs
    assert log.count("Interrupted. What is finished is kept") == 2
    assert log.count("The time limit is near: submitted again") == 1
    assert first.items() <= second.items() <= stored(job.storage).items(), "nothing is computed again"
    claimed = [int(cells) for _, cells in TAKEN.findall(log)]
    assert claimed == [CELLS - num for num in found]
    assert 0 < len(first) <= found[1] < len(second) <= found[2] < CELLS, "cut off in the middle, both times"
    assert table(job.storage) == wanted
    assert nothing_is_left_over(job.storage)


def nothing_is_left_over(storage: Path) -> bool:
    files = Files(str(storage))
    return files.list("leases") == [] and files.remove_orphans() == 0


def ask_ray(slurm: SlurmHosts, job: int, question: str) -> str:
    """What the cluster of a job says to somebody on its first node who has its token."""
    port, folder = 20000 + job % 1000 * 10, f"/tmp/r{job}"
    script = f"import ray; ray.init(logging_level='ERROR'); {question}"
    settings = f"RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH={folder}/token RAY_ADDRESS={slurm.address('n1')}:{port}"
    return slurm.on("n1", f'{settings} python -c "{script}"').stdout.strip()


def test_an_array_of_three_divides_the_study_among_its_drivers(slurm, alone):
    """All begin at once on an empty storage; no driver claims what another one has or had."""
    job = Job(slurm, ARRAY, "array", "--array=0-2")
    job.end()
    assert table(job.storage) == alone.table()
    claimed = [[(int(encoders), int(cells)) for encoders, cells in TAKEN.findall(log)] for log in job.logs]
    print(f"encoders and cells that each driver claimed, pass after pass: {claimed}")
    encoders, cells = (sum(one[part] for passes in claimed for one in passes) for part in (0, 1))
    assert (encoders, cells) == (ENCODERS, CELLS), "each is computed once"
    assert all(sum(cells for _, cells in passes) for passes in claimed), "each driver computes cells"
    assert nothing_is_left_over(job.storage)
