"""Whether a run is good enough: its exit status."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from sandlot.evals.compare import Comparison
from sandlot.evals.options import RunOptions
from sandlot.evals.run import Ending
from sandlot.evals.summary import Numbers

__all__ = ["Gate", "Status", "judge"]

TOLERANCE = 1e-9
"""9 of 10 is 0.9, whatever binary fractions make of it."""


class Status(IntEnum):
    """Exit status of ``eval run``, ``resume`` and ``merge``."""

    PASSED = 0
    BELOW = 1
    USAGE = 2
    ERRORS = 3
    BUDGET = 4
    INTERRUPTED = 130


@dataclass(frozen=True, slots=True)
class Gate:
    """The verdict on a run, and why."""

    status: Status
    reasons: tuple[str, ...] = ()


def judge(counts: Numbers, options: RunOptions, ending: Ending, comparison: Comparison | None = None) -> Gate:
    """The worst of what happened: interrupted, then out of budget, then errors, then below the gate.

    A run with errors has not been measured, so no pass rate can excuse them. Without ``min_pass_rate`` and baseline
    everything must pass.
    """
    if ending is Ending.INTERRUPTED:
        return Gate(Status.INTERRUPTED, ("interrupted",))
    if ending is Ending.BUDGET:
        return Gate(Status.BUDGET, (f"{counts.skipped} of {counts.total} trials were not run",))
    if not counts.total:
        return Gate(Status.PASSED)  # a shard of fewer trials than there are shards: the others have them
    reasons = []
    if counts.errors:
        reasons.append(f"{counts.errors} of {counts.total} trials ended in an error")
    if ending is Ending.COMPLETE and counts.skipped:
        reasons.append(f"{counts.skipped} of {counts.total} trials have no result")
    if reasons:
        return Gate(Status.ERRORS, tuple(reasons))
    if counts.skipped:  # fail-fast: a rate of what happened to come first, and regressions among it, are no verdict
        reasons.append(f"{counts.skipped} of {counts.total} trials were not run after the first that did not pass")
    reasons += _below(counts, options, comparison)
    return Gate(Status.BELOW if reasons else Status.PASSED, tuple(reasons))


def _below(counts: Numbers, options: RunOptions, comparison: Comparison | None) -> list[str]:
    reasons = []
    rate = counts.pass_rate or 0.0
    needed = options.min_pass_rate
    if needed is None and comparison is None:
        needed = 1.0
    if needed is not None and rate < needed - TOLERANCE:
        reasons.append(f"pass rate {rate:.1%}, wanted {needed:.1%}")
    if comparison is not None:
        allowed = options.max_regressions or 0
        if len(comparison.regressed) > allowed:
            names = ", ".join(f"{each.suite}/{each.test}" for each in comparison.regressed[:5])
            reasons.append(f"{len(comparison.regressed)} regressions, at most {allowed} allowed: {names}")
    return reasons
