"""How sure is a number: intervals over seeds and over pretrainings, paired tests between methods, Holm's correction.

All functions are pure and take plain floats. AUROCs and their differences are shares in [0, 1] or [-1, 1], p-values lie
in [0, 1]. A value of None means that the number is not defined for these inputs, never that it is zero.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from scipy.special import ndtr, ndtri, stdtr, stdtrit

from sweep.studies.study import INTERVALS

MOST_EXACT = 50  # differences; the sums of 50 ranks take milliseconds, those of 1,000 minutes
# AUROCs and their means over findings are right to some 1e-16, so a spread below this one is that of rounding. One
# image that moves by one place changes an AUROC by 1 / (positives x negatives): more, up to 1e12 pairs.
ROUNDING, DECIMALS = 1e-13, 12


def mean(values: Sequence[float]) -> float | None:
    """Arithmetic mean; None for no value."""
    return mean_of_some(values) if values else None


def mean_of_some(values: Sequence[float]) -> float:
    """Arithmetic mean of one or more values, summed without rounding error. Raises ZeroDivisionError for none."""
    return math.fsum(values) / len(values)


def sd(values: Sequence[float]) -> float | None:
    """Standard deviation with n - 1 in the divisor; None for fewer than two values."""
    return _sd_of_several(values) if len(values) > 1 else None


def _sd_of_several(values: Sequence[float]) -> float:
    centre = mean_of_some(values)
    return math.sqrt(math.fsum((value - centre) ** 2 for value in values) / (len(values) - 1))


def negligible(spread: float, values: Sequence[float]) -> bool:
    """Whether a spread of the values is no more than their rounding: then they are one number, and vary by nothing."""
    return spread <= ROUNDING * max(1.0, *map(abs, values))


def half_width(values: Sequence[float], interval: str = "t", level: float = 0.95) -> float | None:
    """Half-width of the interval of the mean, q x sd / sqrt(n), in the values' unit; None for fewer than two values.

    t: q is Student's (1908) quantile with n - 1 degrees of freedom (2.776 for five values at 95%).
    z: q is the normal quantile (1.960), which covers too little for few values.
    level: coverage in (0, 1). Raises ValueError for another interval.
    """
    if interval not in INTERVALS:
        raise ValueError(f"interval is {interval!r}; allowed: {', '.join(INTERVALS)}")
    if len(values) < 2:
        return None
    return _quantile(interval, len(values) - 1, level) * _sd_of_several(values) / math.sqrt(len(values))


# A study asks for the same few quantiles thousands of times, and inverting Student's distribution is the slow part.
@lru_cache(maxsize=1024)
def _quantile(interval: str, freedom: float, level: float) -> float:
    upper = (1 + level) / 2  # two-sided: 95% leaves 2.5% above, so that is the 97.5th percentile
    return float(stdtrit(freedom, upper)) if interval == "t" else float(ndtri(upper))


def t_interval(values: Sequence[float], level: float = 0.95) -> float | None:
    """Half-width of Student's interval: `half_width` with interval "t"."""
    return half_width(values, "t", level)


def z_interval(values: Sequence[float], level: float = 0.95) -> float | None:
    """Half-width of the normal interval: `half_width` with interval "z"."""
    return half_width(values, "z", level)


@dataclass(frozen=True)
class TwoWay:
    """What varies when each of P pretrainings was evaluated with each of S downstream seeds, and how sure the mean is.

    Model: y_ps = mean + a_p + b_s + e_ps; a seed's label subset and order are the same for every pretraining, so the
    two are crossed. With the mean squares A = S x var(means of pretrainings), B = P x var(means of seeds) and
    E = residual sum of squares / ((P - 1)(S - 1)):
      var(mean) = (A + B - E) / (P S), at least max(A, B, E) / (P S)
      degrees of freedom = (A + B - E)^2 / (A^2/(P-1) + B^2/(S-1) + E^2/((P-1)(S-1))) (Satterthwaite, 1946)
    mean: of all P x S values. ci95: half-width of its interval, at 95% unless another level was asked for.
    freedom: those degrees of freedom. sd_pretraining, sd_downstream, sd_residual: square roots of (A - E)/S,
    (B - E)/P and E; 0 where negative. All but freedom are in the values' unit.
    """

    mean: float
    ci95: float
    freedom: float
    sd_pretraining: float
    sd_downstream: float
    sd_residual: float


