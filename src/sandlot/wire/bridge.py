"""The bridge: many streams over the one serial port between a guest and its keeper on the host.

Every frame has the 12-byte header of ``frames``, with the stream's number in the request's place and a payload of at
most PAYLOAD bytes, so that a frame is one buffer of the port. Stream 0 is about the guest itself::

    HELLO      guest -> host   name, value...   the bridge runs: once after boot, so a template is ready when it came
    CONFIGURE  host -> guest   name, value...   a session begins, after a clone -> DONE | REFUSED
    START      host -> guest   name, value...   mount what was configured, start the agent -> DONE | REFUSED
    DONE       guest -> host   the request's kind in decimal, name, value...
    REFUSED    guest -> host   the request's kind in decimal, code, message, details...
    ENDED      guest -> host   words: the agent has ended, and so does the guest; the last frame

The host opens streams with odd numbers, the guest with even ones, each in rising order; a number is used once in a
session. A stream carries bytes both ways, each way with its own flow control and its own end::

    OPEN    kind (one of the words below), words...
    OPENED  -                       a PORT or LISTEN does work
    DATA    bytes                   never more than the receiver has room for: WINDOW at first, more by CREDIT
    CREDIT  4 bytes                 so many bytes more may be sent
    END     -                       no more bytes come this way
    STOP    -                       no more bytes are wanted: the other side answers with END (a FILE does not)
    RESET   errno in decimal        both at once, abnormally; answered by RESET unless both ways had ended
    CARRY   number, kind...         descriptors that go with the next byte of an AGENT stream; each is a stream
    WRITE   8 bytes, bytes          a FILE: bytes at an offset
    CUT     8 bytes                 a FILE: its size from now on

Frames of one side take effect in the order in which they were sent, whatever their streams: what a command has printed
is in its file before a client hears that there is more to read.

Append-only, as all of the wire.
"""

import struct

from sandlot.wire import frames

VERSION = 1
PAYLOAD = 32 * 1024 - frames.HEADER.size
"""A virtio-serial port takes at most 32 KiB at a time."""
WINDOW = 128 * 1024
"""Bytes of one stream that may be on their way, or wait for a slow reader."""
MAX_STREAMS = 2048
"""Open at the same time, on whatever side they began; who opens more is refused (the host) or cut off (the guest)."""
MAX_CARRIED = 8

CONTROL = 0
HELLO, CONFIGURE, START, DONE, REFUSED, ENDED = 1, 2, 3, 4, 5, 6
OPEN, OPENED, DATA, CREDIT, END, STOP, RESET, CARRY, WRITE, CUT = 16, 17, 18, 19, 20, 21, 22, 23, 24, 25

# Kinds of streams: opened by the host
AGENT = b"agent"  #    -            a client's connection to the agent
PORT = b"port"  #      port         a TCP connection to a port of the guest's loopback; OPENED or RESET
LISTEN = b"listen"  #  port         the guest listens there while the stream is open; OPENED or RESET
JOB = b"job"  #        name, words  a connection to a function inside, see guest/jobs.py
# carried by an AGENT stream
SOURCE = b"source"  #  -            something to read: bytes flow to the guest
SINK = b"sink"  #      -            something to write: bytes flow to the host
FILE = b"file"  #      -            a file of the host: WRITE, CUT, END
DUPLEX = b"duplex"  #  -            a socket
# opened by the guest
CLIENT = b"client"  #  number of the LISTEN stream      somebody has connected there

LAST = b"last"
"""The only word of a JOB that begins when the agent has ended; the guest stays until it has, too."""

ONE_WAY = {SOURCE: 1, SINK: 0, FILE: 0}
"""Kinds whose bytes flow one way, and the parity of the sender's numbers: 1 is the host."""

# Requests of host programs to a keeper, on the socket on which it also takes what is for the agent: frames as in
# ``frames``, told from an agent's by their type. ASK_PORT and ASK_LISTEN are answered by RESULT or FAILED.
ASK_PORT = 200  #    port; with RESULT comes a descriptor: a TCP socket that leads to that port
ASK_LISTEN = 201  #  port; after RESULT each connection made there comes as such a descriptor with one byte
ASK_JOB = 202  #     name, words...; from here on the connection belongs to the function inside
ASK_START = 203  #   name, value...: START; RESULT name, value... | FAILED
ASKED = frozenset((ASK_PORT, ASK_LISTEN, ASK_JOB, ASK_START))

TMP_BYTES = 1 << 30
"""What a template has."""

_OFFSET = struct.Struct(">Q")
_CREDIT = struct.Struct(">I")


