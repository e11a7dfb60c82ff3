"""What starts next, and on how much of the machines: the whole policy, pure, for the sweep and for its simulation.

Pretraining comes first: all workers of a group start together, so cells leave room for as many groups as fit.
Cells take the rest: first what has the longest chain of work behind it. Machines may come and go at any time.
"""

import heapq
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from sweep.monitoring.time_left import Places
from sweep.studies.cell import Cell, EncoderRun
from sweep.studies.forecast import forecast
from sweep.studies.plan import group_seeds, starts_from
from trainables.protocols.registry import PROTOCOLS
from trainables.recipe import Resources

# Without GPUs pretraining and cells share the cores. Ray is asked for next to nothing for a worker of pretraining, and
# for a cell so much less than a core that both, and the tasks that read ahead, find room on every host, however small.
GROUP_CPU, BESIDE_CELL_CPU = 0.001, 0.02
# Parts of a GPU that a cell is given, by label percentage: at 1% most time goes to validation and test images, which
# a core prepares more slowly than a GPU takes them, so four cells share one. Stated, not measured: Resources overrides.
GPU_SHARE = {1: 0.25, 10: 0.5}
# Bytes that a fine-tuning step holds, stated: float16 activations of a ResNet-50 at 224 x 224 are 60 MB an image.
BYTES_PER_PIXEL, FIXED_BYTES, GPU_BYTES = 1200, 2 << 30, 16 << 30  # GPU_BYTES: where no card has said what it has


@dataclass(frozen=True)
class ClusterResources:
    """What a cluster has, or could have when it has grown."""

    gpus: float
    cpus: float


@dataclass(frozen=True)
class Shape:
    """How work is cut for these machines. capacity and shares are in GPUs where there are any, else in cells.

    workers: of one pretraining. per_worker: GPUs or CPUs of one. cell_cpus: CPUs that Ray is asked for a cell.
    most_cells: a limit that the user set.
    """

    on_gpus: bool
    workers: int
    per_worker: float
    worker_bundle: Mapping[str, float]
    cell_cpus: float
    cpus_per_cell: int
    most_cells: int | None


def shape_of(resources: Resources, most: ClusterResources, pretrainings: int) -> Shape:
    """Decided once, from what the cluster has or could grow to. Raises ValueError where a pretraining cannot fit."""
    on_gpus = most.gpus > 0 and resources.gpus_per_worker != 0
    per_worker = (resources.gpus_per_worker or 1.0) if on_gpus else float(resources.cpus_per_worker)
    workers = resources.pretrain_workers or (max(1, min(4, int(most.gpus / per_worker))) if on_gpus else 1)
    bundle = {"CPU": float(resources.cpus_per_worker), "GPU": per_worker} if on_gpus else {"CPU": GROUP_CPU}
    cells_on_gpus = most.gpus > 0 and resources.gpus_per_cell != 0
    shape = Shape(
        cells_on_gpus,
        workers,
        per_worker,
        bundle,
        float(resources.cpus_per_cell),
        resources.cpus_per_cell,
        resources.max_concurrent_cells,
    )
    if pretrainings and workers > _slots(shape, most):
        raise ValueError(
            f"a pretraining needs {workers} workers of {bundle}, but the cluster has {most.cpus:g} CPU and "
            f"{most.gpus:g} GPU; lower Resources.pretrain_workers or add machines"
        )
    if not cells_on_gpus:
        count = shape.most_cells or max(1, int(most.cpus / resources.cpus_per_cell))
        part = min(float(resources.cpus_per_cell), most.cpus / count)  # more cells than cores: parts of a core
        return replace(shape, cell_cpus=part - BESIDE_CELL_CPU * part)
    return shape


def _slots(shape: Shape, machines: ClusterResources) -> int:
    """Workers of pretraining that fit on these machines."""
    has = machines.gpus if "GPU" in shape.worker_bundle else machines.cpus
    return int(has / shape.per_worker)


def groups_wanted(shape: Shape, machines: ClusterResources, left: int) -> int:
    """Pretrainings that should run at once, of `left` that are not finished.

    On GPUs as many as fit: the rest waits for them. On cores half: cells come as soon as encoders land.
    """
    slots = _slots(shape, machines)
    fit = slots // shape.workers if "GPU" in shape.worker_bundle else max(1, slots // (2 * shape.workers))
    return min(left, fit)


