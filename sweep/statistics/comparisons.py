"""Which rows differ: tests over seeds and over patients within a column of the table, mean ranks over many columns.

`Comparisons` answers for a whole study. It is made once; page, sentences, comparisons.csv and figures print it.
"""

import math
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import combinations
from typing import TypeVar

import numpy as np
from scipy.special import chdtrc

from sweep.statistics.combined_test import ErrorPart, combined_half_width, combined_p, seed_parts
from sweep.statistics.inference import DECIMALS, Comparison, corrected_over_table, corrected_together, from_differences
from sweep.statistics.over_patients import OverPatients
from sweep.statistics.placements import Seeds
from sweep.statistics.summaries import Column, Summaries
from sweep.statistics.summary import independent_values, seed_name
from sweep.store.records import CellResult
from sweep.store.status_names import Status
from sweep.studies.layout import TableLayout, reference_row, table1_layout

ALPHA = 0.05  # of p_both_holm_table: the chance that any difference of a family of tests is claimed wrongly
ALL_PAIRS, AGAINST_REFERENCE, BETWEEN_STUDIES = "all pairs", "against the reference", "between two studies"
MOST_METHODS_IN_PAIRS = 40  # 40 x 39 / 2 = 780 pairs a column; with more methods only the reference is compared
BlockName = TypeVar("BlockName", bound=Hashable)


@dataclass(frozen=True)
class Tested:
    """Two methods in one column. family: the comparisons that Holm's correction covers, within one column.

    left_out: seeds that were asked for and that not both methods have. seed_parts: what seeds do to the difference.
    """

    family: str
    comparison: Comparison
    left_out: tuple[str, ...]
    seed_parts: tuple[ErrorPart, ...] = ()


@dataclass(frozen=True)
class Comparisons:
    """All comparisons of a study. reference: the row that others are compared with, None without a baseline.

    tested: (dataset, protocol, label_percent) -> what `compare_column` finds there. ranks: of Table 1's rows, first
    over all columns by macro AUROC, then one for each column of the table by finding. patients: what the predictions
    say, as `with_patients` adds it; without it no difference is told from chance.

    One family of tests for all readers: within a column every other row against the reference, other baselines
    included. comparisons.csv shows all of these, and who picks the smallest p picks among all of them. Holm's
    correction over the whole family bounds the error in any part of it that a sentence or a figure shows; one over the
    methods alone would not cover the baselines' rows, and the p of a method would depend on which rows are called
    baselines. It costs little: the step-down procedure divides by what is left, and `random` is mostly rejected first.
    """

    summaries: Summaries
    reference: str | None
    tested: Mapping[tuple[str, str, int], tuple[Tested, ...]]
    ranks: tuple["Ranks", ...]
    patients: OverPatients = field(default_factory=OverPatients)

    @cached_property
    def table1(self) -> TableLayout:
        """The rows and columns of Table 1: what is ranked, and what sentences are about."""
        return table1_layout(self.summaries.layout)

    def against_reference(self, dataset: str, column: Column) -> dict[str, Comparison]:
        """Every other row -> row minus reference in that column; the rows are corrected together."""
        tested = self.tested.get((dataset, *column), ())
        return {t.comparison.first: t.comparison for t in tested if t.family == AGAINST_REFERENCE}

    def pair(self, dataset: str, column: Column, first: str, second: str) -> Comparison | None:
        """The test of two rows among all pairs, in either order; None where pairs are too many to be tested."""
        for t in self.tested.get((dataset, *column), ()):
            if t.family == ALL_PAIRS and {t.comparison.first, t.comparison.second} == {first, second}:
                return t.comparison
        return None


def compare_methods(summaries: Summaries) -> Comparisons:
    """All tests and ranks of a study, from its means. Macro AUROCs are compared, in [0, 1]."""
    layout = summaries.layout
    methods = [name for name, _, _ in layout.rows]
    reference = reference_row([(name, group) for name, _, group in layout.rows])
    tested = {}
    for dataset, _ in layout.datasets:
        for column in layout.columns:
            cells = [cell for method in methods for cell in summaries.cells(method, dataset, column)]
            tested[dataset, *column] = compare_column(cells, methods, reference, layout.seeds, layout.pretrain_seeds)
    ranked = [name for name, _, _ in table1_layout(layout).rows]
    return Comparisons(summaries, reference, _over_table(tested), _all_ranks(summaries, ranked))


