"""How is a status read from a storage: of one study, or of all that it holds, again and again while work goes on."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from sweep.engine.schedule import gpu_share
from sweep.report.live import live_tables
from sweep.status.eta import Eta, Piece, estimate
from sweep.status.item_reader import ItemReader
from sweep.status.listing import Listing
from sweep.status.status import Counts, StudyStatus, as_failures, counts_of
from sweep.store.damage import Damage, data_name
from sweep.store.other_keys import other_keys_note
from sweep.store.records import without_nan
from sweep.store.results import ResultReader
from sweep.store.shard_checks import open_sources
from sweep.store.shards import data_folders
from sweep.store.snapshot import fingerprints_of
from sweep.store.store import CELLS, ENCODERS, ReadStore, name_of
from sweep.studies.bad_input import BadInput
from sweep.studies.cell import EncoderRun, Item
from sweep.studies.costs import Cost, costs_of
from sweep.studies.plan import NOT_BUILT, Plan, make_plan, parse_only, pending
from sweep.studies.presets import load_study
from sweep.studies.study import Study


class StatusReader(Protocol):
    """What the command asks of either reader. Both raise NewerSchema for what a newer version wrote."""

    def read(self, now: float) -> StudyStatus:
        """The status at a time, in seconds since 1970; what has finished is read once."""
        ...

    def write_tensorboard(self, directory: Path) -> int:
        """The history of every finished run that is not there yet; how many were written."""
        ...


def open_reader(study: str | None, storage: str, raw: Sequence[str] = (), only: Sequence[str] = ()) -> StatusReader:
    """Of one study, or of the whole storage. raw: SOURCE=DIR or NAME=DIR; only: FIELD=VALUE,...

    Raises BadInput or ValueError for an argument that cannot be used.
    """
    loaded = load_study(study) if study else None
    chosen = parse_only(only)
    store = ReadStore(storage)
    store.check_folder()
    if not store.files.exists(""):
        raise BadInput(f"storage {storage} does not exist: give what sweep.run was given as --storage")
    if loaded is not None:
        return StudyStatusReader(loaded, store, raw, chosen)
    if chosen:
        raise BadInput("--only names a part of a study: say which with --study")
    return StorageStatusReader(store)


@dataclass(frozen=True)
class _PlannedWork:
    """What was asked for, what it costs, what to say of its data, and what of them is damaged.

    costs: of all items but those whose data is not built yet.
    """

    plan: Plan
    costs: Mapping[str, Cost]
    notes: tuple[str, ...]
    damage: tuple[Damage, ...]


class StudyStatusReader:
    """The status of one study. items: its encoders, as read; cells: its cells, None before the first `read`."""

    def __init__(self, study: Study, store: ReadStore, raw: Sequence[str], only: Mapping[str, tuple[str, ...]]):
        self.study, self.store, self.raw, self.only = study, store, raw, only
        self.items = ItemReader(store)
        self.cells: ResultReader | None = None
        self.whole_shards: set[str] = set()  # paths of shards whose footer was read: they are not checked again

    def read(self, now: float) -> StudyStatus:
        """The study's status at a time, in seconds since 1970."""
        listing = Listing.read(self.store, now)  # first: what lands later is counted the next time
        work = self._planned()
        plan, reader = work.plan, self._result_reader(work.plan)
        by_folder = {self.store.folder(item): item for item in plan.items}
        self.items.read(_finished(map(self.store.folder, plan.encoders), listing), listing.sizes)
        results, _ = without_nan(reader.collect())
        finished = _finished(by_folder, listing)
        # Finished is what has a result.json, done only what of it is whole: the rest will be computed again.
        whole = reader.results.keys() | {by_folder[f].key for f in self.items.results if f in by_folder}
        done = {by_folder[f].key for f in finished if by_folder[f].key in whole}
        damaged = {by_folder[f].key for f in finished} - done
        failed = {by_folder[f].key for f in listing.failed if f in by_folder}
        left = pending(plan, done, failed, self._again(plan, damaged))
        running = tuple(str(by_folder[f]) for f in sorted(listing.fresh) if f in by_folder)
        # What is neither left, done nor failed waits for an encoder that failed.
        blocked = len(plan.encoders) - len(left.encoders) - sum(e.key in done or e.key in failed for e in plan.encoders)
        pieces = [
            self._piece(by_folder[f], f, listing.done[f], reader, work.costs)
            for f in finished
            if by_folder[f].key in done
        ]
        rate = estimate(pieces, [work.costs.get(item.key) for item in left.items])
        to_redo = (f"damaged, to be computed again by sweep.run: {len(damaged)}",) if damaged else ()
        return StudyStatus(
            self.study.name,
            self.store.shown,
            counts_of(plan.encoders, done, failed, running, len(left.encoders), max(0, blocked)),
            counts_of(plan.cells, done, failed, running, len(left.cells), len(left.blocked)),
            self.items.failures(f for f in listing.failed if f in by_folder),
            running,
            rate,
            _idle(rate, now),
            listing.drivers,
            live_tables(self.study, plan, results),
            (*work.notes, *to_redo, *([beside] if (beside := other_keys_note(plan.items, listing.done)) else [])),
            as_failures((*work.damage, *self.items.damage.values(), *reader.damage.values())),
        )

    def write_tensorboard(self, directory: Path) -> int:
        """The history of every finished run of the study that is not there yet; how many were written."""
        plan, listing = self._planned().plan, Listing.read(self.store, 0.0)
        finished = _finished(map(self.store.folder, plan.items), listing)
        self.items.read(finished, listing.sizes)
        return self.items.write_histories(finished, directory)

    def _planned(self) -> _PlannedWork:
        """Anew each time: data may have been built since, and only then do the keys of what uses them stand."""
        folders = data_folders(self.study, self.raw, self.store)
        sources = open_sources(self.store, folders, self.whole_shards)
        damaged = {found.name for found in sources.damage}
        builds = [build for build in self.study.data_builds() if not self.study.can_do_without(build)]
        without = [build.label for build in builds if build.label not in sources.manifests]
        unreadable = sorted(label for label in without if data_name(label) in damaged)
        missing = [label for label in without if data_name(label) not in damaged]  # or removed while this reads
        notes: tuple[str, ...] = (f"{NOT_BUILT} yet: {', '.join(missing)}",) if missing else ()
        if unreadable:
            notes += (
                f"what was computed on {', '.join(unreadable)} cannot be told from the rest until its manifest "
                "is whole, and counts as left",
            )
        plan = make_plan(self.study, fingerprints_of(self.study, sources.manifests), self.only)
        made_up = self.study.synthetic.image_counts() if self.study.synthetic else {}
        counts = {build.label: made_up[build.source] for build in builds if build.source in made_up}
        counts |= {label: manifest.split_sizes for label, manifest in sources.manifests.items()}
        return _PlannedWork(plan, costs_of(plan.encoders, plan.cells, counts), notes, sources.damage)

    def _result_reader(self, plan: Plan) -> ResultReader:
        """The same as long as the plan is the same, with all that it has read."""
        # Data that was built since gives cells other keys: what was read under the old ones is of no use then.
        if self.cells is None or self.cells.plan.cells != plan.cells:
            self.cells = ResultReader(self.study, plan, self.store)
        return self.cells

    def _again(self, plan: Plan, damaged: Collection[str]) -> set[str]:
        """Keys of encoders that sweep.run computes again: damaged now, or found damaged and put into quarantine."""
        # A quarantined cell is open again by itself; an encoder is computed again even where no open cell needs it.
        quarantined = self.store.quarantined()
        return {run.key for run in plan.encoders if run.key in damaged or f"{run}-{run.key}" in quarantined}

    def _piece(self, item: Item, folder: str, ended: float, reader: ResultReader, costs: Mapping[str, Cost]) -> Piece:
        cost, resources = costs.get(item.key), self.study.resources
        if isinstance(item, EncoderRun):
            result = self.items.results[folder]
            # Where cells have no GPU, its GPUs are no places of theirs: it counts as one beside them.
            shared = resources.gpus_per_cell != 0
            gpus = (result.get("workers") or 1) * (resources.gpus_per_worker or 1.0) if shared else 1.0
            return _piece_of(cost, result, ended, gpus)
        detail = reader.details[item.key]
        said = {"seconds": detail.seconds, "core_seconds": detail.core_seconds, "device": detail.device}
        return _piece_of(cost, said, ended, gpu_share(resources, item))


