"""When will a running sweep be done, and how much of it is, from its progress events? Pure."""

import heapq
from collections import Counter, deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from sweep.monitoring.progress import ProgressSnapshot
from sweep.store.status_names import Status
from sweep.studies.cell import Cell
from sweep.studies.costs import PRETRAINING, Cost
from sweep.studies.learnt_seconds import BETWEEN, LearntSeconds, Observations
from trainables.events import Outcome, Progress

# The speed is of the last 0.7 of the time, and of half a minute at least: machines come and go, and other work of the
# machine may end.
WINDOW_SECONDS, WINDOW_SHARE = 30.0, 0.7
# Processes that start beside the first cells take their places, and do so once: the speed counts from when a
# pretraining, whose start takes longest, goes on, but from so many seconds after the first work at the latest.
START_SECONDS = 60.0
# Nothing is said before so many seconds of work, or as much of the whole, were seen: a first job has its process's
# own first steps in it.
KNOWN_SECONDS, KNOWN_SHARE = 5.0, 0.1
BUCKET_SECONDS = 5.0
# The machines are taken to have been busy for so many seconds before, but no more than this share of the whole: at the
# beginning nothing has ended of what runs.
BUSY_SECONDS, BUSY_SHARE = 15.0, 0.2
# What lies between two jobs of cells is what their places have left over, once no pretraining holds one: BETWEEN weighs
# as much as so many jobs, and what is longer than this is no step from one job to the next.
TRUST_JOBS, MOST_BETWEEN = 50, 0.2


@dataclass(frozen=True)
class Places:
    """How much runs at once. total: what `Cost.share` is a part of; pretrainings: at the same time, at least 1.

    on_gpus: whether a second of work is one of a clock. Else it is one of a processor.
    """

    total: float
    pretrainings: int
    on_gpus: bool


@dataclass(frozen=True)
class Left:
    """seconds: until the end, None while nothing tells. share: of the work that is done, in [0, 1]."""

    seconds: float | None
    share: float


@dataclass(frozen=True)
class _Moment:
    """Of a pretraining. time: of the driver's clock; core_seconds: since it was started or resumed."""

    time: float
    share: float
    core_seconds: float | None


