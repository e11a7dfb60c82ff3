"""What does each encoder and cell cost, by its key, in what it does and not yet in time?"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from sweep.studies.cell import Cell, EncoderRun, Item
from sweep.studies.forecast import Counts, forecast
from sweep.studies.plan import group_seeds
from trainables.protocols.registry import PROTOCOLS
from trainables.recipe import PretrainRecipe

PRETRAINING, INITIAL, TOGETHER, ALONE = "pretraining", "initial weights", "seeds together", "one seed"


@dataclass(frozen=True)
class Cost:
    """Of one item. images: through a network, forward alone or with backward; flops: of image and text networks.

    work: what programs do much alike. pieces: 1, or the part of a job that one of its cells is. share: of a GPU, or of
    a place for cells, that it holds as long as it runs; a pretraining on four GPUs has 4.
    """

    work: str
    pieces: float = 1.0
    steps: float = 0.0
    images: float = 0.0
    flops: float = 0.0
    views: float = 0.0
    share: float = 1.0


def costs_of(
    encoders: Iterable[EncoderRun],
    cells: Iterable[Cell],
    counts: Counts,
    share: Callable[[Item], float] = lambda _: 1.0,
) -> dict[str, Cost]:
    """Key -> cost. Cells that one job computes share what it costs. counts: of `forecast`; share: of `Cost`.

    What reads data that `counts` does not have, and whose network cannot be built, is left out.
    """
    found: dict[str, Cost] = {}
    for run in encoders:
        if not isinstance(run.recipe, PretrainRecipe):
            found[run.key] = Cost(INITIAL)
        elif run.corpus in counts and (cost := _cost(PRETRAINING, (run,), (), counts, share(run))) is not None:
            found[run.key] = cost
    kinds: dict[tuple[object, ...], Cost | None] = {}  # hundreds of jobs are of a few kinds
    for group in group_seeds(cells):
        first = group[0]
        if first.shards not in counts:
            continue
        of = (first.encoder.backbone_key, first.shards, first.protocol, first.label_percent, first.recipe.key)
        held = share(first)  # of its job, which may train more seeds or fewer than another one of the same kind
        kind = (*of, len(group), held)
        if kind not in kinds:
            work = TOGETHER if PROTOCOLS[first.protocol].seeds_together else ALONE
            kinds[kind] = _cost(work, (), group, counts, held)
        if (cost := kinds[kind]) is not None:
            found |= dict.fromkeys((cell.key for cell in group), cost)
    return found


def _cost(
    work: str, encoders: Sequence[EncoderRun], cells: Sequence[Cell], counts: Counts, share: float
) -> Cost | None:
    """Of each of so many together; None where its network cannot be built, of which preflight says why."""
    try:
        of = forecast(encoders, cells, counts)
    except Exception:  # whatever a library says to a specification that it does not know
        return None
    parts, images = len(encoders) + len(cells), of.forward_passes + of.training_passes
    flops = (of.flops + of.text_flops) / parts
    return Cost(work, 1 / parts, of.steps / parts, images / parts, flops, of.views / parts, share)
