"""`ray up` on three hosts, a sweep to its end, `ray down`; who may connect; and a host that loses its network."""

import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hosts import ROOT, SHARED, Hosts, why_not
from long_study import epochs_of_a_cell, write

from datasets_io.storage.files import Files

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(3600)]
STUDY, LONG = "tests/chaos/tiny_study.py", "long_study.py"
STORAGE = f"{SHARED}/results"
SWEEP = f"python -m sweep.run --study {STUDY} --storage"
LONG_SWEEP = "python -m sweep.run --study {} --only method=simclr,label_percent=100 --storage"
PRETRAINING_WORKER, CELL = "[r]ay::RayTrainWorker", "[r]ay::ImplicitFunc.train"  # a search for one does not find itself
CHECKPOINT, ENCODER = "encoders/simclr-*/checkpoint.pt", "encoders/simclr-*/result.json"
PROMISED_SECONDS = 30  # from Ray's calling a host dead to its work having begun again elsewhere


class Alone:
    """The long study on this machine, without hosts and undisturbed; begun while the hosts start, which wait a lot."""

    def __init__(self, folder: Path):
        self.storage, self.log = folder / "long", folder / "log"
        self.epochs = epochs_of_a_cell()
        environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
        study = write(folder / LONG, self.epochs)
        command = [sys.executable, *shlex.split(LONG_SWEEP.format(study))[1:], str(self.storage)]
        with open(self.log, "w") as log:
            self.run = subprocess.Popen(
                command, cwd=ROOT, env=environment, stdout=log, stderr=log, stdin=subprocess.DEVNULL
            )

    def table(self) -> bytes:
        assert self.run.wait(timeout=1800) == 0, self.log.read_text()[-3000:]
        return table(self.storage, "long")


@pytest.fixture(scope="module")
def alone(tmp_path_factory) -> Iterator[Alone]:
    reason = why_not()
    if reason:
        pytest.skip(reason)
    alone = Alone(tmp_path_factory.mktemp("alone"))
    yield alone
    alone.run.terminate()
    alone.run.wait(timeout=120)


@pytest.fixture(scope="module")
def cluster(alone, tmp_path_factory):
    with Hosts(tmp_path_factory.mktemp("hosts")) as hosts:
        assert hosts.on("client", "ray get-auth-token --generate > /dev/null").returncode == 0
        file = hosts.cluster_file(STORAGE)
        up = hosts.on("client", f"RAY_UP_enable_autoscaler_v2=0 ray up -y {file}")
        assert up.returncode == 0, up.stdout[-2000:] + up.stderr[-2000:]
        hosts.wait_for_nodes(3, 600)
        write(hosts.shared / LONG, alone.epochs)
        yield hosts
        down = hosts.on("client", f"ray down -y {file}")
        assert down.returncode == 0, down.stderr[-2000:]
        # With a local provider it stops the head; a worker ends by itself when it has missed the head for a minute.
        deadline = time.monotonic() + 240
        while (left := running(hosts)) and time.monotonic() < deadline:
            time.sleep(5)
        assert not left, f"after ray down nodes go on on {left}"


def running(hosts: Hosts) -> list[str]:
    """Hosts with a Ray node."""
    names = ("head", "worker1", "worker2")
    return [name for name in names if hosts.on(name, "pgrep -c raylet").stdout.strip() != "0"]


def on_cluster(cluster: Hosts, command: str) -> str:
    return f"ray exec {SHARED}/cluster.yaml {shlex.quote(f'cd {cluster.project} && {command}')}"


def table(storage: Path, study: str) -> bytes:
    return (storage / "reports" / study / "results.csv").read_bytes()


