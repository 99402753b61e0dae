"""One POST of JSON: bounded in time and size, cancellable, without redirects (they would carry the key elsewhere)."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import ssl
import threading
import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, urlsplit
from urllib.request import getproxies, proxy_bypass

if TYPE_CHECKING:
    from sandlot.workspaces.cancellation import Cancellation

__all__ = ["HttpFailed", "post_json"]

REPLY_BYTES = 16 << 20
PIECE = 1 << 16
WAIT_S = 1.0
"""Before the first repetition; twice as long before each further one, or what the server asks for."""
MOST_WAIT_S = 30.0
AGAIN = frozenset((408, 409, 425, 429, 500, 502, 503, 504, 529))


class HttpFailed(Exception):
    """There was no usable reply."""

    def __init__(
        self, message: str, *, timed_out: bool = False, again: bool = False, wait_s: float | None = None
    ) -> None:
        super().__init__(message)
        self.timed_out = timed_out
        self.again = again
        self.wait_s = wait_s


def post_json(
    url: str,
    body: Mapping[str, Any],
    headers: Mapping[str, str],
    *,
    timeout_s: float,
    retries: int,
    cancellation: Cancellation | None,
) -> Any:
    """The parsed reply. ``timeout_s``: for all attempts together. Raises HttpFailed, Cancelled."""
    deadline = time.monotonic() + timeout_s
    data = json.dumps(body).encode()
    for attempt in range(retries + 1):
        try:
            return _post(urlsplit(url), data, headers, deadline, cancellation)
        except HttpFailed as failure:
            wait_s = WAIT_S * 2**attempt if failure.wait_s is None else failure.wait_s
            wait_s = min(wait_s, MOST_WAIT_S)
            if not failure.again or attempt == retries or time.monotonic() + wait_s >= deadline:
                raise
            _pause(wait_s, cancellation)
    raise HttpFailed("no attempt was allowed")


def _pause(wait_s: float, cancellation: Cancellation | None) -> None:
    over = threading.Event()
    with contextlib.nullcontext() if cancellation is None else cancellation.waking(over.set):
        over.wait(wait_s)
    if cancellation is not None:
        cancellation.check()


def _post(
    url: SplitResult, data: bytes, headers: Mapping[str, str], deadline: float, cancellation: Cancellation | None
) -> Any:
    path = url.path + (f"?{url.query}" if url.query else "")
    try:
        with _connected(url, deadline) as connection, _waking(connection, cancellation):
            connection.request("POST", path, data, {**headers, "Accept": "application/json"})
            response = connection.getresponse()
            status, text = response.status, _read(response, connection, deadline)
            after = response.getheader("Retry-After", "")
    except TimeoutError:
        _check(cancellation)
        raise HttpFailed(f"{url.hostname} did not answer in time", timed_out=True) from None
    except (OSError, http.client.HTTPException) as error:
        _check(cancellation)
        raise HttpFailed(f"{url.hostname}: {str(error) or type(error).__name__}", again=True) from None
    if status != 200:
        wait_s = float(after) if after.isascii() and after.isdigit() else None
        shown = text[:500].decode("utf-8", "replace")
        raise HttpFailed(f"{url.hostname} answered {status}: {shown}", again=status in AGAIN, wait_s=wait_s)
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise HttpFailed(f"{url.hostname} answered something that is not JSON") from None


def _check(cancellation: Cancellation | None) -> None:
    if cancellation is not None:
        cancellation.check()


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


@contextlib.contextmanager
def _connected(url: SplitResult, deadline: float) -> Iterator[http.client.HTTPConnection]:
    secure = url.scheme == "https"
    host, port = url.hostname or "", url.port or (443 if secure else 80)
    proxy = None if proxy_bypass(f"{host}:{port}") else getproxies().get(url.scheme)
    at = urlsplit(proxy if "://" in proxy else f"http://{proxy}") if proxy else None
    first = (at.hostname or "", at.port or 80) if at else (host, port)
    connection: http.client.HTTPConnection
    if secure:
        context = ssl.create_default_context()
        connection = http.client.HTTPSConnection(*first, timeout=_left(deadline), context=context)
    else:
        connection = http.client.HTTPConnection(*first, timeout=_left(deadline))
    if at:
        connection.set_tunnel(host, port)
    try:
        connection.connect()
        yield connection
    finally:
        connection.close()


@contextlib.contextmanager
def _waking(connection: http.client.HTTPConnection, cancellation: Cancellation | None) -> Iterator[None]:
    taken: socket.socket = connection.sock

    def wake() -> None:
        with contextlib.suppress(OSError):
            taken.shutdown(socket.SHUT_RDWR)

    with contextlib.nullcontext() if cancellation is None else cancellation.waking(wake):
        yield


def _read(response: http.client.HTTPResponse, connection: http.client.HTTPConnection, deadline: float) -> bytes:
    """All of it, whoever sends it in drops."""
    parts: list[bytes] = []
    total = 0
    while True:
        if connection.sock is not None:
            connection.sock.settimeout(_left(deadline))
        _left(deadline)
        data = response.read1(PIECE)
        if not data:
            return b"".join(parts)
        total += len(data)
        if total > REPLY_BYTES:
            raise HttpFailed(f"the reply is larger than {REPLY_BYTES >> 20} MiB")
        parts.append(data)