def two_way(groups: Sequence[Sequence[float]], interval: str = "t", level: float = 0.95) -> TwoWay | None:
    """Variance components and interval of the mean, as TwoWay says.

    groups: for each of P pretrainings its S values, by downstream seed. None unless 2 x 2 or more, all there.
    """
    P, S = len(groups), len(groups[0]) if groups else 0
    if P < 2 or S < 2 or any(len(group) != S for group in groups):
        return None
    rows = [mean_of_some(group) for group in groups]
    columns = [mean_of_some(column) for column in zip(*groups, strict=True)]
    centre = mean_of_some(rows)
    residuals = [(groups[p][s] - rows[p] - columns[s] + centre) ** 2 for p in range(P) for s in range(S)]
    # Degrees of freedom of the mean squares A, B and E; they add up to P S - 1.
    freedom_a, freedom_b, freedom_e = P - 1, S - 1, (P - 1) * (S - 1)
    a, b = S * _sd_of_several(rows) ** 2, P * _sd_of_several(columns) ** 2
    e = math.fsum(residuals) / freedom_e
    total = a + b - e
    # All values equal: no variance, so that any number of degrees gives an interval of width 0.
    freedom = total**2 / (a**2 / freedom_a + b**2 / freedom_b + e**2 / freedom_e) if a + b + e > 0 else 1.0
    largest = max(a, b, e)
    if total < largest:
        # The difference A + B - E has come out below one of its parts, or even negative, by chance: the largest mean
        # square alone is the estimate then, with its own degrees of freedom (the last of equal ones).
        total = largest
        freedom = freedom_e if e == largest else freedom_b if b == largest else freedom_a
    return TwoWay(
        centre,
        _quantile(interval, freedom, level) * math.sqrt(total / (P * S)),
        freedom,
        math.sqrt(max(0.0, a - e) / S),
        math.sqrt(max(0.0, b - e) / P),
        math.sqrt(e),
    )


@dataclass(frozen=True)
class Comparison:
    """Paired t-test and Wilcoxon's signed-rank test of two methods on the seeds that both have.

    first, second: names of the methods. n: paired differences. difference: mean of first - second; ci95: half-width
    of its 95% t-interval, in the same unit. t: difference / (sd / sqrt(n)), with n - 1 degrees of freedom; p: its
    two-sided p. t, p, ci95 and p_holm are None where fewer than two seeds are shared or the differences do not vary
    beyond rounding, since then nothing can be said; and wilcoxon_p where no difference is other than 0. With n seeds
    wilcoxon_p is never below 2 / 2^n. These know of seeds alone: on one test set they find most equal rows to differ.

    ci95_both, p_both: over seeds and patients together (combined_test.py), what sentences go by. patients_se,
    patients_freedom: the patients' part of it. None where either part is not known.
    *_holm: p corrected for all comparisons made together in one column; *_holm_table: for those of all columns. None
    before that.
    """

    first: str
    second: str
    n: int
    difference: float | None
    ci95: float | None
    t: float | None
    p: float | None
    p_holm: float | None = None
    wilcoxon_p: float | None = None
    wilcoxon_p_holm: float | None = None
    p_holm_table: float | None = None
    patients_se: float | None = None
    patients_freedom: float | None = None
    ci95_both: float | None = None
    p_both: float | None = None
    p_both_holm: float | None = None
    p_both_holm_table: float | None = None


def from_differences(first: str, second: str, differences: Sequence[float]) -> Comparison:
    """Both paired tests (Student, 1908; Wilcoxon, 1945) of independent differences first - second, not corrected."""
    n, spread, w = len(differences), sd(differences), wilcoxon(differences)
    if spread is None or negligible(spread, differences):  # t would be a division by zero, or by rounding
        return Comparison(first, second, n, mean(differences), None, None, None, wilcoxon_p=w)
    difference = mean_of_some(differences)
    t = difference / (spread / math.sqrt(n))
    p = 2 * float(stdtr(n - 1, -abs(t)))
    return Comparison(first, second, n, difference, t_interval(differences), t, p, wilcoxon_p=w)


