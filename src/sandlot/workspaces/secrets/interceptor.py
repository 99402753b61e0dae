"""What the egress proxy asks: which TLS to open, and what to put in the place of placeholders.

A value goes into header values (inside Basic credentials, too) and the query of requests to the very scheme, host and
port its secret is bound to, and only if the request names that host itself: on a shared front end a foreign ``Host``
would reach somebody else. Never into paths (servers and their proxies log them), never into bodies.

Workspaces are served for hours and secrets change meanwhile: the vault is read again when its file has changed.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import os
import resource
import ssl
import threading
import time
from collections.abc import Sequence
from urllib.parse import quote

from sandlot.errors import SandlotError
from sandlot.guest import protect
from sandlot.paths import Paths, WorkspacePaths
from sandlot.workspaces.network.interception import Headers
from sandlot.workspaces.redaction import Masking, Redactor
from sandlot.workspaces.secrets import vault as vaults
from sandlot.workspaces.secrets.authority import LEAF_LIFE, Authority
from sandlot.workspaces.secrets.bound_host import BoundHost
from sandlot.workspaces.secrets.vault import Vault

__all__ = ["SecretsInterceptor", "load"]

MOST_CONTEXTS = 64
_NEVER = frozenset(
    (b"host", b"connection", b"content-length", b"transfer-encoding", b"te", b"trailer", b"upgrade", b"expect", b"via")
)
"""Headers that say how a request is read or where it goes: no secret belongs there."""

Target = tuple[str, str, int]


def load(paths: Paths, workspace_id: str) -> SecretsInterceptor:
    """The interceptor of a workspace, for the process that holds its secrets from now on.

    That leaves no core dump, neither as a file nor to a crash handler, and is not inspected by others of its user.
    """
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    protect.forbid_inspection()
    return SecretsInterceptor(paths.workspace(workspace_id))


class SecretsInterceptor:
    """See ``network.interception.Interceptor``. Safe to use from several threads."""

    def __init__(self, own: WorkspacePaths) -> None:
        self._own = own
        self._lock = threading.Lock()
        self._stamp: tuple[int, int, int] | None = None
        self._known = _Known(Vault())

    def terminates(self, host: str, port: int) -> bool:
        """Whether a secret is bound to this host over TLS."""
        return bool(self._current().at("https", host, port))

    def server_context(self, host: str) -> ssl.SSLContext:
        """TLS as ``host``, towards the workspace."""
        return self._current().context(host)

    def rewrite(self, scheme: str, host: str, port: int, target: bytes, headers: Headers) -> tuple[bytes, Headers]:
        """The target and the headers with values in the place of placeholders."""
        bound = self._current().at(scheme, host, port)
        if not bound or not _meant_for(headers, scheme, host, port):
            return target, headers
        path, mark, query = target.partition(b"?")
        for placeholder, value in bound:
            query = query.replace(placeholder, quote(value, safe="").encode())
        # An answer may repeat this request or an earlier one: it has to be readable, or the value could not be found.
        return path + mark + query, [
            (name, _value(name, value, bound)) for name, value in headers if name != b"accept-encoding"
        ]

    def redact_response(self, scheme: str, host: str, port: int, headers: Headers) -> tuple[Headers, Masking | None]:
        """Answer headers without values, and what the body has to pass through, if anything.

        Headers get the placeholder back: a redirect that repeats the query, or a cookie, goes on working.
        """
        found = self._current()
        bound = found.at(scheme, host, port)
        if not bound:
            return headers, None
        shown = [(name, found.redactor.mask(_emptied(value, bound))) for name, value in headers]
        return shown, Masking(found.redactor)

    def _current(self) -> _Known:
        try:
            info = os.stat(self._own.secrets)
            stamp = (info.st_ino, info.st_mtime_ns, info.st_size)
        except OSError:
            stamp = None
        with self._lock:
            if stamp != self._stamp:
                try:
                    self._known = _Known(vaults.load(self._own) if stamp else Vault())
                except SandlotError:  # damaged: nothing is put in then, and `secret list` says why
                    self._known = _Known(Vault())
                self._stamp = stamp
            return self._known


class _Known:
    """One state of the vault, by where values go."""

    def __init__(self, vault: Vault) -> None:
        self._vault = vault
        self._bound: dict[Target, list[tuple[bytes, str]]] = {}
        for kept in vault.secrets.values():
            for host in map(BoundHost.parse, kept.binding.hosts):
                place = self._bound.setdefault((host.scheme, host.host, host.port), [])
                place.append((kept.binding.placeholder.encode(), kept.value))
        self.redactor = Redactor(kept.value for kept in vault.secrets.values())
        self._contexts: dict[str, tuple[float, ssl.SSLContext]] = {}
        self._lock = threading.Lock()

    def at(self, scheme: str, host: str, port: int) -> Sequence[tuple[bytes, str]]:
        """Placeholders and values for this place."""
        return self._bound.get((scheme, host, port), ())

    def context(self, host: str) -> ssl.SSLContext:
        with self._lock:
            until, context = self._contexts.get(host, (0.0, None))
            if context is None or time.monotonic() > until:
                if len(self._contexts) >= MOST_CONTEXTS:
                    self._contexts.clear()
                authority = Authority.load(self._vault.authority_key, self._vault.authority_certificate)
                context = authority.server_context(host)
                self._contexts[host] = (time.monotonic() + LEAF_LIFE.total_seconds() / 2, context)
            return context


def _meant_for(headers: Headers, scheme: str, host: str, port: int) -> bool:
    """Whether the request names the host that it goes to, once."""
    named = [value for name, value in headers if name == b"host"]
    if len(named) != 1:
        return False
    try:
        said = BoundHost.parse(f"{scheme}://{named[0].decode('ascii')}")
    except (SandlotError, UnicodeDecodeError):
        return False
    return (said.host, said.port) == (host, port)


def _emptied(value: bytes, bound: Sequence[tuple[bytes, str]]) -> bytes:
    for placeholder, secret in bound:
        value = value.replace(secret.encode(), placeholder).replace(quote(secret, safe="").encode(), placeholder)
    return value


def _value(name: bytes, value: bytes, bound: Sequence[tuple[bytes, str]]) -> bytes:
    if name in _NEVER:
        return value
    for placeholder, secret in bound:
        value = value.replace(placeholder, secret.encode())
    kind, space, credentials = value.partition(b" ")
    if kind.lower() != b"basic" or not space:
        return value
    try:
        plain = base64.b64decode(credentials.strip(), validate=True)
    except (binascii.Error, ValueError):
        return value
    filled = plain
    for placeholder, secret in bound:
        filled = filled.replace(placeholder, secret.encode())
    return value if filled == plain else kind + space + base64.b64encode(filled)
