"""From a plan to its end: pass after pass over what is left, beside other drivers, until nothing more can be done."""

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import NamedTuple

from datasets_io.corpus.manifest import Manifest
from datasets_io.interrupts import INTERRUPTS, SIGNALS
from datasets_io.local_ray import named_cluster
from datasets_io.ray_state import remove_own_state
from datasets_io.storage.artefacts import QUARANTINE, bring_back_whole
from datasets_io.storage.stored_sizes import StoredSizes
from sweep.cli.display import Display, TableRows
from sweep.engine.portion import portion
from sweep.monitoring.bars import RunBars
from sweep.monitoring.progress import ProgressSnapshot
from sweep.monitoring.sinks import SinkOptions, Sinks
from sweep.store.cleanup import clean_up
from sweep.store.lease import Holder, Lease
from sweep.store.other_keys import other_keys_note, stored_under_names
from sweep.store.results import ResultReader
from sweep.store.store import Store
from sweep.studies.cell import Cell, EncoderRun
from sweep.studies.learnt_seconds import Observations
from sweep.studies.plan import Pending, Plan, pending, starts_from
from trainables.recipe import Resources

MOST_PASSES = 20  # another one is needed where something was found damaged, or where other drivers have ended
WAIT_SECONDS = 2.0


class Left(NamedTuple):
    """What is neither done nor failed, and folders of the plan that are done, by what the storage has (sizes)."""

    pending: Pending
    done: set[str]
    sizes: StoredSizes


