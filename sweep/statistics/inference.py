"""How sure is a number: intervals over seeds and over pretrainings, paired tests between methods, Holm's correction."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from scipy.special import ndtr, ndtri, stdtr, stdtrit

from sweep.studies.study import INTERVALS

MOST_EXACT = 50  # differences; the sums of 50 ranks take milliseconds, those of 1,000 minutes


def mean(values: Sequence[float]) -> float | None:
    return math.fsum(values) / len(values) if values else None


def sd(values: Sequence[float]) -> float | None:
    """Standard deviation with n - 1 in the divisor; None for fewer than two values."""
    if len(values) < 2:
        return None
    centre = mean(values)
    return math.sqrt(math.fsum((value - centre) ** 2 for value in values) / (len(values) - 1))


def half_width(values: Sequence[float], interval: str = "t", level: float = 0.95) -> float | None:
    """Half-width of the interval of the mean, q x sd / sqrt(n); None for fewer than two values.

    t: q is Student's quantile with n - 1 degrees of freedom (2.776 for five values at 95%).
    z: q is the normal quantile (1.960), which covers too little for few values.
    """
    if interval not in INTERVALS:
        raise ValueError(f"interval is {interval!r}; allowed: {', '.join(INTERVALS)}")
    spread = sd(values)
    if spread is None:
        return None
    return _quantile(interval, len(values) - 1, level) * spread / math.sqrt(len(values))


@lru_cache(maxsize=1024)
def _quantile(interval: str, freedom: float, level: float) -> float:
    upper = (1 + level) / 2
    return float(stdtrit(freedom, upper)) if interval == "t" else float(ndtri(upper))


def t_interval(values: Sequence[float], level: float = 0.95) -> float | None:
    return half_width(values, "t", level)


def z_interval(values: Sequence[float], level: float = 0.95) -> float | None:
    return half_width(values, "z", level)


@dataclass(frozen=True)
class TwoWay:
    """What varies when each of P pretrainings was evaluated with each of S downstream seeds, and how sure the mean is.

    Model: y_ps = mean + a_p + b_s + e_ps; a seed's label subset and order are the same for every pretraining, so the
    two are crossed. With the mean squares A = S x var(means of pretrainings), B = P x var(means of seeds) and
    E = residual sum of squares / ((P - 1)(S - 1)):
      var(mean) = (A + B - E) / (P S), at least max(A, B, E) / (P S)
      degrees of freedom = (A + B - E)^2 / (A^2/(P-1) + B^2/(S-1) + E^2/((P-1)(S-1))) (Satterthwaite, 1946)
    sd_pretraining, sd_downstream, sd_residual: square roots of (A - E)/S, (B - E)/P and E; 0 where negative.
    """

    mean: float
    ci95: float
    freedom: float
    sd_pretraining: float
    sd_downstream: float
    sd_residual: float


def two_way(groups: Sequence[Sequence[float]], interval: str = "t", level: float = 0.95) -> TwoWay | None:
    """groups: for each pretraining its values, by downstream seed. None unless 2 x 2 or more, all there."""
    P, S = len(groups), len(groups[0]) if groups else 0
    if P < 2 or S < 2 or any(len(group) != S for group in groups):
        return None
    rows, columns = [mean(group) for group in groups], [mean(column) for column in zip(*groups, strict=True)]
    centre = mean(rows)
    residuals = [(groups[p][s] - rows[p] - columns[s] + centre) ** 2 for p in range(P) for s in range(S)]
    a, b, e = S * sd(rows) ** 2, P * sd(columns) ** 2, math.fsum(residuals) / ((P - 1) * (S - 1))
    total = a + b - e
    freedom = total**2 / (a**2 / (P - 1) + b**2 / (S - 1) + e**2 / ((P - 1) * (S - 1))) if a + b + e > 0 else 1.0
    largest = max(a, b, e)
    if total < largest:  # then one mean square is all there is to go by
        total, freedom = largest, {a: P - 1, b: S - 1, e: (P - 1) * (S - 1)}[largest]
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

    difference: mean of first - second; ci95: half-width of its t-interval. t, p and p_holm are None where
    fewer than two seeds are shared or the differences do not vary, since then nothing can be said; and
    wilcoxon_p where no difference is other than 0. With n seeds wilcoxon_p is never below 2 / 2^n.
    p_holm, wilcoxon_p_holm: p corrected for all comparisons made together.
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


def from_differences(first: str, second: str, differences: Sequence[float]) -> Comparison:
    """Both paired tests of independent differences first - second."""
    n, spread, w = len(differences), sd(differences), wilcoxon(differences)
    if not spread:
        return Comparison(first, second, n, mean(differences), None, None, None, wilcoxon_p=w)
    t = mean(differences) / (spread / math.sqrt(n))
    p = 2 * float(stdtr(n - 1, -abs(t)))
    return Comparison(first, second, n, mean(differences), t_interval(differences), t, p, wilcoxon_p=w)


def wilcoxon(differences: Sequence[float]) -> float | None:
    """Two-sided p of the signed-rank test (Wilcoxon, 1945), also with ties; differences of 0 are left out.

    Under the null hypothesis each of the 2^n ways to sign the ranks is as likely: exact for up to 50 differences,
    beyond by the normal distribution of their sum. None where nothing is left.
    """
    kept = [difference for difference in differences if difference != 0]
    if not kept:
        return None
    if len(kept) > MOST_EXACT:
        return _wilcoxon_normal(kept)
    sizes = sorted(abs(difference) for difference in kept)
    # Twice the mean rank of a tie is an integer: (first + 1) + (last + 1), positions counted from 0.
    ranks = {size: sizes.index(size) + len(sizes) - sizes[::-1].index(size) + 1 for size in set(sizes)}
    ways = [1]  # ways[w]: sign patterns whose positive ranks, doubled, add up to w
    for size in sizes:
        shifted = [0] * ranks[size] + ways
        ways = [x + y for x, y in zip(shifted, ways + [0] * ranks[size], strict=True)]
    observed = sum(ranks[abs(difference)] for difference in kept if difference > 0)
    tail = min(sum(ways[: observed + 1]), sum(ways[observed:]))
    return min(1.0, 2 * tail / 2 ** len(kept))


def _wilcoxon_normal(differences: Sequence[float]) -> float:
    """The sum of the positive ranks has mean sum(r) / 2 and variance sum(r^2) / 4, since signs are independent."""
    from scipy.stats import rankdata  # half a second, and every process of a sweep imports this file

    ranks = rankdata([abs(difference) for difference in differences])
    observed = sum(rank for rank, difference in zip(ranks, differences, strict=True) if difference > 0)
    z = (observed - ranks.sum() / 2) / math.sqrt(float((ranks**2).sum()) / 4)
    return min(1.0, 2 * float(ndtr(-abs(z))))


def holm(p_values: Sequence[float | None]) -> tuple[float | None, ...]:
    """Holm's (1979) step-down correction. None (no test was possible) stays None and counts as no test."""
    tested = sorted((p, i) for i, p in enumerate(p_values) if p is not None)
    corrected: list[float | None] = [None] * len(p_values)
    floor = 0.0
    for rank, (p, i) in enumerate(tested):
        floor = max(floor, min(1.0, (len(tested) - rank) * p))
        corrected[i] = floor
    return tuple(corrected)


def corrected_together(tests: Sequence[Comparison]) -> tuple[Comparison, ...]:
    """The same tests as one family: Holm's correction over each kind of p."""
    t_test, signed_rank = holm([test.p for test in tests]), holm([test.wilcoxon_p for test in tests])
    return tuple(
        replace(test, p_holm=p, wilcoxon_p_holm=w) for test, p, w in zip(tests, t_test, signed_rank, strict=True)
    )
