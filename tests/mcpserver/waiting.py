"""Waiting for what is about to be true."""

from __future__ import annotations

import time
from collections.abc import Callable

__all__ = ["wait_until"]

DEADLINE_S = 30.0


def wait_until(true: Callable[[], object]) -> None:
    """Look until it is; fail after DEADLINE_S."""
    end = time.monotonic() + DEADLINE_S
    while not true():
        assert time.monotonic() < end, "it never became true"
        time.sleep(0.02)
