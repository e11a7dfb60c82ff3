"""The fault matrix: each fault a few times, or by hand (--by-hand) by the ten and hundred; the table stays the same."""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
from drivers import (
    ENVIRONMENT,
    ROOT,
    SMALL,
    TINY,
    Logged,
    another_item_lands,
    assert_same_without_leftovers,
    command,
    run,
    without,
)
from ray.cluster_utils import Cluster

from datasets_io.ray_private import trial_title
from sweep.run.chaos import FaultInjector, family, finished, results_of, show_chaos

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(7200)]
MEMORY_GROUPS = Path("/sys/fs/cgroup/memory")
LIMITED = """
from dataclasses import replace

from tests.sweep.small_study import study as small


def study():
    base = small()
    return replace(base, resources=replace(base.resources, cell_time_limit_seconds=20.0))
"""


@pytest.fixture(scope="module")
def calm_tiny(tmp_path_factory) -> Path:
    return undisturbed(tmp_path_factory.mktemp("tiny") / "storage", TINY)


@pytest.fixture(scope="module")
def calm_small(tmp_path_factory) -> Path:
    """84 items, so that it is not over before a few faults."""
    return undisturbed(tmp_path_factory.mktemp("small") / "storage", SMALL)


def undisturbed(storage: Path, study: str) -> Path:
    done = run(storage, study=study)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return storage


def storm(folder: Path, calm: Path, faults: tuple[str, ...], count: int) -> list[int]:
    """So many faults, in one study after another, each gone on with to its end. How many there were in each.

    Fewer than ten hardly get further than the start of a study, so that theirs has its first third from the outset.
    """
    in_each, stops, most_finished = [], [], []
    outset = len(finished(calm)) // 3 if count < 10 else 0
    for number in range(count):
        storage = folder / str(number)
        if outset:
            as_it_was(calm, outset, storage)
        injector = FaultInjector(command(storage, study=SMALL), storage, number, print)
        injector.faults = faults
        log = injector.run(count - sum(in_each), 1, 10)
        assert log.problems == []
        assert_same_without_leftovers(storage, calm, "small")
        in_each.append(len(log.faults))
        stops += log.stops
        most_finished.append(log.finished_before_kills)
        shutil.rmtree(storage)
        if sum(in_each) >= count:
            break
    print(f"faults ({', '.join(faults)}) in each study: {in_each}, after up to {most_finished} items")
    if stops:
        print(f"stops took {min(stops):.1f} to {max(stops):.1f} s")
    assert sum(in_each) == count and max(most_finished) > max(10, outset)
    return in_each


def as_it_was(calm: Path, items: int, storage: Path) -> None:
    """A copy of a finished storage as it was when so many items were done."""
    without(("reports",), calm, storage)
    for result in sorted(map(Path, finished(storage)), key=lambda path: path.stat().st_mtime_ns)[items:]:
        shutil.rmtree(result.parent)


def test_kills_of_the_driver_at_random_moments(calm_small, tmp_path, times):
    assert max(storm(tmp_path, calm_small, ("driver SIGKILL",), times(20, 100))) >= 20, "twenty in one study"


def test_interrupts_of_the_driver_at_random_moments(calm_small, tmp_path, times):
    storm(tmp_path, calm_small, ("driver SIGINT", "driver SIGTERM", "driver SIGINT twice"), times(8, 80))


def test_faults_of_all_kinds_at_random_moments(tmp_path):
    assert show_chaos(SMALL, "small", [], 12, print, tmp_path, seed=3, shortest=1, longest=15)


def test_two_drivers_at_once_give_one_table(calm_tiny, tmp_path, times):
    """From an empty storage, then with the cells open; of every third pair one is killed and the other goes on."""
    chance = random.Random(5)
    for number in range(times(3, 30)):
        storage = tmp_path / str(number)
        if number:
            without(("cells", "reports"), calm_tiny, storage)
        drivers = [Logged(command(storage), tmp_path / f"{number}-{place}.log") for place in "ab"]
        codes = [0, 0]
        if number % 3 == 2:
            another_item_lands(storage, drivers[0])
            time.sleep(chance.uniform(0, 2))
            killed = chance.randrange(2)
            drivers[killed].kill()
            codes[killed] = -signal.SIGKILL
        ended = [driver.end() for driver in drivers]
        said = [driver.said() for driver in drivers]
        # One that ended before it was killed is as good.
        assert all(code in (wanted, 0) for code, wanted in zip(ended, codes, strict=True)), said[0] + said[1]
        assert results_of(storage, "tiny") == results_of(calm_tiny, "tiny")
        if any(ended):
            assert run(storage).returncode == 0
        assert_same_without_leftovers(storage, calm_tiny, "tiny")
        assert number or any("waiting for it" in text for text in said)
        shutil.rmtree(storage)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to mount a small disk")
