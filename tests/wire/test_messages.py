"""Messages: numbers and fields are fixed for ever, and what an agent says is checked field by field."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandlot.wire import messages

NUMBERS = st.integers(0, 2**63 - 1)
WORDS = st.binary(max_size=20)


def test_message_numbers_never_change() -> None:
    numbers = {name: value for name, value in vars(messages).items() if name.isupper() and isinstance(value, int)}
    assert {name: numbers[name] for name in GOLDEN} == GOLDEN


GOLDEN = {
    "PING": 1, "EXEC": 2, "TOOL": 3, "KILL": 4, "WAIT": 5, "STATUS": 6, "FREEZE": 7, "SHUTDOWN": 8, "RELEASE": 9,
    "IDLE": 10, "PONG": 64, "STARTED": 65, "OUTPUT": 66, "EXITED": 67, "ITEM": 68, "RESULT": 69, "FAILED": 70,
    "DETACHED": 1,
}  # fmt: skip


def test_an_exec_request_has_these_fields_in_this_order() -> None:
    request = messages.Exec(3, messages.DETACHED, 1500, 4096, b"/workspace", [b"echo", b"a b"], [b"A=1", b"B="])
    assert request.fields() == [b"3", b"1", b"1500", b"4096", b"/workspace", b"2", b"echo", b"a b", b"A=1", b"B="]


def test_an_exec_request_that_hides_values_says_of_how_many_entries() -> None:
    request = messages.Exec(3, messages.HIDING, 0, 9, b"/", [b"echo"], [b"A=1", b"B=x", b"C=y"], hidden=2)
    assert request.fields() == [b"3", b"4", b"0", b"9", b"/", b"1", b"echo", b"2", b"A=1", b"B=x", b"C=y"]
    back = messages.Exec.parse(request.fields())
    assert (back.hidden, back.env) == (2, [b"A=1", b"B=x", b"C=y"])
    for wrong in (b"4", b"-1", b"x", b""):  # more than there are would take nothing for a value
        with pytest.raises(ValueError):
            messages.Exec.parse([*request.fields()[:7], wrong, b"A=1", b"B=x", b"C=y"])


def test_an_exit_record_has_these_fields_in_this_order() -> None:
    exited = messages.Exited(
        exit_code=2,
        signal=9,
        reason="timeout",
        duration_ms=10,
        cpu_ms=20,
        max_rss=30,
        stdout=40,
        stderr=50,
        survivors=6,
    )
    assert exited.fields() == [b"2", b"9", b"timeout", b"10", b"20", b"30", b"40", b"50", b"6"]


@given(NUMBERS, NUMBERS, NUMBERS, NUMBERS, WORDS, st.lists(WORDS, min_size=1, max_size=5), st.lists(WORDS, max_size=5))
def test_an_exec_request_survives_the_way(
    number: int, flags: int, timeout: int, quota: int, cwd: bytes, argv: list[bytes], env: list[bytes]
) -> None:
    sent = messages.Exec(number, flags, timeout, quota, cwd, argv, env)
    got = messages.Exec.parse(sent.fields())
    assert [getattr(got, name) for name in messages.Exec.__slots__] == [
        getattr(sent, name) for name in messages.Exec.__slots__
    ]


@given(st.lists(WORDS, max_size=12))
def test_any_fields_are_an_exec_request_or_a_value_error(fields: list[bytes]) -> None:
    try:
        request = messages.Exec.parse(fields)
    except ValueError:
        return
    assert len(request.argv) >= 1
    assert len(request.argv) + len(request.env) == len(fields) - 6


@given(st.lists(st.one_of(WORDS, st.integers(-300, 300).map(lambda number: b"%d" % number)), max_size=11))
def test_any_fields_are_a_bounded_exit_record_or_a_value_error(fields: list[bytes]) -> None:
    try:
        exited = messages.Exited.parse(fields)
    except ValueError:
        return
    assert 0 <= exited.exit_code <= 255
    assert 0 <= exited.signal <= 128
    assert exited.reason in ("", "timeout", "killed")
    assert min(exited.duration_ms, exited.cpu_ms, exited.max_rss, exited.stdout, exited.stderr, exited.survivors) >= 0


@pytest.mark.parametrize(
    "field",
    [b"", b" 1", b"1 ", b"+1", b"0x1", b"1_0", b"--1", b"-", b"1.0", b"\xd9\xa1", b"9" * 21, b"-1", b"%d" % 2**63],
)  # fmt: skip
def test_what_is_not_a_plain_number_in_range_is_refused(field: bytes) -> None:
    with pytest.raises(ValueError, match=r"integer|invalid literal"):
        messages.integer(field)
