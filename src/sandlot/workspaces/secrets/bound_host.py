"""Where a secret may go: one scheme, one host, one port. No wildcards: a value goes to who was named alone."""

from __future__ import annotations

from dataclasses import dataclass

from sandlot.errors import UsageError
from sandlot.model.network import host_name

__all__ = ["BoundHost"]

_PORTS = {"https": 443, "http": 80}


@dataclass(frozen=True, slots=True)
class BoundHost:
    """``https`` unless the caller wrote ``http://``; the port of the scheme unless one was named."""

    scheme: str
    host: str
    """Lower case, IDNA, no trailing dot, no brackets: as the proxy normalises names."""
    port: int

    @classmethod
    def parse(cls, text: str) -> BoundHost:
        """``[https://|http://]HOST[:PORT]``. Raises UsageError."""
        scheme, mark, rest = text.strip().rpartition("://")
        scheme = scheme.lower() if mark else "https"
        if scheme not in _PORTS:
            raise UsageError(f"a secret cannot be bound to {text!r}", hint="only https:// and http:// can carry it")
        host, port = _split(rest.removesuffix("/"), text)
        if "*" in host:
            raise UsageError(
                f"a secret cannot be bound to the wildcard {text!r}", hint="name each host that is to get it"
            )
        number = _PORTS[scheme] if port is None else int(port) if port.isascii() and port.isdigit() else 0
        if not 0 < number < 65536:
            raise UsageError(f"{text!r} has no valid port")
        return cls(scheme, _normal(host, text), number)

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = "" if self.port == _PORTS[self.scheme] else f":{self.port}"
        return f"{'' if self.scheme == 'https' else self.scheme + '://'}{host}{port}"


def _split(rest: str, text: str) -> tuple[str, str | None]:
    if rest.startswith("["):
        host, bracket, tail = rest[1:].partition("]")
        if not bracket or (tail and not tail.startswith(":")):
            raise UsageError(f"{text!r} is not a host")
        return host, tail[1:] if tail else None
    host, colon, port = rest.partition(":")
    return host, port if colon else None


def _normal(host: str, text: str) -> str:
    try:
        return host_name(host)
    except ValueError:
        raise UsageError(
            f"{text!r} is not a host", hint="HOST, HOST:PORT or http://HOST:PORT, without a path"
        ) from None