def capacity(shape: Shape, machines: ClusterResources, groups: int) -> float:
    """GPUs, or numbers of cells, that cells may use beside so many pretrainings."""
    if not shape.on_gpus:
        return float(shape.most_cells or max(1, int(machines.cpus / shape.cpus_per_cell)))
    reserved = groups * shape.workers * shape.per_worker if "GPU" in shape.worker_bundle else 0.0
    return max(0.0, machines.gpus - reserved)


def seeds_at_once(resources: Resources, shape: Shape, machines: ClusterResources, cells: Iterable[Cell]) -> int:
    """Seeds of a fine-tuning that one job trains side by side: on GPUs all, unless some GPU would have nothing to do.

    cells: all that are left. What shares features, a probe, is one job in any case.
    """
    if not shape.on_gpus:
        return 1
    if resources.seeds_at_once is not None:
        return resources.seeds_at_once
    tuned = [cell for cell in cells if not PROTOCOLS[cell.protocol].seeds_together]
    most = max(Counter((c.encoder.key, c.dataset, c.protocol, c.label_percent) for c in tuned).values(), default=1)
    return max(1, min(most, int(len(tuned) / max(1.0, machines.gpus))))


def gpu_share(resources: Resources, cell: Cell, card_bytes: int | None = None, seeds: int = 1) -> float:
    """Part of a GPU that a cell needs: what Resources says, or the estimate above, and never less than its memory.

    card_bytes: of the smallest card that a cell may come to; None where that is not known. seeds: that are trained side
    by side.
    """
    if resources.gpus_per_cell is not None:
        return resources.gpus_per_cell
    pixels = seeds * cell.recipe.batch_size * cell.encoder.recipe.backbone.image_size**2
    memory = (pixels * BYTES_PER_PIXEL + FIXED_BYTES) / (card_bytes or GPU_BYTES)
    share = GPU_SHARE.get(cell.label_percent, 1.0)
    return next((s for s in (0.25, 0.5) if s >= max(share, memory)), 1.0)


def places(shape: Shape, machines: ClusterResources, pretrainings: int) -> Places:
    """GPUs where both pretraining and cells run on them, cores where neither does, else as many items as fit."""
    trains_on_gpus, groups = "GPU" in shape.worker_bundle, max(1, groups_wanted(shape, machines, pretrainings))
    if trains_on_gpus and shape.on_gpus:
        return Places(machines.gpus, groups, True)
    if not trains_on_gpus and not shape.on_gpus:
        return Places(machines.cpus, groups, False)
    return Places(groups + capacity(shape, machines, groups), groups, True)


def pretraining_share(shape: Shape) -> float:
    """Which part of `Places.total` a pretraining holds as long as it runs; a job of cells holds what it was given."""
    return shape.workers * shape.per_worker if "GPU" in shape.worker_bundle and shape.on_gpus else 1.0


@dataclass(frozen=True)
class ScheduledJob:
    """One job of cells. needs: folders that must be finished; gives: folders that it finishes.

    may_lack: those of `needs` without which it still has cells to compute: each is the start of one of several.
    """

    needs: tuple[str, ...]
    gives: tuple[str, ...]
    share: float
    work: float
    may_lack: frozenset[str] = frozenset()


def longest_first(encoders: Iterable[EncoderRun], counts: Mapping[str, Mapping[str, int]]) -> list[EncoderRun]:
    """Encoder runs in the order in which they should start."""
    return sorted(encoders, key=lambda run: (-forecast((run,), (), counts).flops, str(run)))