def compare_pairs(summaries: Summaries, pairs: Sequence[tuple[str, str]]) -> Comparisons:
    """The tests of some pairs of rows alone, in every column, as one family: of rows of two studies, side by side."""
    layout = summaries.layout
    tested: dict[tuple[str, str, int], tuple[Tested, ...]] = {}
    for dataset, _ in layout.datasets:
        for column in layout.columns:
            cells = (cell for pair in pairs for row in pair for cell in summaries.cells(row, dataset, column))
            found = cells_by_method(cells)
            own = _tested(BETWEEN_STUDIES, pairs, found, layout.seeds, layout.pretrain_seeds)
            tested[dataset, *column] = tuple(own)
    return Comparisons(summaries, None, _over_table(tested), ())


def with_patients(comparisons: Comparisons, patients: OverPatients) -> Comparisons:
    """The same with the test over seeds and patients, wherever both parts of the error are known."""
    tested: dict[tuple[str, str, int], tuple[Tested, ...]] = {}
    for place, column in comparisons.tested.items():
        tested[place] = ()
        for family in dict.fromkeys(t.family for t in column):
            own = [
                _with_patients(t, patients.parts.get((*place, t.comparison.first, t.comparison.second)))
                for t in column
                if t.family == family
            ]
            tested[place] += _with_comparisons(own, corrected_together([t.comparison for t in own]))
    return replace(comparisons, tested=_over_table(tested), patients=patients)


def _with_comparisons(tested: Sequence[Tested], comparisons: Iterable[Comparison]) -> tuple[Tested, ...]:
    return tuple(replace(t, comparison=comparison) for t, comparison in zip(tested, comparisons, strict=True))


def _with_patients(tested: Tested, part: ErrorPart | None) -> Tested:
    """part: the patients' one of this difference; None where the predictions of both rows are not at hand."""
    c = tested.comparison
    if part is None:
        return tested
    c = replace(c, patients_se=part.se, patients_freedom=part.freedom)
    if c.difference is not None and tested.seed_parts:
        parts = (*tested.seed_parts, part)
        c = replace(c, ci95_both=combined_half_width(parts), p_both=combined_p(c.difference, parts))
    return replace(tested, comparison=c)


def _over_table(
    tested: Mapping[tuple[str, str, int], Sequence[Tested]],
) -> dict[tuple[str, str, int], tuple[Tested, ...]]:
    """Each family corrected over all columns of all datasets: whoever reads a table looks through all of them."""
    of_table: dict[str, list[Comparison]] = {}
    for column in tested.values():
        for t in column:
            of_table.setdefault(t.family, []).append(t.comparison)
    # In the order in which they were collected, each family for itself.
    corrected = {family: iter(corrected_over_table(tests)) for family, tests in of_table.items()}
    return {
        place: tuple(replace(t, comparison=next(corrected[t.family])) for t in column)
        for place, column in tested.items()
    }


def _all_ranks(summaries: Summaries, methods: Sequence[str]) -> tuple["Ranks", ...]:
    """Over all columns by macro AUROC, then for each column by finding. Only rows with every seed of a place count."""
    layout = summaries.layout
    places = [(dataset, column) for dataset, _ in layout.datasets for column in layout.columns]

    def complete(dataset: str, column: Column, *value: str) -> dict[str, float]:
        return {row: mean for row, mean in summaries.complete(dataset, column, *value).items() if row in methods}

    whole = {(dataset, *column): complete(dataset, column) for dataset, column in places}
    found = [rank_methods("all columns", "dataset and column, by macro AUROC", whole, methods)]
    for column in layout.columns:
        blocks = {
            (dataset, *column, f.finding): complete(dataset, column, f.finding)
            for dataset, _ in layout.datasets
            for f in summaries.findings(dataset, column)
            if f.auroc is not None
        }
        found.append(rank_methods(layout.column_title(*column), "dataset and finding, by AUROC", blocks, methods))
    return tuple(found)


def cells_by_method(cells: Iterable[CellResult]) -> dict[str, dict[Seeds, CellResult]]:
    """Method -> (pretraining seed, seed) -> its finished cell of one column that has a macro AUROC."""
    found: dict[str, dict[Seeds, CellResult]] = {}
    for cell in cells:
        of_method = found.setdefault(cell.encoder, {})
        if cell.status == Status.DONE and cell.macro_auroc is not None:
            of_method[cell.pretrain_seed, cell.seed] = cell
    return found


