"""Ending a call from outside: another thread, or an event loop whose task was cancelled."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator

__all__ = ["Cancellation", "Cancelled"]


class Cancelled(BaseException):
    """The call was cancelled; like KeyboardInterrupt it is nobody's error, so it is not in the error tree."""


class Cancellation:
    """Given to a call; ``cancel`` makes that call end its work and raise Cancelled. Safe from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._cancelled = False
        self._wake: Callable[[], None] | None = None

    @property
    def cancelled(self) -> bool:
        """Whether ``cancel`` was called."""
        return self._cancelled

    def cancel(self) -> None:
        """End the call, now or as soon as it begins. Calling it again, or too late, does nothing."""
        with self._lock:
            self._cancelled = True
            if self._wake is not None:
                self._wake()

    def check(self) -> None:
        """Raise Cancelled if ``cancel`` was called."""
        if self._cancelled:
            raise Cancelled

    @contextlib.contextmanager
    def waking(self, wake: Callable[[], None]) -> Iterator[None]:
        """While the block waits for something, ``cancel`` calls ``wake``, which must make the wait end."""
        with self._lock:
            self.check()
            self._wake = wake
        try:
            yield
        finally:
            with self._lock:
                self._wake = None
