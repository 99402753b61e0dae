from __future__ import annotations

from typing import Any

import pytest

from sandlot.evals.outcomes import Outcome, Verdict
from sandlot.evals.scoring import score_verdicts


def verdict(score: float = 1.0, **more: Any) -> Verdict:
    return Verdict("g", "t", score, score >= 0.8, **more)


@pytest.mark.parametrize(
    ("verdicts", "outcome", "score"),
    [
        ([verdict(), verdict()], Outcome.PASS, 1.0),
        ([verdict(), verdict(0.0)], Outcome.FAIL, 0.5),
        ([verdict(weight=4.0), verdict(0.0)], Outcome.PASS, 0.8),
        ([verdict(0.8)], Outcome.PASS, 0.8),
        ([verdict(weight=9.0), verdict(0.0, required=0.8)], Outcome.FAIL, 0.0),
        ([verdict(weight=9.0), verdict(0.5, required=0.5)], Outcome.PASS, 0.95),
        ([verdict(), verdict(0.0, skipped=True)], Outcome.PASS, 1.0),
        ([verdict(0.0, weight=0.0)], Outcome.PASS, 1.0),
        ([verdict(0.0, weight=0.0, required=1.0)], Outcome.FAIL, 0.0),
        ([], Outcome.ERROR, None),
        ([verdict(0.0, skipped=True)], Outcome.ERROR, None),
        ([verdict(), verdict(0.0, skipped=True, required=0.8)], Outcome.ERROR, None),
        ([verdict(), verdict(0.0, error="broken")], Outcome.ERROR, None),
        ([verdict(0.0, required=1.0), verdict(0.0, error="broken")], Outcome.FAIL, 0.0),
        ([verdict(0.0, required=1.0, error="broken"), verdict()], Outcome.ERROR, None),
        ([verdict(0.0, required=1.0, skipped=True), verdict(0.0, required=1.0)], Outcome.FAIL, 0.0),
    ],
)
def test_the_outcome_of_a_trial(verdicts: list[Verdict], outcome: Outcome, score: float | None) -> None:
    found = score_verdicts(verdicts, 0.8)
    assert found.outcome is outcome
    assert found.score == (None if score is None else pytest.approx(score))


def test_thirds_and_tenths_reach_their_threshold() -> None:
    assert score_verdicts([verdict(0.7), verdict(0.9)], 0.8).outcome is Outcome.PASS
    assert score_verdicts([verdict(), verdict(), verdict(0.0)], 2 / 3).outcome is Outcome.PASS