class StorageStatusReader:
    """The status of all that a storage holds, of whatever study: without a table, and what is left is not known."""

    def __init__(self, store: ReadStore):
        self.store = store
        self.items = ItemReader(store)

    def read(self, now: float) -> StudyStatus:
        """The storage's status at a time, in seconds since 1970."""
        listing = Listing.read(self.store, now)
        self.items.read(listing.done, listing.sizes)
        results = self.items.results
        done = {folder: when for folder, when in listing.done.items() if folder in results}
        rate = estimate([_piece_of(None, results[folder], when) for folder, when in done.items()], [])
        note = "All that the storage holds; --study says what of a study is left, and shows its table."
        return StudyStatus(
            None,
            self.store.shown,
            _counts(ENCODERS, done, listing),
            _counts(CELLS, done, listing),
            self.items.failures(listing.failed),
            tuple(name_of(folder) for folder in sorted(listing.fresh)),
            replace(rate, left=None),  # nothing was asked for, which is not that nothing is left
            _idle(rate, now),
            listing.drivers,
            notes=(note,),
            damaged=as_failures(self.items.damage.values()),
        )

    def write_tensorboard(self, directory: Path) -> int:
        """The history of every finished run in the storage that is not there yet; how many were written."""
        listing = Listing.read(self.store, 0.0)
        self.items.read(listing.done, listing.sizes)
        return self.items.write_histories(listing.done, directory)


def _piece_of(cost: Cost | None, result: Mapping[str, Any], ended: float, gpus: float = 1.0) -> Piece:
    """gpus: how many it held if it ran on any."""
    seconds, core_seconds = result.get("seconds") or 0.0, result.get("core_seconds")
    if result.get("device") in (None, "cpu"):
        return Piece(cost, seconds, ended, core_seconds)
    return Piece(cost, seconds, ended, places=gpus)


def _finished(folders: Iterable[str], listing: Listing) -> list[str]:
    return [folder for folder in folders if folder in listing.done]


def _counts(kind: str, done: Collection[str], listing: Listing) -> Counts:
    """Of one kind of folder, all that there are."""
    # Folders lie below the folder of their kind: encoders/..., cells/...
    numbers = [sum(f.startswith(f"{kind}/") for f in folders) for folders in (done, listing.failed, listing.fresh)]
    return Counts(sum(numbers), *numbers)


def _idle(rate: Eta, now: float) -> float | None:
    return None if rate.last is None else now - rate.last