def begin(cluster: Hosts, name: str, alone: Alone, *parts: str) -> tuple[Path, Path]:
    """Begin the long study on a new storage that has these parts of the undisturbed one; that and its log."""
    storage, log = cluster.shared / name, cluster.shared / f"{name}.log"
    alone.table()  # nothing runs beside what is timed
    for part in ("raw", "data", *parts):
        shutil.copytree(alone.storage / part, storage / part)
    sweep = LONG_SWEEP.format(f"{SHARED}/{LONG}")
    words = f"{sweep} {SHARED}/{name} > {SHARED}/{name}.log 2>&1; echo exit $? >> {SHARED}/{name}.log"
    cluster.begin("client", on_cluster(cluster, words))
    return storage, log


def wait_until(met: Callable[[], bool], log: Path) -> None:
    deadline = time.monotonic() + 1200
    while not met():
        assert time.monotonic() < deadline, log.read_text()[-3000:]
        time.sleep(0.5)


def has(storage: Path, pattern: str) -> bool:
    return any(storage.glob(pattern))


def wait_for_end(log: Path) -> None:
    wait_until(lambda: "exit " in log.read_text()[-20:], log)
    assert log.read_text().rstrip().endswith("exit 0"), log.read_text()[-3000:]


def host_of(cluster: Hosts, process: str) -> str:
    """The worker host where a process with such a command line runs. Raises TimeoutError."""
    deadline = time.monotonic() + 600
    while time.monotonic() < deadline:
        for host in ("worker2", "worker1"):
            if cluster.on(host, f"pgrep -f '{process}'").returncode == 0:
                return host
        time.sleep(1)
    raise TimeoutError(f"no {process} on a worker host")


def test_the_sweep_runs_to_its_end_on_all_hosts(cluster):
    done = cluster.on("client", on_cluster(cluster, f"{SWEEP} {STORAGE}"), timeout=2400)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-2000:]
    assert table(cluster.shared / "results", "tiny").count(b",done,") == 2 * 5 * 2
    files = Files(str(cluster.shared / "results"))
    assert files.list("leases") == [] and files.remove_orphans() == 0


def test_a_driver_without_the_token_is_refused(cluster):
    driver = "import ray; ray.init(address='auto', logging_level='ERROR'); print('connected')"
    without = cluster.on("head", f'RAY_AUTH_MODE=token RAY_AUTH_TOKEN=wrong python -c "{driver}"', timeout=120)
    assert without.returncode != 0 and "connected" not in without.stdout
    none = cluster.on("head", f'HOME=/nonexistent RAY_AUTH_MODE=disabled python -c "{driver}"', timeout=120)
    assert none.returncode != 0 and "connected" not in none.stdout
    assert "connected" in cluster.on("head", f'python -c "{driver}"').stdout


def test_a_job_without_the_token_is_refused(cluster):
    post = (
        "curl -s -o /dev/null -w '%{http_code}' -X POST -H 'Content-Type: application/json' "
        '-d \'{"entrypoint": "touch /tmp/taken"}\' http://127.0.0.1:8265/api/jobs/'
    )
    assert cluster.on("head", post).stdout == "401"
    assert cluster.on("head", "ls /tmp/taken").returncode != 0


@pytest.mark.parametrize("host", ["client", "worker1"])
def test_the_dashboard_does_not_answer_from_another_host(cluster, host):
    asked = cluster.on(host, f"curl -s -m 10 http://{cluster.address('head')}:8265/api/version; echo $?")
    assert asked.stdout.strip() == "7", "refused: nothing listens on the host's address"
    assert cluster.on("head", "curl -s -m 10 -o /dev/null http://127.0.0.1:8265/; echo $?").stdout.strip() != "7"


def test_hosts_without_their_network_link_for_a_minute_change_nothing_of_the_table(cluster, alone, times):
    """That of one of two workers of a pretraining (Ray Train), then that of one of its two cells (Ray Tune)."""
    for number in range(times(1, 2)):
        lose_hosts_for_a_minute(cluster, f"cut-{number}", alone)