class TimeLeft:
    """Takes progress as it comes; `read` gives what is left. Times are seconds of one clock."""

    def __init__(
        self, costs: Mapping[str, Cost], cells: Iterable[Cell], places: Places, finished: Observations | None = None
    ):
        """costs: of everything that this sweep does, and only of that; cells: of it, and so what waits for what.

        finished: what earlier work of the same command has taken; what ends now is added to it.
        """
        self.costs, self.places = dict(costs), places
        self.began: float | None = None  # the first work: what starts a cluster's processes does not come again
        self.started: float | None = None  # when the speed began to count
        self.share = dict.fromkeys(costs, 0.0)
        self.whole = Counter(costs.values())
        self.left: dict[Cost, float] = dict(self.whole)  # with parts of what runs
        self.encoder_of = {cell.key: cell.encoder.key for cell in cells if cell.key in costs}
        self.unfinished = Counter(costs[key] for key in self.encoder_of)  # cells alone, each whole until it has ended
        self.pretrained = [key for key, cost in costs.items() if cost.work == PRETRAINING]
        self.spent = [0.0, 0.0]  # by pretrainings that have finished: seconds of a clock, and those that work is in
        self.pretraining_left = len(self.pretrained)
        self.cells_alone: tuple[float, float, float] | None = (
            None  # since when; seconds of places, and jobs, since then
        )
        self.finished = Observations() if finished is None else finished
        self.moments: dict[str, tuple[_Moment, _Moment]] = {}  # of each running pretraining the first and the last
        self.advances: deque[tuple[float, dict[Cost, float]]] = (
            deque()
        )  # begin of a few seconds -> what was done in them
        self.jobs: Counter[tuple[Cost, int]] = Counter()  # (cost of a cell, cells that came together) -> how often
        self.last_job = 0.0  # when the last of them came

    def update(self, progress: ProgressSnapshot, now: float) -> None:
        """Take what has happened since the last call."""
        for event in progress.encoders:
            if event.key not in self.costs:
                continue
            if event.status == Status.RUNNING and event.total_steps:
                self._begin(now)
                moment = _Moment(now, event.step / event.total_steps, event.core_seconds)
                if event.key not in self.moments:  # what an earlier command has done of it tells nothing of the speed
                    self._advance(event.key, moment.share, None)
                first, last = self.moments.get(event.key, (moment, moment))
                # A run that is resumed in another process repeats steps and counts its processors' seconds anew.
                resumed = (moment.core_seconds or 0) < (last.core_seconds or 0) or moment.share < last.share
                self.moments[event.key] = (moment if resumed else first, moment)
                self._advance(event.key, moment.share, now)
            else:
                self._end_encoder(event, now)
        together: Counter[tuple[str, Cost]] = Counter()  # the seeds of an encoder are one job, and come as it ends
        for outcome in progress.cells:
            if outcome.key in self.costs:
                self._end_cell(outcome, now)
                together[self.encoder_of.get(outcome.key, ""), self.costs[outcome.key]] += 1
        self._start(now)
        if together:
            self.jobs.update((cost, count) for (_, cost), count in together.items())
            self.last_job = now

    def _end_encoder(self, event: Progress, now: float) -> None:
        moments = self.moments.pop(event.key, None) if event.status != Status.RUNNING else None
        if event.status == Status.DONE:
            if moments is not None:
                self._observe(event.key, moments[0], _Moment(now, 1.0, event.core_seconds), self.finished, self.spent)
            self._advance(event.key, 1.0, now)
        elif event.status == Status.FAILED:
            self._drop(event.key)
            for cell, encoder in self.encoder_of.items():  # which need it, and are not computed by this command
                if encoder == event.key:
                    self._drop(cell)

    def _end_cell(self, outcome: Outcome, now: float) -> None:
        if outcome.status == Status.DONE:
            self._begin(now - (outcome.seconds or 0.0))
            seconds = outcome.seconds if self.places.on_gpus else outcome.core_seconds
            if self.share[outcome.key] < 1:
                if seconds is not None:
                    self.finished.add(self.costs[outcome.key], seconds)
                self._count_alone(self.costs[outcome.key], outcome.seconds or 0.0, now)
            self._advance(outcome.key, 1.0, now)
        elif outcome.status == Status.FAILED:
            self._drop(outcome.key)

    def _count_alone(self, cost: Cost, seconds: float, now: float) -> None:
        """A cell that ended where no pretraining is left. seconds: of a clock."""
        if self.cells_alone is not None:
            since, held, jobs = self.cells_alone
            self.cells_alone = since, held + seconds * cost.share, jobs + cost.pieces
        elif not self.pretraining_left:
            self.cells_alone = now, 0.0, 0.0

    def _between(self, now: float) -> float:
        """Seconds of a place between two jobs of cells."""
        since, held, jobs = self.cells_alone or (now, 0.0, 0.0)
        over = max(0.0, self.places.total * (now - since) - held)
        return min(MOST_BETWEEN, (TRUST_JOBS * BETWEEN + over) / (TRUST_JOBS + jobs))

    def _observe(self, key: str, first: _Moment, last: _Moment, into: Observations, spent: list[float]) -> None:
        """What a pretraining did between two moments; what it costs to begin was before the first."""
        done, clock = last.share - first.share, last.time - first.time
        counted: float | None = clock
        if not self.places.on_gpus:
            known = last.core_seconds is not None and first.core_seconds is not None
            counted = (last.core_seconds or 0.0) - (first.core_seconds or 0.0) if known else None
        if done > 0 and counted:
            into.add(part_of(self.costs[key], done), counted, whole=False)
            spent[0] += clock
            spent[1] += counted

    def _start(self, now: float) -> None:
        if not self.pretrained:
            self.started = self.began
        elif self.started is None and self.began is not None:
            goes_on = any(self.share[key] > 0 for key in self.pretrained)
            if goes_on or now - self.began > START_SECONDS:
                self.started = now
                self.advances.clear()

    def _begin(self, when: float) -> None:
        self.began = when if self.began is None else min(self.began, when)

    def _advance(self, key: str, share: float, now: float | None) -> None:
        """now: when it was done; None: before this command, or before anything was told of it."""
        # Never back: a run that resumes from a checkpoint repeats steps, which are not counted twice.
        step = share - self.share[key]
        if step <= 0:
            return
        self.share[key] = share
        cost = self.costs[key]
        self.left[cost] -= step
        if now is not None:
            self._count(cost, step, now)
        if share == 1 and key in self.encoder_of:
            self.unfinished[cost] -= 1
        self.pretraining_left -= share == 1 and cost.work == PRETRAINING

    def _count(self, cost: Cost, step: float, now: float) -> None:
        if not self.advances or now - self.advances[-1][0] >= BUCKET_SECONDS:
            self.advances.append((now, {}))
        done = self.advances[-1][1]
        done[cost] = done.get(cost, 0.0) + step

    def _drop(self, key: str) -> None:
        """What failed is not tried again by this command."""
        self.left[self.costs[key]] -= 1 - self.share[key]
        if self.share[key] < 1:
            self.unfinished[self.costs[key]] -= key in self.encoder_of
            self.pretraining_left -= self.costs[key].work == PRETRAINING
        self.share[key] = 1.0

    def read(self, now: float) -> Left:
        """What is left, and how far all is."""
        seen, spent = Observations(self.finished.sums), list(self.spent)
        for key, moments in self.moments.items():
            self._observe(key, *moments, seen, spent)
        try:
            learnt = LearntSeconds(seen, self._between(now))
        except ValueError:
            return Left(None, 0.0)
        seconds = {cost: learnt.of(cost) for cost in self.left}
        left = sum(max(0.0, count) * seconds[cost] * cost.share for cost, count in self.left.items())
        whole = sum(count * seconds[cost] * cost.share for cost, count in self.whole.items())
        share = 1 - left / whole if whole else 1.0
        if share < KNOWN_SHARE and sum(total for total, _ in seen.sums.values()) < KNOWN_SECONDS:
            return Left(None, share)
        begun = self._begun(seconds, left, now)
        speed = self._speed(seconds, whole, begun, now)
        chain = self._chain(seconds, spent[0] / spent[1] if spent[1] else 1.0)
        return Left(max((left - begun) / speed, chain) if left else 0.0, share)

    def _begun(self, seconds: Mapping[Cost, float], left: float, now: float) -> float:
        """Seconds of work that were done in jobs that have not ended, of which no event tells.

        A place is met within a job of w seconds in proportion to w, and half way through it: E[w^2] / 2 E[w]. But for
        the one where the last job ended: it has worked since then.
        """
        works = [(count * seconds[cost] * cost.share, often) for (cost, count), often in self.jobs.items()]
        once, squared = (sum(often * work**power for work, often in works) for power in (1, 2))
        if not once:
            return 0.0
        half = squared / (2 * once)
        return min(max(0.0, self.places.total - 1) * half + min(now - self.last_job, half), left / 2)

    def _speed(self, seconds: Mapping[Cost, float], whole: float, begun: float, now: float) -> float:
        """Seconds of work, by what it is expected to take, that were done in a second. begun: in what runs now."""
        if self.started is None:
            return self.places.total
        since = self.started
        window = max(WINDOW_SECONDS, WINDOW_SHARE * (now - since))
        while len(self.advances) > 1 and self.advances[0][0] < now - window:
            self.advances.popleft()
        done = sum(count * seconds[cost] * cost.share for _, counts in self.advances for cost, count in counts.items())
        elapsed = min(window, now - since)
        busy = min(BUSY_SECONDS, BUSY_SHARE * whole / self.places.total)
        # Of a window that does not begin with the work, as much was begun before it.
        done += begun * (elapsed < window and since == self.began)
        return (done + self.places.total * busy) / max(elapsed + busy, 1e-9)

    def _chain(self, seconds: Mapping[Cost, float], slowness: float) -> float:
        """Seconds of a clock that the pretrainings that are left take, so many at once as may be, and one cell behind.

        slowness: seconds of a clock that a pretraining takes for each of those that work is counted in.
        """
        left = {key: (1 - self.share[key]) * seconds[self.costs[key]] for key in self.pretrained if self.share[key] < 1}
        # Those that run go on; then the longest first, each where the first place becomes free.
        ends = [0.0] * self.places.pretrainings
        for key in sorted(left, key=lambda key: (key not in self.moments, -left[key])):
            heapq.heapreplace(ends, ends[0] + left[key])
        last_cell = max((seconds[cost] for cost, count in self.unfinished.items() if count), default=0.0)
        return max(ends) * slowness + last_cell


def part_of(cost: Cost, share: float) -> Cost:
    """Of what a piece does between two moments: its beginning and its end are not in it."""
    some = replace(cost, pieces=0.0, steps=share * cost.steps, images=share * cost.images)
    return replace(some, flops=share * cost.flops, views=share * cost.views)
