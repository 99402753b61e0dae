"""From the verdicts of a trial to its outcome."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sandlot.evals.outcomes import Outcome, Verdict

__all__ = ["Scored", "first_missed", "score_verdicts"]

ROUNDING = 1e-9
"""0.1 + 0.7 must reach 0.8."""


@dataclass(frozen=True, slots=True)
class Scored:
    """How a graded trial ended."""

    outcome: Outcome
    score: float | None
    """Weighted mean; 0 when a required grader is below its minimum; None: nothing could be graded."""
    reason: str = ""


def score_verdicts(verdicts: Sequence[Verdict], threshold: float) -> Scored:
    """The weighted mean of the verdicts that judged something, against ``threshold``.

    A required grader that found too little decides: whatever else is unknown, the trial has failed. Otherwise a grader
    that could not work makes it an error: what it would have said is unknown, and no target's fault. So does a required
    one that had nothing to judge, and a trial that nothing judged.
    """
    if missed := first_missed(verdicts):
        reason = f"'{missed.name}' is required: {missed.score:g}, at least {missed.required:g}"
        return Scored(Outcome.FAIL, 0.0, reason)
    for each in verdicts:
        if each.error:
            return Scored(Outcome.ERROR, None, f"grader '{each.name}': {each.error}")
        if each.skipped and each.required is not None:
            return Scored(Outcome.ERROR, None, f"grader '{each.name}' is required: {each.reasoning}")
    counted = [each for each in verdicts if not each.skipped]
    if not counted:
        return Scored(Outcome.ERROR, None, "no grader had anything to judge")
    weights = math.fsum(each.weight for each in counted)
    # When every weight is 0, only what is required decides.
    score = math.fsum(each.score * each.weight for each in counted) / weights if weights else 1.0
    if score >= threshold - ROUNDING:
        return Scored(Outcome.PASS, score)
    low = [each.name for each in counted if not each.passed]
    return Scored(Outcome.FAIL, score, f"{score:.2f}, at least {threshold:g}: {', '.join(low[:5])}")


def first_missed(verdicts: Iterable[Verdict]) -> Verdict | None:
    """The first of the required ones that found less than it must, or None."""
    for each in verdicts:
        judged = not each.error and not each.skipped
        if judged and each.required is not None and each.score < each.required - ROUNDING:
            return each
    return None
