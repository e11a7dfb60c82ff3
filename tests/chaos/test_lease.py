"""Two drivers on one storage: never the same item at once, and no lease that a person must remove."""

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from datasets_io.storage.files import Files
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
    with Lease(files, seconds=30) as lease:
        assert lease.claim({"a", "b"}) == ({"b"}, {"a": elsewhere})
        os.utime(files.full(f"{LEASES}/gone.json"), (time.time() - 40, time.time() - 40))
        assert lease.claim({"a", "b"}) == ({"a", "b"}, {})


def test_a_lease_is_kept_alive_by_itself(files):
    with Lease(files, seconds=0.6) as first:
        first.claim({"a"})
        time.sleep(1.5)
        with Lease(files, seconds=0.6) as second:
            assert second.claim({"a"})[0] == set()


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
    with Lease(files, seconds=30) as lease:
        assert lease.claim({"a"}) == ({"a"}, {})
        assert len(files.list(LEASES)) == 6, "they may be in the middle of being written"
        for name in ("x.json", "y.txt", "z.json"):
            os.utime(files.full(f"{LEASES}/{name}"), (time.time() - 40, time.time() - 40))
        assert lease.living() == []
    assert files.list(LEASES) == []


@pytest.mark.parametrize(
    ("where", "name", "bug", "check"),
    [
        (
            lease_module,
            "is_running",
            lambda process: True,
            test_a_driver_that_was_killed_on_this_machine_counts_for_nothing_at_once,
        ),
        (
            Files,
            "ages",
            lambda self, folder: dict.fromkeys(self.list(folder), 0.0),
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
