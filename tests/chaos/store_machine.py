"""Commands on one storage as a state machine: what may happen in any order, and what must hold after each step.

Two places for commands (`sweep.run`, with --retry-failed, --redo KEY), on two machines or on one.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from simulated import Fault
from simulated_storage import simulated
from store_model import ERRORS, ITEMS, PLAN, SILENT, Command, Storage, expected, parents_of

import sweep.engine.driver
import sweep.run.command
import sweep.store.lease
from datasets_io.storage.files import TEMPORARY
from sweep.engine.driver import Work
from sweep.store.damage import Damage
from sweep.store.store import ReadStore

PLACES = st.integers(0, 1)
ANY_ITEM = st.integers(0, len(ITEMS) - 1)  # its number: a failing run is printed in short


class StoreMachine(RuleBasedStateMachine):
    """The rules: each is one step."""

    def __init__(self) -> None:
        super().__init__()
        self.storage = Storage()
        self.world = self.storage.world
        self.places: list[Command | None] = [None, None]
        self.pids = 100
        self.clock_was_set = False  # that of the storage
        storage = self.storage
        self.patches = [
            simulated(self.world),
            replaced(sweep.engine.driver, "_one_pass", storage.one_pass),
            replaced(sweep.engine.driver, "_cluster", lambda doing, storage: nullcontext(lambda: None)),
            replaced(Work, "left", lambda work: storage.listing(work)),
        ]
        for patch in self.patches:
            patch.__enter__()

    def teardown(self) -> None:
        try:
            self.end_well()
        finally:
            self.storage.close()
            for patch in reversed(self.patches):
                patch.__exit__(None, None, None)

    def living(self, place: int) -> Command | None:
        command = self.places[place]
        return command if command is not None and command.process.is_there else None

    @initialize(finished=st.booleans())
    def find(self, finished: bool) -> None:
        """What the first command finds: nothing, or all that a healthy one has finished before."""
        if finished:
            first = self.storage.begin("run", 0, 99_996)
            self.world.advance(first.process, 3000)
            self.storage.check()
            assert first.code == 0, f"nothing is damaged, and a command ends with {first.code}"

    @rule(
        place=PLACES, machine=PLACES, number=ANY_ITEM,
        kind=st.sampled_from(("run", "run", "run", "retry", "redo", "redo")),
        variant=st.sampled_from((0, 0, 0, 1)), fails=st.booleans(), same_pid=st.booleans(), calls=st.integers(0, 60),
    )  # fmt: skip
    def begin(
        self, place: int, machine: int, kind: str, number: int, variant: int, fails: bool, same_pid: bool, calls: int
    ) -> None:
        """A command begins; where the place is taken, it goes on."""
        if self.living(place) is None:
            item = ITEMS[number]
            redo = None
            if kind == "redo":
                redo = item if item in PLAN.cells else PLAN.cells[0]
            if not same_pid or self.pids in self.world.machines[machine].running:
                self.pids += 1
            command = self.storage.begin(kind, machine, self.pids, redo)
            if variant:
                command.variants[item.key] = variant
                self.storage.many_contents = True
            if fails:
                command.fails.add(item.key)
            self.places[place] = command
        self.go_on(place, calls)

    @rule(place=PLACES, calls=st.integers(1, 60))
    def go_on(self, place: int, calls: int) -> None:
        """So many file calls of one command."""
        command = self.living(place)
        if command is None:
            return
        self.world.advance(command.process, calls)
        if command.process.main.ended:
            self.ended(command)

    @rule(
        place=PLACES, calls=st.integers(0, 25), how=st.sampled_from(("killed before", "killed within", "killed after"))
    )
    def kill(self, place: int, calls: int, how: str) -> None:
        """SIGKILL at a file call to come."""
        command = self.living(place)
        if command is not None:
            command.process.hangs = False
            command.process.faults.append(Fault(calls, how))
            self.go_on(place, calls + 1)

    @rule(place=PLACES, calls=st.integers(0, 25), error=st.sampled_from(ERRORS))
    def fail(self, place: int, calls: int, error: int) -> None:
        """One file call to come fails."""
        command = self.living(place)
        if command is not None:
            command.process.faults.append(Fault(calls, "error", error))
            self.go_on(place, calls + 1)

    @rule(full=st.booleans())
    def fill(self, full: bool) -> None:
        """The disk has no room, or has room again."""
        self.world.full = full

    @rule(place=PLACES, hangs=st.booleans())
    def hang(self, place: int, hangs: bool) -> None:
        """A command, or its connection to the storage, stands still; or goes on, late."""
        command = self.living(place)
        if command is not None:
            command.process.hangs = hangs

    @rule(seconds=st.sampled_from((1.0, 9.0, 31.0, 61.0, 130.0, 4000.0)))
    def wait(self, seconds: float) -> None:
        """Time passes, for all."""
        self.world.pass_time(seconds)

    @rule(machine=PLACES, seconds=st.sampled_from((-31_536_000.0, -7200.0, -1.0, 1.0, 90.0, 7200.0, 31_536_000.0)))
    def set_clock(self, machine: int, seconds: float) -> None:
        """The wall clock of a machine, or of the storage, is set."""
        self.world.machines[machine].wall += seconds
        if machine == 0:
            self.world.storage_skew -= seconds
            self.clock_was_set = True

    @rule(number=ANY_ITEM, kind=st.sampled_from(("flip", "cut", "remove", "seal")), at=st.integers(0, 200))
    def damage(self, number: int, kind: str, at: int) -> None:
        """A finished item is damaged by a disk, or by a person."""
        item = ITEMS[number]
        if not self.storage.is_whole(item) or self.storage.states[item.key][1] is not None:
            return
        folder = self.storage.place(item)
        if kind == "seal":
            path = folder / "result.json"
        else:
            path = folder / json.loads((folder / "result.json").read_bytes())["files"]["weights.bin"]["path"]
        data = bytearray(path.read_bytes())
        if kind == "remove":
            path.unlink()
        else:
            data[at % len(data)] ^= 1
            path.write_bytes(data[: len(data) // 2] if kind == "cut" else data)
        self.storage.known[item.key].damaged, self.storage.known[item.key].shows = True, kind != "flip"
        self.storage.states[item.key] = self.storage.state(item)

    @rule()
    def read(self) -> None:
        """A command that only reads names what is damaged, and takes nothing else for whole."""
        store = ReadStore(str(self.storage.root), thorough=True)
        sizes = store.sizes()
        for item in ITEMS:
            found = store.open_whole(item, sizes)
            state = self.storage.states[item.key][0]
            if state is None:
                assert found is None
            else:
                assert isinstance(found, Damage) == (state.digest is None), f"{item}: read as {found}"

    @invariant()
    def holds(self) -> None:
        self.storage.check()

    def ended(self, command: Command) -> None:
        """Promise 6: a command that says that all is there is right."""
        self.storage.check()
        if command.code == 0 and command.alone:  # another one may redo what this one has read, or find it damaged
            # A redo has done its part of the plan: encoders of other cells are not asked for.
            for item in PLAN.cells if command.redo is not None else ITEMS:
                known, kept = self.storage.known[item.key], self.storage.states[item.key][1]
                there = self.storage.is_whole(item) or known.damaged or kept is not None
                # Of an encoder that starts from another: also that one. A cell is asked for, and failed costs a code.
                failed = item not in PLAN.cells and any(map(self.storage.has_failed, [item, *parents_of(item)]))
                assert there or failed, f"a command ended with 0, and {item} is not there"

    def end_well(self) -> None:
        """Promises 5 and 7: after all that, one command on a healthy machine ends, with every item."""
        for command in self.places:
            if command is not None:
                command.process.kill()
        self.world.full = False
        self.storage.check()
        begun, allowed = self.world.now, 3 * SILENT
        failed = [item for item in ITEMS if self.storage.has_failed(item) and not self.storage.is_whole(item)]
        first = self.storage.begin("run", 0, 99_997)
        self.world.advance(first.process, 3000)
        assert first.process.main.ended, "a command waits for what nobody computes"
        assert failed or first.code == 0, f"nothing has failed, and a command ends with {first.code}"
        self.storage.check()
        for item in ITEMS:
            known, stands = self.storage.known[item.key], self.storage.states[item.key][0] is not None
            # What a killed redo has put aside comes back, and is judged, once its driver has been silent long enough.
            assert not (stands and known.damaged and known.shows), f"{item}: its damage shows, and stays where it is"
        before = {item.key for item in ITEMS if self.storage.is_whole(item)}
        last = self.storage.begin("retry", 0, 99_999)
        self.world.advance(last.process, 3000)
        assert last.process.main.ended, "a command waits for what nobody computes"
        assert self.world.now - begun < allowed, "a command has waited too long for a dead one"
        if last.process.main.error is not None:
            raise AssertionError("a command on a healthy storage failed") from last.process.main.error
        self.storage.check()
        assert last.code == 0, f"not every item is there: code {last.code}"
        again = [key for key in last.computed if key in before]
        assert not again, "what was whole was computed again"
        for item in ITEMS:
            known = self.storage.known[item.key]
            assert self.storage.is_whole(item) and not known.damaged, f"{item} is not whole at the end"
            if not self.storage.many_contents:
                assert known.stands == expected(item, 0), f"{item} has another result than without faults"
        self.leaves_nothing()

    def leaves_nothing(self) -> None:
        """Once the storage's clock has moved on, nothing of dead commands is left."""
        # Where that clock was set back two hours meanwhile, a file of an hour ago is one of an hour ahead.
        self.world.pass_time(1e10 if self.clock_was_set else 4000.0)
        last = self.storage.begin("run", 0, 99_998)
        self.world.advance(last.process, 3000)
        assert last.code == 0 and not last.computed
        root = self.storage.root
        left = [path for path in root.rglob("*") if TEMPORARY in path.name and root / "quarantine" not in path.parents]
        # A lease of another machine, and half of one, goes when somebody has seen it silent for a minute: this command
        # did not wait.
        here = {name for name, process in self.world.lease_of.items() if process.machine is last.process.machine}
        left += [path for path in (self.storage.root / "leases").glob("*.json") if path.stem in here]
        elsewhere = {path.stem for path in (self.storage.root / "leases").glob("*.json")} - here
        if not elsewhere:  # the same holds of a result aside that stands again, or still
            left += list((self.storage.root / "superseded").rglob("*"))
        assert not left, f"left behind: {left}"


@contextmanager
def replaced(where: Any, name: str, value: Any) -> Iterator[None]:
    """Another attribute for a while."""
    before = getattr(where, name)
    setattr(where, name, value)
    try:
        yield
    finally:
        setattr(where, name, before)
