"""Telling the caller how far a long create is, not more often than anybody can read."""

from __future__ import annotations

import time
from collections.abc import Callable

__all__ = ["Progress", "Report"]

Report = Callable[[str, int, int], None]
"""Called with (what is going on, how much is done, how much there is; 0 when that is not known)."""

INTERVAL_S = 0.1


class Progress:
    """Passes reports on at most ten times a second; the first of a phase always."""

    __slots__ = ("_next", "_phase", "_report")

    def __init__(self, report: Report | None = None) -> None:
        self._report = report
        self._phase = ""
        self._next = 0.0

    def __call__(self, phase: str, done: int = 0, total: int = 0) -> None:
        if self._report is None:
            return
        now = time.monotonic()
        if phase == self._phase and now < self._next:
            return
        self._phase = phase
        self._next = now + INTERVAL_S
        self._report(phase, done, total)
