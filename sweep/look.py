"""What does a storage say about a study now: counts, failures with reasons, pace, and the table so far."""

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.fs as pafs
from rich.console import Group
from rich.markup import escape
from rich.text import Text

from datasets_io.artefacts import FAILED, RESULT, Artefacts, CorruptArtefact, open_artefacts
from datasets_io.read import read_manifest
from sweep.cell import Cell, EncoderRun
from sweep.display import TableRows, rich_table
from sweep.layout import without_nan
from sweep.lease import LEASE_SECONDS, LEASES
from sweep.locate import NOT_BUILT, BadInput, data_folders
from sweep.plan import Plan, make_plan, parse_only, pending
from sweep.progress import Pace, Piece, kind_of, pace, spoken
from sweep.report import live_tables
from sweep.results import ResultReader
from sweep.store import CELLS, ENCODERS, Store
from sweep.studies import load_study
from trainables.tensorboard import write_history

FRESH_SECONDS = 900.0  # a folder without a result that was written to so lately is being worked on
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
    """error: its first line; the traceback is in the folder's failed.json."""

    name: str
    folder: str
    error: str


@dataclass(frozen=True)
class Seen:
    """A storage at one moment. running: names of what is being worked on; idle: seconds since the last result.

    drivers: the commands that work on it, as far as their leases tell.
    """

    study: str | None
    storage: str
    encoders: Counts
    cells: Counts
    failures: tuple[Failure, ...]
    running: tuple[str, ...]
    pace: Pace
    idle: float | None
    drivers: tuple[str, ...] = ()
    tables: tuple[TableRows, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def finished(self) -> bool:
        """Whether nothing is left that sweep.run would do."""
        return self.encoders.left == 0 and self.cells.left == 0


class ReadStore(Store):
    """A store that is only read: what is damaged stays where it lies, and counts as missing."""

    def open_whole(self, item: EncoderRun | Cell, sizes: Mapping[str, int]) -> Artefacts | None:
        return self.open_folder(self.folder(item), sizes)

    def open_folder(self, folder: str, sizes: Mapping[str, int]) -> Artefacts | None:
        try:
            artefacts = open_artefacts(self.files, folder)
        except (FileNotFoundError, CorruptArtefact):
            return None
        entries = artefacts.result["files"].values()
        return artefacts if all(sizes.get(f"{folder}/{e['path']}") == e["bytes"] for e in entries) else None


@dataclass(frozen=True)
class Listing:
    """All folders of encoders and cells, and sizes of files, by one listing of each. Times: seconds since 1970."""

    done: dict[str, float]
    failed: dict[str, float]
    fresh: frozenset[str]
    sizes: dict[str, int]

    @staticmethod
    def read(store: Store, now: float) -> "Listing":
        done: dict[str, float] = {}
        failed: dict[str, float] = {}
        latest: dict[str, float] = {}
        sizes: dict[str, int] = {}
        for kind in (ENCODERS, CELLS):
            selector = pafs.FileSelector(store.files.full(kind), recursive=True, allow_not_found=True)
            for info in store.files.fs.get_file_info(selector):
                if info.type != pafs.FileType.File:
                    continue
                path = info.path[len(store.files.root) + 1 :]
                folder, _, name = path.rpartition("/")
                sizes[path] = info.size
                when = info.mtime.timestamp() if info.mtime else now
                latest[folder] = max(when, latest.get(folder, 0.0))
                if name in (RESULT, FAILED):
                    (done if name == RESULT else failed)[folder] = when
        failed = {folder: when for folder, when in failed.items() if folder not in done}
        open_folders = latest.keys() - done.keys() - failed.keys()
        return Listing(done, failed, frozenset(f for f in open_folders if now - latest[f] < FRESH_SECONDS), sizes)


def drivers_of(store: Store, now: float) -> tuple[str, ...]:
    """The commands that work on a storage, by their leases that were rewritten lately."""
    selector = pafs.FileSelector(store.files.full(LEASES), recursive=True, allow_not_found=True)
    found = []
    for info in store.files.fs.get_file_info(selector):
        if info.path.endswith(".json") and info.mtime and now - info.mtime.timestamp() < 2 * LEASE_SECONDS:
            try:
                holder = json.loads(store.files.read(info.path[len(store.files.root) + 1 :]))
                found.append(f"process {holder['pid']} on {holder['host']}")
            except (FileNotFoundError, ValueError, KeyError, TypeError):  # it has just ended
                continue
    return tuple(sorted(found))


class Looker:
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
        self.errors: dict[str, str] = {}

    def look(self, now: float) -> Seen:
        """now: seconds since 1970."""
        listing = Listing.read(self.store, now)
        return self._whole_storage(listing, now) if self.study is None else self._of_study(listing, now)

    # -- one study -------------------------------------------------------------------------------

    def _plan(self) -> tuple[Plan, tuple[str, ...]]:
        folders = data_folders(self.study, self.raw, self.store)
        sources = [spec.source for spec in self.study.builds()]
        missing = [source for source in sources if source not in folders]
        fingerprints = dict.fromkeys(missing, NOT_BUILT)
        for source, folder in folders.items():
            fingerprints[source] = read_manifest(self.store.files, folder).fingerprint
        notes = (f"not built yet: {', '.join(missing)}",) if missing else ()
        return make_plan(self.study, fingerprints, self.only), notes

    def _of_study(self, listing: Listing, now: float) -> Seen:
        plan, notes = self._plan()
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
        left = pending(plan, done, failed)
        blocked_encoders = len(plan.encoders) - len(left.encoders) - sum(
            encoder.key in done or encoder.key in failed for encoder in plan.encoders
        )
        running = tuple(str(items[folder]) for folder in sorted(listing.fresh) if folder in items)
        finished = [self._piece(item, folder, listing) for folder, item in items.items() if item.key in done]
        rate = pace(finished, [Piece(kind_of(item)) for item in (*left.encoders, *left.cells)])
        return Seen(
            self.study.name, self.store.uri,
            _counts(plan.encoders, done, failed, running, len(left.encoders), max(0, blocked_encoders)),
            _counts(plan.cells, done, failed, running, len(left.cells), len(left.blocked)),
            self._failures(folder for folder in listing.failed if folder in items),
            running, rate, None if rate.last is None else now - rate.last, drivers_of(self.store, now),
            live_tables(self.study, plan, results), notes,
        )

    def _piece(self, item: EncoderRun | Cell, folder: str, listing: Listing) -> Piece:
        if isinstance(item, EncoderRun):
            seconds = self.results[folder].get("seconds")
        else:
            seconds = self.reader.details[item.key].seconds
        return Piece(kind_of(item), seconds, listing.done[folder])

    # -- a whole storage -------------------------------------------------------------------------

    def _whole_storage(self, listing: Listing, now: float) -> Seen:
        self._read(listing.done, listing)
        done = {folder: when for folder, when in listing.done.items() if folder in self.results}
        rate = pace([Piece((), self.results[folder].get("seconds"), when) for folder, when in done.items()], [])
        folders = [*done, *listing.failed, *listing.fresh]
        kinds = {kind: [f for f in folders if f.startswith(f"{kind}/")] for kind in (ENCODERS, CELLS)}
        counts = {
            kind: Counts(
                len(found), sum(f in done for f in found), sum(f in listing.failed for f in found),
                sum(f in listing.fresh for f in found),
            )
            for kind, found in kinds.items()
        }
        note = "All that the storage holds; --study says what of a study is left, and shows its table."
        return Seen(
            None, self.store.uri, counts[ENCODERS], counts[CELLS], self._failures(listing.failed),
            tuple(name_of(folder) for folder in sorted(listing.fresh)),
            Pace(rate.per_hour, rate.at_once, None, rate.since, rate.last),
            None if rate.last is None else now - rate.last, drivers_of(self.store, now), notes=(note,),
        )

    # -- reading ---------------------------------------------------------------------------------

    def _read(self, folders: Iterable[str], listing: Listing) -> None:
        """Results that are new and whole; a damaged one is not among them."""
        new = [folder for folder in folders if folder not in self.results]
        with ThreadPoolExecutor(READERS) as pool:
            found = list(pool.map(lambda folder: self.store.open_folder(folder, listing.sizes), new))
        self.results.update({f: whole.result for f, whole in zip(new, found, strict=True) if whole is not None})

    def _failures(self, folders: Iterable[str]) -> tuple[Failure, ...]:
        """Failures are read anew each time: a retry may have ended otherwise."""
        folders = sorted(folders)
        with ThreadPoolExecutor(READERS) as pool:
            errors = list(pool.map(self._error, folders))
        return tuple(Failure(name_of(f), f, error) for f, error in zip(folders, errors, strict=True))

    def _error(self, folder: str) -> str:
        try:
            return str(json.loads(self.store.files.read(f"{folder}/{FAILED}"))["error"]).split("\n")[0]
        except FileNotFoundError:
            return "tried again at this moment"

    def write_tensorboard(self, directory: Path) -> int:
        """The history of every finished run that is not there yet; how many were written."""
        listing = Listing.read(self.store, 0.0)
        wanted = set(listing.done)
        if self.study is not None:
            plan, _ = self._plan()
            wanted &= {self.store.folder(item) for item in (*plan.encoders, *plan.cells)}
        self._read(wanted, listing)
        histories = {f: self.results[f].get("history") for f in sorted(wanted) if f in self.results}
        return sum(write_history(directory / folder, history) for folder, history in histories.items() if history)


def name_of(folder: str) -> str:
    """`cells/clip-p0-chexpert-LP100-s0-0123456789ab` -> `clip-p0-chexpert-LP100-s0`."""
    return re.sub(r"-[0-9a-f]{12}$", "", folder.rpartition("/")[2])


def _counts(
    items: Sequence[EncoderRun | Cell], done: set[str], failed: set[str], running: Sequence[str], left: int,
    blocked: int,
) -> Counts:
    return Counts(
        len(items), sum(item.key in done for item in items), sum(item.key in failed for item in items),
        sum(str(item) in running for item in items), left, blocked,
    )


# -- for people ----------------------------------------------------------------------------------


def shown(seen: Seen) -> Group:
    """What a person sees."""
    head = f"[bold]{escape(seen.study)}[/bold] in {escape(seen.storage)}" if seen.study else escape(seen.storage)
    lines = [head, _count_line("encoders", seen.encoders), _count_line("cells   ", seen.cells), _pace_line(seen)]
    if seen.drivers:
        lines.append(f"drivers  {escape(', '.join(seen.drivers))}")
    elif seen.study and not seen.finished:
        lines.append("drivers  none: go on with the same sweep.run as before")
    if seen.running:
        more = f" and {len(seen.running) - 8} more" if len(seen.running) > 8 else ""
        lines.append(f"running: {escape(', '.join(seen.running[:8]))}{more}")
    for error, count in Counter(failure.error for failure in seen.failures).most_common():
        first = next(failure for failure in seen.failures if failure.error == error)
        others = f" and {count - 1} more" if count > 1 else ""
        lines.append(f"[red]failed[/red] {escape(first.name)}{others}: {escape(error)}")
    if seen.failures:
        lines.append("         tracebacks: failed.json in each folder; try them again with sweep.run --retry-failed")
    lines += [f"note: {escape(note)}" for note in seen.notes]
    text = [Text.from_markup(line, overflow="fold") for line in lines if line]
    return Group(*text, *(rich_table(table) for table in seen.tables))


def _count_line(name: str, counts: Counts) -> str:
    parts = [f"{counts.done} of {counts.total} done" if counts.left is not None else f"{counts.done} done"]
    for what, number in (
        ("failed", counts.failed), ("running", counts.running), ("left", counts.left), ("blocked", counts.blocked)
    ):
        if number or (what == "left" and number is not None):
            parts.append(f"[red]{number} {what}[/red]" if what in ("failed", "blocked") else f"{number} {what}")
    return f"{name} {', '.join(parts)}"


def _pace_line(seen: Seen) -> str:
    if seen.pace.per_hour is None:
        return "pace     nothing has finished yet" if not seen.finished else ""
    text = f"pace     {seen.pace.per_hour:,.0f} an hour, {seen.pace.at_once:.1f} at once"
    if not seen.finished and seen.study:
        text += f", about {spoken(seen.pace.left)} left"
        if seen.pace.left is None:
            text += " until one of each kind has finished"
    return f"{text}; the last result came {spoken(seen.idle)} ago"
