"""The egress proxy's price: the same client against the same server, directly and through a workspace's gateway.

Directly means on the host; through the proxy from inside a workspace, by the real gateway. Everything is on loopback,
where what a proxy adds is largest in proportion. The client times itself; it runs anew in each round, in turn.
"""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import socket
import ssl
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks.timing import Goal, Outcome, Plan, Series
from sandlot import process
from sandlot.model.secret import Secret
from sandlot.sdk import Sandlot, Workspace
from sandlot.workspaces.secrets.authority import Authority
from sandlot.workspaces.secrets.trust import BUNDLE

__all__ = ["network"]

ADDRESS = "127.0.0.2"  # not one that no_proxy names
MEGABYTES = 128
REQUESTS = 50
CLIENT_S = 120
GOAL_MS = 5.0
"""What a request through the proxy may cost."""

CLIENT = r"""
import json, socket, ssl, sys, time
proxy, place, scheme, trust, requests = sys.argv[1], sys.argv[2], sys.argv[3], sys.argv[4], int(sys.argv[5])
host, port = place.rsplit(":", 1)
context = ssl.create_default_context(cafile=trust) if scheme == "https" else None
prefix = "http://" + place if proxy == "plain" else ""
buffer = bytearray(1 << 20)

def connect():
    made = socket.create_connection((host, int(port)) if proxy == "none" else ("127.0.0.1", 3128))
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if proxy == "tunnel":
        made.sendall(("CONNECT %s HTTP/1.1\r\nHost: %s\r\n\r\n" % (place, place)).encode())
        if b" 200 " not in made.recv(4096):
            sys.exit("no tunnel")
    return made if context is None else context.wrap_socket(made, server_hostname=host)

def get(made, path):
    made.sendall(("GET %s%s HTTP/1.1\r\nHost: %s\r\n\r\n" % (prefix, path, place)).encode())
    head = b""
    while b"\r\n\r\n" not in head:
        head += made.recv(65536)
    head, _, body = head.partition(b"\r\n\r\n")
    left = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0]) - len(body)
    while left > 0:
        left -= made.recv_into(buffer, min(left, len(buffer))) or sys.exit("cut off")

def timed(action):
    start = time.perf_counter()
    action()
    return (time.perf_counter() - start) * 1000

def fresh():
    with connect() as made:
        get(made, "/small")

fresh()
found = {"fresh": [timed(fresh) for _ in range(requests)]}
with connect() as made:
    get(made, "/small")
    found["kept"] = [timed(lambda: get(made, "/small")) for _ in range(requests)]
    found["large"] = [timed(lambda: get(made, "/large")) for _ in range(2)]
json.dump(found, sys.stdout)
"""


@dataclass(frozen=True, slots=True)
class Way:
    """How the client gets to the server."""

    name: str
    proxy: str
    """``none``, ``plain`` (an absolute address) or ``tunnel`` (CONNECT)."""
    scheme: str
    opened: bool = False
    """Whether the proxy opens the TLS inside the tunnel, as it does for hosts of secrets."""


WAYS = (
    Way("through the proxy, plain http", "plain", "http"),
    Way("through the proxy, CONNECT", "tunnel", "http"),
    Way("through the proxy, CONNECT and TLS", "tunnel", "https"),
    Way("through the proxy, TLS opened for a secret", "tunnel", "https", opened=True),
    Way("direct, http", "none", "http"),
    Way("direct, TLS", "none", "https"),
)


