"""A progress line on a terminal for what takes longer than a moment."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

__all__ = ["ProgressLine"]

PATIENCE_S = 0.7


class ProgressLine:
    """Shows nothing until something has taken PATIENCE_S, and nothing at all where stderr is no terminal."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._drawn: Progress | None = None
        self._task: TaskID | None = None

    def __enter__(self) -> ProgressLine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._drawn is not None:
            self._drawn.stop()

    def __call__(self, phase: str, done: int, total: int) -> None:
        """Take note of where things are."""
        if self._drawn is None:
            if not sys.stderr.isatty() or time.monotonic() - self._began < PATIENCE_S:
                return
            from rich.console import Console
            from rich.progress import Progress

            self._drawn = Progress(console=Console(stderr=True), transient=True)
            self._task = self._drawn.add_task("")
            self._drawn.start()
        if self._task is not None:
            self._drawn.update(self._task, description=phase, completed=done, total=total or None)
