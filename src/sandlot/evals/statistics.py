"""The few formulas that say how much a run's numbers can be trusted. Exact arithmetic, no dependency.

scipy would bring 100 MB for five lines of integer arithmetic; the tests hold these against published values.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

__all__ = ["Interval", "mcnemar_exact", "pass_at_k", "pass_hat_k", "wilson"]

Z_95 = 1.959963984540054
"""The 97.5th percentile of the standard normal distribution."""


LARGEST_EXACT = 1000
"""Pairs that differ; 2 to the power of more has no float."""


@dataclass(frozen=True, slots=True)
class Interval:
    """Where a rate lies with 95 % confidence."""

    low: float
    high: float


def wilson(passed: int, total: int, *, z: float = Z_95) -> Interval:
    """The score interval of a binomial proportion, without continuity correction; 0 to 1 of nothing.

    E. B. Wilson, "Probable inference, the law of succession, and statistical inference", JASA 22 (1927), 209-212.
    Unlike the usual p +- z*sqrt(p(1-p)/n) it is no single point at 0 of n and n of n, which small suites reach.
    """
    if not 0 <= passed <= total:
        raise ValueError(f"{passed} of {total}")
    if total == 0:
        return Interval(0.0, 1.0)
    rate, square = passed / total, z * z
    centre = rate + square / (2 * total)
    spread = z * math.sqrt(rate * (1 - rate) / total + square / (4 * total * total))
    scale = 1 + square / total
    low = 0.0 if passed == 0 else (centre - spread) / scale
    high = 1.0 if passed == total else (centre + spread) / scale
    return Interval(low, high)


def pass_at_k(trials: int, passed: int, k: int) -> float:
    """Chance that at least one of k trials passes, from n trials of which c passed: 1 - C(n-c, k) / C(n, k).

    The unbiased estimator of M. Chen et al., "Evaluating large language models trained on code", 2021
    (arXiv:2107.03374), equation 1.
    """
    _check(trials, passed, k)
    return 1.0 - math.comb(trials - passed, k) / math.comb(trials, k)


def pass_hat_k(trials: int, passed: int, k: int) -> float:
    """Chance that all of k trials pass, from n trials of which c passed: C(c, k) / C(n, k).

    "pass^k", the unbiased estimator of S. Yao et al., "tau-bench: a benchmark for tool-agent-user interaction in
    real-world domains", 2024 (arXiv:2406.12045), section 4.
    """
    _check(trials, passed, k)
    return math.comb(passed, k) / math.comb(trials, k)


def mcnemar_exact(gained: int, lost: int) -> float:
    """Two-sided p-value of paired outcomes that differ: ``gained`` one way, ``lost`` the other; 1 of none.

    Q. McNemar, "Note on the sampling error of the difference between correlated proportions", Psychometrika 12 (1947),
    153-157, by the binomial distribution itself instead of its chi-squared approximation: under the null hypothesis
    each difference is a fair coin. min(1, 2 * P(X <= min(b, c))), X ~ Bin(b + c, 1/2).
    """
    if gained < 0 or lost < 0:
        raise ValueError(f"{gained} gained, {lost} lost")
    total, least = gained + lost, min(gained, lost)
    if total >= LARGEST_EXACT:
        return _by_logarithms(least, total)
    return min(1.0, 2 * sum(math.comb(total, count) for count in range(least + 1)) / (1 << total))


def _by_logarithms(least: int, total: int) -> float:
    """The same where 2**total has no float."""
    terms = [
        math.lgamma(total + 1) - math.lgamma(count + 1) - math.lgamma(total - count + 1) - total * math.log(2)
        for count in range(least + 1)
    ]
    return min(1.0, 2 * math.fsum(math.exp(term) for term in terms))


def _check(trials: int, passed: int, k: int) -> None:
    if not (0 <= passed <= trials and 1 <= k <= trials):
        raise ValueError(f"{passed} of {trials} trials, k {k}")
