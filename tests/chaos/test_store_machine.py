"""Commands, kills, clocks and failing storages in any order: promises 1 to 7 after every step."""

import errno
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test
from store_machine import StoreMachine
from store_model import ITEMS

import sweep.engine.driver
import sweep.run.redo
import sweep.store.store
from datasets_io.storage import artefacts
from datasets_io.storage.artefacts import CorruptArtefact
from sweep.store.lease import Lease
from sweep.store.store import Store

EXAMPLES, STEPS = 40, 50  # 2,000 steps
PLANTED_EXAMPLES = 200  # the first that notices ends it: of most bugs one of the first ten, of few after 40


def run_machine(examples: int, **more: Any) -> None:
    """So many runs of STEPS steps; the same ones each time, unless more says otherwise. The first fault ends it."""
    chosen: dict[str, Any] = {"derandomize": True, **more}
    run_state_machine_as_test(
        StoreMachine,
        settings=settings(
            max_examples=examples, stateful_step_count=STEPS, deadline=None, database=None, print_blob=False,
            suppress_health_check=list(HealthCheck), phases=[Phase.generate], **chosen,
        ),
    )  # fmt: skip


def test_two_thousand_steps():
    run_machine(EXAMPLES)


@pytest.mark.chaos
@pytest.mark.timeout(4 * 3600)
def test_ten_thousand_steps_of_another_order_each_time(times):
    """100,000 with --by-hand."""
    run_machine(times(200, 2000), derandomize=False)


def test_damage_that_a_killed_redo_has_put_aside_is_judged_later():
    """Found by another order: the next command takes the dead driver for a living one, and its encoder has failed."""
    machine = StoreMachine()
    try:
        machine.find(finished=True)
        machine.damage(number=2, kind="remove", at=0)
        machine.damage(number=0, kind="seal", at=0)
        machine.begin(0, machine=1, kind="redo", number=0, variant=0, fails=True, same_pid=True, calls=74)
        machine.holds()
        assert not machine.storage.place(ITEMS[2]).joinpath("result.json").exists()
    finally:
        machine.teardown()


def test_a_driver_that_comes_back_behind_the_look_of_a_claim_computes_beside_it():
    """Found by another order: no lease can tell, and the first result of each item stands."""
    machine = StoreMachine()
    try:
        machine.find(finished=False)
        machine.begin(0, machine=1, kind="run", number=2, variant=0, fails=True, same_pid=False, calls=25)
        machine.hang(0, hangs=True)
        machine.begin(1, machine=0, kind="redo", number=1, variant=1, fails=True, same_pid=False, calls=30)
        machine.wait(61.0)
        machine.go_on(1, calls=26 + 28 + 40)
        machine.wait(130.0)
        machine.go_on(1, calls=14)
        machine.hang(0, hangs=False)
        machine.begin(1, machine=0, kind="run", number=0, variant=1, fails=False, same_pid=True, calls=12)
        machine.wait(1.0)
        first, last = (machine.living(place) for place in (0, 1))
        while not first.computing & last.computing:
            assert machine.living(1) is not None, "each of them computes what the other does not"
            machine.go_on(1, calls=1)
        machine.holds()
    finally:
        machine.teardown()


def test_an_encoder_whose_start_has_failed_is_missing_where_all_cells_are_there():
    """Found by another order: both encoders are damaged behind finished cells, and a write of the first one fails."""
    machine = StoreMachine()
    try:
        machine.find(finished=True)
        machine.damage(number=0, kind="cut", at=98)
        machine.damage(number=1, kind="flip", at=196)
        machine.begin(0, machine=1, kind="retry", number=3, variant=0, fails=False, same_pid=False, calls=22)
        machine.kill(0, how="killed before", calls=12)
        machine.begin(0, machine=1, kind="retry", number=3, variant=0, fails=True, same_pid=True, calls=32)
        machine.fail(0, error=errno.ESTALE, calls=11)
        retry = machine.living(0)
        machine.begin(0, machine=1, kind="redo", number=1, variant=0, fails=True, same_pid=False, calls=53)
        machine.holds()
        assert retry.code == 0 and machine.storage.has_failed(ITEMS[0]), (
            "the failure of an encoder that no cell waits for"
        )
        assert not machine.storage.is_whole(ITEMS[1]) and not machine.storage.has_failed(ITEMS[1])
    finally:
        machine.teardown()


# -- planted bugs: each must be noticed by the machine ---------------------------------------------------


def keeps_no_copy(store, cell, original=sweep.run.redo.supersede):
    redo = original(store, cell)
    store.files.remove(redo.kept)
    return redo


def restores_only_where_nothing_is_left(store, name, path):
    store.files.remove(path)
    return "its earlier result stands"


def removes(files, path, why):
    files.remove(path)
    return path


def takes_what_others_hold(self, wanted, original=Lease.claim):
    original(self, wanted)
    self.keep(wanted)
    return set(wanted), {}


def takes_nothing_for_done(plan, done, failed, again=(), original=sweep.engine.driver.pending):
    return original(plan, set(), failed, again)


def leaves_damage(self, item, sizes):
    try:
        return self.open(item)
    except (FileNotFoundError, CorruptArtefact):
        return None


LOST = "its result is lost|a damaged result went away and is not in quarantine"
TWICE = "begun by two drivers|its result is lost"
# What is planted, and by what the machine is to notice it: the first of these that its order of steps comes to.
PLANTED: dict[str, tuple[str, list[tuple[Any, str, Callable[..., Any]]]]] = {
    "a redo keeps no copy of the earlier result": (LOST, [(sweep.run.redo, "supersede", keeps_no_copy)]),
    "nothing of a killed redo comes back": (
        "computed while its earlier result lies aside|left behind: .*superseded",
        [(sweep.run.redo, "restore_interrupted", lambda store, lease: ([], {}))],
    ),
    "a redo that fails costs the earlier result": (
        LOST, [(sweep.run.redo, "_bring_back", restores_only_where_nothing_is_left)]
    ),
    "a lease of another machine counts for nothing": (
        TWICE, [(Lease, "_silent_for", lambda self, name, said: 1e9)]
    ),
    "a lease does not say of which items": (
        TWICE, [(Lease, "_write_items", lambda self: self.files.write(self._items(self.me.id), b""))]
    ),
    "a driver takes what others hold": (TWICE, [(Lease, "claim", takes_what_others_hold)]),
    "what is damaged stays where it is": (
        "its damage shows, and stays where it is|nothing has failed, and a command ends with 3",
        [(Store, "open_whole", leaves_damage)],
    ),
    "quarantine removes": (
        "a damaged result went away and is not in quarantine",
        [
            (artefacts, "move_to_quarantine", removes),
            (artefacts, "_move_and_look", removes),
            (sweep.store.store, "move_to_quarantine", removes),
        ],
    ),
    "a driver takes nothing for done": (
        "computed again, though its result was there and whole",
        [(sweep.engine.driver, "pending", takes_nothing_for_done)],
    ),
    "a thorough reader compares sizes": (": read as ", [(sweep.store.store, "damages", lambda files, folder: [])]),
}  # fmt: skip


@pytest.mark.parametrize("bug", PLANTED)
def test_a_planted_bug_is_noticed(bug, monkeypatch):
    reason, changes = PLANTED[bug]
    for where, name, replacement in changes:
        monkeypatch.setattr(where, name, replacement)
    with pytest.raises(AssertionError, match=reason):  # and for no other reason, such as a bug that is not planted
        run_machine(PLANTED_EXAMPLES)
