"""A progress line on a terminal for what takes longer than a moment."""

from __future__ import annotations

import sys
import threading
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
        self._over = False
        self._latest = ("", 0, 0)
        self._lock = threading.Lock()
        self._drawn: Progress | None = None
        self._task: TaskID | None = None
        self._alarm: threading.Timer | None = None

    def __enter__(self) -> ProgressLine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._hide()

    def __call__(self, phase: str, done: int, total: int) -> None:
        """Take note of where things are; an empty phase: at the end of what takes long."""
        if not phase:
            self._hide()
            return
        self._latest = (phase, done, total)
        if self._drawn is None:
            if not sys.stderr.isatty():
                return
            left = self._began + PATIENCE_S - time.monotonic()
            if left > 0:  # a phase that says nothing more is shown all the same
                if self._alarm is None:
                    self._alarm = threading.Timer(left, self._draw)
                    self._alarm.daemon = True
                    self._alarm.start()
                return
        self._draw()

    def _hide(self) -> None:
        """Leave the terminal to others; what is said from now on is not shown."""
        if self._alarm is not None:
            self._alarm.cancel()
        with self._lock:  # not in the middle of being drawn
            self._over = True
            if self._drawn is not None:
                self._drawn.stop()

    def _draw(self) -> None:
        with self._lock:
            if self._over:
                return
            phase, done, total = self._latest
            if self._drawn is None:
                from rich.console import Console
                from rich.progress import Progress

                self._drawn = Progress(console=Console(stderr=True), transient=True)
                self._task = self._drawn.add_task(phase, total=total or None)
                self._drawn.start()
            if self._task is not None:
                self._drawn.update(self._task, description=phase, completed=done, total=total or None)
