"""What is said about services: fixed for ever, and checked field by field on both sides."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandlot.wire import messages, service

WORDS = st.binary(max_size=20)


def command() -> messages.Exec:
    return messages.Exec(7, messages.DETACHED, 0, 4096, b"/workspace", [b"web", b"-v"], [b"A=1"])


def test_numbers_never_change() -> None:
    assert (service.STOP, service.KEEP, service.FOLLOW, service.REPORT) == (32, 33, 34, 96)


def test_a_start_has_these_fields_in_this_order() -> None:
    spec = service.Spec(
        command(), check=service.TCP, words=[b"localhost", b"80"], interval_ms=1, ready_ms=2, max_restarts=3,
        backoff_ms=4, longest_backoff_ms=5, steady_ms=6,
    )  # fmt: skip
    own = [b"7", b"tcp", b"1", b"2", b"3", b"4", b"5", b"6", b"2", b"localhost", b"80"]
    assert spec.fields() == [*own, *command().fields()]


@pytest.mark.parametrize(
    ("check", "words"),
    [
        (service.NOTHING, []),
        (service.FILE, [b"x"]),
        (service.TCP, [b"h", b"1"]),
        (service.HTTP, [b"h", b"1", b"/", b"h:1"]),
        (service.COMMAND, [b"test", b"-e", b"x"]),
    ],
)
def test_a_start_survives_the_way(check: bytes, words: list[bytes]) -> None:
    sent = service.Spec(command(), check=check, words=words, max_restarts=9)
    got = service.Spec.parse(sent.fields())
    assert (got.check, got.words, got.max_restarts) == (check, words, 9)
    assert got.command.fields() == sent.command.fields()


@pytest.mark.parametrize(
    ("check", "words"),
    [(b"rumour", []), (service.TCP, [b"h"]), (service.HTTP, [b"h", b"1"]), (service.NOTHING, [b"x"])],
)
def test_a_check_without_what_it_needs_is_refused(check: bytes, words: list[bytes]) -> None:
    with pytest.raises(ValueError, match=r"malformed|range"):
        service.Spec.parse(service.Spec(command(), check=check, words=words).fields())


@given(st.lists(WORDS, max_size=14))
def test_any_fields_are_a_start_or_a_value_error(fields: list[bytes]) -> None:
    try:
        service.Spec.parse(fields)
    except ValueError:
        pass


def test_a_report_has_these_fields_in_this_order() -> None:
    report = service.Report(b"failed", b"why", pid=1, restarts=2, exit_code=-1, signal=9, since_ms=3, ready_ms=4)
    assert report.fields() == [b"failed", b"why", b"1", b"2", b"-1", b"9", b"3", b"4"]
    assert service.Report.parse(report.fields()).fields() == report.fields()


@given(st.lists(WORDS, max_size=10))
def test_any_fields_are_a_report_or_a_value_error(fields: list[bytes]) -> None:
    try:
        assert service.Report.parse(fields).state in service.STATES
    except ValueError:
        pass


def test_a_report_is_bounded() -> None:
    long = service.Report(b"failed", b"x" * 10_000)
    assert len(long.fields()[1]) == service.REASON_BYTES
    with pytest.raises(ValueError, match="malformed"):
        service.Report.parse([b"failed", b"x" * 10_000, *[b"0"] * 6])
