"""The same promises on the file systems that users have: first writes, two drivers at once, kills, and one table.

Each kind that this machine cannot mount skips with the reason. Kinds that its kernel lacks are tested by root in a
kernel of Debian's package user-mode-linux: tests/chaos/user_mode_linux.sh.
"""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from drivers import ENVIRONMENT, ROOT, Logged, another_item_lands, assert_same_without_leftovers, command, run
from file_systems import KINDS, Kind, NotMountable, mounted
from small_storage import small

from datasets_io.storage import artefacts
from datasets_io.storage.artefacts import ConflictingResult
from datasets_io.storage.files import TEMPORARY, Files
from sweep.run.chaos import finished, results_of
from sweep.store.csv_files import results_csv
from sweep.store.kept_names import check_names
from sweep.store.lease import LEASES, Lease
from sweep.store.results import ResultReader
from sweep.store.status_names import Status
from sweep.studies.bad_input import BadInput

pytestmark = [
    pytest.mark.chaos,
    pytest.mark.timeout(7200),
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to mount file systems"),
]
NAMES, ORDERS = 40, ("forwards", "backwards")
# Writes each name once, and says which of its writes were first.
WRITER = """
import sys
from datasets_io.storage.files import Files
files = Files(sys.argv[1])
for number in range(int(sys.argv[3])):
    if files.write_once(f"race/{number}.json", sys.argv[2].encode() * 1000):
        print(number, flush=True)
"""
# Replaces a few files for ever, each with one byte many times.
REPLACER = """
import os, sys
from datasets_io.storage.files import Files
files, number = Files(sys.argv[1]), 0
print("ready", flush=True)
while True:
    number += 1
    files.write(f"replaced/{number % 5}", os.urandom(1) * 200_000)
"""


# Computes what is left of a small study, without Ray, and says of each cell that it is done.
COMPUTER = """
import sys
from pathlib import Path
sys.path.insert(0, "tests/chaos")
from small_storage import small
made = small(Path(sys.argv[1]))
made.make_encoders()
print("ready", flush=True)
jobs = made.jobs if sys.argv[2] == "forwards" else made.jobs[::-1]
for job in sorted(jobs, key=lambda job: job.protocol.name != "LP"):
    done, _ = made.store.done_and_failed()
    if not {target.folder for target in job.targets} <= done:
        made.run(job)
        print(job.name, flush=True)
"""


@pytest.fixture(scope="module", params=KINDS, ids=[kind.name.replace(" ", "-") for kind in KINDS])
def places(request, tmp_path_factory):
    """The kind, with two places that show the same files."""
    kind: Kind = request.param
    try:
        with mounted(kind, tmp_path_factory.mktemp("system")) as (mount, second):
            yield kind, mount, second
    except NotMountable as error:
        pytest.skip(f"no {kind.name}: {error}")


@pytest.fixture(scope="module")
def calm(tmp_path_factory) -> Path:
    """The tiny study, undisturbed, on the disk of the tests."""
    storage = tmp_path_factory.mktemp("calm") / "storage"
    done = run(storage)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return storage


@pytest.fixture(scope="module")
def computed(tmp_path_factory) -> str:
    """results.csv of a small study that one process has computed, without Ray, on the disk of the tests."""
    folder = tmp_path_factory.mktemp("computed")
    process = python(COMPUTER, folder, "forwards")
    process.communicate(timeout=1200)
    assert process.returncode == 0
    return table_of(folder)


def table_of(folder: Path) -> str:
    """As a sweep writes it, of a study whose cells have all finished."""
    made = small(folder)
    results = ResultReader(made.study, made.plan, made.store).collect()
    assert {result.status for result in results} == {Status.DONE}
    return results_csv(results)


def python(script: str, *arguments: object) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-c", script, *map(str, arguments)],
        cwd=ROOT,
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        text=True,
    )


def test_of_two_writers_at_once_one_is_first(places):
    _, mount, second = places
    writers = [python(WRITER, place / "once", name, NAMES) for place, name in ((mount, "a"), (second, "b"))]
    firsts = [set(map(int, writer.communicate(timeout=600)[0].split())) for writer in writers]
    assert [writer.returncode for writer in writers] == [0, 0]
    files = Files(str(mount / "once"))
    assert firsts[0] | firsts[1] == set(range(NAMES)), "each name was given"
    for number in range(NAMES):
        content = files.read(f"race/{number}.json")
        assert content in (b"a" * 1000, b"b" * 1000), "whole"
        # Where the file system has no call for it, both may have been told that they were first.
        assert number in firsts[content == b"b" * 1000]
    assert not [path for path in (mount / "once").rglob(f"*{TEMPORARY}*")]


def test_a_storage_that_does_not_keep_names_is_refused(places):
    kind, mount, _ = places
    if kind.keeps_case:
        check_names(Files(str(mount / "Names")))
        return
    with pytest.raises(BadInput, match="results are found by their names"):
        check_names(Files(str(mount / "Names")))


