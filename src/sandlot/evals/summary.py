"""A run's results in numbers: what reports print and gates look at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sandlot.evals.outcomes import Outcome, Trial, TrialResult
from sandlot.evals.statistics import Interval, pass_at_k, pass_hat_k, wilson

__all__ = ["Numbers", "TestNumbers", "at_k", "numbers", "per_test"]


@dataclass(frozen=True, slots=True)
class Numbers:
    """How many trials ended how. Trials that have not been run are skipped."""

    total: int
    passed: int
    failed: int
    errors: int
    timeouts: int
    skipped: int
    cost_usd: float | None
    """None: no target said."""
    tokens: int | None
    duration_ms: int
    """Of all trials, one after the other."""
    mean_score: float | None

    @property
    def scored(self) -> int:
        """Graded: the only ones that say something about the target's work."""
        return self.passed + self.failed

    @property
    def pass_rate(self) -> float | None:
        """Of what was scored or timed out: errors are nobody's, but no answer in time is no pass. None: of nothing."""
        counted = self.scored + self.timeouts
        return self.passed / counted if counted else None

    @property
    def interval(self) -> Interval:
        """95 % interval of the pass rate. Trials of one test are not independent: with several it is too narrow."""
        return wilson(self.passed, self.scored + self.timeouts)


@dataclass(frozen=True, slots=True)
class TestNumbers:
    """One test by one target."""

    __test__ = False

    suite: str
    test: str
    target: str
    outcomes: tuple[Outcome, ...]
    """By the number of the trial."""

    @property
    def counted(self) -> int:
        """Trials that say whether it passes: not errors, not skipped."""
        return sum(each in (Outcome.PASS, Outcome.FAIL, Outcome.TIMEOUT) for each in self.outcomes)

    @property
    def passed(self) -> int:
        """Trials that passed."""
        return sum(each is Outcome.PASS for each in self.outcomes)

    @property
    def verdict(self) -> bool | None:
        """Whether more than half of the trials that count passed; None: none counts."""
        return self.passed * 2 > self.counted if self.counted else None


def numbers(trials: Sequence[Trial], results: Mapping[str, TrialResult]) -> Numbers:
    """Of these trials; a trial without a result is skipped."""
    found = [results[each.key] for each in trials if each.key in results]
    count = {outcome: sum(each.outcome is outcome for each in found) for outcome in Outcome}
    usages = [each.answer.usage for each in found if each.answer is not None]
    costs = [each.cost_usd for each in usages if each.cost_usd is not None]
    tokens = [part for each in usages for part in (each.input_tokens, each.output_tokens) if part is not None]
    scores = [each.score for each in found if each.score is not None]
    return Numbers(
        total=len(trials),
        passed=count[Outcome.PASS],
        failed=count[Outcome.FAIL],
        errors=count[Outcome.ERROR],
        timeouts=count[Outcome.TIMEOUT],
        skipped=count[Outcome.SKIPPED] + len(trials) - len(found),
        cost_usd=sum(costs) if costs else None,
        tokens=sum(tokens) if tokens else None,
        duration_ms=sum(each.duration_ms for each in found),
        mean_score=sum(scores) / len(scores) if scores else None,
    )


def per_test(trials: Sequence[Trial], results: Mapping[str, TrialResult]) -> list[TestNumbers]:
    """In the order of the plan."""
    rows: dict[tuple[str, str, str], list[Outcome]] = {}
    for each in trials:
        result = results.get(each.key)
        outcome = Outcome.SKIPPED if result is None else result.outcome
        rows.setdefault((each.suite, each.test, each.target), []).append(outcome)
    return [TestNumbers(*key, tuple(outcomes)) for key, outcomes in rows.items()]


def at_k(rows: Sequence[TestNumbers]) -> dict[int, tuple[float, float]]:
    """(pass@k, pass^k), the mean over the tests, for every k that each test with a counted trial has trials for."""
    counted = [row for row in rows if row.counted]
    most = min((row.counted for row in counted), default=0)
    return {
        k: (
            sum(pass_at_k(row.counted, row.passed, k) for row in counted) / len(counted),
            sum(pass_hat_k(row.counted, row.passed, k) for row in counted) / len(counted),
        )
        for k in range(1, most + 1)
    }
