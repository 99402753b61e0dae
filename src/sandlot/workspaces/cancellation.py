"""Ending a call from outside: another thread, or an event loop whose task was cancelled."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator

__all__ = ["Cancellation", "Cancelled"]


class Cancelled(BaseException):
    """The call was cancelled; like KeyboardInterrupt it is nobody's error, so it is not in the error tree."""


class Cancellation:
    """Given to a call, or to several: ``cancel`` makes them end their work and raise Cancelled. From any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._cancelled = False
        self._waiting: dict[object, Callable[[], None]] = {}

    @property
    def cancelled(self) -> bool:
        """Whether ``cancel`` was called."""
        return self._cancelled

    def cancel(self) -> None:
        """End the calls, now or as soon as they begin. Calling it again, or too late, does nothing."""
        with self._lock:
            self._cancelled = True
            for wake in self._waiting.values():
                wake()

    def check(self) -> None:
        """Raise Cancelled if ``cancel`` was called."""
        if self._cancelled:
            raise Cancelled

    @contextlib.contextmanager
    def waking(self, wake: Callable[[], None]) -> Iterator[None]:
        """While the block waits for something, ``cancel`` calls ``wake``, which must make the wait end.

        Several may wait at once, in threads or one within the other; each is woken. ``wake`` must not raise.
        """
        mine = object()
        with self._lock:
            self.check()
            self._waiting[mine] = wake
        try:
            yield
        finally:
            with self._lock:
                del self._waiting[mine]