def test_a_result_is_published_once(places):
    _, mount, _ = places
    files, result = Files(str(mount / "published")), {"macro_auroc": 0.5, "findings": []}
    assert artefacts.publish(files, "cells/c", {"a.bin": b"abc"}, result)
    assert not artefacts.publish(files, "cells/c", {"a.bin": b"abc"}, result)
    with pytest.raises(ConflictingResult):
        artefacts.publish(files, "cells/c", {"a.bin": b"other"}, result)
    assert artefacts.problems(files, "cells/c") == []
    target = artefacts.move_to_quarantine(files, "cells/c", "a test")
    assert not files.exists("cells/c") and artefacts.problems(files, f"{target}/c") == []


def test_killed_writers_leave_whole_files(places):
    _, mount, _ = places
    chance, files = random.Random(1), Files(str(mount / "killed"))
    for _ in range(10):
        writer = python(REPLACER, mount / "killed")
        writer.stdout.readline()
        time.sleep(chance.uniform(0.05, 0.4))
        writer.kill()
        writer.wait()
    found = files.list("replaced")
    assert found
    for path in found:
        content = files.read(path)
        assert len(content) == 200_000 and len(set(content)) == 1, "whole, of one writer"
    files.remove_orphans()
    assert not [path for path in (mount / "killed").rglob(f"*{TEMPORARY}*")]


def test_a_folder_with_a_file_that_is_open_is_removed(places):
    _, mount, _ = places
    files = Files(str(mount / "open"))
    files.write("ray/a/b.txt", b"1")
    with open(mount / "open" / "ray" / "a" / "b.txt", "rb"):
        files.remove("ray")
        assert files.list("ray") == []


def test_a_lease_is_seen_from_the_other_place(places):
    _, mount, second = places
    one, other = Files(str(mount / "leased")), Files(str(second / "leased"))
    with Lease(one, seconds=20) as here, Lease(other, seconds=20) as there:
        assert here.claim({"a", "b"}) == ({"a", "b"}, {})
        mine, held = there.claim({"b", "c"})
        assert mine == {"c"} and set(held) == {"b"}
    assert one.list(LEASES) == []


@pytest.mark.parametrize("killed", [1, 2])
def test_of_two_processes_some_are_killed_and_the_table_is_the_same(places, computed, killed):
    """The jobs of drivers without Ray, which a user-mode kernel is too slow for; no lease keeps them apart."""
    kind, mount, second = places
    if not kind.keeps_case:
        pytest.skip(f"{kind.name} is refused: it does not keep names as they are written")
    here, there = mount / f"killed-{killed}", second / f"killed-{killed}"
    store = small(here).store  # data is built first, as a driver does, which holds a lease meanwhile
    workers = [python(COMPUTER, place, order) for place, order in zip((here, there), ORDERS, strict=True)]
    while not any("/cells/" in path for path in finished(here / "storage")):
        assert workers[0].poll() is None, "it ended without a cell"
        time.sleep(0.05)
    for worker in workers[:killed]:
        worker.kill()
    for worker in workers:
        worker.communicate(timeout=1200)
    again = python(COMPUTER, there, "forwards")
    again.communicate(timeout=1200)
    assert again.returncode == 0
    assert table_of(here) == computed
    store.files.remove_orphans()
    assert not [path for path in here.rglob(f"*{TEMPORARY}*") if path.is_file()]
    done = [path.rpartition("/")[0] for path in store.files.list("cells", "/result.json")]
    assert done and all(artefacts.problems(store.files, folder) == [] for folder in done)


def test_two_drivers_one_of_which_is_killed_give_the_same_table(places, calm):
    kind, mount, second = places
    if not kind.keeps_case:
        pytest.skip(f"{kind.name} is refused: it does not keep names as they are written")
    storage, other = mount / "sweep", second / "sweep"
    logs = mount.parent
    drivers = [Logged(command(place), logs / f"{name}.log") for place, name in ((storage, "one"), (other, "two"))]
    another_item_lands(storage, drivers[0], 2)
    drivers[0].kill()
    code = drivers[1].end()
    assert code == 0, drivers[1].said()[-3000:]
    assert results_of(storage, "tiny") == results_of(calm, "tiny") is not None
    again = run(storage)
    assert again.returncode == 0, again.stdout[-3000:] + again.stderr[-3000:]
    assert_same_without_leftovers(storage, calm, "tiny")


def test_two_drivers_that_are_both_killed_are_gone_on_with(places, calm):
    kind, mount, second = places
    if not kind.keeps_case:
        pytest.skip(f"{kind.name} is refused: it does not keep names as they are written")
    storage, other = mount / "both", second / "both"
    drivers = [Logged(command(place), mount.parent / f"{name}.log") for place, name in ((storage, "a"), (other, "b"))]
    another_item_lands(storage, drivers[0], 3)
    for driver in drivers:
        driver.process.send_signal(signal.SIGKILL)
    for driver in drivers:
        driver.process.wait()
    again = run(other)
    assert again.returncode == 0, again.stdout[-3000:] + again.stderr[-3000:]
    assert_same_without_leftovers(storage, calm, "tiny")
