"""Sending frames and receiving them with descriptors, on the C socket type."""

import _socket
import os
import struct

from sandlot.wire import frames

LONGEST_POLL_MS = 2.0**31 - 1
"""poll(2) counts in an int: a longer wait is several of these."""
MAX_DESCRIPTORS = 8
_ANCILLARY = _socket.CMSG_SPACE(MAX_DESCRIPTORS * 4)
_CHUNK = 65536


def peer_is_outside(connection: "_socket.socket") -> bool:
    """Whether the peer is a process of the host: it has no pid in our namespace, so the kernel shows 0 (unix(7))."""
    size = struct.calcsize("iII")
    pid, _, _ = struct.unpack("iII", connection.getsockopt(_socket.SOL_SOCKET, _socket.SO_PEERCRED, size))
    return bool(pid == 0)


def receive(connection: "_socket.socket") -> "tuple[bytes, list[int]]":
    """Bytes and descriptors that are there; b"" at the end of the stream. Raises BlockingIOError."""
    data, ancillary, _, _ = connection.recvmsg(_CHUNK, _ANCILLARY, _socket.MSG_CMSG_CLOEXEC)
    descriptors: list[int] = []
    for level, kind, payload in ancillary:
        if level == _socket.SOL_SOCKET and kind == _socket.SCM_RIGHTS:
            count = len(payload) // 4
            descriptors.extend(struct.unpack("%di" % count, payload[: count * 4]))
    return data, descriptors


def send(connection: "_socket.socket", kind: int, request: int, fields: "list[bytes]") -> None:
    """Send one frame, waiting as long as the socket's own timeout allows."""
    connection.sendall(frames.encode(kind, request, fields))


def close_all(descriptors: "list[int]") -> None:
    """Close descriptors that were handed to us."""
    for descriptor in descriptors:
        os.close(descriptor)
