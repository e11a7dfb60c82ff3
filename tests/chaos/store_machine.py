"""Commands on one storage as a state machine: what may happen in any order, and what must hold after each step.

Two places for commands (`sweep.run`, with --retry-failed, --redo KEY), on two machines or on one. The commands are the
real ones from the leases to the report, without Ray: an item is computed by a job that reads its parents, makes bytes
and publishes them. What must hold is said by a model that knows files and SHA-256 alone.
"""

import errno
import hashlib
import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from made_up_study import small
from simulated import HERE, Fault, Process, World, simulated
from store_checks import FAST

import sweep.engine.driver
import sweep.run.command
import sweep.store.lease
from datasets_io.storage.artefacts import is_done as has_result
from datasets_io.storage.artefacts import open_artefacts, publish
from datasets_io.storage.files import TEMPORARY, Files
from sweep.engine.driver import Work, work_through
from sweep.monitoring.sinks import SinkOptions
from sweep.store.damage import Damage
from sweep.store.results import ResultReader
from sweep.store.status_names import Status
from sweep.store.store import ReadStore, Store
from sweep.studies.bad_input import BadInput
from sweep.studies.cell import EncoderRun, Item
from sweep.studies.plan import Pending, Plan, make_plan, starts_from
from trainables.evaluation import cell_job

STUDY = small(("imagenet", "clip"))
_whole = make_plan(STUDY, {build.label: "made up" for build in STUDY.data_builds()}, {})
_dataset = _whole.cells[0].dataset
PLAN = Plan(
    _whole.encoders,
    tuple(
        cell
        for cell in _whole.cells
        if (cell.dataset, cell.label_percent, cell.seed) == (_dataset, 100, 0)
        and (cell.encoder.row, cell.protocol) in (("imagenet", "LP"), ("imagenet", "LPFT"), ("clip", "LP"))
    ),
)
ITEMS: list[Item] = PLAN.items
STARTS = starts_from(PLAN.cells)
FOLDERS = {ReadStore.folder(item): item for item in ITEMS}
ERRORS = (errno.ENOSPC, errno.EIO, errno.EACCES, errno.ESTALE)
SILENT = 60.0  # seconds after which another driver may take over


def parents_of(item: Item) -> list[Item]:
    if isinstance(item, EncoderRun):
        return [item.parent] if item.parent else []
    return [item.encoder, *([STARTS[item.key]] if item.key in STARTS else [])]


def bytes_of(item: Item, variant: int) -> dict[str, bytes]:
    """What a computation gives: on a CPU the same each time; variant: of a GPU that does not compute in one order."""
    seed = hashlib.sha256(f"{item.key} {variant}".encode()).digest()
    return {"weights.bin": seed * 4, "predictions.parquet": seed[::-1] * 3}


def value_of(item: Item, variant: int) -> float:
    return int(hashlib.sha256(f"{item.key} {variant} value".encode()).hexdigest()[:6], 16) / 0x1000000


class QuietDisplay:
    """What a command says, for those who ask."""

    tables: Any = None

    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, line: str) -> None:
        self.said.append(line)


# -- what lies on the disk, read without the code under test ----------------------------------------------


@dataclass(frozen=True)
class Found:
    """A result as the model reads it: `digest` of what it names where all of it is there, else None (damaged)."""

    digest: str | None


def look(path: Path, folder: Path) -> Found | None:
    """path: of a result.json, or of a copy of one; folder: where its files lie. None where there is none."""
    try:
        content = json.loads(path.read_bytes())
        sealed = content.pop("sha256")
        text = json.dumps(content, indent=1, sort_keys=True).encode()
        if hashlib.sha256(text).hexdigest() != sealed:
            return Found(None)
        names = {}
        for name, entry in sorted(content["files"].items()):
            if hashlib.sha256((folder / entry["path"]).read_bytes()).hexdigest() != entry["sha256"]:
                return Found(None)
            names[name] = entry["sha256"]
        return Found(hashlib.sha256(json.dumps([names, content.get("macro_auroc")]).encode()).hexdigest())
    except FileNotFoundError:
        return None if not path.exists() and not path.is_symlink() else Found(None)
    except (OSError, ValueError, KeyError, TypeError):
        return Found(None)


def expected(item: Item, variant: int) -> str:
    names = {name: hashlib.sha256(data).hexdigest() for name, data in sorted(bytes_of(item, variant).items())}
    value = None if isinstance(item, EncoderRun) else value_of(item, variant)
    return hashlib.sha256(json.dumps([names, value]).encode()).hexdigest()


