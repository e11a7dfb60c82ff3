"""What does a storage say about a study now: counts, failures with reasons, pace, and the table so far."""

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datasets_io.storage.artefacts import Artefacts
from sweep.cli.display import TableRows
from sweep.report.live import live_tables
from sweep.status.eta import Eta, Piece, estimate, kind_of
from sweep.status.listing import Listing, drivers_of
from sweep.store.damage import Damage
from sweep.store.records import without_nan
from sweep.store.results import ResultReader
from sweep.store.shard_checks import open_sources
from sweep.store.shards import data_folders
from sweep.store.snapshot import fingerprints_of
from sweep.store.store import CELLS, ENCODERS, ReadStore, name_of
from sweep.studies.bad_input import BadInput
from sweep.studies.cell import Cell, EncoderRun
from sweep.studies.plan import NOT_BUILT, Plan, make_plan, parse_only, pending
from sweep.studies.presets import load_study
from trainables.tensorboard import write_history

READERS = 16


@dataclass(frozen=True)
class Counts:
    """left includes running; blocked waits for something that failed. left and blocked are None without a study."""

    total: int
    done: int
    failed: int
    running: int
    left: int | None = None
    blocked: int | None = None


@dataclass(frozen=True)
class Failure:
    """error: its first line, of something damaged one sentence; a traceback is in the folder's failed.json."""

    name: str
    folder: str
    error: str


@dataclass(frozen=True)
class StudyStatus:
    """A storage at one moment. running: names of what is being worked on; idle: seconds since the last result.

    drivers: the commands that work on it, as far as their leases tell. damaged: data, encoders and cells.
    """

    study: str | None
    storage: str
    encoders: Counts
    cells: Counts
    failures: tuple[Failure, ...]
    running: tuple[str, ...]
    pace: Eta
    idle: float | None
    drivers: tuple[str, ...] = ()
    tables: tuple[TableRows, ...] = ()
    notes: tuple[str, ...] = ()
    damaged: tuple[Failure, ...] = ()

    @property
    def finished(self) -> bool:
        """Whether nothing is left that sweep.run would do."""
        return self.encoders.left == 0 and self.cells.left == 0


