"""One HTTP/1.1 request and its answer between two sockets, streamed both ways at the same time; h11 parses."""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
from collections.abc import Callable
from typing import Any

import h11

from sandlot.workspaces.network.interception import Filter, Headers

__all__ = ["BadGateway", "Side", "exchange", "forwarded", "pump"]

HEADER_BYTES = 64 * 1024
"""A request's or answer's head may not be longer."""
CHUNK = 64 * 1024
"""Larger ones are twice as slow: the allocator gets each of them from the kernel anew, page by page."""
ANSWER_S = 600.0
"""How long nothing may move while an answer is awaited."""
_HOP_BY_HOP = frozenset({
    b"connection", b"keep-alive", b"proxy-connection", b"proxy-authorization", b"proxy-authenticate", b"te", b"trailer",
    b"upgrade",
})  # fmt: skip


class BadGateway(Exception):
    """The host behind broke off, or does not speak HTTP."""


class Side:
    """One end of an exchange: a socket (plain or TLS) and the state of HTTP on it."""

    def __init__(self, connection: socket.socket, role: type[h11.CLIENT] | type[h11.SERVER]) -> None:
        self.socket = connection
        self.http = h11.Connection(role, max_incomplete_event_size=HEADER_BYTES)

    def fill(self) -> None:
        """Give bytes that have come to the parser. Raises OSError, TimeoutError."""
        data = _received(self.socket, CHUNK)
        if data is not None:
            self.http.receive_data(data)

    def next(self) -> Any:
        """The next event, or NEED_DATA. Raises h11.RemoteProtocolError."""
        return self.http.next_event()

    def send(self, event: Any) -> None:
        """Write an event. Raises OSError, h11.LocalProtocolError."""
        parts = self.http.send_with_data_passthrough(event)
        if parts:
            self.socket.sendall(parts[0] if len(parts) == 1 else b"".join(parts))

    @property
    def pending(self) -> bool:
        """Whether TLS holds bytes that poll does not see."""
        return isinstance(self.socket, ssl.SSLSocket) and self.socket.pending() > 0

    @property
    def stale(self) -> bool:
        """Whether an idle connection was closed, or has something to say that nobody asked for."""
        return bool(_readable([self], 0)) and _received(self.socket, 1) is not None

    @property
    def reusable(self) -> bool:
        """Make ready for the next request, if the protocol allows one."""
        if self.http.our_state is h11.DONE and self.http.their_state is h11.DONE:
            self.http.start_next_cycle()
            return True
        return False


def forwarded(headers: Headers, *, upgrade: bool = False) -> Headers:
    """Headers as they go on: without those that hold for one hop only (RFC 9110, 7.6.1)."""
    named = {
        token.strip().lower() for name, value in headers if name == b"connection" for token in value.split(b",")
    } - ({b"upgrade"} if upgrade else set())
    chunked = any(name == b"transfer-encoding" for name, _ in headers)
    kept = [
        (name, value)
        for name, value in headers
        if name not in _HOP_BY_HOP
        and name not in named
        # Two statements about the length would let the two sides disagree on where a message ends.
        and not (chunked and name == b"content-length")
    ]
    if upgrade:
        kept += [(b"connection", b"upgrade"), *((name, value) for name, value in headers if name == b"upgrade")]
    return kept


Redaction = Callable[[Headers], tuple[Headers, Filter | None]]
"""An answer's headers as the client may see them, and what the body has to pass through."""


def exchange(client: Side, host: Side, request: h11.Request, redact: Redaction) -> bool:
    """Send a request, its body and the answer on; the request's head has been read from ``client`` already.

    Returns whether both sides have left HTTP for another protocol. Raises BadGateway when the host broke off before
    its answer began, OSError and h11.ProtocolError for what went wrong later.
    """
    try:
        host.send(request)
        if client.http.they_are_waiting_for_100_continue:
            client.send(h11.InformationalResponse(status_code=100, headers=[], reason=b"Continue"))
        return _Exchange(client, host, redact).run()
    except (OSError, h11.ProtocolError) as error:
        if client.http.our_state is h11.SEND_RESPONSE:  # nothing was answered yet
            raise BadGateway(str(error) or type(error).__name__) from error
        raise