def wilcoxon(differences: Sequence[float]) -> float | None:
    """Two-sided p of the signed-rank test (Wilcoxon, 1945), also with ties; differences of 0 are left out.

    Differences are compared to DECIMALS, since rounding makes neither a difference nor a rank.

    Under the null hypothesis each of the 2^n ways to sign the ranks is as likely: exact for up to 50 differences,
    beyond by the normal distribution of their sum. None where nothing is left.
    """
    kept = [rounded for difference in differences if (rounded := round(difference, DECIMALS)) != 0]
    if not kept:
        return None
    if len(kept) > MOST_EXACT:
        return _wilcoxon_normal(kept)
    sizes = sorted(abs(difference) for difference in kept)
    # Twice the mean rank of a tie is an integer: (first + 1) + (last + 1), positions counted from 0.
    ranks = {size: sizes.index(size) + len(sizes) - sizes[::-1].index(size) + 1 for size in set(sizes)}
    # Each rank is in the sum or not: multiply out the product of (1 + x^rank), whose coefficients are these counts.
    ways = [1]  # ways[w]: sign patterns whose positive ranks, doubled, add up to w
    for size in sizes:
        shifted = [0] * ranks[size] + ways
        ways = [x + y for x, y in zip(shifted, ways + [0] * ranks[size], strict=True)]
    observed = sum(ranks[abs(difference)] for difference in kept if difference > 0)
    tail = min(sum(ways[: observed + 1]), sum(ways[observed:]))
    return min(1.0, 2 * tail / (1 << len(kept)))  # both tails hold the observed sum, so twice the tail may exceed 1


def _wilcoxon_normal(differences: Sequence[float]) -> float:
    """The sum of the positive ranks has mean sum(r) / 2 and variance sum(r^2) / 4, since signs are independent."""
    from scipy.stats import rankdata  # half a second, and every process of a sweep imports this file

    ranks = rankdata([abs(difference) for difference in differences])
    observed = sum(rank for rank, difference in zip(ranks, differences, strict=True) if difference > 0)
    z = (observed - ranks.sum() / 2) / math.sqrt(float((ranks**2).sum()) / 4)
    return 2 * float(ndtr(-abs(z)))


def holm(p_values: Sequence[float | None]) -> tuple[float | None, ...]:
    """Holm's (1979) step-down correction, in the order of p_values: the i-th smallest of m times (m - i + 1).

    Never above 1, never below the corrected value of a smaller p. None (no test was possible) stays None and counts
    as no test.
    """
    tested = sorted((p, i) for i, p in enumerate(p_values) if p is not None)
    corrected: list[float | None] = [None] * len(p_values)
    floor = 0.0
    for rank, (p, i) in enumerate(tested):
        floor = max(floor, min(1.0, (len(tested) - rank) * p))  # rank counts from 0: m x the smallest p
        corrected[i] = floor
    return tuple(corrected)


def corrected_together(tests: Sequence[Comparison]) -> tuple[Comparison, ...]:
    """The same tests as one family within a column: Holm's correction over each kind of p."""
    kinds = [holm([test.p for test in tests]), holm([test.wilcoxon_p for test in tests])]
    kinds.append(holm([test.p_both for test in tests]))
    return tuple(
        replace(test, p_holm=p, wilcoxon_p_holm=w, p_both_holm=both)
        for test, p, w, both in zip(tests, *kinds, strict=True)
    )


def corrected_over_table(tests: Sequence[Comparison]) -> tuple[Comparison, ...]:
    """The same tests, those of every column, as one family: Holm's correction over the whole table."""
    over_seeds, both = holm([test.p for test in tests]), holm([test.p_both for test in tests])
    return tuple(
        replace(test, p_holm_table=p, p_both_holm_table=b) for test, p, b in zip(tests, over_seeds, both, strict=True)
    )
