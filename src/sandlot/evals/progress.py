"""How far a run is: what a progress line says. Drawing it is the command line's."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from sandlot.evals.outcomes import Outcome, TrialResult

__all__ = ["Progress", "clock"]

RECENT = 50
"""Trials that the estimate looks back on: late tests are often the slow ones."""


class Progress:
    """Counts of one session, fed by the scheduler's watch."""

    def __init__(
        self,
        total: int,
        workers: int,
        done: Iterable[TrialResult] = (),
        *,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """``total``: of the run, ``done``: what sessions before this one have finished."""
        self.total = total
        self.running = 0
        self.counts = dict.fromkeys(Outcome, 0)
        self.cost_usd = 0.0
        self._workers = max(1, workers)
        self._now = now
        self._began = now()
        self._recent: list[float] = []
        for result in done:
            self._count(result)

    def started(self) -> None:
        """A trial was dispatched."""
        self.running += 1

    def finished(self, result: TrialResult, *, again: bool = False) -> None:
        """A trial has its result. ``again``: it had one before, an error, which is still counted."""
        self.running = max(0, self.running - 1)
        self._recent = [*self._recent[1 - RECENT :], result.duration_ms / 1000]
        if again:
            self.counts[Outcome.ERROR] -= 1
        self._count(result)

    @property
    def done(self) -> int:
        """Trials with a result."""
        return sum(self.counts.values())

    @property
    def eta_s(self) -> float | None:
        """Seconds until the end, if the rest goes as the last trials did; None: nothing to go by."""
        left = self.total - self.done
        if not self._recent or left <= 0:
            return None
        return sum(self._recent) / len(self._recent) * left / min(self._workers, left)

    @property
    def line(self) -> str:
        """Done, passing, cost, time: of numbers alone, so safe on any terminal."""
        passed = self.counts[Outcome.PASS]
        parts = [f"{self.done}/{self.total} trials", f"{passed} passing"]
        for outcome, word in ((Outcome.FAIL, "failing"), (Outcome.ERROR, "errors"), (Outcome.TIMEOUT, "timeouts")):
            if self.counts[outcome]:
                parts.append(f"{self.counts[outcome]} {word}")
        if self.running:
            parts.append(f"{self.running} running")
        if self.cost_usd:
            parts.append(f"{self.cost_usd:.2f} USD")
        parts.append(clock(self._now() - self._began))
        if self.eta_s is not None:
            parts.append(f"about {clock(self.eta_s)} left")
        return ", ".join(parts)

    def _count(self, result: TrialResult) -> None:
        self.counts[result.outcome] += 1
        if result.answer is not None:
            self.cost_usd += result.answer.usage.cost_usd or 0.0


def clock(seconds: float) -> str:
    """``8s``, ``3m05s``, ``2h07m``."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02}s"
    return f"{whole // 3600}h{whole % 3600 // 60:02}m"
