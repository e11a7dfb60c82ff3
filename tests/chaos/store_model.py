"""What a storage must hold whatever its commands do, as a model that knows files and SHA-256 alone; and the commands.

The commands are the real ones from the leases to the report, without Ray: an item is computed by a job that reads its
parents, makes bytes and publishes them.
"""

import errno
import hashlib
import io
import json
import shutil
import tempfile
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from made_up_study import small
from rich.console import Console
from simulated import HERE, Process, World
from store_checks import FAST

import sweep.engine.driver
import sweep.run.command
import sweep.store.lease
from datasets_io.storage.artefacts import is_done as has_result
from datasets_io.storage.artefacts import open_artefacts, publish
from datasets_io.storage.files import Files
from sweep.cli.display import Display
from sweep.engine.driver import Work, work_through
from sweep.monitoring.bars import RunBars
from sweep.monitoring.sinks import SinkOptions
from sweep.store.results import ResultReader
from sweep.store.snapshot import Origin
from sweep.store.status_names import Status
from sweep.store.store import ReadStore, Store
from sweep.studies.bad_input import BadInput
from sweep.studies.cell import EncoderRun, Item
from sweep.studies.learnt_seconds import Observations
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


def unread_display() -> Display:
    """A command's, on a pipe that nobody reads."""
    return Display(Console(file=io.StringIO()))


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
    damaged: whether somebody has damaged what lies there, which nobody has put away since. shows: whether a seal or a
    size tells, so that a command without --retry-failed must see it.
    """

    stands: str | None = None
    damaged: bool = False
    shows: bool = False


@dataclass
class Command:
    """What the model knows of a command. valid: items that were whole as it listed what is left, and since.

    kept: items whose earlier result lay aside then, though nobody computed them again. computing: what it is in the
    middle of; computed: what it began to compute. calls: its file calls up to the last check. alone:
    no other command was there beside it.
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
    display: Display = field(default_factory=unread_display)
    code: int | None = None
    calls: int = 0
    alone: bool = True


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

    def kept(self, item: Item) -> list[Path]:
        return sorted((self.root / "superseded").glob(f"{self.place(item).name}.????????.json"))

    def moved_whole(self, item: Item) -> set[str]:
        """Digests of its results that lie in quarantine and will be brought back, since nobody has judged them yet."""
        found = set()
        for unsure in (self.root / "quarantine").glob("*/moved.json"):
            for place in (unsure.parent / self.place(item).name, self.place(item)):
                result = look((unsure.parent if place == self.place(item) else place) / "result.json", place)
                if result is not None and result.digest is not None:
                    found.add(result.digest)
        return found

    def state(self, item: Item) -> tuple[Found | None, Found | None]:
        place = self.place(item)
        copies = [found for path in self.kept(item) if (found := look(path, place)) is not None]
        # Of two commands that compute it again both have one: that of the result that stands counts.
        copies.sort(key=lambda found: found.digest is None or found.digest != self.known[item.key].stands)
        return look(place / "result.json", place), copies[0] if copies else None

    def is_whole(self, item: Item) -> bool:
        found = self.states[item.key][0]
        return found is not None and found.digest is not None

    def has_failed(self, item: Item) -> bool:
        return (self.place(item) / "failed.json").exists()

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
        for command in self.commands:
            command.calls = command.process.calls

    def _check_change(
        self, item: Item, before: tuple[Found | None, Found | None], now: tuple[Found | None, Found | None]
    ) -> None:
        known, (result, kept) = self.known[item.key], now
        digest = result.digest if result else None
        quarantined = [p for p in (self.root / "quarantine").glob("*") if self.place(item).name[:60] in p.name]
        if result is not None and digest is None:
            assert known.damaged, f"{item}: what stands as its result is not whole, and nobody has damaged it"
        if digest is not None:
            # Within one step a command may put the earlier result aside, compute the new one and drop the other.
            within = any(one.redo == item and one.process.calls > one.calls for one in self.commands)
            redone = within or before[1] is not None or kept is not None
            if known.stands is not None and digest != known.stands:
                # Within one step what was damaged may be put away, and computed anew with other content.
                assert redone or (known.damaged and quarantined), f"{item}: its result was replaced by another one"
            known.stands, known.damaged = digest, False
        elif known.stands is not None and not known.damaged:
            there = (kept is not None and kept.digest == known.stands) or known.stands in self.moved_whole(item)
            assert there, f"{item}: its result is lost"
        if known.damaged and result is None and kept is None:
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
        for other in self.commands:
            if other.process.is_there:
                other.alone = command.alone = False
        self.commands.append(command)
        return command

    def _run(self, command: Command) -> None:
        """sweep.run from the built data to the report, as sweep.run.command has it."""
        HERE.command = command
        store = Store(str(self.root))
        reader = ResultReader(STUDY, PLAN, store)
        display = command.display
        aside = partial(sweep.run.command._restore, store, display)
        work = Work(PLAN, store, {}, {}, STUDY.resources, reader, display, lambda: (), SinkOptions("machine"), aside)
        with sweep.store.lease.Lease(store.files) as lease:
            aside(lease)
        if command.kind == "retry":
            sweep.run.command._forget_failures(PLAN, store)
        if command.redo is not None:
            try:
                sweep.run.command._redo(work, command.redo.key, Origin("made_up", str(self.root)))
            except BadInput:  # another command computes it again
                command.code = 2
                return
        else:
            work_through(work)
        results = reader.collect()
        command.code = 0 if all(result.status == Status.DONE for result in results) else 3

    def listing(self, work: Work) -> tuple[Pending, set[str]]:
        """Work.left, with a note of what was whole before it began."""
        now = {item: self.state(item) for item in ITEMS}  # `states` is of the end of the last step
        HERE.command.valid = {item.key for item, (result, _) in now.items() if result and result.digest}
        HERE.command.kept = {item.key for item, (_, kept) in now.items() if kept and not self.redone_by(item)}
        left: tuple[Pending, set[str]] = REAL_LEFT(work)
        return left

    def one_pass(self, work: Work, mine: Pending, done: set[str], bars: RunBars, finished: Observations) -> None:
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
                # One that was cut off may come back behind the look of a claim: then the first result stands.
                cut_off = [at for at, seconds in other.process.silences if seconds > SILENT]
                back = bool(cut_off) and cut_off[-1] >= command.process.claimed_at
                assert silent > SILENT or back, (
                    f"{item}: begun by two drivers, the other one was silent for {silent:.0f} s"
                )

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
