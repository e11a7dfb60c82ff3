"""How fast is a running sweep: images a second and seconds left, from its progress events and the forecast. Pure."""

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from sweep.monitoring.progress import ProgressSnapshot
from sweep.store.status_names import Status
from sweep.studies.cell import Cell, EncoderRun
from sweep.studies.forecast import forecast
from sweep.studies.plan import Pending, Plan, group_seeds

WINDOW_SECONDS = 300.0  # images a second are of so much time, as long cells land one by one


@dataclass(frozen=True)
class Load:
    """What one encoder or cell costs: images through a network, forward alone or with backward, and FLOP."""

    images: float
    flops: float


def loads_of(pending: Pending, counts: Mapping[str, Mapping[str, int]]) -> dict[str, Load]:
    """Key -> Load of everything that is left. Cells that share one pass share its cost."""
    loads = {}
    for run in pending.encoders:
        cost = forecast((run,), (), counts)
        loads[run.key] = Load(cost.forward_passes + cost.training_passes, cost.flops)
    for group in group_seeds(pending.cells):
        cost = forecast((), group, counts)
        for cell in group:
            loads[cell.key] = Load((cost.forward_passes + cost.training_passes) / len(group), cost.flops / len(group))
    return loads


class Throughput:
    """Takes progress as it comes; `read` gives every gauge. Times are seconds of one clock."""

    def __init__(
        self, plan: Plan, pending: Pending, done: set[str], counts: Mapping[str, Mapping[str, int]], now: float
    ):
        """pending: what this sweep does, perhaps beside others; done: keys of what was finished before."""
        self.encoders, self.cells = {run.key: str(run) for run in plan.encoders}, {cell.key for cell in plan.cells}
        failed: tuple[EncoderRun | Cell, ...] = (*pending.failed_encoders, *pending.failed_cells)
        self.failed = {item.key for item in failed}
        self.done = set(done)
        self.loads = loads_of(pending, counts)
        self.share = dict.fromkeys(self.loads, 0.0)
        self.started = now
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
        self.samples.append((now, self._sum(lambda load: load.images)))
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
        if key in self.share:
            self.share[key] = max(share, self.share[key])

    def _sum(self, cost: Callable[[Load], float]) -> float:
        """Of everything that is left to this sweep: what it costs, times how far it is."""
        return sum(share * cost(self.loads[key]) for key, share in self.share.items())

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
        finished, elapsed = self._sum(lambda load: load.flops), now - self.started
        if finished and elapsed:
            # What is left at the speed so far, FLOP for FLOP: what failed is not tried again by this command.
            open_work = sum(
                load.flops * (1 - self.share[key]) for key, load in self.loads.items() if key not in self.failed
            )
            values["seconds_left"] = open_work * elapsed / finished
        return values

    def shares(self) -> dict[str, float]:
        """Encoder -> how far it is, for those that this sweep pretrains."""
        return {self.encoders[key]: self.share[key] for key in self.share if key in self.encoders}
