"""What a workspace may reach, and what reaches it: policy by name, published ports."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

__all__ = ["DEFAULT_PORTS", "PROXY_PORT", "AllowEntry", "Network", "NetworkMode", "PublishedPort", "host_name"]

DEFAULT_PORTS = (80, 443)
"""What an entry without a port stands for."""
PROXY_PORT = 3128
"""Where the egress proxy (or whoever refuses in its place) listens inside a workspace, on 127.0.0.1."""
LONGEST_NAME = 253  # RFC 1035, without the trailing dot
_LETTERS = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-_")


class NetworkMode(StrEnum):
    """``off``: nothing. ``allowlist``: the named hosts, through our proxy. ``open``: whatever is public."""

    OFF = "off"
    ALLOWLIST = "allowlist"
    OPEN = "open"


def host_name(text: str) -> str:
    """A host as policy compares it: lower case, IDNA, no trailing dot; IP addresses in their one usual form.

    Raises ValueError for what is no host name, above all for addresses in odd notations (0x7f.1, 017700000001,
    2130706433, ::ffff:127.0.0.1): a resolver would take them for an address that the policy has not seen.
    """
    import ipaddress  # with a workspace's record, everybody imports this file; few have a network

    if text.startswith("[") and text.endswith("]"):
        text = text[1:-1]
    if ":" in text:
        address = ipaddress.IPv6Address(text)
        if address.scope_id or address.ipv4_mapped:
            raise ValueError("an address in an odd notation")
        return str(address)
    name = text.lower().removesuffix(".")
    if not name.isascii():
        name = name.encode("idna").decode("ascii").lower()  # UnicodeError is a ValueError
    labels = name.split(".")
    if len(name) > LONGEST_NAME or any(not 0 < len(label) < 64 or set(label) - _LETTERS for label in labels):
        raise ValueError("not a host name")
    last = labels[-1]
    # What inet_aton(3) takes for a number: the whole name is an address then, whatever it looks like.
    if last.isdigit() or (last.startswith("0x") and not set(last[2:]) - set("0123456789abcdef")):
        return str(ipaddress.IPv4Address(name))  # four decimal numbers without leading zeros, or ValueError
    return name


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 5 and 0 < int(text) < 65536):
        raise ValueError("not a port")
    return int(text)


@dataclass(frozen=True, slots=True)
class AllowEntry:
    """One line of an allow list."""

    host: str
    """Normalised; without the ``*.`` of a wildcard."""
    wildcard: bool = False
    """Whether it stands for everything below ``host`` (and not for ``host`` itself)."""
    port: int | None = None
    """None: the default ports."""

    @classmethod
    def parse(cls, text: str) -> AllowEntry:
        """``host``, ``*.host``, ``host:port``, ``[v6]:port``. Raises ValueError."""
        host, port = text, None
        if text.count(":") == 1 or "]:" in text:
            host, _, number = text.rpartition(":")
            port = _port(number)
        wildcard = host.startswith("*.")
        name = host_name(host[2:] if wildcard else host)
        if wildcard and (":" in name or name.split(".")[-1].isdigit()):
            raise ValueError("a wildcard needs a name")
        return cls(name, wildcard, port)

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return ("*." if self.wildcard else "") + host + (f":{self.port}" if self.port else "")

    def matches(self, host: str, port: int) -> bool:
        """Whether a normalised host and a port fall under it."""
        if port not in (DEFAULT_PORTS if self.port is None else (self.port,)):
            return False
        return host.endswith("." + self.host) if self.wildcard else host == self.host


@dataclass(frozen=True, slots=True)
class PublishedPort:
    """A port inside that can be reached at 127.0.0.1 on the host."""

    port: int
    host_port: int = 0
    """Where on the host; 0 until the first start has picked one, unless ``fixed``."""
    fixed: bool = False
    """Whether the caller named the host's port: then it is this one or an error."""
    moved_from: int = 0
    """The host's port it had until the last start, when that was taken by somebody else."""

    @classmethod
    def parse(cls, text: str) -> PublishedPort:
        """``PORT`` or ``HOSTPORT:PORT``. Raises ValueError."""
        outside, colon, inside = text.rpartition(":")
        if colon and outside != "0":
            return cls(_port(inside), _port(outside), True)
        return cls(_port(inside))


@dataclass(frozen=True, slots=True)
class Network:
    """The network of one workspace."""

    mode: NetworkMode = NetworkMode.OFF
    allow: tuple[str, ...] = ()
    """AllowEntry, as text."""
    private: tuple[str, ...] = ()
    """host:port that may be reached although its address is not public."""
    published: tuple[PublishedPort, ...] = ()

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Network:
        """What ``asdict`` gave. Raises KeyError, TypeError, ValueError."""
        published = tuple(PublishedPort(**each) for each in data["published"])
        return cls(NetworkMode(data["mode"]), tuple(data["allow"]), tuple(data["private"]), published)

    @property
    def entries(self) -> tuple[AllowEntry, ...]:
        return tuple(AllowEntry.parse(each) for each in (*self.allow, *self.private))

    @property
    def needs_gateway(self) -> bool:
        """Whether a process on the host has to serve it."""
        return self.mode is not NetworkMode.OFF or bool(self.published)

    def allows(self, host: str, port: int) -> bool:
        """Whether the policy lets a normalised host be reached, as far as its name goes."""
        if self.mode is NetworkMode.OPEN:
            return True
        return self.mode is NetworkMode.ALLOWLIST and any(each.matches(host, port) for each in self.entries)

    def allows_private(self, host: str, port: int) -> bool:
        """Whether the host may have an address that is not public."""
        return any(AllowEntry.parse(each).matches(host, port) for each in self.private)

    def for_fork(self) -> Network:
        """The same for another workspace: host ports are picked anew, two workspaces cannot have the same one."""
        return replace(self, published=tuple(PublishedPort(each.port) for each in self.published))
