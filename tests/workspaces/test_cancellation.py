"""Ending calls from outside."""

from __future__ import annotations

import pytest

from sandlot.workspaces.cancellation import Cancellation, Cancelled


def test_all_who_wait_are_woken_and_those_who_have_ended_are_not() -> None:
    cancellation = Cancellation()
    woken: list[str] = []
    with cancellation.waking(lambda: woken.append("over")):
        pass
    with cancellation.waking(lambda: woken.append("outer")):
        with cancellation.waking(lambda: woken.append("ended")):
            pass
        with cancellation.waking(lambda: woken.append("inner")):
            cancellation.cancel()
    assert woken == ["outer", "inner"]
    with pytest.raises(Cancelled), cancellation.waking(lambda: None):
        raise AssertionError("it was cancelled before")
