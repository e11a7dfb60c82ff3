"""Two drivers on one storage: never the same item at once, and no lease that a person must remove."""

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from datasets_io.storage.files import Files, _temporary
from datasets_io.storage.processes import this_machine
from sweep.store import lease as lease_module
from sweep.store.lease import CLAIMING, HOLDING, LEASES, Holder, Lease

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def files(tmp_path) -> Files:
    return Files(str(tmp_path))


def test_the_second_driver_gets_what_the_first_does_not_hold(files):
    with Lease(files) as first, Lease(files) as second:
        assert first.claim({"a", "b"}) == ({"a", "b"}, {})
        mine, held = second.claim({"b", "c"})
        assert mine == {"c"} and set(held) == {"b"} and held["b"].pid == os.getpid()
        first.keep(())
        assert second.claim({"b", "c"}) == ({"b", "c"}, {})
    assert files.list(LEASES) == []


def test_what_others_hold_is_told_without_a_claim(files):
    with Lease(files) as first, Lease(files) as second:
        first.claim({"a", "b"})
        held = second.held({"b", "c"})
        assert set(held) == {"b"} and held["b"].id == first.me.id
        assert first.claim({"a", "b", "c"}) == ({"a", "b", "c"}, {}), "the second has claimed nothing"


def test_of_drivers_that_claim_at_once_only_one_gets_an_item(files):
    """Twenty rounds of four threads that start together: no item has two holders."""
    for number in range(20):
        wanted, got = {f"{number}-{i}" for i in range(3)}, []
        barrier = threading.Barrier(4)

        def claim(lease: Lease, wanted=wanted, got=got, barrier=barrier) -> None:
            barrier.wait()
            got.append(lease.claim(wanted)[0])

        leases = [Lease(files, sleep=lambda seconds: time.sleep(0.01)) for _ in range(4)]
        threads = [threading.Thread(target=claim, args=(lease,)) for lease in leases]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert sorted(key for mine in got for key in mine) == sorted(wanted)
        for lease in leases:
            lease.__exit__()


class Clock:
    """Seconds of this process alone, as a test moves them."""

    def __init__(self):
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def _pretend(files: Files, holder: Holder, items: str) -> None:
    files.write(f"{LEASES}/{holder.id}.json", json.dumps(vars(holder)).encode())
    files.write(f"{LEASES}/{holder.id}.txt", items.encode())


