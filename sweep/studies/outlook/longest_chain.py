"""What of a plan must be done one after the other, and how long does it take on given machines? Pure."""

from collections.abc import Iterable
from dataclasses import dataclass

from sweep.studies.cell import Cell, EncoderRun
from sweep.studies.forecast import Forecast
from sweep.studies.outlook.machines import Machines
from sweep.studies.outlook.priced import Priced
from trainables.protocols.registry import PROTOCOLS
from trainables.recipe import Resources

MOST_WORKERS = 4  # of a pretraining on GPUs, where Resources does not say


@dataclass(frozen=True)
class Chain:
    """names: of items, each of which waits for the one before; hours: of all of them."""

    names: tuple[str, ...]
    hours: float

    def then(self, name: str, hours: float) -> "Chain":
        """With one more at its end."""
        return Chain((*self.names, name), self.hours + hours)


NOTHING = Chain((), 0.0)


def workers_on(machines: Machines, resources: Resources) -> int:
    """Workers of one pretraining on these machines."""
    if resources.pretrain_workers:
        return min(resources.pretrain_workers, machines.count)
    return min(MOST_WORKERS, machines.count) if machines.on_gpus else 1


def longest_chain(
    encoders: Iterable[EncoderRun], cells: Iterable[Cell], machines: Machines, resources: Resources, priced: Priced
) -> Chain:
    """Pretrainings that start from each other, a cell, and one that goes on from that. encoders: parents first."""

    def hours(cost: Forecast | None, workers: int) -> float:
        return 0.0 if cost is None else cost.seconds_at(machines.flops_per_second) / workers / 3600

    workers = workers_on(machines, resources)
    ends: dict[str, Chain] = {}
    for run in encoders:
        before = NOTHING if run.parent is None else ends.get(run.parent.key, NOTHING)
        ends[run.key] = before.then(str(run), hours(priced.encoder(run), workers))
    reached: dict[tuple[object, ...], Chain] = {}
    for cell in sorted(cells, key=lambda cell: PROTOCOLS[cell.protocol].starts_from is not None):
        place = (cell.encoder.key, cell.dataset, cell.label_percent, cell.seed)
        start = (PROTOCOLS[cell.protocol].starts_from, *place)
        before = reached[start] if start in reached else ends.get(cell.encoder.key, NOTHING)
        # Of one seed: where seeds side by side would make the longest chain longer, they are cut apart.
        reached[cell.protocol, *place] = before.then(str(cell), hours(priced.cells((cell,)), 1))
    return max((*ends.values(), *reached.values()), key=lambda chain: chain.hours, default=NOTHING)
