"""The decision: by name first, then by every address that the name has; and the connection to what was checked."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable
from dataclasses import dataclass

from sandlot.model.network import Network, NetworkMode, host_name
from sandlot.workspaces.network.addresses import closed_because
from sandlot.workspaces.network.relay import keep_alive

__all__ = ["Denied", "Judge", "Target", "Unreachable"]

CONNECT_S = 15.0
"""How long one address of a host may take to accept a connection."""
MAX_ADDRESSES = 8

Resolve = Callable[[str, int], list[str]]


class Denied(Exception):
    """The policy closes this; ``host`` is as normalised as it could be, ``why`` a sentence without an end."""

    def __init__(self, host: str, port: int, why: str, hint: str = "") -> None:
        super().__init__(why)
        self.host = host
        self.port = port
        self.why = why
        self.hint = hint


class Unreachable(Exception):
    """Allowed, and not there."""


@dataclass(frozen=True)
class Target:
    """A host that may be connected to, at these very addresses."""

    host: str
    port: int
    addresses: tuple[str, ...]

    def connect(self) -> socket.socket:
        """A connection to the first address that accepts one. Raises Unreachable."""
        last: OSError | None = None
        for address in self.addresses:
            try:
                made = socket.create_connection((address, self.port), timeout=CONNECT_S)
            except OSError as error:
                last = error
                continue
            keep_alive(made)
            return made
        raise Unreachable(f"{self.host}:{self.port} does not accept connections: {_reason(last)}")


class Judge:
    """Decides for one workspace; safe to use from several threads."""

    def __init__(self, network: Network, workspace: str, resolve: Resolve | None = None) -> None:
        """``workspace``: what the hint calls it."""
        self._network = network
        self._entries = network.entries
        self._workspace = workspace
        self._resolve = resolve or _resolve

    def name(self, host: str, port: int) -> str:
        """The normalised name, if the policy lets it be reached. Raises Denied."""
        try:
            found = host_name(host)
        except ValueError:
            raise Denied(_printable(host), port, "that is no host name, or an address in an unusual notation") from None
        if self._network.mode is NetworkMode.OPEN or any(entry.matches(found, port) for entry in self._entries):
            return found
        shown = f"[{found}]" if ":" in found else found
        entry = shown if port in (80, 443) else f"{shown}:{port}"
        raise Denied(
            found, port, "the workspace's allow list has no such host and port",
            f"sandlot workspace update {self._workspace} --allow {entry}",
        )  # fmt: skip

    def judge(self, host: str, port: int) -> Target:
        """What may be connected to. Raises Denied, Unreachable (no such name)."""
        name = self.name(host, port)
        private = self._network.allows_private(name, port)
        addresses = self._resolve(name, port)
        for address in addresses:
            # All of them: which one a client ends up with must not depend on luck, or on who answers the DNS.
            closed = closed_because(address, private=private)
            if closed is not None:
                raise Denied(
                    name, port, f"its address {address} is closed in every mode ({closed})",
                    "" if private else "only --allow-private HOST:PORT opens a private address",
                )  # fmt: skip
        # From here on only these addresses are used: a name that changes its mind is not asked again.
        return Target(name, port, tuple(addresses[:MAX_ADDRESSES]))


def _resolve(host: str, port: int) -> list[str]:
    with contextlib.suppress(OSError):  # an address needs no resolver
        for family in (socket.AF_INET, socket.AF_INET6):
            with contextlib.suppress(OSError):
                socket.inet_pton(family, host)
                return [host]
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise Unreachable(f"the name {host} cannot be resolved: {_reason(error)}") from error
    return list(dict.fromkeys(str(entry[4][0]).partition("%")[0] for entry in found))


def _reason(error: Exception | None) -> str:
    return (getattr(error, "strerror", None) or str(error) or "no address") if error else "it has no address"


def _printable(text: str) -> str:
    """A host as it was written, fit for a log and a header."""
    return "".join(letter if letter.isascii() and letter.isprintable() else "?" for letter in text[:100])
