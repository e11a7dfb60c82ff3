"""From a plan to its end: pass after pass over what is left, beside other drivers, until nothing more can be done."""

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from datasets_io.corpus.manifest import Manifest
from datasets_io.interrupts import INTERRUPTS, SIGNALS
from sweep.cli.display import Display, TableRows
from sweep.monitoring.bars import RunBars
from sweep.monitoring.progress import ProgressSnapshot
from sweep.monitoring.sinks import SinkOptions, Sinks
from sweep.store.cleanup import clean_up
from sweep.store.lease import Holder, Lease
from sweep.store.other_keys import other_keys_note
from sweep.store.results import ResultReader
from sweep.store.store import Store
from sweep.studies.cell import Cell, EncoderRun
from sweep.studies.plan import Pending, Plan, pending, starts_from
from trainables.recipe import Resources

MOST_PASSES = 20  # another one is needed where something was found damaged, or where other drivers have ended
WAIT_SECONDS = 2.0


@dataclass(frozen=True)
class Work:
    """A plan and where it is run. data_folders, manifests: of each build. tables: what the display shows meanwhile.

    aside: what brings back the results of cells whose computation again was cut off, by this driver's lease; key of a
    cell that another driver computes again -> that driver.
    """

    plan: Plan
    store: Store
    data_folders: dict[str, str]
    manifests: dict[str, Manifest]
    resources: Resources
    reader: ResultReader
    display: Display
    tables: Callable[[], tuple[TableRows, ...]]
    sinks: SinkOptions
    aside: Callable[[Lease], dict[str, Holder]] = lambda lease: {}

    def left(self) -> tuple[Pending, set[str]]:
        """What is neither done nor failed, and the folders that are done. Damaged results go to quarantine first."""
        self.store.quarantine_damaged(self.plan.encoders)
        self.reader.collect()
        done, failed = self.store.done_and_failed()
        items: tuple[EncoderRun | Cell, ...] = (*self.plan.encoders, *self.plan.cells)
        keys_done, keys_failed = (
            {item.key for item in items if self.store.folder(item) in names} for names in (done, failed)
        )
        # A damaged encoder is computed again, also where all of its cells are done.
        quarantined = self.store.quarantined()
        again = {run.key for run in self.plan.encoders if self.store.folder(run).rpartition("/")[2] in quarantined}
        return pending(self.plan, keys_done, keys_failed, again), done

    @property
    def counts(self) -> dict[str, dict[str, int]]:
        """Label of a build -> split -> number of images."""
        return {label: manifest.split_sizes for label, manifest in self.manifests.items()}


def work_through(work: Work) -> None:
    """Run everything that is left and that no other driver computes; wait for what others compute.

    Failures are in the store when this returns, and what killed processes left is gone. Raises ClusterLost where the
    cluster goes away, KeyboardInterrupt where the user asked to stop, OSError where the storage cannot be used.
    """
    left, done = work.left()
    if note := other_keys_note(work.plan.items, done):
        work.display.say(f"note: {note}")
    if left.nothing:
        work.display.say("Nothing left to do: every cell asked for is finished or has failed before.")
    else:
        _pass_by_pass(work)
    clean_up(work.store.files)


def _pass_by_pass(work: Work) -> None:
    from sweep.engine.head_health import named_loss

    with Lease(work.store.files) as lease, _cluster() as start:
        before: set[str] = set()
        for _ in range(MOST_PASSES):
            mine, done = _claim(work, lease)
            keys = _keys(mine)
            if mine.nothing or keys == before:  # a pass that changed nothing would not the next time either
                break
            start()
            with named_loss():
                _one_pass(work, mine, done)
            lease.keep(())
            before = keys


def _keys(left: Pending) -> set[str]:
    items: tuple[EncoderRun | Cell, ...] = (*left.encoders, *left.cells)
    return {item.key for item in items}


def _claim(work: Work, lease: Lease) -> tuple[Pending, set[str]]:
    """What is left and now this driver's. Waits while all that is left is computed by others."""
    named: set[Holder] = set()
    while True:
        INTERRUPTS.raise_if_received()
        aside = work.aside(lease)  # also after others were waited for: one of them may have been killed
        left, done = work.left()
        wanted = _keys(left)
        claimed, held = lease.claim(wanted - aside.keys())
        held |= {key: holder for key, holder in aside.items() if key in wanted}
        mine = _possible(left, claimed, starts_from(work.plan.cells))
        lease.keep(_keys(mine))  # what this driver cannot begin before others end is left to them, or to anyone
        if not mine.nothing or not held:
            return mine, done
        for holder in set(held.values()) - named:
            count = sum(other == holder for other in held.values())
            work.display.say(
                f"{holder} computes {count} of what is left: waiting for it, and going on in its place should it fall "
                "silent. Ctrl-C leaves it alone."
            )
        named |= set(held.values())
        time.sleep(WAIT_SECONDS)


def _possible(left: Pending, claimed: set[str], starts: dict[str, Cell]) -> Pending:
    """Of what is left the items that are claimed and that wait for nothing which another driver computes."""
    open_keys = _keys(left)

    def free(item: EncoderRun | Cell | None) -> bool:
        return item is None or item.key not in open_keys or item.key in possible

    possible: set[str] = set()
    encoders = []
    for encoder in left.encoders:  # parents come first
        if encoder.key in claimed and free(encoder.parent):
            possible.add(encoder.key)
            encoders.append(encoder)
    cells = []
    for cell in sorted(left.cells, key=lambda cell: cell.key in starts):  # what others start from comes first
        if cell.key in claimed and free(cell.encoder) and free(starts.get(cell.key)):
            possible.add(cell.key)
            cells.append(cell)
    return replace(left, encoders=tuple(encoders), cells=tuple(cells))


def _one_pass(work: Work, mine: Pending, done: set[str]) -> None:
    from sweep.engine.execution import Execution

    plan = work.plan
    num_done = sum(work.store.folder(cell) in done for cell in plan.cells)
    work.display.say(
        f"to do: {len(mine.encoders)} of {len(plan.encoders)} encoders, {len(mine.cells)} of {len(plan.cells)} cells"
    )
    bars = RunBars(work.display, mine, len(plan.cells), num_done)
    work.display.tables = work.tables
    bars.start()
    execution = Execution(mine, plan.cells, done, work.store, work.data_folders, work.counts, work.resources)
    time_left = execution.time_left(mine, work.counts, time.monotonic())
    sinks = Sinks(work.sinks, work.store, plan, mine, done, time_left, work.display.say)

    def show(progress: ProgressSnapshot) -> None:
        time_left.update(progress, time.monotonic())
        bars.show(progress, time_left)
        sinks.show(progress)

    execution.run(show)


@contextmanager
def _cluster() -> Iterator[Callable[[], None]]:
    """A function that joins or starts Ray once. Ray is left at the end, and a second signal does not disturb that."""
    from sweep.engine.cluster import start_ray, stop_ray

    started = False

    def start() -> None:
        nonlocal started
        if not started:
            started = True
            start_ray()

    try:
        yield start
    finally:
        # Half a shutdown would leave Ray's processes behind, and what the first signal asked for is being done already.
        kept = {number: signal.signal(number, signal.SIG_IGN) for number in SIGNALS}
        if started:
            stop_ray()
        for number, handler in kept.items():
            signal.signal(number, handler)
