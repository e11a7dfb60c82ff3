"""How sure is a number: intervals over seeds, paired tests between methods, Holm's correction."""

import math
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from scipy.special import ndtri, stdtr, stdtrit

INTERVALS = ("t", "z")


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
    upper = (1 + level) / 2
    quantile = float(stdtrit(len(values) - 1, upper)) if interval == "t" else float(ndtri(upper))
    return quantile * spread / math.sqrt(len(values))


def t_interval(values: Sequence[float], level: float = 0.95) -> float | None:
    return half_width(values, "t", level)


def z_interval(values: Sequence[float], level: float = 0.95) -> float | None:
    return half_width(values, "z", level)


@dataclass(frozen=True)
class Comparison:
    """Paired t-test of two methods on the seeds that both have.

    difference: mean of first - second; ci95: half-width of its t-interval. t, p and p_holm are None where
    fewer than two seeds are shared or the differences do not vary, since then nothing can be said.
    p_holm: p corrected for all comparisons made together.
    """

    first: str
    second: str
    n: int
    difference: float | None
    ci95: float | None
    t: float | None
    p: float | None
    p_holm: float | None = None


def paired_t(first: str, second: str, a: Mapping[Hashable, float], b: Mapping[Hashable, float]) -> Comparison:
    """a, b: seed -> value of the two methods."""
    differences = [a[seed] - b[seed] for seed in sorted(a.keys() & b.keys())]
    n, spread = len(differences), sd(differences)
    if not spread:
        return Comparison(first, second, n, mean(differences), t_interval(differences), None, None)
    t = mean(differences) / (spread / math.sqrt(n))
    p = 2 * float(stdtr(n - 1, -abs(t)))
    return Comparison(first, second, n, mean(differences), t_interval(differences), t, p)


def holm(p_values: Sequence[float | None]) -> tuple[float | None, ...]:
    """Holm's (1979) step-down correction. None (no test was possible) stays None and counts as no test."""
    tested = sorted((p, i) for i, p in enumerate(p_values) if p is not None)
    corrected: list[float | None] = [None] * len(p_values)
    floor = 0.0
    for rank, (p, i) in enumerate(tested):
        floor = max(floor, min(1.0, (len(tested) - rank) * p))
        corrected[i] = floor
    return tuple(corrected)


def compare(
    values: Mapping[str, Mapping[Hashable, float]], pairs: Iterable[tuple[str, str]]
) -> tuple[Comparison, ...]:
    """Paired tests of the given pairs of methods, corrected together. values: method -> seed -> value."""
    tests = [paired_t(first, second, values[first], values[second]) for first, second in pairs]
    corrected = holm([test.p for test in tests])
    return tuple(
        Comparison(test.first, test.second, test.n, test.difference, test.ci95, test.t, test.p, p_holm)
        for test, p_holm in zip(tests, corrected, strict=True)
    )
