"""A guest becomes a template when it has nothing left to do."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from types import SimpleNamespace

import pytest

from sandlot.runtimes.qemu import settling


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> Callable[[list[float]], int]:
    """How many looks it takes a guest that wants these shares of a processor, one after the other; then none."""
    clock = [0.0]

    def slept(seconds: float) -> None:
        clock[0] += seconds

    monkeypatch.setattr(settling, "time", SimpleNamespace(monotonic=lambda: clock[0], sleep=slept))

    def count(shares: list[float]) -> int:
        seen = 0
        wanted = 0.0
        rest = itertools.chain([0.0], shares, itertools.repeat(0.0))

        def look(_: int) -> float:
            nonlocal seen, wanted
            seen += 1
            wanted += next(rest) * settling.LOOK_S
            return wanted

        monkeypatch.setattr(settling, "_wanted_s", look)
        settling.settle(1)
        return seen - 1

    return count


def test_an_idle_guest_is_looked_at_a_few_times(looks: Callable[[list[float]], int]) -> None:
    assert looks([]) == settling.QUIET
    assert looks([0.02] * settling.QUIET) == settling.QUIET  # its clock ticks


def test_one_that_works_is_waited_for_and_looked_at_anew(looks: Callable[[list[float]], int]) -> None:
    assert looks([1.0, 1.0, 0.0, 0.0, 0.3]) == 5 + settling.QUIET


def test_one_that_never_rests_is_taken_as_it_is(looks: Callable[[list[float]], int]) -> None:
    assert looks([1.0] * 1000) <= settling.MOST_S / settling.LOOK_S + 1


def test_what_a_process_wanted_is_known_and_of_one_that_is_gone_nothing() -> None:
    assert settling._wanted_s(os.getpid()) > 0
    assert settling._wanted_s(2**22 + 1) == 0
