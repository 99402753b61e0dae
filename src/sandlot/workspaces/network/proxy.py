"""The egress proxy: what a workspace's HTTP clients talk to instead of the network.

One thread serves one connection of a client, request by request; each request is judged anew. What was allowed is
connected to at the very address that was checked.
"""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
import time
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import NoReturn

import h11

from sandlot.model.network import host_name
from sandlot.workspaces.network.denials import DenialLog
from sandlot.workspaces.network.exchange import BadGateway, Side, exchange, forwarded, pump
from sandlot.workspaces.network.interception import Filter, Headers, Interceptor
from sandlot.workspaces.network.judge import Denied, Judge, Target, Unreachable
from sandlot.workspaces.network.relay import IDLE_S, keep_alive, relay, reset
from sandlot.workspaces.network.server_name import LONGEST, Incomplete, NotTls, server_name

__all__ = ["Proxy"]

IDLE_CLIENT_S = 120.0
"""How long a client may keep a connection without asking anything."""
HELLO_S = 15.0
STALLED_S = 60.0
"""How long a peer may take to accept what we send it."""
PLAIN_PORT = 80
"""What is sent through a tunnel to this port are requests like any others (websockets do that): they are read."""
TLS_ALERT_UNRECOGNIZED_NAME = bytes((21, 3, 3, 0, 2, 2, 112))


class BadRequest(Exception):
    """What the client sent cannot be answered otherwise."""


@dataclass
class Proxy:
    """Serves connections of one workspace's clients."""

    judge: Judge
    log: DenialLog
    interceptor: Interceptor
    trust: str | None = None
    """A file of certificates that hosts may be signed by, besides the machine's; for tests."""

    def serve(self, connection: socket.socket) -> None:
        """Answer one client until it or we are done with it; closes the connection."""
        with connection:
            keep_alive(connection)
            connection.settimeout(STALLED_S)
            _Client(self, connection).run()

    @cached_property
    def tls(self) -> ssl.SSLContext:
        """How hosts are spoken to behind a tunnel that was opened: verified, as any client does."""
        context = ssl.create_default_context(cafile=self.trust)
        context.set_alpn_protocols(["http/1.1"])
        return context


