"""The name in a ClientHello, however it is cut."""

from __future__ import annotations

import contextlib
import ssl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandlot.workspaces.network.server_name import Incomplete, NotTls, server_name


def hello(name: str | None) -> bytes:
    """What a real TLS client sends first."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    outgoing = ssl.MemoryBIO()
    client = context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname=name)
    with contextlib.suppress(ssl.SSLWantReadError):
        client.do_handshake()
    return outgoing.read()


HELLO = hello("www.example.org")


def records(data: bytes, size: int) -> bytes:
    """The same handshake in records of at most ``size`` bytes."""
    body = data[5:]
    parts = [body[at : at + size] for at in range(0, len(body), size)]
    return b"".join(data[:3] + len(part).to_bytes(2, "big") + part for part in parts)


def test_the_name_is_found() -> None:
    assert server_name(HELLO) == "www.example.org"
    assert server_name(HELLO + b"more") == "www.example.org"


def test_a_hello_without_a_name_has_none() -> None:
    assert server_name(hello(None)) is None


@given(st.integers(0, len(HELLO) - 1))
def test_every_beginning_asks_for_more(length: int) -> None:
    with pytest.raises(Incomplete):
        server_name(HELLO[:length])


@given(st.integers(1, 200))
def test_a_hello_spread_over_records_hides_nothing(size: int) -> None:
    assert server_name(records(HELLO, size)) == "www.example.org"


@given(st.integers(0, len(HELLO) - 1), st.integers(0, 255))
def test_a_damaged_hello_is_an_answer_or_refused(at: int, value: int) -> None:
    with contextlib.suppress(Incomplete, NotTls):
        server_name(HELLO[:at] + bytes((value,)) + HELLO[at + 1 :])


@given(st.binary(max_size=300))
def test_other_bytes_are_not_tls(data: bytes) -> None:
    with contextlib.suppress(Incomplete, NotTls):
        assert server_name(b"\x16\x03\x01" + data) is None or data


@pytest.mark.parametrize(
    "data", [b"GET / HTTP/1.1\r\n\r\n", b"SSH-2.0-x\r\n", b"\x15\x03\x01\x00\x02\x02\x28", b"\x16\x03\x01\0\0"]
)
def test_other_protocols_are_not_tls(data: bytes) -> None:
    with pytest.raises(NotTls):
        server_name(data)


def test_an_endless_hello_is_refused() -> None:
    with pytest.raises(NotTls):
        server_name(b"\x16\x03\x01\x40\x00\x01\xff\xff\xff" + bytes(16380))