def test_a_driver_that_was_killed_on_this_machine_counts_for_nothing_at_once(files):
    script = (
        "import os, signal, sys; from datasets_io.storage.files import Files; from sweep.store.lease import Lease\n"
        "Lease(Files(sys.argv[1])).claim({'a'}); os.kill(os.getpid(), signal.SIGKILL)"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    assert subprocess.run([sys.executable, "-c", script, files.root], env=environment).returncode == -9
    assert len(files.list(LEASES)) == 2
    with Lease(files) as lease:
        assert lease.claim({"a"}) == ({"a"}, {})
    assert files.list(LEASES) == [], "the dead driver's lease is removed by whoever sees it"


def test_a_silent_driver_elsewhere_expires_and_a_living_one_does_not(files):
    elsewhere = Holder("gone", "other-host", "12345678", 1, HOLDING, 1.0)
    _pretend(files, elsewhere, "a")
    clock = Clock()
    with Lease(files, seconds=30, clock=clock) as lease:
        assert lease.claim({"a", "b"}) == ({"b"}, {"a": elsewhere})
        clock.now += 20
        _pretend(files, replace(elsewhere, beat=1), "a")  # it lives
        assert set(lease.claim({"a", "b"})[1]) == {"a"}
        clock.now += 29
        assert set(lease.claim({"a", "b"})[1]) == {"a"} and lease.living()
        clock.now += 2
        assert lease.claim({"a", "b"}) == ({"a", "b"}, {}) and len(files.list(LEASES)) == 2


@pytest.mark.parametrize("hours", [-1, 1, 24 * 365])
def test_no_clock_of_a_machine_or_of_the_storage_counts(files, hours):
    """Files dated hours ahead or back, as by a storage whose clock was set, neither hold for ever nor end a lease."""
    clock, dated = Clock(), time.time() + 3600 * hours
    _pretend(files, Holder("gone", "gpu07", "12345678", 1, HOLDING, 1.0), "a")
    _pretend(files, Holder("lives", "gpu08", "87654321", 1, HOLDING, 1.0), "b")
    with Lease(files, seconds=30, clock=clock) as lease:
        for beat in range(5):
            _pretend(files, Holder("lives", "gpu08", "87654321", 1, HOLDING, 1.0, beat=beat), "b")
            for path in files.list(LEASES):
                os.utime(files.full(path), (dated, dated))
            mine, held = lease.claim({"a", "b"})
            assert set(held) == ({"a", "b"} if beat < 4 else {"b"}), "31 s have passed only at the last look"
            clock.now += 31 / 4
        assert mine == {"a"}


def test_another_process_with_the_id_of_a_dead_one_is_not_taken_for_it(files):
    _pretend(files, Holder("gone", "here", this_machine(), os.getpid(), HOLDING, 1.0, started="1"), "a")
    with Lease(files) as lease:
        assert lease.claim({"a"}) == ({"a"}, {})


def test_a_neighbour_that_sees_other_processes_removes_nothing_of_a_living_one(files):
    """Two containers of one host name: process ids of the one mean nothing in the other."""
    if os.geteuid() or not shutil.which("unshare"):
        pytest.skip("needs root and unshare, to make another namespace of process ids")
    temporary = Path(_temporary(f"{files.root}/cells/weights", b"half"))
    script = (
        "import sys; from datasets_io.storage.files import Files; from sweep.store.cleanup import clean_up\n"
        "clean_up(Files(sys.argv[1])); from sweep.store.lease import Lease\n"
        "print(sorted(Lease(Files(sys.argv[1])).claim({'x', 'y'})[0]))"
    )
    with Lease(files) as lease:
        lease.claim({"x"})
        other = subprocess.run(
            ["unshare", "--pid", "--fork", "--mount-proc", sys.executable, "-c", script, files.root],
            env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=True,
        )  # fmt: skip
        assert other.stdout == "['y']\n"
        assert temporary.exists() and len(list(Path(files.root, LEASES).glob(f"{lease.me.id}.*"))) == 2


@pytest.mark.parametrize(
    "wrong",
    [
        {"pid": "abc"}, {"pid": None}, {"pid": 2**70}, {"pid": -1}, {"pid": True}, {"ticket": "zzz"}, {"ticket": None},
        {"state": "x"}, {"machine": 3}, {"beat": "x"}, {"ticket": float("inf")},
        {"ticket": 10**400}, {"ticket": -(10**400)}, {"ticket": float("nan")}, {"ticket": True}, {"ticket": 2**63},
        {"pid": 10**400}, {"pid": 2**63}, {"pid": 1.0}, {"beat": 10**400}, {"beat": -1}, {"beat": 2**63}, {"beat": 1.0},
        {"beat": False}, {"id": "../cells/c"}, {"id": "\ud800"},
    ],
    ids=str,
)  # fmt: skip
def test_a_lease_with_values_of_another_kind_stops_nobody(files, wrong):
    clock = Clock()
    good = asdict(Holder("crafted", "here", this_machine(), 4242, CLAIMING, 1.0))
    files.write(f"{LEASES}/crafted.json", json.dumps(good | wrong).encode())
    files.write(f"{LEASES}/crafted.txt", b"a")
    with Lease(files, seconds=30, clock=clock) as lease:
        assert lease.claim({"a"}) == ({"a"}, {})
        clock.now += 31
        assert lease.living() == [] and len(files.list(LEASES)) == 2


def test_a_deep_lease_and_one_of_a_later_version(files):
    files.write(f"{LEASES}/deep.json", b"[" * 100_000)
    later = asdict(Holder("later", "other-host", "12345678", 1, HOLDING, 1.0)) | {"colour": "green"}
    files.write(f"{LEASES}/later.json", json.dumps(later).encode())
    files.write(f"{LEASES}/later.txt", b"b")
    with Lease(files) as lease:
        assert lease.claim({"a", "b"})[0] == {"a"}


def test_a_living_lease_that_was_removed_comes_back_whole(files):
    with Lease(files, seconds=0.6) as first:
        first.claim({"a"})
        for path in files.list(LEASES):
            files.remove(path)
        deadline = time.monotonic() + 20
        while len(files.list(LEASES)) < 2 and time.monotonic() < deadline:
            time.sleep(0.05)
        with Lease(files, seconds=0.6) as second:
            assert set(second.claim({"a"})[1]) == {"a"}


def test_whether_a_driver_runs(files):
    clock = Clock()
    elsewhere = Holder("there", "other-host", "12345678", 1, HOLDING, 1.0)
    here = Holder("here", "this-host", this_machine(), os.getpid(), HOLDING, 1.0)
    looks = []

    def sleep(seconds: float) -> None:
        looks.append(seconds)
        clock.now += 10
        if len(looks) == 2:
            _pretend(files, replace(elsewhere, beat=1), "a")

    with Lease(files, seconds=30, sleep=sleep, clock=clock) as lease:
        _pretend(files, elsewhere, "a")
        _pretend(files, here, "b")
        assert lease.runs(here) and not looks
        assert not lease.runs(replace(here, id="ended")) and not looks
        assert lease.runs(elsewhere) and len(looks) == 2
        assert not lease.runs(replace(elsewhere, beat=1)) and len(looks) == 6


def test_a_lease_is_kept_alive_by_itself(files):
    with Lease(files, seconds=0.6) as first:
        first.claim({"a"})
        with Lease(files, seconds=0.6) as second:
            for _ in range(6):
                assert second.claim({"a"})[0] == set()
                time.sleep(0.25)


def test_an_earlier_claim_that_was_not_decided_yet_goes_first_and_a_later_one_is_waited_for(files):
    _pretend(files, Holder("early", "other-host", "12345678", 1, CLAIMING, 1.0), "a")
    late = Holder("late", "other-host", "12345678", 1, CLAIMING, time.time() + 1000)
    _pretend(files, late, "b")
    looks = []

    def sleep(seconds: float) -> None:
        looks.append(seconds)
        assert len(looks) <= 3, "the claim that was decided is waited for"
        if len(looks) == 3:  # the later one decides: it had not seen this claim
            _pretend(files, Holder(**{**vars(late), "state": HOLDING}), "b")

    with Lease(files, sleep=sleep) as lease:
        mine, held = lease.claim({"a", "b", "c"})
    assert mine == {"c"} and set(held) == {"a", "b"} and len(looks) == 3


def test_a_damaged_lease_and_half_of_one_are_none_and_go_when_they_are_old(files):
    files.write(f"{LEASES}/x.json", b"\x00 not json")
    files.write(f"{LEASES}/y.txt", b"a")
    _pretend(files, Holder("z", "other-host", "12345678", 1, HOLDING, 1.0), "a")
    files.write(f"{LEASES}/z.txt", b"a \xff")
    clock = Clock()
    with Lease(files, seconds=30, clock=clock) as lease:
        assert lease.claim({"a"}) == ({"a"}, {})
        assert len(files.list(LEASES)) == 6, "they may be in the middle of being written"
        clock.now += 31
        assert lease.living() == []
    assert files.list(LEASES) == []


@pytest.mark.parametrize(
    ("where", "name", "bug", "check"),
    [
        (
            lease_module,
            "is_running",
            lambda process, since="": True,
            test_a_driver_that_was_killed_on_this_machine_counts_for_nothing_at_once,
        ),
        (
            Lease,
            "_silent_for",
            lambda self, name, said: 0.0,
            test_a_silent_driver_elsewhere_expires_and_a_living_one_does_not,
        ),
        (
            Lease,
            "_outranks",
            lambda self, other: other.state == HOLDING,
            test_an_earlier_claim_that_was_not_decided_yet_goes_first_and_a_later_one_is_waited_for,
        ),
        (Lease, "_renew", lambda self: None, test_a_lease_is_kept_alive_by_itself),
    ],
    ids=["the dead are trusted", "never expires", "tickets do not count", "is not kept alive"],
)
def test_a_planted_bug_is_noticed(where, name, bug, check, files, monkeypatch):
    monkeypatch.setattr(where, name, bug)
    with pytest.raises((AssertionError, IndexError)):
        check(files)


def test_a_host_of_any_length_is_shown_short():
    """A storage's writers may have put anything there; the whole of it was a screen of `sweep.status`."""
    assert len(str(Holder("a", "h" * 5000, "m", 1, HOLDING, 1.0))) < 100