@dataclass
class _Client:
    """One connection."""

    proxy: Proxy
    connection: socket.socket
    side: Side = field(init=False)
    upstream: Side | None = None
    target: Target | None = None
    """Where ``upstream`` leads."""
    inside: Target | None = None
    """The host that a tunnel leads to in which we read requests: every one is for it."""
    scheme: str = "http"
    """What requests are asked by: https behind TLS that we have opened."""

    def __post_init__(self) -> None:
        self.side = Side(self.connection, h11.SERVER)

    def run(self) -> None:
        try:
            while self._one():
                pass
        except Denied as denied:
            self.proxy.log.add(denied.host, denied.port, denied.why)
            self._refuse(403, "network_denied", f"{_place(denied.host, denied.port)}: {denied.why}", denied.hint)
        except Unreachable as error:
            self._refuse(502, "host_unreachable", str(error))
        except BadGateway as error:
            self._refuse(502, "bad_gateway", f"the host did not answer as it should: {error}")
        except ssl.SSLError as error:
            self._refuse(502, "tls_failed", f"TLS failed: {error.reason or error}")
        except BadRequest as error:
            self._refuse(400, "bad_request", str(error))
        except h11.RemoteProtocolError as error:
            self._refuse(error.error_status_hint, "bad_request", str(error))
        except (OSError, h11.ProtocolError):
            reset(self.connection)  # broken in the middle: nobody must take half an answer for a whole one
        finally:
            self._drop_upstream()
            with contextlib.suppress(OSError):
                self.side.socket.close()

    def _one(self) -> bool:
        """One request; whether another one may follow."""
        request = self._next_request()
        if request is None:
            return False
        if request.method == b"CONNECT":
            if self.inside is not None:
                raise BadRequest("CONNECT inside a tunnel")
            return self._tunnel(request)
        return self._forward(request)

    def _next_request(self) -> h11.Request | None:
        end = time.monotonic() + IDLE_CLIENT_S
        while True:
            event = self.side.next()
            if isinstance(event, h11.Request):
                return event
            if event is not h11.NEED_DATA:
                return None
            if not self.side.pending and not _readable(self.side.socket, end - time.monotonic()):
                return None
            self.side.fill()

    # Plain requests, and those inside a tunnel that we have opened

    def _forward(self, request: h11.Request) -> bool:
        scheme, host, port, path = self._asked(request)
        headers: Headers = list(request.headers)
        target = self._judged(host, port)
        _check_host_header(headers, target.host, port, 443 if scheme == "https" else 80)
        # No other protocol: h2c, say, would name hosts that we do not see.
        upgrade = any(name == b"upgrade" and value.strip().lower() == b"websocket" for name, value in headers)
        headers = [each for each in forwarded(headers, upgrade=upgrade) if each[0] not in (b"host", b"expect")]
        headers.insert(0, (b"host", _authority(target.host, port, 443 if scheme == "https" else 80)))
        path, headers = self.proxy.interceptor.rewrite(scheme, target.host, port, path, headers)
        upstream = self._upstream(target, tls=scheme == "https")
        onward = h11.Request(method=request.method, target=path, headers=headers)
        if exchange(self.side, upstream, onward, partial(self._redacted, scheme, target)):
            self._switched(upstream)
            return False
        if not upstream.reusable:
            self._drop_upstream()
        return self.side.reusable

    def _redacted(self, scheme: str, target: Target, headers: Headers) -> tuple[Headers, Filter | None]:
        return self.proxy.interceptor.redact_response(scheme, target.host, target.port, headers)

    def _asked(self, request: h11.Request) -> tuple[str, str, int, bytes]:
        """(scheme, host, port, path) of a request."""
        target = bytes(request.target)
        if self.inside is not None and target[:1] == b"/":
            return self.scheme, self.inside.host, self.inside.port, target
        scheme, colon, rest = target.partition(b"://")
        if not colon or scheme.lower() != self.scheme.encode():
            raise BadRequest("this is a proxy: it takes http:// addresses and CONNECT")
        cut = min((at for at in (rest.find(each) for each in (b"/", b"?", b"#")) if at >= 0), default=len(rest))
        authority, path = rest[:cut], rest[cut:].partition(b"#")[0]
        host, port = _host_and_port(authority, 443 if self.scheme == "https" else 80)
        if self.inside is not None and (self.proxy.judge.name(host, port), port) != (
            self.inside.host,
            self.inside.port,
        ):
            raise Denied(host, port, f"the tunnel leads to {self.inside.host}")
        return self.scheme, host, port, path if path[:1] == b"/" else b"/" + path

    def _judged(self, host: str, port: int) -> Target:
        """The checked host. One that an open connection leads to needs no second look, and no second resolution."""
        if self.inside is not None:
            return self.inside
        known = self.target
        if known is not None and (known.host, known.port) == (self.proxy.judge.name(host, port), port):
            return known
        return self.proxy.judge.judge(host, port)

    def _upstream(self, target: Target, *, tls: bool) -> Side:
        if self.upstream is not None and (self.target != target or self.upstream.stale):
            self._drop_upstream()
        if self.upstream is None:
            connection = self._connected(target, tls=tls)
            self.upstream, self.target = Side(connection, h11.CLIENT), target
        return self.upstream

    def _connected(self, target: Target, *, tls: bool) -> socket.socket:
        connection = target.connect()
        try:
            connection.settimeout(STALLED_S)
            return self.proxy.tls.wrap_socket(connection, server_hostname=target.host) if tls else connection
        except BaseException:
            connection.close()
            raise

    def _drop_upstream(self) -> None:
        if self.upstream is not None:
            self.upstream.socket.close()
        self.upstream = self.target = None

    def _switched(self, upstream: Side) -> None:
        """Both sides speak something else from now on, a websocket say."""
        for source, sink in ((self.side, upstream), (upstream, self.side)):
            early, _ = source.http.trailing_data
            if early:
                sink.socket.sendall(early)
        if isinstance(self.side.socket, ssl.SSLSocket) or isinstance(upstream.socket, ssl.SSLSocket):
            pump(self.side.socket, upstream.socket, idle_s=IDLE_S)
        else:
            relay(self.side.socket, upstream.socket)

    # Tunnels

    def _tunnel(self, request: h11.Request) -> bool:
        host, port = _host_and_port(bytes(request.target), None)
        target = self.proxy.judge.judge(host, port)
        _check_host_header(list(request.headers), target.host, port, 443, or_default=True)
        opened = self.proxy.interceptor.terminates(target.host, port)
        upstream = self._connected(target, tls=opened)
        with contextlib.ExitStack() as stack:
            stack.enter_context(upstream)
            self.side.send(h11.Response(status_code=200, headers=[], reason=b"Connection established"))
            early, _ = self.side.http.trailing_data
            if not opened and target.port != PLAIN_PORT:
                self._closed_tunnel(target, upstream, early)
                return False
            if opened and early:
                raise OSError("the client did not wait for the tunnel")
            self.side = Side(self._open(target) if opened else self.connection, h11.SERVER)
            if early:
                self.side.http.receive_data(early)
            self.inside = self.target = target
            self.scheme = "https" if opened else "http"
            self.upstream = Side(upstream, h11.CLIENT)
            stack.pop_all()
        return True

    def _open(self, target: Target) -> socket.socket:
        """Speak TLS with the client in the host's place."""
        context = self.proxy.interceptor.server_context(target.host)
        try:
            return context.wrap_socket(self.connection, server_side=True)
        except ssl.SSLError as error:  # it does not trust us, which is its right; there is nobody to explain it to
            raise OSError(str(error)) from error

    def _closed_tunnel(self, target: Target, upstream: socket.socket, early: bytes) -> None:
        if target.port == 443:
            early = self._checked_hello(target, early)
        if early:
            upstream.sendall(early)
        relay(self.connection, upstream)

    def _checked_hello(self, target: Target, data: bytes) -> bytes:
        """The client's first bytes, once they are seen to ask for the host the tunnel was allowed for.

        Else an allowed name would open the way to everything that is served at the same address.
        """
        end = time.monotonic() + HELLO_S
        while True:
            try:
                name = server_name(data)
                break
            except Incomplete:
                more = self.connection.recv(LONGEST) if _readable(self.connection, end - time.monotonic()) else b""
                if not more:
                    raise OSError("no ClientHello") from None
                data += more
            except NotTls:
                self._break_off(target, "what was sent to port 443 is not TLS")
        if name is not None and name.lower().removesuffix(".") != target.host:
            self._break_off(target, f"TLS asks for another host, {name[:100]}")
        return data

    def _break_off(self, target: Target, why: str) -> NoReturn:
        """The tunnel stands already: all that can be said is a TLS alert, and the log."""
        self.proxy.log.add(target.host, target.port, why)
        with contextlib.suppress(OSError):
            self.connection.sendall(TLS_ALERT_UNRECOGNIZED_NAME)
        raise OSError(why)

    def _refuse(self, status: int, code: str, message: str, hint: str = "") -> None:
        """Answer with an error a person can read, and end. Many clients show only the reason: it says the same."""
        if self.side.http.our_state not in (h11.IDLE, h11.SEND_RESPONSE):  # an answer is on its way already
            reset(self.connection)
            return
        lines = f"{code}: {message}\n" + (f"hint: {hint}\n" if hint else "")
        reason = f"{code}: {message}; {hint}" if hint else f"{code}: {message}"
        body = lines.encode("ascii", "replace")
        headers = [
            ("content-type", "text/plain; charset=utf-8"), ("content-length", str(len(body))), ("connection", "close"),
            ("x-sandlot-error", code),
        ]  # fmt: skip
        with contextlib.suppress(OSError, h11.ProtocolError):
            answer = h11.Response(status_code=status, headers=headers, reason=_one_line(reason))
            self.side.send(answer)
            self.side.send(h11.Data(data=body))
            self.side.send(h11.EndOfMessage())
            self.side.socket.shutdown(socket.SHUT_WR)
            end = time.monotonic() + 1  # what it still sends must not turn into a reset that overtakes the answer
            while _readable(self.side.socket, end - time.monotonic()) and self.side.socket.recv(65536):
                pass