class BridgeError(Exception):
    """The other side does not keep to the protocol."""


def frame(kind: int, stream: int, payload: bytes = b"") -> bytes:
    """One frame. Raises BridgeError when the payload is too long."""
    if len(payload) > PAYLOAD:
        raise BridgeError("payload of %d bytes" % len(payload))
    return frames.HEADER.pack(frames.VERSION, kind, 0, stream, len(payload)) + payload


def told(kind: int, stream: int, fields: "list[bytes]") -> bytes:
    """One frame whose payload are flat fields. Raises BridgeError when they are too long."""
    try:
        encoded = frames.encode(kind, stream, fields)
    except frames.FrameError as error:
        raise BridgeError(str(error)) from None
    if len(encoded) > PAYLOAD + frames.HEADER.size:
        raise BridgeError("fields of %d bytes" % len(encoded))
    return encoded


def fields_of(payload: bytes) -> "list[bytes]":
    """The fields of a payload. Raises BridgeError."""
    try:
        return frames.decode_fields(payload)
    except frames.FrameError as error:
        raise BridgeError(str(error)) from None


def credit(stream: int, count: int) -> bytes:
    """Room for more."""
    return frame(CREDIT, stream, _CREDIT.pack(count))


def credit_of(payload: bytes) -> int:
    """Raises BridgeError."""
    if len(payload) != _CREDIT.size:
        raise BridgeError("malformed credit")
    return int(_CREDIT.unpack(payload)[0])


def write(stream: int, offset: int, data: bytes) -> bytes:
    """Bytes for a FILE; at most PIECE of them."""
    return frame(WRITE, stream, _OFFSET.pack(offset) + data)


PIECE = PAYLOAD - _OFFSET.size


def cut(stream: int, size: int) -> bytes:
    """The size of a FILE."""
    return frame(CUT, stream, _OFFSET.pack(size))


def offset_of(payload: bytes) -> int:
    """The offset at the start of a WRITE's payload, or the size in a CUT's. Raises BridgeError."""
    if len(payload) < _OFFSET.size:
        raise BridgeError("no offset")
    return int(_OFFSET.unpack_from(payload)[0])


def pairs(values: "dict[bytes, bytes]") -> "list[bytes]":
    """Fields: name, value, name, value, ..."""
    return [each for pair in values.items() for each in pair]


def values_of(fields: "list[bytes]") -> "dict[bytes, bytes]":
    """The same back; unknown names are for newer sides, and nobody's fault. Raises BridgeError."""
    if len(fields) % 2:
        raise BridgeError("a name without a value")
    return dict(zip(fields[::2], fields[1::2]))  # noqa: B905  Python 3.9


# Names in CONFIGURE: what a clone must not share with its template.
TIME = b"time"  #          nanoseconds since the epoch
SEED = b"seed"  #          32 random bytes or more for the random pool
HOSTNAME = b"hostname"
WORKSPACE = b"workspace"  # id

# Names in START.
IDLE = b"idle"  #      seconds without activity after which the agent ends; 0: never
LIMITS = b"limits"  #  as guest/watch.py reads them
PYTHON = b"python"  #  the interpreter that runs the agent; absent: our own
TMP = b"tmp"  #        bytes of /tmp and of /dev/shm, each; absent: TMP_BYTES
PROCESSES = b"processes"  #  most processes and threads that the guest's kernel allows
FILES = b"files"  #    most open files of a process that the guest's kernel allows
BUILDING = b"building"  #  a setup is to change the root file system (guest/building.py)
ROOM = b"room"  #      bytes of the data disk that may be filled; absent: all of it
FILTER = b"filter"  #  with BUILDING: its system-call filter, as prctl(2) takes it; others have the template's


class Decoder:
    """Turns what a port reads into frames; holds less than one frame's bytes."""

    def __init__(self) -> None:
        self._buffer = b""

    @property
    def empty(self) -> bool:
        """Whether all that came has been taken."""
        return not self._buffer

    def feed(self, data: bytes) -> "list[tuple[int, int, bytes]]":
        """The frames (kind, stream, payload) that are whole now. Raises BridgeError."""
        if self._buffer:
            data = self._buffer + data
        found = []
        at = 0
        end = len(data)
        while end - at >= 12:
            version, kind, reserved, stream, length = frames.HEADER.unpack_from(data, at)
            if version != frames.VERSION or reserved or length > PAYLOAD:
                raise BridgeError("malformed header")
            if end - at - 12 < length:
                break
            at += 12 + length
            found.append((kind, stream, data[at - length : at]))
        self._buffer = data[at:]
        return found