def groups_in_order(
    cells: Sequence[Cell], all_cells: Sequence[Cell], counts: Mapping[str, Mapping[str, int]], at_once: int = 1
) -> list[tuple[tuple[Cell, ...], float]]:
    """Cells that one job computes with their work in FLOP; first what has the longest chain of work behind it.

    at_once: seeds of a fine-tuning that are one job.
    """
    groups = group_seeds(cells, at_once)
    works: dict[tuple[object, ...], float] = {}  # kind of a group -> FLOP: hundreds of groups are of a few kinds
    starts = starts_from(all_cells)
    made: list[tuple[tuple[Cell, ...], float]] = []
    for group in groups:
        first = group[0]
        backbone, recipe = first.encoder.backbone_key, first.recipe.key
        kind = (backbone, first.dataset, first.protocol, first.label_percent, recipe, len(group))
        if kind not in works:
            works[kind] = forecast((), group, counts).flops
        made.append((group, works[kind]))
    behind: dict[str, float] = defaultdict(float)
    for group, work in made:
        for cell in group:
            if cell.key in starts:
                behind[starts[cell.key].key] = max(behind[starts[cell.key].key], work)

    # Sorted by name where the work is equal, so that two drivers, and two runs, have the same order.
    def chain(entry: tuple[tuple[Cell, ...], float]) -> tuple[float, str]:
        group, work = entry
        return -(work + max(behind[cell.key] for cell in group)), str(group[0])

    return sorted(made, key=chain)


class ReadyTasks:
    """Tasks in their order, each ready once all that it needs has landed. A task is its place in `tasks`.

    missing: task -> what it still waits for. waiters: name -> tasks that wait for it. A task is in `missing` or in a
    heap until it is claimed or dropped. soon: of what waits for no more than what is coming, when the last of it comes.
    """

    def __init__(
        self, tasks: Sequence[ScheduledJob], landed: Iterable[str] = (), coming: Mapping[str, int] | None = None
    ):
        """landed: names of what is finished already; coming: of what is in the making -> its place in the order."""
        self.tasks, self.coming = tasks, coming or {}
        landed = set(landed)
        self.missing = {i: {name for name in task.needs if name not in landed} for i, task in enumerate(tasks)}
        self.waiters: dict[str, list[int]] = defaultdict(list)
        # Share -> ready tasks. A heap for each share, so that a claim need not search past tasks that are too large.
        self.heaps: dict[float, list[int]] = defaultdict(list)
        for i, names in self.missing.items():
            for name in names:
                self.waiters[name].append(i)
        self.soon: list[tuple[int, int]] = []
        for i in [i for i, names in self.missing.items() if not names]:
            self._ready(i)
        for i in self.missing:
            self._soon(i)

    def _ready(self, i: int) -> None:
        del self.missing[i]
        heapq.heappush(self.heaps[self.tasks[i].share], i)

    def _soon(self, i: int) -> None:
        names = self.missing[i]
        if names <= self.coming.keys():
            heapq.heappush(self.soon, (max(self.coming[name] for name in names), i))

    def landed(self, name: str) -> None:
        """Something is finished: tasks that waited for nothing else are ready."""
        for i in self.waiters.pop(name, ()):
            if i in self.missing:
                self._without(i, name)

    def _without(self, i: int, name: str) -> None:
        """A task no longer waits for this."""
        self.missing[i].discard(name)
        if self.missing[i]:
            self._soon(i)
        else:
            self._ready(i)

    def lost(self, name: str) -> None:
        """Something will not be finished: what needs it, and what needs that, is dropped; nothing else is."""
        for i in self.waiters.pop(name, ()):
            if i in self.missing and name in self.tasks[i].may_lack:
                self._without(i, name)
            elif self.missing.pop(i, None) is not None:
                for given in self.tasks[i].gives:
                    self.lost(given)

    def claim(self, free: float) -> int | None:
        """The first ready task that fits into `free`; None where none does."""
        # Shares are sums of quarters and halves in floating point: 1e-9 is for what they lose.
        fitting = [heap for share, heap in self.heaps.items() if heap and share <= free + 1e-9]
        return heapq.heappop(min(fitting, key=lambda heap: heap[0])) if fitting else None

    def claim_early(self) -> int | None:
        """The task that will be ready first, of those that only wait for what is coming."""
        while self.soon:
            _, i = heapq.heappop(self.soon)
            # What a task waits for only gets less: its entry of now comes before its older ones, which are passed over.
            if i in self.missing:
                del self.missing[i]
                return i
        return None

    @property
    def waiting(self) -> int:
        """Tasks that are neither claimed nor dropped."""
        return len(self.missing) + sum(len(heap) for heap in self.heaps.values())
