"""The command under kills and signals: the same table, nothing finished computed again, nothing left behind."""

import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
from ray.cluster_utils import Cluster

from datasets_io.artefacts import QUARANTINE
from datasets_io.files import Files
from sweep.chaos import Tormentor, family, finished, hear_interrupts, results_of, show_chaos
from sweep.lease import LEASES

pytestmark = pytest.mark.timeout(2400)  # seven runs of a small study: half a minute each on an idle machine
ROOT = Path(__file__).resolve().parents[2]
STUDY = "tests/chaos/tiny_study.py"
MEMORY_GROUPS = Path("/sys/fs/cgroup/memory")
LIMITED = """
from dataclasses import replace

from tests.chaos.tiny_study import study as tiny


def study():
    base = tiny()
    return replace(base, resources=replace(base.resources, cell_time_limit_seconds=20.0))
"""
ENVIRONMENT = {k: v for k, v in os.environ.items() if k != "RAY_ADDRESS"} | {"COLUMNS": "200", "NO_COLOR": "1"}


def command(storage: Path, *more: str) -> list[str]:
    return [sys.executable, "-m", "sweep.run", "--study", STUDY, "--storage", str(storage), *more]


def run(storage: Path, *more: str, **environment: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        command(storage, *more), cwd=ROOT, capture_output=True, text=True, env=ENVIRONMENT | environment, timeout=850
    )


@pytest.fixture(scope="module")
def calm(tmp_path_factory) -> Path:
    storage = tmp_path_factory.mktemp("calm") / "storage"
    done = run(storage)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return storage


def wait_for(storage: Path, kind: str, count: int, driver: subprocess.Popen) -> None:
    deadline = time.monotonic() + 600
    while len([path for path in finished(storage) if f"/{kind}/" in path]) < count:
        assert driver.poll() is None, f"the driver ended by itself with {driver.returncode}"
        assert time.monotonic() < deadline, "no progress"
        time.sleep(0.1)


def start(storage: Path, **environment: str) -> subprocess.Popen:
    return subprocess.Popen(
        command(storage), cwd=ROOT, env=ENVIRONMENT | environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True, start_new_session=True, preexec_fn=hear_interrupts,
    )


def test_a_killed_then_an_interrupted_driver_cost_nothing(calm, tmp_path):
    """SIGKILL among the cells, Ctrl-C in the next run, then to the end."""
    storage = tmp_path / "storage with spaces and ü"
    shutil.copytree(calm, storage, ignore=shutil.ignore_patterns("cells", "reports", "simclr*"))
    driver = start(storage)
    wait_for(storage, "cells", 2, driver)
    driver.kill()
    driver.communicate()
    first = finished(storage)
    driver = start(storage)
    while (line := driver.stdout.readline()) and "to do:" not in line:
        pass  # until then a worker that the killed driver left may still finish a cell
    wait_for(storage, "cells", len([path for path in first if "/cells/" in path]) + 1, driver)
    asked = time.monotonic()
    driver.send_signal(signal.SIGINT)
    said = driver.communicate(timeout=120)[0]
    assert driver.returncode == 130 and "go on with:" in said and "Traceback" not in said
    assert time.monotonic() - asked < 10 * max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))
    second = finished(storage)
    assert first.items() <= second.items()
    last = run(storage)
    assert last.returncode == 0, last.stdout[-3000:] + last.stderr[-3000:]
    assert second.items() <= finished(storage).items(), "0 finished items are computed again"
    assert results_of(storage, "tiny") == results_of(calm, "tiny")
    files = Files(str(storage))
    assert files.list(LEASES) == [] and not list(storage.rglob("*.tmp-*")) and not list(storage.rglob("checkpoint.pt"))


