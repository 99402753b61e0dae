"""What a run may use, and what it has used."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from sandlot.evals.options import Budgets
from sandlot.evals.outcomes import Usage

__all__ = ["Budget"]


class Budget:
    """Of a run, or of one suite's trials. The caller holds a lock around ``use``."""

    def __init__(self, limits: Budgets, what: str = "the run", *, clock: Callable[[], float] = time.monotonic) -> None:
        self.limits = limits
        self.what = what
        self.usd = 0.0
        self.tokens = 0
        self._clock = clock
        self._began = clock()

    def use(self, usage: Usage) -> None:
        """Count what a target says it used; what it does not say counts as nothing.

        Nor does what nobody can use: one trial that says -1000 USD, or NaN, would lift the budget of all.
        """
        if usage.cost_usd is not None and math.isfinite(usage.cost_usd):
            self.usd += max(0.0, usage.cost_usd)
        self.tokens += max(0, usage.input_tokens or 0) + max(0, usage.output_tokens or 0)

    @property
    def exceeded(self) -> str:
        """Which limit has been reached, as a sentence; empty: none."""
        if self.limits.usd is not None and self.usd >= self.limits.usd:
            return f"the budget of {self.what}, {self.limits.usd:g} USD, is used up"
        if self.limits.tokens is not None and self.tokens >= self.limits.tokens:
            return f"the budget of {self.what}, {self.limits.tokens} tokens, is used up"
        if self.overdue:
            return f"the time of {self.what}, {self.limits.minutes:g} minutes, is up"
        return ""

    @property
    def overdue(self) -> bool:
        """Whether its time is up."""
        return self.limits.minutes is not None and self._clock() - self._began >= self.limits.minutes * 60
