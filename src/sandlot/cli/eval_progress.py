"""The line that lives while a run goes on; a plain line for each trial where there is no terminal."""

from __future__ import annotations

import os
import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING

from sandlot.cli.groups import columns
from sandlot.cli.terminal import shown

if TYPE_CHECKING:
    from sandlot.evals.outcomes import TrialResult
    from sandlot.evals.progress import Progress

__all__ = ["RunDisplay"]

REDRAW_S = 0.1


class RunDisplay:
    """On stderr: stdout is for the answer."""

    def __init__(self, progress: Progress, *, quiet: bool = False) -> None:
        self._progress = progress
        self._quiet = quiet
        self._live = sys.stderr.isatty() and os.environ.get("TERM", "dumb") != "dumb" and not quiet
        self._drawn = 0.0

    def __enter__(self) -> RunDisplay:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._clear()

    def finished(self, result: TrialResult) -> None:
        """A trial has ended: everybody sees those that did not pass, a log sees all."""
        if self._quiet:
            return
        if self._live:
            if result.outcome.value == "pass":
                return
            self._clear()
        done = "" if self._live else f"[{self._progress.done}/{self._progress.total}] "
        what = f"{result.outcome.value} ({result.stage.value})" if result.stage else result.outcome.value
        reason = f": {' '.join(result.reason.split())[:200]}" if result.reason else ""
        score = f" {result.score:.2f}" if result.score is not None else ""
        print(shown(f"{done}{what}{score} {result.trial.key}{reason}"), file=sys.stderr, flush=True)

    def tick(self) -> None:
        """Draw the line anew, not more often than an eye can follow."""
        if self._live and time.monotonic() - self._drawn >= REDRAW_S:
            self._drawn = time.monotonic()
            sys.stderr.write(f"\r\x1b[K{self._progress.line[: columns() - 1]}")
            sys.stderr.flush()

    def _clear(self) -> None:
        if self._live and self._drawn:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
