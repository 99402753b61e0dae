"""Serving on streamable HTTP, for one user of this machine: 127.0.0.1 only, a token for every request.

Host and Origin are checked before anything else: a page in the user's browser can reach 127.0.0.1, under a name of its
own even (DNS rebinding), but it can neither claim our address as its origin nor know the token.
"""

from __future__ import annotations

import hmac
import os
import secrets
import signal
import socket
import stat
import sys
from typing import TYPE_CHECKING

import uvicorn
from mcp.server.transport_security import TransportSecuritySettings
from starlette.responses import JSONResponse

from sandlot.errors import PortTaken, UsageError
from sandlot.mcpserver.server import SandlotServer
from sandlot.mcpserver.session import end_soon

if TYPE_CHECKING:
    from types import FrameType

    from starlette.types import ASGIApp, Receive, Scope, Send

__all__ = ["Guard", "application", "serve_http"]

ADDRESS = "127.0.0.1"
PATH = "/mcp"
SHORTEST_TOKEN = 16
LONGEST_BODY = 32 << 20


class Guard:
    """Lets through what comes for us, from no foreign page, with the token."""

    def __init__(self, inner: ASGIApp, hosts: frozenset[str], token: str) -> None:
        self._inner = inner
        self._hosts = hosts
        self._token = b"Bearer " + token.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http":
            await self._inner(scope, receive, send)
            return
        headers = {}
        for name, value in scope["headers"]:
            headers[name] = value if name not in headers else b"\0given twice"
        refused = self._refusal(headers)
        if refused is None:
            await self._inner(scope, receive, send)
            return
        status, words = refused
        extra = {"WWW-Authenticate": "Bearer"} if status == 401 else None
        await JSONResponse({"error": words}, status_code=status, headers=extra)(scope, receive, send)

    def _refusal(self, headers: dict[bytes, bytes]) -> tuple[int, str] | None:
        if headers.get(b"host", b"").decode("latin-1").lower() not in self._hosts:
            return 403, "this is not the host that is served here"
        origin = headers.get(b"origin")
        if origin is not None and origin.decode("latin-1").lower() not in {f"http://{host}" for host in self._hosts}:
            return 403, "requests of web pages are not served"
        if not hmac.compare_digest(headers.get(b"authorization", b""), self._token):
            return 401, "the token is missing or wrong"
        return None


def application(server: SandlotServer, port: int, token: str) -> ASGIApp:
    """The server behind its guard, as an ASGI application."""
    hosts = frozenset({f"{ADDRESS}:{port}", f"localhost:{port}"})
    settings = TransportSecuritySettings(
        enable_dns_rebinding_protection=True,
        allowed_hosts=sorted(hosts),
        allowed_origins=[f"http://{host}" for host in sorted(hosts)],
    )
    inner = server.streamable_http_app(
        streamable_http_path=PATH, host=ADDRESS, transport_security=settings, max_request_body_size=LONGEST_BODY
    )
    return Guard(inner, hosts, token)


def serve_http(server: SandlotServer, port: int, token_file: str | None) -> int:
    """Serve until SIGINT or SIGTERM; the exit status. Raises PortTaken, UsageError."""
    token = secrets.token_urlsafe(32) if token_file is None else _token_of(token_file)
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    with listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((ADDRESS, port))
            listener.listen()
        except OSError as error:
            raise PortTaken(
                f"port {port} cannot be used: {error.strerror}", hint="--port 0: any that is free"
            ) from error
        bound = listener.getsockname()[1]
        config = uvicorn.Config(
            application(server, bound, token),
            log_level="critical",
            access_log=False,
            timeout_graceful_shutdown=0,  # what runs is cancelled, so that commands are ended and not waited for
            lifespan="on",
            server_header=False,
        )
        print(f"sandlot serves {server.shown.name} at http://{ADDRESS}:{bound}{PATH}", file=sys.stderr)
        if token_file is None:
            print(f"token: {token}", file=sys.stderr)
        sys.stderr.flush()
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda _number, _frame: None)  # uvicorn repeats the signal that has ended it
        try:
            _Server(config).run(sockets=[listener])
        finally:
            server.close()
    return 0


class _Server(uvicorn.Server):
    """uvicorn, which does not wait for ever."""

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        end_soon()
        super().handle_exit(sig, frame)


def _token_of(path: str) -> str:
    """The token in a file that only its owner can read. Raises UsageError."""
    try:
        descriptor = os.open(os.path.expanduser(path), os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}", hint="--token-file FILE") from error
    with open(descriptor, "rb") as file:
        info = os.fstat(descriptor)
        if not stat.S_ISREG(info.st_mode) or info.st_mode & 0o077:
            raise UsageError(f"{path} can be read by others than you", hint=f"chmod 600 {path}")
        text = file.read(4096).decode("ascii", "replace").strip()
    if len(text) < SHORTEST_TOKEN or not text.isprintable() or not text.isascii() or " " in text:
        raise UsageError(f"{path} holds no token", hint=f"one line of at least {SHORTEST_TOKEN} letters and digits")
    return text