def test_a_damaged_encoder_and_a_hostile_place_come_out_the_same(calm, tmp_path):
    """A flipped bit in an encoder with a lost cell, LANG=C, umask 077, a home that cannot be written."""
    storage = tmp_path / "storage"
    shutil.copytree(calm, storage)
    weights = next(storage.glob("encoders/imagenet*/backbone*"))
    data = bytearray(weights.read_bytes())
    data[len(data) // 3] ^= 1
    weights.write_bytes(data)
    shutil.rmtree(next(storage.glob("cells/imagenet*FT100*")))
    old = os.umask(0o077)
    try:
        again = run(storage, HOME="/proc/nowhere", LANG="C", LC_ALL="C", RADSWEEP_CACHE=str(tmp_path / "cache"))
    finally:
        os.umask(old)
    assert again.returncode == 0, again.stdout[-3000:] + again.stderr[-3000:]
    assert results_of(storage, "tiny") == results_of(calm, "tiny")
    assert Files(str(storage)).list(QUARANTINE)


@pytest.mark.chaos
@pytest.mark.timeout(7200)
def test_two_drivers_at_once_give_one_table(calm, tmp_path):
    storage = tmp_path / "storage"
    drivers = [start(storage), start(storage)]
    said = [driver.communicate(timeout=1800)[0] for driver in drivers]
    assert [driver.returncode for driver in drivers] == [0, 0], said[0][-2000:] + said[1][-2000:]
    assert results_of(storage, "tiny") == results_of(calm, "tiny")
    assert any("waiting for it" in text for text in said) and Files(str(storage)).list(LEASES) == []


@pytest.mark.chaos
@pytest.mark.timeout(7200)
def test_twenty_kills_of_the_driver(tmp_path):
    """A study of 84 items, so that it is not over before."""
    accounts = {}
    for name, kills in (("calm", 0), ("killed", 20)):
        storage = tmp_path / name
        words = [sys.executable, "-m", "sweep.run", "--study", "tests/sweep/small_study.py", "--storage", str(storage)]
        tormentor = Tormentor(words, storage, 11, print)
        tormentor.faults = ("driver SIGKILL",)
        accounts[name] = tormentor.run(kills, 1, 15)
    assert [account.problems for account in accounts.values()] == [[], []]
    assert len(accounts["killed"].faults) == 20 and accounts["killed"].finished_before_kills > 10
    assert results_of(tmp_path / "killed", "small") == results_of(tmp_path / "calm", "small") is not None


@pytest.mark.chaos
@pytest.mark.timeout(7200)
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to mount a small disk")
def test_a_full_disk_is_one_sentence_and_with_room_the_study_goes_on(calm, tmp_path):
    small = tmp_path / "small"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", small], check=True)
    try:
        full = run(small / "storage")
        assert full.returncode == 3 and "No space left on device" in full.stderr, full.stdout[-2000:] + full.stderr
        assert full.stderr.count("\n") == 2 and "go on with:" in full.stderr
        subprocess.run(["mount", "-o", "remount,size=100m", small], check=True)
        before = finished(small / "storage")
        again = run(small / "storage", "--retry-failed")
        assert again.returncode == 0, again.stdout[-3000:] + again.stderr[-3000:]
        assert before.items() <= finished(small / "storage").items()
        assert results_of(small / "storage", "tiny") == results_of(calm, "tiny")
    finally:
        subprocess.run(["umount", "-l", small], check=True)


@pytest.mark.chaos
@pytest.mark.timeout(7200)
def test_a_stopped_worker_is_ended_and_its_cells_computed(calm, tmp_path):
    """SIGSTOP: the process neither ends nor goes on; a limit of 20 seconds stands for half an hour."""
    storage = tmp_path / "storage"
    shutil.copytree(calm, storage, ignore=shutil.ignore_patterns("cells", "reports"))
    study = tmp_path / "limited.py"
    study.write_text(LIMITED)
    driver = subprocess.Popen(
        [sys.executable, "-m", "sweep.run", "--study", str(study), "--storage", str(storage)], cwd=ROOT,
        env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
    )
    wait_for(storage, "cells", 1, driver)
    sessions, seen = {driver.pid}, set()
    workers = [p for p in family("none", sessions, seen) if p.command.startswith("ray::ImplicitFunc")]
    for worker in workers:
        os.kill(worker.pid, signal.SIGSTOP)
    said = driver.communicate(timeout=600)[0]
    assert workers and driver.returncode == 0, said[-3000:]
    assert results_of(storage, "tiny") == results_of(calm, "tiny")
    assert not family("none", sessions, seen)


@pytest.mark.chaos
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("kind", ["cells", "encoders"])
def test_a_node_that_is_lost_costs_nothing(calm, tmp_path, kind):
    """Two nodes of one core; one is killed among the cells or while encoders are made, and another one comes."""
    storage = tmp_path / "storage"
    if kind == "cells":
        shutil.copytree(calm, storage, ignore=shutil.ignore_patterns("cells", "reports"))
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "dashboard_host": "127.0.0.1"})
    try:
        lost = cluster.add_node(num_cpus=1)
        driver = start(storage, RAY_ADDRESS=cluster.address)
        wait_for(storage, kind, 1, driver)
        before = finished(storage)
        cluster.remove_node(lost, allow_graceful=False)
        cluster.add_node(num_cpus=1)
        said = driver.communicate(timeout=1200)[0]
        assert driver.returncode == 0, said[-3000:]
        assert before.items() <= finished(storage).items(), "0 finished items are computed again"
        assert results_of(storage, "tiny") == results_of(calm, "tiny")
    finally:
        cluster.shutdown()


