"""Frames: a 12-byte header and a bounded payload of flat fields.

::

    offset  size  meaning
    0       1     protocol version
    1       1     message type (see messages.py)
    2       2     reserved, zero
    4       4     request id, big endian
    8       4     payload length, big endian, at most MAX_PAYLOAD

A payload is a sequence of fields, each a 4-byte big-endian length and that many bytes. There is no nesting, so what
comes out of a workspace can neither recurse nor allocate more than the frame that carried it.

Append-only: a published message keeps its number and the meaning of its fields; new fields go to the end.
"""

import struct

VERSION = 1
HEADER = struct.Struct(">BBHII")
MAX_PAYLOAD = 4 * 1024 * 1024
MAX_FIELDS = 65536
_LENGTH = struct.Struct(">I")


class FrameError(Exception):
    """The bytes are not a frame of this protocol version."""


def encode(kind: int, request: int, fields: "list[bytes] | tuple[bytes, ...]") -> bytes:
    """One whole frame. Raises FrameError when the payload exceeds MAX_PAYLOAD."""
    parts = []
    for field in fields:
        parts.append(_LENGTH.pack(len(field)))
        parts.append(field)
    payload = b"".join(parts)
    if len(payload) > MAX_PAYLOAD or len(fields) > MAX_FIELDS:
        raise FrameError("payload too large: %d bytes in %d fields" % (len(payload), len(fields)))
    return HEADER.pack(VERSION, kind, 0, request, len(payload)) + payload


def decode_header(header: bytes) -> "tuple[int, int, int]":
    """(type, request id, payload length) of a 12-byte header."""
    version, kind, reserved, request, length = HEADER.unpack(header)
    if version != VERSION:
        raise FrameError("protocol version %d, expected %d" % (version, VERSION))
    if reserved != 0 or length > MAX_PAYLOAD:
        raise FrameError("malformed header")
    return kind, request, length


def decode_fields(payload: bytes) -> "list[bytes]":
    """The fields of a payload; the whole payload must be used up."""
    fields: list[bytes] = []
    at = 0
    end = len(payload)
    while at < end:
        if end - at < 4 or len(fields) >= MAX_FIELDS:
            raise FrameError("malformed payload")
        (length,) = _LENGTH.unpack_from(payload, at)
        at += 4
        if length > end - at:
            raise FrameError("field longer than its frame")
        fields.append(payload[at : at + length])
        at += length
    return fields


class Decoder:
    """Turns a byte stream into frames, holding at most one frame's bytes."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> "list[tuple[int, int, list[bytes]]]":
        """The frames (type, request id, fields) that are complete now."""
        self._buffer += data
        frames = []
        while len(self._buffer) >= HEADER.size:
            kind, request, length = decode_header(bytes(self._buffer[: HEADER.size]))
            end = HEADER.size + length
            if len(self._buffer) < end:
                break
            frames.append((kind, request, decode_fields(bytes(self._buffer[HEADER.size : end]))))
            del self._buffer[:end]
        return frames
