"""Ports through the bridge: from outside to servers inside, and from inside to what the host offers there."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from sandlot.runtimes.qemu import asking
from sandlot.wire import bridge as wire
from sandlot.wire import frames, messages
from tests.runtimes.bridge_ends import (
    PATIENCE_S,
    Ends,
    eventually,
    joined,
)


@pytest.fixture
def ends(state_dir: Path) -> Iterator[Ends]:
    with joined(state_dir) as made:
        yield made


def inside_server() -> tuple[socket.socket, int]:
    made = socket.create_server(("127.0.0.1", 0))
    made.settimeout(PATIENCE_S)
    return made, made.getsockname()[1]


def test_a_port_inside_is_reached_and_a_reset_is_one(ends: Ends) -> None:
    host, _ = ends
    listening, port = inside_server()
    with listening, asking.connect(host.socket, port) as outside:
        outside.settimeout(PATIENCE_S)
        there, _ = listening.accept()
        outside.sendall(b"hello")
        assert there.recv(5) == b"hello"
        there.sendall(b"half")
        assert outside.recv(4) == b"half"
        there.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        there.close()
        with pytest.raises(ConnectionResetError):
            outside.recv(1)


def test_a_port_on_which_nobody_listens_refuses(ends: Ends) -> None:
    listening, port = inside_server()
    listening.close()
    with pytest.raises(ConnectionRefusedError):
        asking.connect(ends[0].socket, port)


def test_a_server_on_ipv6_alone_is_found(ends: Ends) -> None:
    try:
        listening = socket.create_server(("::1", 0), family=socket.AF_INET6)
    except OSError:
        pytest.skip("this machine has no IPv6")
    with listening, asking.connect(ends[0].socket, listening.getsockname()[1]) as outside:
        there, _ = listening.accept()
        with there:
            outside.sendall(b"six")
            assert there.recv(3) == b"six"


def test_the_host_listens_inside_as_long_as_it_wants(ends: Ends) -> None:
    host, guest = ends
    free, port = inside_server()
    free.close()
    listener = asking.listen(host.socket, port)
    with socket.create_connection(("127.0.0.1", port)) as there:
        outside, _ = listener.accept()
        with outside:
            outside.settimeout(PATIENCE_S)
            there.sendall(b"GET / HTTP/1.1")
            assert outside.recv(100) == b"GET / HTTP/1.1"
            outside.sendall(b"200")
            outside.close()
            assert there.recv(100) == b"200"
            assert there.recv(100) == b""
    with pytest.raises(OSError, match="in use"):
        asking.listen(host.socket, port)
    listener.close()

    def refused() -> bool:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except ConnectionRefusedError:
            return True
        return False

    eventually(refused, "nobody listens any more")
    eventually(lambda: not host.bridge.streams and not guest.bridge.streams, "nothing is left")


@pytest.mark.parametrize("fields", [[b"0"], [b"65536"], [b"x"], [], [b"-1"]])
def test_a_port_that_is_none_is_refused(ends: Ends, fields: list[bytes]) -> None:
    with ends[0].client() as client:
        client.sendall(frames.encode(wire.ASK_PORT, 1, fields))
        [(kind, _, _)] = frames.Decoder().feed(client.recv(4096))
        assert kind == messages.FAILED
