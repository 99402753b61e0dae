"""Waiting until a guest has nothing left to do, before it becomes a template: each clone would do it again."""

from __future__ import annotations

import os
import time
from contextlib import suppress

__all__ = ["settle"]

LOOK_S = 0.15
QUIET = 4
"""Looks in a row at which the guest was idle."""
BUSY_SHARE = 0.06
"""Of a processor. An idle guest under emulation takes 2 %: its clock ticks."""
MOST_S = 15.0
"""After so long a guest is good enough: its clones are a little slower."""


def settle(pid: int) -> None:
    """Wait until QEMU, the process ``pid``, is idle: what its guest has begun for its clones waits for them then."""
    end = time.monotonic() + MOST_S
    quiet = 0
    before, since = _wanted_s(pid), time.monotonic()
    while quiet < QUIET and time.monotonic() < end:
        time.sleep(LOOK_S)
        after, now = _wanted_s(pid), time.monotonic()
        quiet = quiet + 1 if after - before < BUSY_SHARE * (now - since) else 0
        before, since = after, now


def _wanted_s(pid: int) -> float:
    """Seconds of a processor that its threads have had, and have waited for: on a busy machine only both show that it
    is idle (proc_pid_schedstat(5))."""
    total = 0
    with suppress(OSError, ValueError):  # it has just ended; or the kernel does not tell, and MOST_S is not waited
        for thread in os.listdir(f"/proc/{pid}/task"):
            with suppress(FileNotFoundError), open(f"/proc/{pid}/task/{thread}/schedstat") as file:
                had, waited, _ = file.read().split()
                total += int(had) + int(waited)
    return total / 1e9