@dataclass
class Known:
    """What the model holds of one item.

    stands: digest of the result that was seen whole; None before there was one, and once it was damaged from outside.
    damaged: whether somebody has damaged what lies there, which nobody has put away since.
    """

    stands: str | None = None
    damaged: bool = False


@dataclass
class Command:
    """What the model knows of a command. valid: items that were whole as it listed what is left, and since.

    computing: what it is in the middle of; computed: what it began to compute.
    """

    kind: str
    process: Process
    redo: Item | None = None
    valid: set[str] = field(default_factory=set)
    kept: set[str] = field(default_factory=set)
    computing: set[str] = field(default_factory=set)
    computed: list[str] = field(default_factory=list)
    variants: dict[str, int] = field(default_factory=dict)
    fails: set[str] = field(default_factory=set)
    display: QuietDisplay = field(default_factory=QuietDisplay)
    code: int | None = None


class Storage:
    """The storage, the model of it, and the commands that were begun."""

    def __init__(self) -> None:
        self.root = Path(tempfile.mkdtemp(dir=FAST))
        self.world = World(self.root)
        self.known = {item.key: Known() for item in ITEMS}
        self.commands: list[Command] = []
        self.states: dict[str, tuple[Found | None, Found | None]] = {item.key: (None, None) for item in ITEMS}
        self.many_contents = False

    # -- the model ---------------------------------------------------------------------------------------

    def place(self, item: Item) -> Path:
        return self.root / ReadStore.folder(item)

    def kept(self, item: Item) -> Path:
        return self.root / "superseded" / f"{self.place(item).name}.json"

    def state(self, item: Item) -> tuple[Found | None, Found | None]:
        place = self.place(item)
        return look(place / "result.json", place), look(self.kept(item), place)

    def is_whole(self, item: Item) -> bool:
        found = self.states[item.key][0]
        return found is not None and found.digest is not None

    def redone_by(self, item: Item) -> list[Command]:
        return [one for one in self.commands if one.redo == item and one.process.is_there]

    def check(self) -> None:
        """Promises 1 to 3, of every item."""
        for item in ITEMS:
            before, now = self.states[item.key], self.state(item)
            if now != before:
                self._check_change(item, before, now)
                self.states[item.key] = now
            for command in self.commands:
                if not self.is_whole(item):
                    command.valid.discard(item.key)

    def _check_change(
        self, item: Item, before: tuple[Found | None, Found | None], now: tuple[Found | None, Found | None]
    ) -> None:
        known, (result, kept) = self.known[item.key], now
        digest = result.digest if result else None
        if result is not None and digest is None:
            assert known.damaged, f"{item}: what stands as its result is not whole, and nobody has damaged it"
        if digest is not None:
            redone = before[1] is not None or kept is not None
            if known.stands is not None and digest != known.stands:
                assert redone, f"{item}: its result was replaced by another one"
            known.stands, known.damaged = digest, False
        elif known.stands is not None and not known.damaged:
            there = kept is not None and kept.digest == known.stands
            assert there, f"{item}: its result is lost"
        if known.damaged and result is None and kept is None:
            quarantined = [p for p in (self.root / "quarantine").glob("*") if self.place(item).name[:60] in p.name]
            assert quarantined, f"{item}: a damaged result went away and is not in quarantine"
            known.stands, known.damaged = None, False

    # -- commands ----------------------------------------------------------------------------------------

    def begin(self, kind: str, machine: int, pid: int, redo: Item | None = None) -> Command:
        command: Command | None = None

        def program(process: Process) -> None:
            assert command is not None
            self._run(command)

        process = self.world.start(machine, program, pid)
        command = Command(kind, process, redo)
        self.commands.append(command)
        return command

    def _run(self, command: Command) -> None:
        """sweep.run from the built data to the report, as sweep.run.command has it."""
        HERE.command = command
        store = Store(str(self.root))
        reader = ResultReader(STUDY, PLAN, store)
        display: Any = command.display
        aside = partial(sweep.run.command._restore, store, display)
        work = Work(PLAN, store, {}, {}, STUDY.resources, reader, display, lambda: (), SinkOptions("machine"), aside)
        with sweep.store.lease.Lease(store.files) as lease:
            aside(lease)
        if command.kind == "retry":
            sweep.run.command._forget_failures(PLAN, store)
        if command.redo is not None:
            try:
                sweep.run.command._redo(work, command.redo.key)
            except BadInput:  # another command computes it again
                command.code = 2
                return
        else:
            work_through(work)
        results = reader.collect()
        command.code = 0 if all(result.status == Status.DONE for result in results) else 3

    def listing(self, work: Work) -> tuple[Pending, set[str]]:
        """Work.left, with a note of what was whole before it began."""
        HERE.command.valid = {item.key for item in ITEMS if self.is_whole(item)}
        HERE.command.kept = {item.key for item in ITEMS if self.state(item)[1] and not self.redone_by(item)}
        left: tuple[Pending, set[str]] = REAL_LEFT(work)
        return left

    def one_pass(self, work: Work, mine: Pending, done: set[str]) -> None:
        """Every item that this driver has got, one after another."""
        command: Command = HERE.command
        items = mine.items
        for item in items:
            self._check_begun(command, item)
        command.computing = {item.key for item in items}
        try:
            for item in items:
                self._job(command, work.store.files, item)
                command.computing.discard(item.key)
        finally:
            command.computing = set()

    def _check_begun(self, command: Command, item: Item) -> None:
        """Promises 1 and 7 where a command begins an item."""
        assert item.key not in command.valid, f"{item}: computed again, though its result was there and whole"
        kept = self.states[item.key][1]
        if item.key in command.kept and command.redo != item and kept is not None and kept.digest is not None:
            raise AssertionError(f"{item}: computed while its earlier result lies aside and nobody computes it again")
        for other in self.commands:
            if other is not command and other.process.is_there and item.key in other.computing:
                silent = self.world.now - other.process.last_beat
                assert silent > SILENT, f"{item}: begun by two drivers, the other one was silent for {silent:.0f} s"

    def _job(self, command: Command, files: Files, item: Item) -> None:
        """As a job does it: not where it is done, with verified parents, and a failure is kept."""
        folder = ReadStore.folder(item)
        if has_result(files, folder):
            return
        parents = {ReadStore.folder(parent): parent for parent in parents_of(item)}
        command.computed.append(item.key)
        try:
            hashes = {}
            for place, parent in parents.items():
                found = open_artefacts(files, place)
                data = found.read("weights.bin")
                whole = [bytes_of(parent, variant)["weights.bin"] for variant in range(3)]
                assert data in whole, f"{item}: made from bytes that nobody has computed"
                hashes[place] = found.content_sha256
            HERE.strand.pause("computing")
            if item.key in command.fails:
                raise RuntimeError("the loss is no number")
            variant = command.variants.get(item.key, 0)
            value: dict[str, Any] = {} if isinstance(item, EncoderRun) else {"macro_auroc": value_of(item, variant)}
            findings = {} if isinstance(item, EncoderRun) else {"findings": []}
            publish(files, folder, bytes_of(item, variant), value | findings, recipe=item.key, parents=hashes)
        except Exception as error:
            if isinstance(error, AssertionError):
                raise
            self._failed(files, item, error)

    @staticmethod
    def _failed(files: Files, item: Item, error: Exception) -> None:
        encoder, *starts = [ReadStore.folder(parent) for parent in parents_of(item)] or [""]
        job: Any = SimpleNamespace(encoder_folder=encoder)
        target = cell_job.SeedTarget(str(item), item.key, 0, ReadStore.folder(item), starts[0] if starts else None)
        cell_job._failed(job, files, target, error, lambda outcome: None)

    def close(self) -> None:
        self.world.end()
        shutil.rmtree(self.root, ignore_errors=True)


REAL_LEFT = Work.left
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
        storage = self.storage
        self.patches = [
            simulated(self.world),
            replaced(sweep.engine.driver, "_one_pass", storage.one_pass),
            replaced(sweep.engine.driver, "_cluster", lambda: nullcontext(lambda: None)),
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
        self.storage.known[item.key].damaged = True
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
        if command.code == 0:
            for item in ITEMS:
                known, kept = self.storage.known[item.key], self.storage.states[item.key][1]
                there = self.storage.is_whole(item) or known.damaged or kept is not None
                assert there, f"a command ended with 0, and {item} is not there"

    def end_well(self) -> None:
        """Promises 5 and 7: after all that, one command on a healthy machine ends, with every item."""
        for command in self.places:
            if command is not None:
                command.process.kill()
        self.world.full = False
        self.storage.check()
        before = {item.key for item in ITEMS if self.storage.is_whole(item)}
        begun, allowed = self.world.now, 3 * SILENT
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
        self.world.pass_time(4000.0)
        last = self.storage.begin("run", 0, 99_998)
        self.world.advance(last.process, 3000)
        assert last.code == 0 and not last.computed
        left = [path for path in self.storage.root.rglob("*") if TEMPORARY in path.name]
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