def network(sandlot: Sandlot, folder: Path, plan: Plan) -> tuple[Outcome, ...]:
    """Measure all ways, round by round."""
    times: dict[str, dict[str, list[float]]] = {way.name: {} for way in WAYS}
    with _servers(folder) as (plain, secure, opened), _trusting(folder):
        secret = Secret(value="not-a-secret-at-all", hosts=(opened,))
        with sandlot.create(
            allow_private=[plain, secure, opened], secrets={"BENCH": secret}, toolchains=_toolchains()
        ) as workspace:
            for _ in range(max(1, min(plan.rounds, 5))):
                for way in WAYS:
                    place = plain if way.scheme == "http" else opened if way.opened else secure
                    for kind, taken in _asked(workspace, way, place, folder).items():
                        times[way.name].setdefault(kind, []).extend(taken)
    titles = {
        "kept": ("http request on an open connection", Goal(GOAL_MS)),
        "fresh": ("http request on a new connection", None),
        "large": (f"download of {MEGABYTES} MB", None),
    }
    return tuple(
        Outcome(title, tuple(Series(way.name, tuple(times[way.name][kind])) for way in WAYS), goal)
        for kind, (title, goal) in titles.items()
    )


def _python() -> str:
    return os.path.join(sys.base_prefix, "bin", "python3")


def _toolchains() -> list[str]:
    return [] if sys.base_prefix == "/usr" else [sys.base_prefix]


def _asked(workspace: Workspace, way: Way, place: str, folder: Path) -> dict[str, list[float]]:
    """What one run of the client measured."""
    trust = str(folder / "ca.pem") if way.proxy == "none" else BUNDLE
    argv = [_python(), "-I", "-c", CLIENT, way.proxy, place, way.scheme, trust, str(REQUESTS)]
    if way.proxy == "none":
        done = process.run(argv, timeout=CLIENT_S)
        text, problem = done.stdout.decode(), done.message if done.returncode else ""
    else:
        result = workspace.exec(argv, timeout=CLIENT_S)
        text, problem = result.stdout.text, "" if result.ok else result.stderr.text or f"exit {result.exit_status}"
    if problem:
        raise RuntimeError(f"{way.name}: {problem}")
    found: dict[str, list[float]] = json.loads(text)
    return found


@contextlib.contextmanager
def _trusting(folder: Path) -> Iterator[None]:
    """The gateway, which is started here, trusts the servers."""
    before = os.environ.get("SSL_CERT_FILE")
    os.environ["SSL_CERT_FILE"] = str(folder / "ca.pem")
    try:
        yield
    finally:
        if before is None:
            del os.environ["SSL_CERT_FILE"]
        else:
            os.environ["SSL_CERT_FILE"] = before


@contextlib.contextmanager
def _servers(folder: Path) -> Iterator[tuple[str, str, str]]:
    """host:port of three servers in a process of their own: without TLS, and twice with."""
    authority = Authority.make([ADDRESS])
    (folder / "ca.pem").write_text(authority.certificate_pem)
    with contextlib.ExitStack() as stack:
        listeners = [stack.enter_context(socket.create_server((ADDRESS, 0), backlog=64)) for _ in range(3)]
        child = multiprocessing.get_context("fork").Process(target=_serve, args=(listeners, authority), daemon=True)
        child.start()
        try:
            plain, secure, opened = (f"{ADDRESS}:{each.getsockname()[1]}" for each in listeners)
            yield plain, secure, opened
        finally:
            child.kill()
            child.join()


def _serve(listeners: list[socket.socket], authority: Authority) -> None:
    context = authority.server_context(ADDRESS)
    for number, listener in enumerate(listeners):
        threading.Thread(target=_accept, args=(listener, context if number else None), daemon=True).start()
    threading.Event().wait()


def _accept(listener: socket.socket, context: ssl.SSLContext | None) -> None:
    while True:
        accepted, _ = listener.accept()
        accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        threading.Thread(target=_answer, args=(accepted, context), daemon=True).start()


def _answer(accepted: socket.socket, context: ssl.SSLContext | None) -> None:
    piece = bytes(1 << 20)
    with contextlib.suppress(OSError), accepted:
        connection = accepted if context is None else context.wrap_socket(accepted, server_side=True)
        with connection:
            while head := connection.recv(65536):
                count = MEGABYTES if b" /large " in head else 0
                size = count << 20 or 2
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + (b"" if count else b"ok"))
                for _ in range(count):
                    connection.sendall(piece)