class _Exchange:
    def __init__(self, client: Side, host: Side, redact: Redaction) -> None:
        self.client = client
        self.host = host
        self.redact = redact
        self.body: Filter | None = None
        self.asked = False
        self.answered = False
        self.switched = False

    def run(self) -> bool:
        while not self.answered and not self.switched:
            moved = self._request() if not self.asked else False
            moved = self._answer() or moved
            if not moved:
                self._fill()
        return self.switched

    def _request(self) -> bool:
        event = self.client.next()
        if isinstance(event, (h11.Data, h11.EndOfMessage)):
            self.asked = isinstance(event, h11.EndOfMessage)
            self.host.send(event)
            return True
        if isinstance(event, h11.ConnectionClosed) or event is h11.PAUSED:
            self.asked = True
        return False

    def _answer(self) -> bool:
        event = self.host.next()
        if isinstance(event, h11.InformationalResponse):
            if event.status_code == 100:  # the client has had its own
                return True
            self.switched = event.status_code == 101
            headers, reason, _ = self._shown(list(event.headers), event.reason, upgrade=self.switched)
            event = h11.InformationalResponse(status_code=event.status_code, headers=headers, reason=reason)
        elif isinstance(event, h11.Response):
            headers, reason, self.body = self._shown(list(event.headers), event.reason)
            event = h11.Response(status_code=event.status_code, headers=headers, reason=reason)
        elif isinstance(event, h11.EndOfMessage):
            if self.body is not None and (rest := self.body.flush()):
                self.client.send(h11.Data(data=rest))
            if event.headers:
                event = h11.EndOfMessage(headers=self.redact(list(event.headers))[0])
            self.answered = True
        elif isinstance(event, h11.ConnectionClosed):
            raise BadGateway("the host closed the connection without an answer")
        elif not isinstance(event, h11.Data):
            return False
        elif self.body is not None:
            data = self.body.feed(bytes(event.data))
            if not data:
                return True
            event = h11.Data(data=data)
        self.client.send(event)
        return True

    def _shown(self, headers: Headers, reason: bytes, *, upgrade: bool = False) -> tuple[Headers, bytes, Filter | None]:
        """The head of an answer as the client may see it, its reason included."""
        shown, body = self.redact([*forwarded(headers, upgrade=upgrade), (b"", reason)])
        return shown[:-1], shown[-1][1], body

    def _fill(self) -> None:
        sides = [self.host] if self.asked else [self.host, self.client]
        ready = [each for each in sides if each.pending] or _readable(sides, ANSWER_S)
        if not ready:
            raise TimeoutError("nothing moved for too long")
        for side in ready:
            side.fill()


def _received(connection: socket.socket, size: int) -> bytes | None:
    """What is there; None: nothing for us. TLS has messages of its own, which a blocking read would wait behind."""
    if not isinstance(connection, ssl.SSLSocket):
        return connection.recv(size)
    patience = connection.gettimeout()
    connection.settimeout(0)
    try:
        return connection.recv(size)
    except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
        return None
    finally:
        connection.settimeout(patience)


def _readable(sides: list[Side], timeout_s: float) -> list[Side]:
    poller = select.poll()
    for side in sides:
        poller.register(side.socket, select.POLLIN)
    found = {descriptor for descriptor, _ in poller.poll(timeout_s * 1000)}
    return [side for side in sides if side.socket.fileno() in found]


def pump(one: socket.socket, other: socket.socket, *, idle_s: float) -> None:
    """What ``relay`` does, for TLS, whose bytes pass through this process."""
    ends = {one.fileno(): (one, other), other.fileno(): (other, one)}
    poller = select.poll()
    for descriptor in ends:
        poller.register(descriptor, select.POLLIN)
    while ends:
        ready = [each for each, (source, _) in ends.items() if isinstance(source, ssl.SSLSocket) and source.pending()]
        ready = ready or [descriptor for descriptor, _ in poller.poll(idle_s * 1000)]
        if not ready:
            return
        for descriptor in ready:
            source, sink = ends[descriptor]
            data = _received(source, CHUNK)
            if data is None:
                continue
            if data:
                sink.sendall(data)
                continue
            poller.unregister(descriptor)
            del ends[descriptor]
            if isinstance(sink, ssl.SSLSocket):
                return  # TLS has no half-closed connections worth the name
            with contextlib.suppress(OSError):
                sink.shutdown(socket.SHUT_WR)
