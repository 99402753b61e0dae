"""Ending a tool by SIGTERM, or by its client's departure, so that it can put things back."""

from __future__ import annotations

import signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import FrameType, TracebackType
    from typing import Any

ENDING = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGIO)
"""The signals that may end a tool; with SIGIO the worker learns that its client is gone."""


class Terminated(SystemExit):
    """SIGTERM arrived. A SystemExit, so a process that does not catch it ends with the shell's status for TERM."""

    def __init__(self) -> None:
        super().__init__(128 + signal.SIGTERM)


class Interruptible:
    """A block in which SIGTERM raises Terminated, until ``hold``: from there to the end of the block signals wait.

    Outside the main thread signals cannot be handled; there the block changes nothing.
    """

    def __init__(self) -> None:
        self._before: Any = None
        self._mask: Any = None
        self._raised = False

    def __enter__(self) -> Interruptible:
        try:
            self._before = signal.signal(signal.SIGTERM, self._arrived)
        except ValueError:
            self._before = None
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if self._before is not None:
            signal.signal(signal.SIGTERM, self._before)
        if self._mask is not None:
            signal.pthread_sigmask(signal.SIG_SETMASK, self._mask)

    def hold(self) -> None:
        """What follows must be finished: putting things back, or the last step of something that is done."""
        before = signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
        if self._mask is None:
            self._mask = before

    def _arrived(self, _number: int, _frame: FrameType | None) -> None:
        if not self._raised:
            self._raised = True
            raise Terminated