def lose_hosts_for_a_minute(cluster: Hosts, name: str, alone: Alone) -> None:
    cluster.wait_for_nodes(3, 240)
    storage, log, host = begin_to_train(cluster, name, alone)
    cut_for_a_minute(cluster, host, log)
    assert not has(storage, ENCODER), "one worker of two cannot have ended the pretraining"
    healed = time.monotonic()
    wait_until(lambda: has(storage, ENCODER), log)
    print(f"pretraining: {host} without its network for a minute, done {time.monotonic() - healed:.0f} s later")
    host = host_of(cluster, CELL)
    time.sleep(5)
    cut_for_a_minute(cluster, host, log)
    wait_for_end(log)
    assert table(storage, "long") == alone.table()


def begin_to_train(cluster: Hosts, name: str, alone: Alone) -> tuple[Path, Path, str]:
    """Storage and log of a study whose pretraining has a checkpoint, and a host with a worker of it."""
    storage, log = begin(cluster, name, alone)
    host = host_of(cluster, PRETRAINING_WORKER)
    wait_until(lambda: has(storage, CHECKPOINT), log)
    return storage, log, host


def cut_for_a_minute(cluster: Hosts, host: str, log: Path) -> None:
    cluster.cut(host)
    try:
        time.sleep(60)
        assert "exit " not in log.read_text()[-20:], "the study had ended before the link was back"
    finally:
        cluster.heal(host)


def cut_for_good(cluster: Hosts, host: str, begun_again: Callable[[], bool]) -> tuple[float, float]:
    """Cut a host's network link; seconds until Ray declares it dead, and from then until its work begins elsewhere."""
    cluster.cut(host)
    cut = time.monotonic()
    cluster.wait_for_nodes(2, 240)
    dead = time.monotonic()
    while not begun_again():
        assert time.monotonic() < dead + 300, "nothing began again elsewhere"
        time.sleep(0.5)
    return dead - cut, time.monotonic() - dead


def test_a_pretraining_that_loses_a_host_for_good_goes_on_with_another_one(cluster, alone, times):
    """Under Ray Train: two workers; the other one waits for it in a collective, and the third host takes over."""
    for number in range(times(1, 3)):
        lose_a_pretrainings_host(cluster, f"cut-pretraining-{number}", alone)


def lose_a_pretrainings_host(cluster: Hosts, name: str, alone: Alone) -> None:
    cluster.wait_for_nodes(3, 240)
    storage, log, host = begin_to_train(cluster, name, alone)
    try:  # attempts.json is written when a run begins, and removed with its next checkpoint
        noticed, again = cut_for_good(cluster, host, lambda: has(storage, "encoders/simclr-*/attempts.json"))
        print(f"pretraining: {host} called dead after {noticed:.0f} s, training again {again:.1f} s later")
        wait_for_end(log)
    finally:
        cluster.heal(host)
    assert table(storage, "long") == alone.table()
    assert again <= PROMISED_SECONDS


def test_a_cell_whose_host_is_cut_off_for_good_begins_again_on_another_one(cluster, alone, times):
    """Under Ray Tune: two cells on three hosts; the one cut off goes on by itself, and its late result is harmless."""
    for number in range(times(1, 3)):
        lose_a_cells_host(cluster, f"cut-cell-{number}", alone)


def lose_a_cells_host(cluster: Hosts, name: str, alone: Alone) -> None:
    cluster.wait_for_nodes(3, 240)
    storage, log = begin(cluster, name, alone, "encoders")
    host = host_of(cluster, CELL)
    trial = f"pgrep -f {CELL}"
    others = [other for other in ("head", "worker1", "worker2") if other != host]
    time.sleep(5)
    assert sum(cluster.on(other, trial).returncode == 0 for other in others) == 1, "two cells on three hosts"
    try:
        noticed, again = cut_for_good(
            cluster, host, lambda: all(cluster.on(other, trial).returncode == 0 for other in others)
        )
        print(f"cell: {host} called dead after {noticed:.0f} s, its cell in work again {again:.1f} s later")
        wait_for_end(log)
    finally:
        cluster.heal(host)
    assert table(storage, "long") == alone.table()
    assert again <= PROMISED_SECONDS