def test_a_full_disk_is_one_sentence_and_with_room_the_study_goes_on(calm_tiny, tmp_path):
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
        assert_same_without_leftovers(small / "storage", calm_tiny, "tiny", before)
    finally:
        subprocess.run(["umount", "-l", small], check=True)


def test_stopped_workers_are_ended_and_their_cells_computed(calm_small, tmp_path, times):
    """SIGSTOP: the process neither ends nor goes on; a limit of 20 seconds stands for half an hour."""
    study, chance, count, stopped = tmp_path / "limited.py", random.Random(7), times(3, 20), 0
    study.write_text(LIMITED)
    while stopped < count:
        storage = without(("cells", "reports"), calm_small, tmp_path / f"after-{stopped}")
        driver = Logged(command(storage, study=str(study)), tmp_path / f"after-{stopped}.log")
        sessions, seen = {driver.process.pid}, set()
        while stopped < count and another_item_lands(storage, driver):
            running = f"{trial_title()}.train"
            workers = [p for p in family("none", sessions, seen) if p.command.startswith(running)]
            if not workers:
                continue
            worker = chance.choice(workers)
            with suppress(ProcessLookupError):
                os.kill(worker.pid, signal.SIGSTOP)
                stopped += 1
            until = time.monotonic() + 300
            while (worker.pid, worker.started) in {(p.pid, p.started) for p in family("none", sessions, seen)}:
                assert time.monotonic() < until, "a stopped worker was not ended"
                time.sleep(0.5)
        assert driver.end() == 0, driver.said()[-3000:]
        assert_same_without_leftovers(storage, calm_small, "small")
        assert not family("none", sessions, seen)
        shutil.rmtree(storage)


def head_of(cores: int) -> Cluster:
    return Cluster(initialize_head=True, head_node_args={"num_cpus": cores, "dashboard_host": "127.0.0.1"})


def test_nodes_that_are_lost_cost_nothing(calm_small, tmp_path, times):
    """Two nodes of one core; one is killed as soon as something has landed, and another one comes, again and again."""
    chance, count, lost = random.Random(9), times(5, 30), 0
    while lost < count:
        storage = tmp_path / f"after-{lost}"
        cluster = head_of(1)
        try:
            node = cluster.add_node(num_cpus=1)
            arguments = command(storage, study=SMALL)
            driver = Logged(arguments, tmp_path / f"after-{lost}.log", RAY_ADDRESS=cluster.address)
            first: dict[str, int] = {}
            while lost < count and another_item_lands(storage, driver):
                time.sleep(chance.uniform(0, 3))
                first = finished(storage) | first
                cluster.remove_node(node, allow_graceful=False)
                node, lost = cluster.add_node(num_cpus=1), lost + 1
            assert driver.end() == 0, driver.said()[-3000:]
            assert_same_without_leftovers(storage, calm_small, "small", first)
        finally:
            cluster.shutdown()
        shutil.rmtree(storage)


def test_a_head_that_is_lost_is_one_sentence_and_on_a_new_cluster_the_study_goes_on(calm_small, tmp_path, times):
    chance, count, waits, number = random.Random(11), times(1, 10), [], 0
    storage = tmp_path / "0"
    while len(waits) < count:
        before = finished(storage)
        cluster = head_of(2)
        try:
            log = tmp_path / f"{len(waits)}.log"
            driver = Logged(command(storage, study=SMALL), log, RAY_ADDRESS=cluster.address)
            alive = another_item_lands(storage, driver, chance.randint(1, 5))
            if alive:
                cluster.remove_node(cluster.head_node, allow_graceful=False)
                lost = time.monotonic()
                code = driver.end(600)
                waits.append(time.monotonic() - lost)
        finally:
            cluster.shutdown()
        if not alive:  # the study came to its end first
            assert driver.end() == 0, driver.said()[-3000:]
            assert_same_without_leftovers(storage, calm_small, "small", before)
            number += 1
            storage = tmp_path / str(number)
            continue
        said = driver.said()
        assert code == 3 and "Traceback" not in said, said[-3000:]
        assert "go on with: python -m sweep.run" in " ".join(said.split()), said[-3000:]
        assert before.items() <= finished(storage).items(), "0 finished items are computed again"
    print(f"{count} heads lost: the driver ended {min(waits):.0f} to {max(waits):.0f} s later")
    before = finished(storage)
    again = run(storage, study=SMALL)
    assert again.returncode == 0, again.stdout[-3000:]
    assert_same_without_leftovers(storage, calm_small, "small", before)


