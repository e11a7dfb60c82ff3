"""Which results does a storage have: finished cells as the rows that aggregation takes, encoders, and failures."""

import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, suppress
from functools import partial
from typing import Any, cast

from datasets_io import granted, read_ahead
from datasets_io.storage.artefacts import RESULT, Artefacts
from datasets_io.storage.files import Files
from datasets_io.storage.packs import LEAST, MOST, packed_results, write_pack
from datasets_io.storage.stored_sizes import DiskSizes, FolderSizes, ListedSizes, StoredSizes
from datasets_io.threads import read_in_order, reading_threads
from sweep.store.damage import Damage
from sweep.store.records import CellDetail, CellResult, EncoderDetail, cell_detail, encoder_detail, settable
from sweep.store.status_names import Status
from sweep.store.store import BIG_READERS, CELLS, ENCODERS, ReadStore
from sweep.studies.cell import Cell, EncoderRun
from sweep.studies.collector import collector_paused
from sweep.studies.plan import Plan
from sweep.studies.study import Study
from trainables.evaluation.metrics import FindingAuroc

READERS = 16
BLOCK = 1000  # results after which it is looked whether a process that reads ahead is worth it
WORTH_IT = 0.95  # of the time without it

Findings = tuple[FindingAuroc, ...]


_OpenFinding, _OpenResult = settable(FindingAuroc), settable(CellResult)


class ResultReader:
    """Reads each result once and keeps it: a sweep asks for the table again and again.

    results, details: key of a finished cell -> its row, and its training. damage: key of a cell -> what is damaged in
    it, as of the last `collect`; it stays empty with a Store that writes. gone: folders that were finished by the
    listing of the last `collect` and have no whole result: put into quarantine, by this or another process.
    """

    def __init__(self, study: Study, plan: Plan, store: ReadStore):
        self.displays = {row.name: row.display for row in study.rows}
        self.plan, self.store = plan, store
        self.results: dict[str, CellResult] = {}
        self.details: dict[str, CellDetail] = {}
        self.damage: dict[str, Damage] = {}
        self.gone: set[str] = set()
        self.unpacked: dict[str, bytes] = {}  # path -> bytes of results of an object store that no pack has

    def collect(self, sizes: StoredSizes | None = None) -> list[CellResult]:
        """One CellResult for each cell of the plan; those without a whole result are failed, missing or damaged.

        sizes: of the store's cells, where it was asked already. With a Store that writes a damaged result goes to
        quarantine and is missing. Raises NewerSchema for a result that a newer version wrote.
        """
        sizes = sizes if sizes is not None else self.store.sizes(CELLS)
        new = [c for c in self.plan.cells if c.key not in self.results and self.store.folder(c) in sizes.folders]
        self.damage = {}  # anew: a damaged cell may have been computed again since
        open_cells = []
        with collector_paused(), closing(self._opened(new, sizes)) as opened:
            for cell, found in zip(new, opened, strict=True):
                if isinstance(found, Damage):
                    self.damage[cell.key] = found
                elif found is not None:
                    self.results[cell.key] = self._result(cell, found)
                else:
                    open_cells.append(cell)
                if len(self.unpacked) >= MOST:
                    self.write_pack()
        self.gone, failed = self.store.states(open_cells, sizes)
        return [self.results.get(cell.key) or self._empty(cell, failed) for cell in self.plan.cells]

    def _opened(self, cells: list[Cell], sizes: StoredSizes) -> Generator[Artefacts | Damage | None]:
        """In the order of the cells."""
        open_one = self._opener(sizes, len(cells))
        where_fast = None
        if isinstance(sizes, DiskSizes) and len(cells) >= read_ahead.LEAST and granted.cores() > 1:
            where_fast = partial(self._on_a_disk, open_one, sizes)
        yield from read_in_order(open_one, cells, READERS, where_fast)

    def _on_a_disk(
        self, open_one: Callable[[Cell], Artefacts | Damage | None], sizes: DiskSizes, cells: Sequence[Cell]
    ) -> Iterator[Artefacts | Damage | None]:
        """With a process that reads ahead, as long as that is quicker: it is not where others keep all cores busy."""
        started = time.perf_counter()
        yield from map(open_one, cells[:BLOCK])
        alone, left, done = time.perf_counter() - started, cells[BLOCK:], 0
        with closing(self._opened_ahead(open_one, sizes, left)) as opened:
            for done, found in enumerate(opened, 1):
                yield found
                if done % BLOCK == 1:  # from the first one on: the process takes a moment to start
                    if done > 1 and time.perf_counter() - started > WORTH_IT * alone:
                        break
                    started = time.perf_counter()
        yield from map(open_one, left[done:])

    def _opened_ahead(
        self, open_one: Callable[[Cell], Artefacts | Damage | None], sizes: DiskSizes, cells: Sequence[Cell]
    ) -> Generator[Artefacts | Damage | None]:
        """What another process has read meanwhile: to read takes as long as to check."""
        folders = [self.store.folder(cell) for cell in cells]
        with closing(read_ahead.read_ahead(sizes.root, folders, RESULT)) as files:
            for cell, folder, file in zip(cells, folders, files, strict=True):
                found = None
                if file is not None:
                    found = self.store.examine(folder, FolderSizes(folder, file.sizes), file.data, cell)
                # Not whole: it may be older than what stands there now, which is not to be moved away.
                yield found if isinstance(found, Artefacts) else open_one(cell)

    def _opener(self, sizes: StoredSizes, count: int) -> Callable[[Cell], Artefacts | Damage | None]:
        """What opens one of so many cells: from a pack, where an object store has one with the same bytes."""
        if not isinstance(sizes, ListedSizes) or not sizes.etags:
            return lambda cell: self.store.open_whole(cell, sizes)
        packed = packed_results(self.store.files, sizes) if count >= LEAST else {}

        def open_one(cell: Cell) -> Artefacts | Damage | None:
            path = f"{self.store.folder(cell)}/{RESULT}"
            data = packed.pop(path, None)
            if data is None:
                with suppress(FileNotFoundError):  # open_whole finds that too, and says what it means
                    data = self.unpacked[path] = self.store.files.read(path)
            return self.store.open_whole(cell, sizes, data)

        return open_one

    def write_pack(self) -> None:
        """Keep what was read one by one for the next command, where there is much of it and this one may write."""
        results = dict(list(self.unpacked.items()))  # a copy in one step: threads may be adding to it
        if len(results) >= LEAST and isinstance(self.store.files, Files):
            write_pack(self.store.files, results)
        for path in results:
            del self.unpacked[path]

    def _result(self, cell: Cell, artefacts: Artefacts) -> CellResult:
        self.details[cell.key] = cell_detail(artefacts.result)
        result = artefacts.result
        # Absent in results of 0.1.0, which have no numbers of studies.
        studies, also_test = _by_name(result.get("studies")), _by_name(result.get("also_test"))
        findings = _findings(result["findings"])
        return self._row(
            cell, Status.DONE, findings, result["macro_auroc"], studies, result.get("precision"), also_test
        )

    def _empty(self, cell: Cell, failed: set[str]) -> CellResult:
        status = Status.FAILED if self.store.folder(cell) in failed else Status.MISSING
        return self._row(cell, Status.DAMAGED if cell.key in self.damage else status)

    def _row(
        self,
        cell: Cell,
        status: Status,
        findings: Findings = (),
        value: float | None = None,
        studies: tuple[tuple[str, Findings], ...] = (),
        precision: str | None = None,
        also_test: tuple[tuple[str, Findings], ...] = (),
    ) -> CellResult:
        run, one = cell.encoder, _OpenResult()
        one.encoder, one.method = run.row, self.displays[run.row]
        one.dataset, one.protocol, one.label_percent = cell.dataset, cell.protocol, cell.label_percent
        one.pretrain_seed, one.seed, one.status, one.key = run.pretrain_seed, cell.seed, status, cell.key
        one.findings, one.macro_auroc, one.studies = findings, value, studies
        one.precision, one.also_test = precision, also_test
        one.__class__ = CellResult
        return cast(CellResult, one)


