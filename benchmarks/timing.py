"""Contests: several ways to the same end, run in turn so that a noisy moment hits them all."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from statistics import median
from typing import Any

__all__ = ["Contender", "Contest", "Goal", "Outcome", "Plan", "Series", "run_contest"]


def _nothing(*_: object) -> None:
    return None


@dataclass(frozen=True, slots=True)
class Contender:
    """One way to do it. Only ``go`` is timed; it gets what ``before`` returned, and ``after`` gets what it returned."""

    name: str
    go: Callable[[Any], Any]
    before: Callable[[], Any] = _nothing
    after: Callable[[Any], object] = _nothing


@dataclass(frozen=True, slots=True)
class Goal:
    """What the median of the first contender should be at most."""

    limit_ms: float
    floor_ms: float | None = None
    """What was measured to be possible at all (the design's performance rules)."""
    above: str = ""
    """The contender whose median is taken off first: the limit is about what we add to it."""


@dataclass(frozen=True, slots=True)
class Contest:
    """The product first, then what it is compared with."""

    name: str
    contenders: tuple[Contender, ...]
    goal: Goal | None = None


@dataclass(frozen=True, slots=True)
class Series:
    """The times of one contender, in milliseconds, in the order they were taken."""

    name: str
    times_ms: tuple[float, ...]

    @property
    def median_ms(self) -> float:
        return median(self.times_ms)

    @property
    def least_ms(self) -> float:
        return min(self.times_ms)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a contest gave."""

    contest: str
    series: tuple[Series, ...]
    goal: Goal | None = None

    @property
    def ours(self) -> Series:
        return self.series[0]

    @property
    def judged_ms(self) -> float:
        """What the goal is about: our median, less that of the contender we build on."""
        taken_off = [each.median_ms for each in self.series if self.goal is not None and each.name == self.goal.above]
        return self.ours.median_ms - sum(taken_off)


@dataclass(slots=True)
class Plan:
    """How much is measured: a number of rounds, and an end to it."""

    rounds: int
    contender_s: float
    """Who has used up this much time, preparation included, takes no further part."""
    end: float = field(default=float("inf"))
    """Monotonic time after which no further round is begun."""

    @property
    def over(self) -> bool:
        return time.monotonic() >= self.end


def run_contest(contest: Contest, plan: Plan) -> Outcome:
    """Every contender once per round: A B C, A B C. The first round of those who are quick is a rehearsal."""
    times: dict[str, list[float]] = {each.name: [] for each in contest.contenders}
    used = dict.fromkeys(times, 0.0)
    for number in range(plan.rounds + 1):
        for each in contest.contenders:
            taken = times[each.name]
            if taken and (plan.over or used[each.name] > plan.contender_s):
                continue
            begun = time.monotonic()
            taken.append(_once(each))
            used[each.name] += time.monotonic() - begun
            if number == 0 and plan.rounds > 1 and used[each.name] < plan.contender_s / 4:
                taken.clear()
    for each in contest.contenders:  # the end came between rehearsal and first round
        if not times[each.name]:
            times[each.name].append(_once(each))
    series = tuple(Series(each.name, tuple(times[each.name])) for each in contest.contenders)
    return Outcome(contest.name, series, contest.goal)


def _once(contender: Contender) -> float:
    given = contender.before()
    start = time.perf_counter()
    made = contender.go(given)
    took = (time.perf_counter() - start) * 1000
    contender.after(made)
    return took
