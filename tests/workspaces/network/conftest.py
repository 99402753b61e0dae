"""An egress proxy in this process, and servers on loopback addresses behind it."""

from __future__ import annotations

import contextlib
import http.server
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from sandlot.model.network import Network, NetworkMode
from sandlot.workspaces.network import denials
from sandlot.workspaces.network.denials import DenialLog
from sandlot.workspaces.network.interception import Interceptor, Untouched
from sandlot.workspaces.network.judge import Judge
from sandlot.workspaces.network.proxy import Proxy

DEADLINE_S = 20.0


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers with what it was asked, and remembers it."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._answer(b"")

    def do_POST(self) -> None:
        if self.headers.get("Transfer-Encoding") == "chunked":
            body = b""
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        else:
            body = self.rfile.read(int(self.headers["Content-Length"]))
        self._answer(body)

    def _answer(self, body: bytes) -> None:
        seen: list[tuple[str, dict[str, str], bytes]] = self.server.seen  # type: ignore[attr-defined]  # see Origin
        seen.append((self.path, {name.lower(): value for name, value in self.headers.items()}, body))
        if self.path == "/redirect":
            self.send_response(302)
            self.send_header("Location", "http://elsewhere.test/")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        answer = b"answer to " + self.path.encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_: object) -> None:
        return None


class Origin(http.server.ThreadingHTTPServer):
    """A web server that keeps what it was asked: (path, headers, body)."""

    daemon_threads = True

    def __init__(self, host: str = "127.0.0.1") -> None:
        super().__init__((host, 0), Handler)
        self.seen: list[tuple[str, dict[str, str], bytes]] = []

    @property
    def port(self) -> int:
        return int(self.server_address[1])


@pytest.fixture
def origin() -> Iterator[Origin]:
    """A web server on 127.0.0.1."""
    with running(Origin()) as made:
        yield made


@contextlib.contextmanager
def running(server: Origin) -> Iterator[Origin]:
    """The server, served by a thread."""
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join(DEADLINE_S)


@dataclass
class Served:
    """A proxy that serves connections, and what it refused."""

    listener: socket.socket
    log: Path
    resolved: list[str] = field(default_factory=list)

    def connect(self) -> socket.socket:
        """A client's connection to it."""
        return socket.create_connection(self.listener.getsockname(), timeout=DEADLINE_S)

    def ask(self, request: bytes) -> bytes:
        """Everything that it answers to some bytes until it closes."""
        with self.connect() as client:
            client.sendall(request)
            return read_all(client)

    @property
    def refused(self) -> list[str]:
        """host:port of what was refused."""
        return [each.place for each in denials.read(self.log)]


def read_all(client: socket.socket) -> bytes:
    """Bytes until the end of the stream, or a reset."""
    found = b""
    with contextlib.suppress(ConnectionResetError):
        while data := client.recv(65536):
            found += data
    return found


Serve = Callable[..., Served]


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """Start a proxy: ``serve(allow=..., private=..., names={"name": ["address"]})``."""
    with contextlib.ExitStack() as stack:

        def start(
            allow: tuple[str, ...] = (),
            private: tuple[str, ...] = (),
            names: dict[str, list[str]] | None = None,
            mode: NetworkMode = NetworkMode.ALLOWLIST,
            interceptor: Interceptor | None = None,
            judge: type[Judge] = Judge,
            trust: str | None = None,
        ) -> Served:
            listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
            served = Served(listener, tmp_path / "denials.log")

            def resolve(host: str, _port: int) -> list[str]:
                served.resolved.append(host)
                return (names or {}).get(host, ["127.0.0.1"])

            decision = judge(Network(mode, allow, private), "the-workspace", resolve)
            proxy = Proxy(decision, DenialLog(served.log), interceptor or Untouched(), trust)
            threads: list[threading.Thread] = []

            def accept() -> None:
                with contextlib.suppress(OSError):
                    while True:
                        client, _ = listener.accept()
                        threads.append(threading.Thread(target=proxy.serve, args=(client,), daemon=True))
                        threads[-1].start()

            accepting = threading.Thread(target=accept)
            accepting.start()

            def stop() -> None:
                listener.shutdown(socket.SHUT_RDWR)
                accepting.join(DEADLINE_S)
                for thread in threads:
                    thread.join(DEADLINE_S)

            stack.callback(stop)
            return served

        yield start