def test_a_search_whose_head_is_lost_says_so_and_goes_on(tmp_path):
    arguments = [sys.executable, "-m", "sweep.tune", "--study", TINY, "--method", "simclr"]
    arguments += ["--out", str(tmp_path / "o.py"), "--storage", str(tmp_path / "storage"), "--trials"]

    def trials() -> dict[Path, str]:
        return {path: path.read_text() for path in tmp_path.glob("storage/reports/tiny/tune-*/trials/*")}

    cluster = head_of(2)
    try:
        search = Logged([*arguments, "50"], tmp_path / "search.log", RAY_ADDRESS=cluster.address)
        while not [text for text in trials().values() if '"begun"' not in text]:
            assert search.goes_on, search.said()[-3000:]
            time.sleep(0.2)
        cluster.remove_node(cluster.head_node, allow_graceful=False)
        code, said = search.end(600), search.said()
    finally:
        cluster.shutdown()
    assert code == 3 and "Traceback" not in said, said[-3000:]
    assert "go on with: python -m sweep.tune" in " ".join(said.split()), said[-3000:]
    ended = {path: text for path, text in trials().items() if '"begun"' not in text}
    again = subprocess.run([*arguments, str(len(ended) + 1)], cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True)
    assert again.returncode == 0, again.stdout[-3000:] + again.stderr[-3000:]
    assert ended.items() <= trials().items(), "no trial that had ended is made again"


@pytest.mark.skipif(not os.access(MEMORY_GROUPS, os.W_OK), reason="needs the right to make memory groups (cgroup v1)")
def test_a_host_whose_memory_runs_out_gives_the_same_table(calm_small, tmp_path, times):
    """The kernel ends a process of the sweep each time, whichever it likes; the same command goes on."""
    chance, count, ended, number = random.Random(13), times(3, 20), [], 0
    group = MEMORY_GROUPS / f"radsweep-{os.getpid()}"
    group.mkdir()
    try:
        while oom_kills(group) < count:
            storage = tmp_path / str(number)
            driver = Logged(in_group(group, command(storage, "--retry-failed", study=SMALL)), tmp_path / "log")
            first: dict[str, int] = {}
            while oom_kills(group) < count and another_item_lands(storage, driver, chance.randint(1, 4)):
                first = finished(storage) | first
                take_memory(group, driver)
            ended.append(driver.end())
            assert first.items() <= finished(storage).items(), "0 finished items are computed again"
            if ended[-1] == 0:
                assert_same_without_leftovers(storage, calm_small, "small")
                number += 1
        print(f"the kernel ended {oom_kills(group)} processes; the commands ended with {ended}")
        if ended[-1] != 0:
            again = run(storage, "--retry-failed", study=SMALL)
            assert again.returncode == 0, again.stdout[-3000:]
            assert results_of(storage, "small") == results_of(calm_small, "small")
    finally:
        wait_until_empty(group)
        group.rmdir()


def in_group(group: Path, arguments: list[str]) -> list[str]:
    """The command as a member of a memory group, with all that it starts."""
    return ["sh", "-c", f'echo $$ > {group}/cgroup.procs && exec "$@"', "sh", *arguments]


def take_memory(group: Path, driver: Logged) -> None:
    """Until the kernel has ended a process."""
    kills = oom_kills(group)
    while oom_kills(group) == kills and driver.goes_on:
        used = int((group / "memory.usage_in_bytes").read_text())
        for share in (0.8, 0.9, 0.95, 1.0):  # the kernel refuses what it cannot make room for without a kill
            with suppress(OSError):
                (group / "memory.limit_in_bytes").write_text(str(int(used * share)))
                break
        time.sleep(0.2)
    (group / "memory.limit_in_bytes").write_text("-1")


def oom_kills(group: Path) -> int:
    text = (group / "memory.oom_control").read_text()
    return int(text.rpartition("oom_kill ")[2].split()[0])


def wait_until_empty(group: Path) -> None:
    deadline = time.monotonic() + 120
    while (group / "cgroup.procs").read_text().strip() and time.monotonic() < deadline:
        time.sleep(0.5)