def _by_name(found: dict[str, list[dict[str, Any]]] | None) -> tuple[tuple[str, Findings], ...]:
    return tuple([(name, _findings(of_name)) for name, of_name in sorted(found.items())]) if found else ()


def _findings(found: list[dict[str, Any]]) -> Findings:
    """Of a checked result, whose findings have these four fields and no other."""
    made = []
    for values in found:
        one = _OpenFinding()
        one.finding, one.auroc = values["finding"], values["auroc"]
        one.n_pos, one.n_neg = values["n_pos"], values["n_neg"]
        one.__class__ = FindingAuroc
        made.append(one)
    return tuple(made)


def encoder_details(
    plan: Plan, store: ReadStore, sizes: StoredSizes | None = None
) -> tuple[tuple[EncoderDetail, ...], tuple[Damage, ...]]:
    """Every encoder of the plan, in its order; and what is damaged in some. sizes: as `store.sizes()` gives them."""
    sizes = sizes if sizes is not None else store.sizes(ENCODERS)
    done, failed = store.states(plan.encoders, sizes)

    def read(run: EncoderRun) -> EncoderDetail | Damage:
        folder = store.folder(run)
        found = store.examine(folder, sizes) if folder in done else None
        if found is None:  # not finished, or put into quarantine since the listing
            status = Status.FAILED if folder in failed else Status.MISSING
            return EncoderDetail(str(run), run.key, run.row, folder, status)
        return found if isinstance(found, Damage) else encoder_detail(run, folder, found.result)

    # A thorough store reads whole encoders, of up to half a gigabyte each: then few at once.
    with reading_threads(BIG_READERS if store.thorough else READERS) as pool:
        found = list(pool.map(read, plan.encoders))
    details = tuple(
        EncoderDetail(str(run), run.key, run.row, one.folder, Status.DAMAGED) if isinstance(one, Damage) else one
        for run, one in zip(plan.encoders, found, strict=True)
    )
    return details, tuple(one for one in found if isinstance(one, Damage))


def failures_of(plan: Plan, store: ReadStore, sizes: StoredSizes | None = None) -> dict[str, dict[str, str]]:
    """Name of an item of the plan that failed -> its `error` and `traceback`. sizes: as `store.sizes()` gives them."""
    _, failed = store.states(plan.items, sizes if sizes is not None else store.sizes())
    items = [item for item in plan.items if store.folder(item) in failed]
    with reading_threads(READERS) as pool:
        found = zip(items, pool.map(store.failure, items), strict=True)
        return {str(item): failure for item, failure in found if failure is not None}
