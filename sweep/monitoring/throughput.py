"""How fast is a running sweep, and how far: images a second, what is done and left, from its progress events. Pure."""

from collections import deque

from sweep.monitoring.progress import ProgressSnapshot
from sweep.monitoring.time_left import TimeLeft
from sweep.store.status_names import Status
from sweep.studies.cell import Cell, EncoderRun
from sweep.studies.plan import Pending, Plan

WINDOW_SECONDS = 300.0  # images a second are of so much time, as long cells land one by one


class Throughput:
    """Takes progress as it comes; `read` gives every gauge. Times are seconds of one clock."""

    def __init__(self, plan: Plan, pending: Pending, done: set[str], time_left: TimeLeft, now: float):
        """pending: what this sweep does, perhaps beside others; done: keys of what was finished before.

        time_left: of what is pending; others feed it.
        """
        self.encoders, self.cells = {run.key: str(run) for run in plan.encoders}, {cell.key for cell in plan.cells}
        failed: tuple[EncoderRun | Cell, ...] = (*pending.failed_encoders, *pending.failed_cells)
        self.failed = {item.key for item in failed}
        self.done = set(done)
        self.costs, self.time_left = time_left.costs, time_left
        self.share = dict.fromkeys(self.costs, 0.0)
        self.images = 0.0  # through networks so far
        self.samples: deque[tuple[float, float]] = deque([(now, 0.0)])  # (time, images so far)

    def update(self, progress: ProgressSnapshot, now: float) -> None:
        """Take what has happened since the last call."""
        for event in progress.encoders:
            if event.status == Status.RUNNING and event.total_steps:
                self._advance(event.key, event.step / event.total_steps)
            else:
                self._end(event.key, event.status)
        for outcome in progress.cells:
            self._end(outcome.key, outcome.status)
        self.samples.append((now, self.images))
        # The first sample is the last that is older than the window, so that the speed is over the whole of it. The
        # newest one is of now, so there always is another behind the first.
        while now - self.samples[1][0] >= WINDOW_SECONDS:
            self.samples.popleft()

    def _end(self, key: str, status: str) -> None:
        if status == Status.DONE:
            self.done.add(key)
            self.failed.discard(key)
            self._advance(key, 1.0)
        elif status == Status.FAILED:
            self.failed.add(key)

    def _advance(self, key: str, share: float) -> None:
        # Never back: a run that resumes from a checkpoint repeats steps, which are not counted twice.
        if key in self.share and share > self.share[key]:
            self.images += (share - self.share[key]) * self.costs[key].images
            self.share[key] = share

    def read(self, now: float) -> dict[str, float]:
        """Gauge -> value; images_per_second and seconds_left are missing while there is nothing to tell them from."""
        values: dict[str, float] = {}
        for name, keys in (("encoders", self.encoders.keys()), ("cells", self.cells)):
            values[f"{name}_total"] = len(keys)
            values[f"{name}_done"] = len(keys & self.done)
            values[f"{name}_failed"] = len(keys & self.failed)
        (then, images_then), (last, images) = self.samples[0], self.samples[-1]
        if last > then:
            values["images_per_second"] = (images - images_then) / (last - then)
        if (seconds := self.time_left.read(now).seconds) is not None:
            values["seconds_left"] = seconds
        return values

    def shares(self) -> dict[str, float]:
        """Encoder -> how far it is, for those that this sweep pretrains."""
        return {self.encoders[key]: self.share[key] for key in self.share if key in self.encoders}