class StatusReader:
    """Looks as often as asked; what has finished is read once. Raises BadInput or ValueError for wrong arguments."""

    def __init__(self, study: str | None, storage: str, raw: Sequence[str], only: Sequence[str]):
        self.study = load_study(study) if study else None
        self.raw, self.only = list(raw), parse_only(only)
        self.store = ReadStore(storage)
        if not self.store.files.exists(""):
            raise BadInput(f"storage {storage} does not exist: give what sweep.run was given as --storage")
        if self.study is None and self.only:
            raise BadInput("--only names a part of a study: say which with --study")
        self.reader: ResultReader | None = None
        self.results: dict[str, dict[str, Any]] = {}  # folder -> result.json
        self.damage: dict[str, Damage] = {}  # folder -> what is damaged in it, as of the last look
        self.whole_shards: set[str] = set()

    def read(self, now: float) -> StudyStatus:
        """now: seconds since 1970."""
        listing = Listing.read(self.store, now)
        return self._whole_storage(listing, now) if self.study is None else self._of_study(listing, now)

    # -- one study -------------------------------------------------------------------------------

    def _plan(self) -> tuple[Plan, tuple[str, ...], tuple[Damage, ...]]:
        """What was asked for, what to say of its data, and what of them is damaged."""
        folders = data_folders(self.study, self.raw, self.store)
        missing = [spec.source for spec in self.study.builds() if spec.source not in folders]
        sources = open_sources(self.store, folders, self.whole_shards)
        lost = folders.keys() - sources.manifests.keys()
        notes: tuple[str, ...] = (f"{NOT_BUILT} yet: {', '.join(missing)}",) if missing else ()
        if lost:
            notes += (
                f"what was computed on {', '.join(sorted(lost))} cannot be told from the rest until its manifest "
                "is whole, and counts as left",
            )
        return make_plan(self.study, fingerprints_of(self.study, sources), self.only), notes, sources.damage

    def _of_study(self, listing: Listing, now: float) -> StudyStatus:
        plan, notes, damage = self._plan()
        if self.reader is None or self.reader.plan.cells != plan.cells:
            self.reader = ResultReader(self.study, plan, self.store)
        items = {self.store.folder(item): item for item in (*plan.encoders, *plan.cells)}
        done = {items[folder].key for folder in listing.done if folder in items}
        failed = {items[folder].key for folder in listing.failed if folder in items}
        self._read((f for f, item in items.items() if isinstance(item, EncoderRun) and f in listing.done), listing)
        results, _ = without_nan(self.reader.collect())
        whole = self.reader.seen.keys() | {items[folder].key for folder in self.results if folder in items}
        damaged = done - whole
        if damaged:
            notes += (f"damaged, to be computed again by sweep.run: {len(damaged)}",)
        done -= damaged
        aside = self.store.quarantined()
        again = {run.key for run in plan.encoders if run.key in damaged or f"{run}-{run.key}" in aside}
        left = pending(plan, done, failed, again)
        blocked_encoders = (
            len(plan.encoders)
            - len(left.encoders)
            - sum(encoder.key in done or encoder.key in failed for encoder in plan.encoders)
        )
        running = tuple(str(items[folder]) for folder in sorted(listing.fresh) if folder in items)
        finished = [self._piece(item, folder, listing) for folder, item in items.items() if item.key in done]
        rate = estimate(finished, [Piece(kind_of(item)) for item in (*left.encoders, *left.cells)])
        return StudyStatus(
            self.study.name,
            self.store.uri,
            _counts(plan.encoders, done, failed, running, len(left.encoders), max(0, blocked_encoders)),
            _counts(plan.cells, done, failed, running, len(left.cells), len(left.blocked)),
            self._failures(folder for folder in listing.failed if folder in items),
            running,
            rate,
            None if rate.last is None else now - rate.last,
            drivers_of(self.store, now),
            live_tables(self.study, plan, results),
            notes,
            _as_failures((*damage, *self.damage.values(), *self.reader.damage.values())),
        )

    def _piece(self, item: EncoderRun | Cell, folder: str, listing: Listing) -> Piece:
        if isinstance(item, EncoderRun):
            seconds = self.results[folder].get("seconds")
        else:
            seconds = self.reader.details[item.key].seconds
        return Piece(kind_of(item), seconds, listing.done[folder])

    # -- a whole storage -------------------------------------------------------------------------

    def _whole_storage(self, listing: Listing, now: float) -> StudyStatus:
        self._read(listing.done, listing)
        done = {folder: when for folder, when in listing.done.items() if folder in self.results}
        rate = estimate([Piece((), self.results[folder].get("seconds"), when) for folder, when in done.items()], [])
        folders = [*done, *listing.failed, *listing.fresh]
        kinds = {kind: [f for f in folders if f.startswith(f"{kind}/")] for kind in (ENCODERS, CELLS)}
        counts = {
            kind: Counts(
                len(found),
                sum(f in done for f in found),
                sum(f in listing.failed for f in found),
                sum(f in listing.fresh for f in found),
            )
            for kind, found in kinds.items()
        }
        note = "All that the storage holds; --study says what of a study is left, and shows its table."
        return StudyStatus(
            None,
            self.store.uri,
            counts[ENCODERS],
            counts[CELLS],
            self._failures(listing.failed),
            tuple(name_of(folder) for folder in sorted(listing.fresh)),
            Eta(rate.per_hour, rate.at_once, None, rate.since, rate.last),
            None if rate.last is None else now - rate.last,
            drivers_of(self.store, now),
            notes=(note,),
            damaged=_as_failures(self.damage.values()),
        )

    # -- reading ---------------------------------------------------------------------------------

    def _read(self, folders: Iterable[str], listing: Listing) -> None:
        """Results that are new and whole; a damaged one is not among them."""
        new = [folder for folder in folders if folder not in self.results]
        with ThreadPoolExecutor(READERS) as pool:
            found = dict(zip(new, pool.map(lambda f: self.store.examine(f, listing.sizes), new), strict=True))
        self.results.update({f: whole.result for f, whole in found.items() if isinstance(whole, Artefacts)})
        self.damage = {f: damage for f, damage in found.items() if isinstance(damage, Damage)}

    def _failures(self, folders: Iterable[str]) -> tuple[Failure, ...]:
        """Failures are read anew each time: a retry may have ended otherwise."""
        folders = sorted(folders)
        with ThreadPoolExecutor(READERS) as pool:
            errors = list(pool.map(self._error, folders))
        return tuple(Failure(name_of(f), f, error) for f, error in zip(folders, errors, strict=True))

    def _error(self, folder: str) -> str:
        failure = self.store.failure_of(folder)
        return "tried again at this moment" if failure is None else failure["error"].split("\n")[0]

    def write_tensorboard(self, directory: Path) -> int:
        """The history of every finished run that is not there yet; how many were written."""
        listing = Listing.read(self.store, 0.0)
        wanted = set(listing.done)
        if self.study is not None:
            plan = self._plan()[0]
            wanted &= {self.store.folder(item) for item in (*plan.encoders, *plan.cells)}
        self._read(wanted, listing)
        histories = {f: self.results[f].get("history") for f in sorted(wanted) if f in self.results}
        return sum(write_history(directory / folder, history) for folder, history in histories.items() if history)


def _as_failures(damage: Iterable[Damage]) -> tuple[Failure, ...]:
    return tuple(sorted((Failure(one.name, one.folder, one.sentence) for one in damage), key=lambda f: f.folder))


def _counts(
    items: Sequence[EncoderRun | Cell],
    done: set[str],
    failed: set[str],
    running: Sequence[str],
    left: int,
    blocked: int,
) -> Counts:
    return Counts(
        len(items),
        sum(item.key in done for item in items),
        sum(item.key in failed for item in items),
        sum(str(item) in running for item in items),
        left,
        blocked,
    )