def compare_column(
    cells: Iterable[CellResult],
    methods: Sequence[str],
    reference: str | None,
    seeds: Sequence[int],
    pretrain_seeds: Sequence[int] = (0,),
) -> tuple[Tested, ...]:
    """Every method against the reference, and all pairs, each family with its own correction.

    The pairs are seeds; with several pretraining seeds they are these, each the mean over the downstream seeds
    that both methods have. methods: in the table's order; first - second is reported, the reference being second.
    reference: None leaves its family out; so does the other one more than MOST_METHODS_IN_PAIRS methods.
    """
    found = cells_by_method(cells)
    # Two families, since they answer two questions: what beats the reference, and which methods differ at all.
    families: list[tuple[str, list[tuple[str, str]]]] = []
    if reference is not None:
        families.append((AGAINST_REFERENCE, [(method, reference) for method in methods if method != reference]))
    if len(methods) <= MOST_METHODS_IN_PAIRS:
        families.append((ALL_PAIRS, list(combinations(methods, 2))))
    tested: list[Tested] = []
    for family, pairs in families:
        tested += _tested(family, pairs, found, seeds, pretrain_seeds)
    return tuple(tested)


def _tested(
    family: str,
    pairs: Sequence[tuple[str, str]],
    found: Mapping[str, Mapping[Seeds, CellResult]],
    seeds: Sequence[int],
    pretrain_seeds: Sequence[int],
) -> tuple[Tested, ...]:
    """The tests of one family in one column, corrected together. found: as of `cells_by_method`."""
    made = []  # of each pair its test, not corrected yet
    for first, second in pairs:
        groups, left_out = _differences(found.get(first, {}), found.get(second, {}), seeds, pretrain_seeds)
        comparison = from_differences(first, second, independent_values(groups)[1])
        made.append(Tested(family, comparison, left_out, seed_parts(groups)))
    return _with_comparisons(made, corrected_together([t.comparison for t in made]))


def _differences(
    a: Mapping[Seeds, CellResult], b: Mapping[Seeds, CellResult], seeds: Sequence[int], pretrain_seeds: Sequence[int]
) -> tuple[list[dict[int, float]], tuple[str, ...]]:
    """For each pretraining seed the differences a - b in macro AUROC by seed, and the seeds that not both have."""
    groups, left_out = [], []
    for pretrain_seed in pretrain_seeds:
        group = {}
        for seed in seeds:
            both = pretrain_seed, seed
            if both in a and both in b:
                group[seed] = _macro_auroc(a[both]) - _macro_auroc(b[both])
            else:
                left_out.append(seed_name(pretrain_seed, seed, len(pretrain_seeds) > 1))
        groups.append(group)
    return groups, tuple(left_out)


def _macro_auroc(cell: CellResult) -> float:
    assert cell.macro_auroc is not None, f"{cell.key} has no macro AUROC; cells_by_method leaves such cells out"
    return cell.macro_auroc


@dataclass(frozen=True)
class Ranks:
    """Friedman's test and Nemenyi's critical difference (Demsar, 2006) for a critical-difference figure.

    scope: what is ranked, as a title; blocks_are: what a block is, in words.
    methods: best first; mean_ranks: theirs, 1 is best, ties share the mean of their ranks.
    num_blocks: blocks that are ranked over; blocks: their names, or numbers.
    chi2, p: Friedman's (1937) statistic with k - 1 degrees of freedom for k methods, corrected for ties, and its p.
    critical_difference, in ranks: two methods whose mean ranks differ by less are not told apart at 5%; cliques are
    the largest such sets of neighbours. Blocks that share test images are not independent, as both tests assume:
    take the figure as a description. chi2, p, critical_difference: None for less than two methods or blocks.
    methods_left_out have no complete block; blocks_left_out lack one of the others.
    """

    scope: str
    blocks_are: str
    methods: tuple[str, ...]
    mean_ranks: tuple[float, ...]
    num_blocks: int
    chi2: float | None
    p: float | None
    critical_difference: float | None
    cliques: tuple[tuple[str, ...], ...]
    methods_left_out: tuple[str, ...] = ()
    blocks_left_out: int = 0
    blocks: tuple[Hashable, ...] = ()


