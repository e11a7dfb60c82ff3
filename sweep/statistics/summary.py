"""What do the seeds of one place add up to: a mean with its interval, and what is not in it.

A place is one number of a table: (encoder row, dataset, protocol, label_percent).
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from sweep.statistics.inference import ROUNDING, TwoWay, half_width, mean, mean_of_some, negligible, sd, two_way
from sweep.store.records import CellResult, Place
from sweep.store.status_names import Status
from trainables.evaluation.metrics import FindingAuroc, macro
from trainables.evaluation.study_scores import AGGREGATES

DOWNSTREAM, PRETRAINING, NOTHING = "downstream seeds", "pretraining seeds", "nothing"


@dataclass(frozen=True)
class Summary:
    """Mean, standard deviation and half-width of the 95% interval in [0, 1], over n values.

    With one pretraining seed a value is a downstream seed's macro AUROC. With several a value is the mean over
    the downstream seeds of one pretraining seed: seeds on one encoder are no independent draws of a method. Then
    var(mean) = s^2 / n, where s^2, the variance of these means, holds var(pretraining) + var(downstream) / seeds.
    mean is None for n = 0, sd and ci95 are for n = 1. interval: "t" or "z", the quantile in ci95 (`half_width`).
    both_seeds: the interval that covers new downstream seeds besides, where every value is there.
    missing, failed, undefined: what was asked for and is not in the mean, by name ("3", or "p1/s3" with
    several pretraining seeds). damaged: those of `missing` whose result is there and is not what was written.
    varies: what the values differ by, one of DOWNSTREAM, PRETRAINING, NOTHING. A row that no pretraining seed changes
    (fixed weights) is taken over its downstream seeds. Where all values are one number to rounding, nothing varies:
    ci95 is None, for that is not certainty.
    """

    mean: float | None
    sd: float | None
    n: int
    ci95: float | None
    interval: str
    missing: tuple[str, ...] = ()
    failed: tuple[str, ...] = ()
    undefined: tuple[str, ...] = ()
    varies: str = DOWNSTREAM
    both_seeds: TwoWay | None = None
    damaged: tuple[str, ...] = ()

    @property
    def complete(self) -> bool:
        """Whether every seed that was asked for is in the mean."""
        return not (self.missing or self.failed or self.undefined)


def by_place(results: Iterable[CellResult]) -> dict[Place, list[CellResult]]:
    """Place -> its cells of all seeds, whatever their status, in the order given."""
    places: dict[Place, list[CellResult]] = defaultdict(list)
    for result in results:
        places[result.place].append(result)
    return dict(places)


def summarise(
    cells: Iterable[CellResult],
    seeds: Sequence[int],
    pretrain_seeds: Sequence[int] = (0,),
    interval: str = "t",
    value: Callable[[CellResult], float | None] = lambda cell: cell.macro_auroc,
) -> Summary:
    """The cells of one place against all seeds that were asked for; a seed without a cell is missing.

    seeds, pretrain_seeds: what was asked for, in the order of the names in the summary. interval: "t" or "z".
    value: what of a done cell is summarised; None where it is undefined. The default is its macro AUROC.
    Raises ValueError for another interval.
    """
    # What was asked for is walked through, not what was found: a seed without a cell must show up as missing.
    found = {(cell.pretrain_seed, cell.seed): cell for cell in cells}
    absent: dict[str, list[str]] = {Status.MISSING: [], Status.FAILED: [], Status.DAMAGED: [], "undefined": []}
    groups: list[dict[int, float]] = []
    for pretrain_seed in pretrain_seeds:
        group = {}
        for seed in seeds:
            cell = found.get((pretrain_seed, seed))
            status = Status.MISSING if cell is None else cell.status
            number = value(cell) if cell is not None and status == Status.DONE else None
            if number is not None:
                group[seed] = number
            else:
                name = seed_name(pretrain_seed, seed, len(pretrain_seeds) > 1)
                absent["undefined" if status == Status.DONE else status].append(name)
                if status == Status.DAMAGED:  # it has to be computed again, as a missing one: tables count it there
                    absent[Status.MISSING].append(name)
        groups.append(group)
    varies, values = independent_values(groups)
    spread = sd(values)
    fixed = spread is not None and negligible(spread, values)
    if fixed:  # fixed weights give one number in each seed, to rounding; anything trained does not
        varies = NOTHING
    return Summary(
        mean(values),
        spread,
        len(values),
        None if spread is None or fixed else half_width(values, interval),  # neither for one value nor for equal ones
        interval,
        tuple(absent[Status.MISSING]),
        tuple(absent[Status.FAILED]),
        tuple(absent["undefined"]),
        varies,
        _over_both_seeds(groups, interval) if varies == PRETRAINING else None,
        tuple(absent[Status.DAMAGED]),
    )


def seed_name(pretrain_seed: int, seed: int, several: bool) -> str:
    """`3`; with several pretraining seeds `p1/s3`, downstream seed 3 on pretraining seed 1."""
    return f"p{pretrain_seed}/s{seed}" if several else str(seed)


def independent_values(groups: Sequence[Mapping[int, float]]) -> tuple[str, list[float]]:
    """What the values differ by, and those of them that are independent.

    groups: for each pretraining seed that was asked for, downstream seed -> value; empty where none is finished.
    With one pretraining the values are those of its downstream seeds, with several the mean of each pretraining.
    """
    filled = [group for group in groups if group]
    # Two pretrainings cannot agree in every digit: equal groups are one set of fixed weights that was evaluated again.
    if len(groups) == 1 or (len(filled) > 1 and all(_same(group, filled[0]) for group in filled)):
        return DOWNSTREAM, list(filled[0].values()) if filled else []
    return PRETRAINING, [mean_of_some(list(group.values())) for group in filled]


def _same(a: Mapping[int, float], b: Mapping[int, float]) -> bool:
    return a.keys() == b.keys() and all(abs(a[seed] - b[seed]) <= ROUNDING for seed in a)


def best_of(summaries: Sequence[Summary]) -> list[bool]:
    """For each, whether it is shown as the best: the highest mean among those of the most values.

    Means are compared as tables print them, in percent with two decimals: of two that read alike neither is better.
    """
    # float() compares numbers, not texts ("9.50" is no more than "10.00").
    ranks = [None if s.mean is None else (s.n, float(f"{100 * s.mean:.2f}")) for s in summaries]
    best = max((rank for rank in ranks if rank is not None), default=None)
    return [rank is not None and rank == best for rank in ranks]


def _over_both_seeds(groups: Sequence[Mapping[int, float]], interval: str) -> TwoWay | None:
    """The two-way interval; None where a pretraining lacks a downstream seed that another one has."""
    if any(group.keys() != groups[0].keys() for group in groups):
        return None
    return two_way([list(group.values()) for group in groups], interval)


COMPETITION = ("atelectasis", "cardiomegaly", "consolidation", "edema", "pleural_effusion")
SYNONYMS = {"effusion": "pleural_effusion"}  # NIH-ChestX-ray14's name
FEW_POSITIVES = 10
MACRO_DEFINED, MACRO_10_POSITIVES, MACRO_COMPETITION = MACROS = (
    "macro_defined",
    "macro_10_positives",
    "macro_competition",
)

# Macros over the studies of the test images instead of the images -> how the scores of a study's images are one.
STUDY_MACROS = {f"macro_study_{how}": how for how in AGGREGATES}


def findings_of_macro(kind: str, findings: Sequence[FindingAuroc]) -> tuple[str, ...]:
    """Names of the findings in a mean, in the order of findings. Empty where there is no such mean.

    macro_defined: all that have an AUROC; macro_10_positives: those of them with at least 10 positives (a mean
    over rarer ones depends on single images); macro_competition: the five of CheXpert's competition (Irvin et al.,
    2019), only where all five have an AUROC, since a mean of four is another quantity.
    Raises ValueError for another kind.
    """
    defined = [finding for finding in findings if finding.auroc is not None]
    if kind == MACRO_10_POSITIVES:
        defined = [finding for finding in defined if finding.n_pos >= FEW_POSITIVES]
    elif kind == MACRO_COMPETITION:
        # Another name of a finding is that finding only where the dataset does not have it by its own name too.
        names = {name: SYNONYMS.get(name, name) for name in (finding.finding for finding in findings)}
        twice = {name for name, usual in names.items() if usual != name and usual in names}
        defined = [f for f in defined if names[f.finding] in COMPETITION and f.finding not in twice]
        if len(defined) < len(COMPETITION):
            return ()
    elif kind != MACRO_DEFINED:
        raise ValueError(f"no macro {kind!r}; known: {', '.join(MACROS)}")
    return tuple(finding.finding for finding in defined)


def macro_auroc(kind: str, findings: Sequence[FindingAuroc]) -> float | None:
    """Mean AUROC in [0, 1] over the findings of a macro, one of MACROS; None where there is no such mean."""
    chosen = set(findings_of_macro(kind, findings))
    return macro([finding for finding in findings if finding.finding in chosen])


def defined_findings(results: Iterable[CellResult]) -> dict[str, tuple[int, int, int]]:
    """Dataset -> fewest and most findings in a cell's mean, and findings in all, over done cells."""
    counts: dict[str, tuple[int, int, int]] = {}
    for result in results:
        if result.status == Status.DONE:
            # Fewest starts at all findings and most at none, so that the first cell sets both.
            low, high, total = counts.get(result.dataset, (len(result.findings), 0, 0))
            defined = result.num_defined
            counts[result.dataset] = (min(low, defined), max(high, defined), max(total, len(result.findings)))
    return counts