def _readable(connection: socket.socket, timeout_s: float) -> bool:
    poller = select.poll()
    poller.register(connection, select.POLLIN)
    return bool(poller.poll(max(0.0, timeout_s) * 1000))


def _host_and_port(authority: bytes, default: int | None) -> tuple[str, int]:
    """What stands in a request. Raises BadRequest."""
    text = authority.decode("latin-1")
    if "@" in text:
        raise BadRequest("an address with a user name in it")
    host, colon, port = text.rpartition(":")
    if not colon or "]" in port:
        host, port = text, ""
    if not port and default is not None:
        return host, default
    if not (port.isascii() and port.isdigit() and len(port) <= 5 and 0 < int(port) < 65536):
        raise BadRequest("an address without a usable port")
    return host, int(port)


def _authority(host: str, port: int, default: int) -> bytes:
    shown = f"[{host}]" if ":" in host else host
    return (shown if port == default else f"{shown}:{port}").encode()


def _place(host: str, port: int) -> str:
    return _authority(host, port, 0).decode("ascii", "replace")


def _check_host_header(headers: Headers, host: str, port: int, default: int, *, or_default: bool = False) -> None:
    """The Host header must name what was judged: behind a shared address it decides who answers. Raises Denied."""
    for name, value in headers:
        if name == b"host":
            try:
                named, number = _host_and_port(value.strip(), default)
                same = host_name(named) == host and (number == port or (or_default and number == default))
            except (ValueError, BadRequest):
                same = False
            if not same:
                shown = value[:100].decode("ascii", "replace")
                raise Denied(host, port, f"the Host header names another host, {shown}")


def _one_line(text: str) -> bytes:
    return "".join(letter if " " <= letter <= "~" else "?" for letter in text).encode()[:400]