def rank_methods(
    scope: str,
    blocks_are: str,
    blocks: Mapping[BlockName, Mapping[str, float]] | Sequence[Mapping[str, float]],
    methods: Sequence[str],
) -> Ranks:
    """Rank the methods within each block and test the mean ranks. scope, blocks_are: for Ranks.

    blocks: for each the values of the methods that are complete in it, higher being better; by name, or in order.
    methods: all that were asked for; equal mean ranks keep their order. A method without any block is left out first,
    then the blocks that lack one of the others.
    """
    pairs = blocks.items() if isinstance(blocks, Mapping) else enumerate(blocks)
    named: dict[Hashable, Mapping[str, float]] = dict(pairs)
    # First the methods, then the blocks: a method that was never finished would else leave no block complete.
    ranked = [method for method in methods if any(method in block for block in named.values())]
    whole = {name: block for name, block in named.items() if ranked and all(method in block for method in ranked)}
    absent = tuple(method for method in methods if method not in ranked)
    empty = Ranks(scope, blocks_are, (), (), 0, None, None, None, (), absent, len(blocks))
    if not whole:
        return empty
    values = np.array([[block[method] for method in ranked] for block in whole.values()])
    ranks = np.stack([_ranks(row) for row in values])
    means = ranks.mean(axis=0)
    # By mean rank; equal ones stay in the table's order, so that a figure is the same each time.
    order = sorted(range(len(ranked)), key=lambda i: (means[i], i))
    found = replace(
        empty,
        methods=tuple(ranked[i] for i in order),
        mean_ranks=tuple(float(means[i]) for i in order),
        num_blocks=len(whole),
        blocks_left_out=len(named) - len(whole),
        blocks=tuple(whole),
    )
    if len(ranked) < 2 or len(whole) < 2:
        return found
    chi2, p = _friedman(ranks)
    distance = critical_difference(len(ranked), len(whole))
    return replace(found, chi2=chi2, p=p, critical_difference=distance, cliques=_cliques(found, distance))


def _ranks(values: np.ndarray) -> np.ndarray:
    """(k,) ranks of (k,) values: 1 for the highest; equal values share the mean of their ranks."""
    values = np.round(values, DECIMALS)  # two means that differ by rounding are a tie
    # With a above and e equal (itself included) the shared ranks are a + 1 to a + e, of mean a + (e + 1) / 2.
    above = (values[None, :] > values[:, None]).sum(axis=1)
    equal = (values[None, :] == values[:, None]).sum(axis=1)
    ranks: np.ndarray = above + (equal + 1) / 2
    return ranks


def _friedman(ranks: np.ndarray) -> tuple[float | None, float | None]:
    """Chi-squared (Friedman, 1937), corrected for ties, and its p. ranks: (blocks, methods).

    With N blocks and k methods: N x sum((mean rank - (k + 1) / 2)^2) / (variance of a rank within its block).
    None where all methods tie everywhere.
    """
    n, k = ranks.shape
    of_ties = ((ranks - (k + 1) / 2) ** 2).sum() / (n * (k - 1))  # k (k + 1) / 12 without ties
    if of_ties == 0:
        return None, None
    chi2 = n * ((ranks.mean(axis=0) - (k + 1) / 2) ** 2).sum() / of_ties
    return float(chi2), float(chdtrc(k - 1, chi2))


def critical_difference(num_methods: int, num_blocks: int, alpha: float = 0.05) -> float:
    """Nemenyi's (1963), as Demsar (2006) gives it: q / sqrt(2) x sqrt(k (k + 1) / (6 N)), in ranks.

    k, N: num_methods, num_blocks; q: the (1 - alpha) quantile of the studentized range of k values with infinite
    degrees of freedom.
    """
    from scipy.stats import studentized_range  # takes a second to load; nothing else here needs it

    q = float(studentized_range.ppf(1 - alpha, num_methods, np.inf)) / math.sqrt(2)
    return q * math.sqrt(num_methods * (num_methods + 1) / (6 * num_blocks))


def _cliques(ranks: Ranks, distance: float) -> tuple[tuple[str, ...], ...]:
    """The largest sets of neighbours whose mean ranks lie within the distance, best first; none of one method."""
    cliques: list[tuple[str, ...]] = []
    end = 0  # ranks rise, so it never moves back
    for start in range(len(ranks.methods)):
        last_end = end
        while end < len(ranks.methods) and ranks.mean_ranks[end] - ranks.mean_ranks[start] < distance:
            end += 1
        if end - start > 1 and end > last_end:  # else it lies within the one before
            cliques.append(ranks.methods[start:end])
    return tuple(cliques)
