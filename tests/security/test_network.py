"""Case 12: with the network off there is nobody to talk to."""

from __future__ import annotations

import contextlib
import secrets
import socket
from pathlib import Path

from tests.security.conftest import Attacker


def test_nothing_of_the_host_or_the_network_is_reachable(attacker: Attacker, host_folder: Path) -> None:
    abstract = "sandlot-test-" + secrets.token_hex(8)
    path = host_folder / "host.sock"
    heard: list[bytes] = []
    with contextlib.ExitStack() as stack:
        listeners = [
            stack.enter_context(socket.socket(family, kind))
            for family, kind in (
                (socket.AF_INET, socket.SOCK_STREAM),
                (socket.AF_INET, socket.SOCK_DGRAM),
                (socket.AF_UNIX, socket.SOCK_STREAM),
                (socket.AF_UNIX, socket.SOCK_STREAM),
            )
        ]
        tcp, udp, hidden, named = listeners
        tcp.bind(("0.0.0.0", 0))
        udp.bind(("0.0.0.0", 0))
        hidden.bind("\0" + abstract)
        named.bind(str(path))
        path.chmod(0o777)
        for listener in (tcp, hidden, named):
            listener.listen()
        udp.setblocking(False)
        # The listeners are there: the host itself reaches them.
        with socket.create_connection(tcp.getsockname()):
            accepted, _ = tcp.accept()
            accepted.close()
        report = attacker("network", str(tcp.getsockname()[1]), str(udp.getsockname()[1]), abstract, str(path))
        for listener in (tcp, hidden, named):
            listener.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                listener.accept()[0].close()
                heard.append(b"connection")
        with contextlib.suppress(BlockingIOError):
            heard.append(udp.recv(100))
    assert report["reached"] == []
    assert heard == []
    assert abstract not in "".join(report["sockets"])
    assert report["interfaces"] == ["lo"]
