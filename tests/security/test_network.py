"""Case 12: with the network off there is nobody to talk to, with an allow list those who are on it."""

from __future__ import annotations

import contextlib
import http.server
import secrets
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from sandlot.workspaces.network.open_network import problem
from tests.conftest import GUESTS
from tests.security.conftest import Attacker
from tests.workspaces.network.world import CLOSED, GROUP, PORT, PUBLIC, world


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


class Canary(http.server.BaseHTTPRequestHandler):
    """Nobody inside may ever see its answer, unless it was allowed."""

    def do_GET(self) -> None:
        self.server.heard.append(self.path)  # type: ignore[attr-defined]  # set below
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"" if self.server.allowed else b"canary")  # type: ignore[attr-defined]  # set below

    do_POST = do_GET

    def log_message(self, *_: object) -> None:
        return None


@contextlib.contextmanager
def server(address: str, *, allowed: bool) -> Iterator[http.server.ThreadingHTTPServer]:
    made = http.server.ThreadingHTTPServer((address, 0), Canary)
    made.heard, made.allowed = [], allowed  # type: ignore[attr-defined]  # a test's own server
    thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield made
    finally:
        made.shutdown()
        made.server_close()
        thread.join(20)


def test_an_allow_list_lets_nothing_else_through(attacker: Attacker) -> None:
    with server("127.0.0.2", allowed=True) as friend, server("0.0.0.0", allowed=False) as enemy:
        place = f"127.0.0.2:{friend.server_port}"
        # The forbidden server is there: the host itself reaches it.
        with socket.create_connection(("127.0.0.1", enemy.server_port)):
            pass
        create = {"allow_private": [place], "allow": ["one.test", "127.0.0.1", "169.254.169.254", "localhost"]}
        report = attacker("egress", place, str(enemy.server_port), create=create)
    assert report["works"] == "HTTP/1.1 200"
    assert report["reached"] == []
    assert enemy.heard == []  # type: ignore[attr-defined]  # set above
    assert {answer[:9] for answer in report["answers"].values()} <= {"HTTP/1.1 ", ""}
    assert report["gateway"] == []
    assert set(report["sockets"]) <= ({"/run/sandlot/bridge/agent.sock"} if GUESTS else set())  # closed to everybody
    assert report["interfaces"] == ["lo"]


@pytest.mark.skipif(problem() is not None, reason=f"the open network needs {(problem() or ('',))[0]}")
def test_an_open_network_leads_to_what_is_public_and_to_nothing_else(attacker: Attacker) -> None:
    with world() as around:
        with around.joined():
            # The forbidden ones are there: the host itself reaches them.
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as made:
                made.settimeout(20)
                made.sendto(b"hello", (GROUP, PORT))
                assert made.recv(100)
            for address in (*CLOSED, "127.0.0.1", "192.168.77.2"):
                with socket.create_connection((address, PORT), timeout=20) as made:
                    made.sendall(b"hello")
                    assert made.recv(100)
            before, before_host = around.seen, around.seen_by_host
            assert {f"udp {GROUP}", *(f"tcp {address}" for address in CLOSED)} <= before
            around.forget()
            closed = [*CLOSED, "192.168.77.2", "203.0.113.99", "127.0.0.1"]
            report = attacker("open", f"{PUBLIC}:{PORT}", GROUP, *closed, create={"network": "open"})
        assert before_host == {"tcp 127.0.0.1", "tcp 192.168.77.2"}
        assert report["works"] == {"tcp": True, "udp": True, "proxy": True}
        assert report["reached"] == []
        assert around.seen == {f"tcp {PUBLIC}", f"udp {PUBLIC}"}
        assert around.seen_by_host == set()
