"""What does each encoder and cell cost, by its key, in what it does and not yet in time?"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from sweep.studies.cell import Cell, EncoderRun, Item
from sweep.studies.forecast import Counts, Forecast, forecast
from sweep.studies.plan import group_seeds
from trainables.recipe import PretrainRecipe
from trainables.registry import PROTOCOLS

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

    What reads data that `counts` does not have is left out.
    """
    found: dict[str, Cost] = {}
    for run in encoders:
        if not isinstance(run.recipe, PretrainRecipe):
            found[run.key] = Cost(INITIAL)
        elif run.corpus in counts:
            found[run.key] = _cost(PRETRAINING, forecast((run,), (), counts), 1, share(run))
    kinds: dict[tuple[object, ...], Cost] = {}  # hundreds of jobs are of a few kinds
    for group in group_seeds(cells):
        first = group[0]
        if first.shards not in counts:
            continue
        kind = (first.encoder.backbone_key, first.shards, first.protocol, first.label_percent, first.recipe.key)
        if (*kind, len(group)) not in kinds:
            work = TOGETHER if PROTOCOLS[first.protocol].seeds_together else ALONE
            kinds[*kind, len(group)] = _cost(work, forecast((), group, counts), len(group), share(first))
        found |= dict.fromkeys((cell.key for cell in group), kinds[*kind, len(group)])
    return found


def _cost(work: str, of: Forecast, parts: int, share: float) -> Cost:
    images, flops = of.forward_passes + of.training_passes, of.flops + of.text_flops
    return Cost(work, 1 / parts, of.steps / parts, images / parts, flops / parts, of.views / parts, share)