@pytest.mark.chaos
@pytest.mark.timeout(7200)
def test_a_head_that_is_lost_is_one_sentence_and_on_a_new_cluster_the_study_goes_on(calm, tmp_path):
    storage = tmp_path / "storage"
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "dashboard_host": "127.0.0.1"})
    try:
        driver = start(storage, RAY_ADDRESS=cluster.address)
        wait_for(storage, "cells", 1, driver)
        cluster.remove_node(cluster.head_node, allow_graceful=False)
        lost = time.monotonic()
        said = driver.communicate(timeout=600)[0]
        print(f"the driver ended {time.monotonic() - lost:.0f} s after the head: {said.splitlines()[-3:]}")
    finally:
        cluster.shutdown()
    assert driver.returncode == 3 and "Traceback" not in said, said[-3000:]
    assert "go on with: python -m sweep.run" in " ".join(said.split()), said[-3000:]
    before = finished(storage)
    again = run(storage)
    assert again.returncode == 0, again.stdout[-3000:]
    assert before.items() <= finished(storage).items(), "0 finished items are computed again"
    assert results_of(storage, "tiny") == results_of(calm, "tiny")
    files = Files(str(storage))
    assert files.list(LEASES) == [] and files.remove_leftovers() == 0


@pytest.mark.chaos
@pytest.mark.timeout(7200)
def test_a_search_whose_head_is_lost_says_so_and_goes_on(tmp_path):
    words = [sys.executable, "-m", "sweep.tune", "--study", STUDY, "--method", "simclr", "--out", str(tmp_path / "o.py")]
    words += ["--storage", str(tmp_path / "storage"), "--trials"]

    def trials() -> dict[Path, str]:
        return {path: path.read_text() for path in tmp_path.glob("storage/reports/tiny/tune-*/trials/*")}

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "dashboard_host": "127.0.0.1"})
    try:
        search = subprocess.Popen(
            [*words, "50"], cwd=ROOT, env=ENVIRONMENT | {"RAY_ADDRESS": cluster.address}, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, start_new_session=True,
        )
        while not [text for text in trials().values() if '"begun"' not in text]:
            assert search.poll() is None, search.communicate()[0][-3000:]
            time.sleep(0.2)
        cluster.remove_node(cluster.head_node, allow_graceful=False)
        said = search.communicate(timeout=600)[0]
    finally:
        cluster.shutdown()
    assert search.returncode == 3 and "Traceback" not in said, said[-3000:]
    assert "go on with: python -m sweep.tune" in " ".join(said.split()), said[-3000:]
    ended = {path: text for path, text in trials().items() if '"begun"' not in text}
    again = subprocess.run([*words, str(len(ended) + 1)], cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True)
    assert again.returncode == 0, again.stdout[-3000:] + again.stderr[-3000:]
    assert ended.items() <= trials().items(), "no trial that had ended is made again"


@pytest.mark.chaos
@pytest.mark.timeout(7200)
@pytest.mark.skipif(not os.access(MEMORY_GROUPS, os.W_OK), reason="needs the right to make memory groups (cgroup v1)")
def test_a_host_whose_memory_runs_out_three_times_gives_the_same_table(calm, tmp_path):
    """The kernel ends a process of the sweep each time, whichever it likes; the same command goes on."""
    storage, group = tmp_path / "storage", MEMORY_GROUPS / f"radsweep-{os.getpid()}"
    group.mkdir()
    try:
        ended = []
        for cells in (1, 4, 8):
            driver = start_in(group, storage)
            wait_for(storage, "cells", cells, driver)
            kills = oom_kills(group)
            while oom_kills(group) == kills and driver.poll() is None:
                used = int((group / "memory.usage_in_bytes").read_text())
                with suppress(OSError):  # busy: it could not be made so small at once
                    (group / "memory.limit_in_bytes").write_text(str(int(used * 0.8)))
                time.sleep(0.2)
            (group / "memory.limit_in_bytes").write_text("-1")
            before = finished(storage)
            driver.communicate(timeout=850)
            ended.append(driver.returncode)
            assert before.items() <= finished(storage).items(), "0 finished items are computed again"
        print(f"the kernel ended {oom_kills(group)} processes; the commands ended with {ended}")
        again = run(storage, "--retry-failed")
        assert again.returncode == 0, again.stdout[-3000:]
        assert results_of(storage, "tiny") == results_of(calm, "tiny")
    finally:
        wait_until_empty(group)
        group.rmdir()


def start_in(group: Path, storage: Path) -> subprocess.Popen:
    """The command as a member of a memory group, with all that it starts."""
    inside = ["sh", "-c", f'echo $$ > {group}/cgroup.procs && exec "$@"', "sh", *command(storage)]
    return subprocess.Popen(
        inside, cwd=ROOT, env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )


def oom_kills(group: Path) -> int:
    text = (group / "memory.oom_control").read_text()
    return int(text.rpartition("oom_kill ")[2].split()[0])


def wait_until_empty(group: Path) -> None:
    deadline = time.monotonic() + 120
    while (group / "cgroup.procs").read_text().strip() and time.monotonic() < deadline:
        time.sleep(0.5)


@pytest.mark.chaos
@pytest.mark.timeout(7200)
def test_faults_of_all_kinds_at_random_moments(tmp_path):
    assert show_chaos("tests/sweep/small_study.py", "small", [], 12, print, tmp_path, seed=3, shortest=1, longest=15)
