"""What ctrl-C and its like do to a run."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["ended_by_the_first_signal"]

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def ended_by_the_first_signal() -> Iterator[None]:
    """The first one ends the block: KeyboardInterrupt, or SystemExit with 128 and its number.

    Those after it do nothing: ending agents and deleting their workspaces takes a bounded time, and a second ctrl-C of
    somebody impatient, cutting that short, would leave them behind. Signals that were ignored (nohup) stay so.
    """

    def first(number: int, _frame: object) -> None:
        for each in changed:
            # A function, not SIG_IGN: what is started for cleaning up would inherit that.
            signal.signal(each, _nothing)
        if number == signal.SIGINT:
            raise KeyboardInterrupt
        sys.exit(128 + number)

    before = {each: signal.getsignal(each) for each in SIGNALS}
    changed = [each for each, handler in before.items() if handler is not signal.SIG_IGN]
    for each in changed:
        signal.signal(each, first)
    try:
        yield
    finally:
        for each in changed:
            signal.signal(each, before[each])


def _nothing(_number: int, _frame: object) -> None:
    """It is ending already."""
