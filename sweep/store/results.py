"""Finished cells, read back from the store as the rows that aggregation takes."""

import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor

from datasets_io.storage.artefacts import Artefacts
from sweep.store.damage import Damage
from sweep.store.records import CellDetail, CellResult, EncoderDetail, cell_detail
from sweep.store.status_names import Status
from sweep.store.store import BIG_READERS, ENCODERS, ReadStore
from sweep.studies.cell import Cell, EncoderRun
from sweep.studies.plan import Plan
from sweep.studies.study import Study
from trainables.evaluation.metrics import FindingAuroc

TRIED, WAITING_SECONDS = 16, 0.5e-3  # a local disk gives a result in 0.02 ms, and it is parsed in 0.05


class ResultReader:
    """Reads each result once; what it has seen it keeps. details: key of a finished cell -> its training.

    damage: key of a cell -> what is damaged in it, as of the last look; it stays empty with a Store that writes.
    """

    def __init__(self, study: Study, plan: Plan, store: ReadStore):
        self.displays = {row.name: row.display for row in study.rows}
        self.plan, self.store = plan, store
        self.seen: dict[str, CellResult] = {}
        self.details: dict[str, CellDetail] = {}
        self.damage: dict[str, Damage] = {}

    def collect(self) -> list[CellResult]:
        """One CellResult for each cell of the plan; those without a whole result are failed, missing or damaged.

        With a Store that writes a damaged result goes to quarantine and is missing.
        """
        sizes = self.store.sizes()
        done, failed = self.store.done_and_failed(sizes)
        new = [c for c in self.plan.cells if c.key not in self.seen and self.store.folder(c) in done]
        self.damage = {}
        for cell, found in zip(new, self._opened(new, sizes), strict=True):
            if isinstance(found, Damage):
                self.damage[cell.key] = found
            elif found is not None:
                self.seen[cell.key] = self._result(cell, found)
        return [self.seen.get(cell.key) or self._empty(cell, failed) for cell in self.plan.cells]

    def _opened(self, cells: list[Cell], sizes: Mapping[str, int]) -> Iterator[Artefacts | Damage | None]:
        """Many at a time where the storage makes one wait; threads would only be in each other's way elsewhere."""
        started, first = time.perf_counter(), [self.store.open_whole(cell, sizes) for cell in cells[:TRIED]]
        slow = time.perf_counter() - started > len(first) * WAITING_SECONDS
        yield from first
        if not slow:
            yield from (self.store.open_whole(cell, sizes) for cell in cells[TRIED:])
            return
        with ThreadPoolExecutor(16) as pool:
            yield from pool.map(lambda cell: self.store.open_whole(cell, sizes), cells[TRIED:])

    def _result(self, cell: Cell, artefacts: Artefacts) -> CellResult:
        self.details[cell.key] = cell_detail(artefacts.result)
        findings = tuple(FindingAuroc(**finding) for finding in artefacts.result["findings"])
        return self._row(cell, Status.DONE, findings, artefacts.result["macro_auroc"])

    def _empty(self, cell: Cell, failed: set[str]) -> CellResult:
        status = Status.FAILED if self.store.folder(cell) in failed else Status.MISSING
        return self._row(cell, Status.DAMAGED if cell.key in self.damage else status, (), None)

    def _row(self, cell: Cell, status: Status, findings: tuple[FindingAuroc, ...], value: float | None) -> CellResult:
        return CellResult(
            encoder=cell.encoder.row,
            method=self.displays[cell.encoder.row],
            dataset=cell.dataset,
            protocol=cell.protocol,
            label_percent=cell.label_percent,
            pretrain_seed=cell.encoder.pretrain_seed,
            seed=cell.seed,
            status=status,
            key=cell.key,
            findings=findings,
            macro_auroc=value,
        )


def encoder_details(plan: Plan, store: ReadStore) -> tuple[tuple[EncoderDetail, ...], tuple[Damage, ...]]:
    """Every encoder of the plan, in its order; and what is damaged in some."""
    sizes = store.files.sizes(ENCODERS)
    done, failed = store.done_and_failed(sizes)

    def one(run: EncoderRun) -> EncoderDetail | Damage:
        folder = store.folder(run)
        found = store.examine(folder, sizes) if folder in done else None
        if found is None:
            status = Status.FAILED if folder in failed else Status.MISSING
            return EncoderDetail(str(run), run.key, run.row, folder, status)
        if isinstance(found, Damage):
            return found
        result = found.result
        return EncoderDetail(
            str(run),
            run.key,
            run.row,
            folder,
            Status.DONE,
            result.get("seconds"),
            result.get("workers", 1),
            result.get("device"),
            result.get("best_epoch"),
            result.get("num_train_images"),
            result.get("stopped_early"),
            result.get("history", ()),
        )

    with ThreadPoolExecutor(BIG_READERS if store.thorough else 16) as pool:
        found = list(pool.map(one, plan.encoders))
    details = tuple(
        EncoderDetail(str(run), run.key, run.row, one.folder, Status.DAMAGED) if isinstance(one, Damage) else one
        for run, one in zip(plan.encoders, found, strict=True)
    )
    return details, tuple(one for one in found if isinstance(one, Damage))


def failures_of(plan: Plan, store: ReadStore) -> dict[str, dict[str, str]]:
    """Name of an item that failed -> its error and traceback."""
    _, failed = store.done_and_failed()
    items = [item for item in (*plan.encoders, *plan.cells) if store.folder(item) in failed]
    with ThreadPoolExecutor(16) as pool:
        found = zip(items, pool.map(store.failure, items), strict=True)
        return {str(item): failure for item, failure in found if failure is not None}
