"""Is a difference larger than what other seeds and other patients together would give? One test over both.

A mean over seeds on one test set errs in two ways: other seeds would move it, and other patients would. A paired t-test
over seeds knows the first alone: the patients are the same in every seed, so what they do to a difference looks like
the difference itself. Requiring two tests, one over seeds and one over patients, is not enough either: where both
errors are of one size, both tests of equal methods are significant in up to 9% of the cases. Here the two add up.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtrit

from sweep.statistics.inference import mean_of_some, negligible, sd
from sweep.statistics.summary import DOWNSTREAM, independent_values

SMALLEST_P = 1e-30  # below it a p-value is given as this one


@dataclass(frozen=True)
class ErrorPart:
    """One source of error of a difference: its standard error, and the degrees of freedom of that estimate."""

    se: float
    freedom: float


def seed_parts(groups: Sequence[Mapping[int, float]]) -> tuple[ErrorPart, ...]:
    """What seeds do to the mean of differences: one part for each kind of seed; none where nothing can be said.

    groups: for each pretraining seed that was asked for, downstream seed -> difference. With one pretraining: sd /
    sqrt(n) over its n downstream seeds. With P pretrainings and S downstream seeds, which are crossed: sd / sqrt(P)
    of the pretrainings' means, and sd / sqrt(S) of the seeds' means where S > 1. Their squares add up to at least
    var(mean) = var(a) / P + var(b) / S + var(e) / (P S), since both hold the residual e. None unless every difference
    is there, and none where the differences do not vary beyond rounding.
    """
    varies, values = independent_values(groups)
    if varies == DOWNSTREAM:
        kinds = [values]
    elif any(group.keys() != groups[0].keys() for group in groups):
        return ()
    else:
        kinds = [values, [mean_of_some([group[seed] for group in groups]) for seed in groups[0]]]
    spreads = [(sd(kind), kind) for kind in kinds]  # None for a kind of one seed, which varies by nothing that is known
    return tuple(
        ErrorPart(spread / math.sqrt(len(kind)), len(kind) - 1)
        for spread, kind in spreads
        if spread is not None and not negligible(spread, kind)
    )


def patient_part(influence: np.ndarray) -> ErrorPart | None:
    """What patients do to a difference of AUROCs. None where it is not known: a class has too few patients.

    influence: (P,) of the difference, as `placements.macro_influence` gives it. se^2 = sum of its squares. The
    degrees of freedom are one less than the effective number of patients, (sum of squares)^2 / (sum of fourth powers):
    three positives that decide alone are worth two degrees, whatever the number of patients.
    """
    if not np.isfinite(influence).all():
        return None
    squares = influence**2
    total = float(squares.sum())
    if total == 0:  # the same predictions: patients move both alike
        return ErrorPart(0.0, math.inf)
    return ErrorPart(math.sqrt(total), max(total**2 / float((squares**2).sum()) - 1, 0.1))


def combined_half_width(parts: Sequence[ErrorPart], level: float = 0.95) -> float:
    """Half-width of an interval that covers the true difference with at least that probability (Banerjee, 1961).

    sqrt(sum of (q se)^2) over the parts, q being Student's quantile with the part's own degrees of freedom. For normal
    errors with independent estimates of their variances this holds whatever the parts' sizes: with W_i = se_i^2 /
    E(se_i^2) and weights w_i = E(se_i^2) / var, the coverage is E G(sum of w_i q_i^2 W_i), G being the distribution
    function of chi-squared with one degree of freedom. G is concave, so that is at least the sum of w_i E G(q_i^2 W_i),
    and each of these is the coverage of a t-interval: the level. The parts may add up to more than var, never to less.
    """
    return _half_width(parts, (1 - level) / 2)


def _half_width(parts: Sequence[ErrorPart], tail: float) -> float:
    return math.sqrt(math.fsum((float(stdtrit(min(p.freedom, 1e9), tail)) * p.se) ** 2 for p in parts if p.se > 0))


def combined_p(difference: float, parts: Sequence[ErrorPart]) -> float:
    """Two-sided p of a difference of zero: 1 - level of the `combined_half_width` that just reaches it.

    At most as often below alpha as alpha says where there is no difference. Not below SMALLEST_P.
    """
    low, high = math.log(SMALLEST_P), 0.0
    if _half_width(parts, SMALLEST_P / 2) <= abs(difference):
        return SMALLEST_P
    for _ in range(60):  # the half-width falls as p rises: halve the range until floats end
        middle = (low + high) / 2
        if _half_width(parts, math.exp(middle) / 2) > abs(difference):
            low = middle
        else:
            high = middle
    return math.exp(high)