@dataclass(frozen=True)
class Work:
    """A plan and where it is run. data_folders, manifests: of each build. tables: what the display shows meanwhile.

    aside: what brings back the results of cells whose computation again was cut off, by this driver's lease; key of a
    cell that another driver computes again -> that driver. drivers: how many share the storage, this one too; with more
    than one each claims a portion after the other.
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
    drivers: int = 1

    def left(self) -> Left:
        """What is neither done nor failed. Damaged results go to quarantine first.

        The storage is listed once, before: what has ended since is left, and found to be done by whoever begins it.
        """
        sizes = self.store.sizes()
        in_quarantine = self.store.files.list(QUARANTINE)
        if bring_back_whole(self.store.files, in_quarantine):  # after the listing: what was away then is seen here
            sizes, in_quarantine = self.store.sizes(), self.store.files.list(QUARANTINE)
        damaged = self.store.quarantine_damaged(self.plan.encoders, sizes)
        self.reader.collect(sizes)
        items: tuple[EncoderRun | Cell, ...] = (*self.plan.encoders, *self.plan.cells)
        done, failed = self.store.states(items, sizes)
        done -= damaged | self.reader.gone  # a listing still has them
        self.store.forget_overcome_failures(done, sizes)
        keys_done, keys_failed = (
            {item.key for item in items if self.store.folder(item) in names} for names in (done, failed)
        )
        # A damaged encoder is computed again, also where all of its cells are done.
        quarantined = self.store.quarantined(in_quarantine) | {folder.rpartition("/")[2] for folder in damaged}
        again = {run.key for run in self.plan.encoders if self.store.folder(run).rpartition("/")[2] in quarantined}
        return Left(pending(self.plan, keys_done, keys_failed, again), done, sizes)

    @property
    def counts(self) -> dict[str, dict[str, int]]:
        """Label of a build -> split -> number of images."""
        return {label: manifest.split_sizes for label, manifest in self.manifests.items()}


def work_through(work: Work) -> None:
    """Run everything that is left and that no other driver computes; wait for what others compute.

    Failures are in the store when this returns, and what killed processes left is gone. Raises ClusterLost where the
    cluster goes away, KeyboardInterrupt where the user asked to stop, OSError where the storage cannot be used.
    """
    with Lease(work.store.files) as lease:
        look = _look(work, lease)
        if note := other_keys_note(work.plan.items, stored_under_names(work.plan.items, look.left.sizes)):
            work.display.say(f"note: {note}")
        if look.left.pending.nothing:
            work.display.say("Nothing left to do: every cell asked for is finished or has failed before.")
        else:
            _pass_by_pass(work, lease, look)
    clean_up(work.store.files)


def _pass_by_pass(work: Work, lease: Lease, look: "_Look") -> None:
    """look: as the storage is now; each pass but the first looks anew."""
    with _cluster(work.display.doing, work.store.uri) as start:
        before: set[str] = set()
        tried: set[str] = set()
        finished = Observations()
        for number in range(MOST_PASSES * work.drivers):
            mine, done = _claim(work, lease, look if number == 0 else _look(work, lease), tried)
            keys = _keys(mine)
            tried |= keys
            if mine.nothing or keys == before:  # a pass that changed nothing would not the next time either
                break
            bars = _bars(work, mine, done)
            start()
            _one_pass(work, mine, done, bars, finished)
            lease.keep(())
            before = keys


class _Look(NamedTuple):
    """What is left; and of that, key of a cell that another driver computes again -> that driver."""

    left: Left
    aside: dict[str, Holder]


def _look(work: Work, lease: Lease) -> _Look:
    # First, what a killed driver has laid aside: it counts as left until it is brought back.
    aside = work.aside(lease)
    return _Look(work.left(), aside)


def _keys(left: Pending) -> set[str]:
    items: tuple[EncoderRun | Cell, ...] = (*left.encoders, *left.cells)
    return {item.key for item in items}


def _claim(work: Work, lease: Lease, look: _Look, tried: set[str]) -> tuple[Pending, set[str]]:
    """What is left and now this driver's, and what is done. Waits while all that is left is computed by others.

    tried: what this driver has claimed before; of several drivers one begins it again after all else.
    """
    named: set[str] = set()  # by their ids: a lease changes with each renewal
    while True:
        INTERRUPTS.raise_if_received()
        left = look.left.pending
        wanted = _keys(left)
        claimed, held, raced = _claim_free(work, lease, left, wanted - look.aside.keys(), tried)
        held |= {key: holder for key, holder in look.aside.items() if key in wanted}
        mine = _possible(left, claimed, starts_from(work.plan.cells))
        lease.keep(_keys(mine))  # what this driver cannot begin before others end is left to them, or to anyone
        if work.drivers > 1 and not mine.nothing:
            look = _look(work, lease)  # what another driver has just finished and released looked free
            mine = _possible(look.left.pending, _keys(mine), starts_from(work.plan.cells))
            raced = mine.nothing
        if not mine.nothing or not (held or raced):
            return mine, look.left.done
        if raced:  # another driver was faster: there is more
            look = _look(work, lease)
            continue
        for holder in {holder.id: holder for holder in held.values() if holder.id not in named}.values():
            count = sum(other.id == holder.id for other in held.values())
            work.display.say(
                f"{holder} computes {count} of what is left: waiting for it, and going on in its place should it fall "
                "silent. Ctrl-C leaves it alone."
            )
        named |= {holder.id for holder in held.values()}
        time.sleep(WAIT_SECONDS)
        look = _look(work, lease)  # also for what was laid aside: one of the others may have been killed


def _claim_free(
    work: Work, lease: Lease, left: Pending, wanted: set[str], tried: set[str]
) -> tuple[set[str], dict[str, Holder], bool]:
    """What is now this driver's, what others compute, and whether another driver was faster with all that was free.

    All that is free is claimed, or where several drivers share the work this one's portion of it.
    """
    if work.drivers == 1:
        claimed, held = lease.claim(wanted)
        return claimed, held, False
    taken = lease.held(wanted)
    free = wanted - taken.keys()
    starts = starts_from(work.plan.cells)
    part = portion(left, free - tried, work.drivers, starts, work.counts) or _keys(_possible(left, free, starts))
    claimed, held = lease.claim(part)
    return claimed, taken | held, bool(part) and not claimed


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


def _bars(work: Work, mine: Pending, done: set[str]) -> RunBars:
    """Say what is to do, and show the bars: before Ray is started, which takes seconds."""
    plan = work.plan
    num_done = sum(work.store.folder(cell) in done for cell in plan.cells)
    work.display.say(
        f"to do: {len(mine.encoders)} of {len(plan.encoders)} encoders, {len(mine.cells)} of {len(plan.cells)} cells"
    )
    name = "all work" if work.drivers == 1 else "this driver's portion"
    bars = RunBars(work.display, mine, len(plan.cells), num_done, name)
    work.display.tables = work.tables
    bars.start()
    return bars


def _one_pass(work: Work, mine: Pending, done: set[str], bars: RunBars, finished: Observations) -> None:
    """finished: what passes before have taken; what this one takes is added."""
    from sweep.engine.execution import Execution
    from sweep.engine.head_health import named_loss

    plan = work.plan
    with named_loss():
        execution = Execution(mine, plan.cells, done, work.store, work.data_folders, work.counts, work.resources)
        time_left = execution.time_left(mine, work.counts, finished)
        sinks = Sinks(work.sinks, work.store, plan, mine, done, time_left, work.display.say)

        def show(progress: ProgressSnapshot) -> None:
            time_left.update(progress, time.monotonic())
            bars.show(progress, time_left)
            sinks.show(progress)

        execution.run(show)


@contextmanager
def _cluster(doing: Callable[[str], None], storage: str) -> Iterator[Callable[[], None]]:
    """A function that joins or starts Ray once. At the end Ray is left and its state removed.

    A second signal does not disturb that.
    """
    address, started = named_cluster(), False

    def start() -> None:
        nonlocal started
        if not started:
            doing(f"joining the Ray cluster at {address}" if address else "starting Ray on this machine")
            # Imported behind the sentence: Ray and what runs on it take a second or more. After an interrupt in the
            # middle of that Ray can neither be stopped nor imported again.
            from sweep.engine.cluster import start_ray

            started = True
            start_ray()
            doing("")

    try:
        yield start
    finally:
        # Half a shutdown would leave Ray's processes behind, and what the first signal asked for is being done already.
        kept = {number: signal.signal(number, signal.SIG_IGN) for number in SIGNALS}
        if started:
            from sweep.engine.cluster import stop_ray

            stop_ray()
            remove_own_state(storage)
        for number, handler in kept.items():
            signal.signal(number, handler)
