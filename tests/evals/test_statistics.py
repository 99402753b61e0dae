"""The formulas, against values that others have published or that can be counted by hand."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandlot.evals.statistics import mcnemar_exact, pass_at_k, pass_hat_k, wilson


@pytest.mark.parametrize(
    ("passed", "total", "low", "high"),
    [
        # R. G. Newcombe, Statistics in Medicine 17 (1998), table I, method 3
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_the_wilson_interval_is_the_published_one(passed: int, total: int, low: float, high: float) -> None:
    found = wilson(passed, total)
    assert (round(found.low, 4), round(found.high, 4)) == (low, high)


def test_of_nothing_nothing_is_known() -> None:
    assert (wilson(0, 0).low, wilson(0, 0).high) == (0.0, 1.0)


@given(st.integers(0, 500).flatmap(lambda total: st.tuples(st.integers(0, total), st.just(total))))
def test_the_interval_holds_the_rate_and_stays_a_rate(counts: tuple[int, int]) -> None:
    passed, total = counts
    found = wilson(passed, total)
    assert 0 <= found.low <= (passed / total if total else 0.5) <= found.high <= 1


@pytest.mark.parametrize(("trials", "passed"), [(5, 0), (5, 2), (5, 5), (6, 3)])
def test_pass_at_k_and_pass_hat_k_are_what_drawing_k_of_the_trials_gives(trials: int, passed: int) -> None:
    outcomes = [True] * passed + [False] * (trials - passed)
    for k in range(1, trials + 1):
        draws = list(itertools.combinations(outcomes, k))
        assert pass_at_k(trials, passed, k) == pytest.approx(sum(map(any, draws)) / len(draws))
        assert pass_hat_k(trials, passed, k) == pytest.approx(sum(map(all, draws)) / len(draws))


def test_the_biased_estimator_is_not_used() -> None:
    assert pass_at_k(10, 5, 5) == pytest.approx(1 - 1 / 252)  # 1 - (1 - 1/2)**5 would be 0.969


@pytest.mark.parametrize(
    ("gained", "lost", "p"),
    [
        (0, 0, 1.0),
        (5, 5, 1.0),
        (0, 5, 0.0625),  # 2 * (1/2)**5
        (1, 9, 0.021484375),  # 2 * (1 + 10) / 2**10
        (6, 16, 0.052478790283203125),  # 2 * sum(C(22, 0..6)) / 2**22
    ],
)
def test_mcnemar_is_the_two_sided_binomial_test_of_the_pairs_that_differ(gained: int, lost: int, p: float) -> None:
    assert mcnemar_exact(gained, lost) == pytest.approx(p)
    assert mcnemar_exact(lost, gained) == pytest.approx(p)


def test_mcnemar_has_no_largest_run() -> None:
    assert mcnemar_exact(499, 500) == pytest.approx(mcnemar_exact(500, 500), abs=0.05)
    assert 0 < mcnemar_exact(4000, 5000) < 1e-20


@pytest.mark.parametrize("call", [lambda: wilson(3, 2), lambda: pass_at_k(3, 4, 1), lambda: pass_hat_k(3, 1, 4),
                                  lambda: mcnemar_exact(-1, 2)])  # fmt: skip
def test_counts_that_cannot_be_are_refused(call: object) -> None:
    with pytest.raises(ValueError, match=r"."):
        call()  # type: ignore[operator]  # one of the lambdas above
