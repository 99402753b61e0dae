"""The name a TLS client asks for (SNI), read from its ClientHello without taking part (RFC 8446, RFC 6066)."""

from __future__ import annotations

__all__ = ["Incomplete", "NotTls", "server_name"]

LONGEST = 64 * 1024
"""A ClientHello beyond this many bytes is none of a client that means well."""
_HANDSHAKE, _CLIENT_HELLO, _SERVER_NAME, _HOST_NAME = 22, 1, 0, 0


class Incomplete(Exception):
    """More bytes are needed."""


class NotTls(Exception):
    """What was sent is no ClientHello."""


class _Bytes:
    """A cursor that refuses to read beyond its end."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def __bool__(self) -> bool:
        return self._at < len(self._data)

    def take(self, count: int) -> bytes:
        if self._at + count > len(self._data):
            raise NotTls
        self._at += count
        return self._data[self._at - count : self._at]

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "big")

    def vector(self, size: int) -> _Bytes:
        """What stands behind a length of ``size`` bytes."""
        return _Bytes(self.take(self.number(size)))


def server_name(data: bytes) -> str | None:
    """The server name in the ClientHello that a connection begins with; None: it names none.

    Raises Incomplete when more bytes are needed, NotTls when it is none.
    """
    hello = _Bytes(_handshake(data))
    hello.take(2 + 32)  # version, random
    for size in (1, 2, 1):  # session id, cipher suites, compression methods
        hello.vector(size)
    if not hello:
        return None
    extensions = hello.vector(2)
    found = None
    while extensions:
        kind = extensions.number(2)
        content = extensions.vector(2)
        if kind == _SERVER_NAME:
            names = content.vector(2)
            while names:
                name_kind = names.number(1)
                name = names.take(names.number(2))
                if name_kind != _HOST_NAME or found is not None:
                    raise NotTls  # two names: who knows which one counts
                found = name
    return None if found is None else found.decode("ascii", "replace")


def _handshake(data: bytes) -> bytes:
    """The body of the first handshake message, which may be spread over several records."""
    if len(data) > LONGEST:
        raise NotTls
    message = bytearray()
    at = 0
    while True:
        header = data[at : at + 5]
        if header[:1] not in (b"", bytes((_HANDSHAKE,))) or header[1:2] not in (b"", b"\3"):
            raise NotTls
        if len(header) < 5:
            raise Incomplete
        size = int.from_bytes(header[3:5], "big")
        if not 0 < size <= 16384:
            raise NotTls
        message += data[at + 5 : at + 5 + size]
        if message[:1] not in (b"", bytes((_CLIENT_HELLO,))):
            raise NotTls
        if len(message) >= 4:
            length = int.from_bytes(message[1:4], "big")
            if length > LONGEST:
                raise NotTls
            if len(message) >= 4 + length:
                return bytes(message[4 : 4 + length])
        at += 5 + size
        if at > len(data):
            raise Incomplete
