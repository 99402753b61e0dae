"""What host programs ask a keeper for, over the workspace's socket: ports, jobs inside, the agent's start."""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Mapping
from pathlib import Path

from sandlot.errors import AgentUnresponsive, ProtocolError
from sandlot.runtimes.channel import raise_failure
from sandlot.wire import bridge as wire
from sandlot.wire import frames, messages

__all__ = ["Listener", "connect", "job", "listen", "start"]

ASK_S = 20.0
"""How long a keeper may take to answer."""
START_S = 60.0
"""How long the start of an agent may take in an emulated guest."""


def _asked(path: Path, kind: int, fields: list[bytes], timeout_s: float) -> socket.socket:
    """A connection on which a request has been sent."""
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        made.settimeout(timeout_s)
        folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)  # an address holds 107 bytes
        try:
            made.connect(f"/proc/self/fd/{folder}/{path.name}")
        finally:
            os.close(folder)
        made.sendall(frames.encode(kind, 1, fields))
    except TimeoutError as error:
        made.close()
        raise AgentUnresponsive("the workspace's keeper does not answer") from error
    except (FileNotFoundError, ConnectionError) as error:
        made.close()
        raise AgentUnresponsive("the workspace's keeper is not there") from error
    except BaseException:
        made.close()
        raise
    return made


def _answer(made: socket.socket, given: list[socket.socket] | None = None) -> tuple[int, list[bytes]]:
    """The one frame that answers, and (into ``given``) the socket that comes with it; nothing behind it is read."""
    try:
        kind, _, length = frames.decode_header(_exactly(made, frames.HEADER.size, given))
        if length > wire.PAYLOAD:
            raise frames.FrameError("too long")
        return kind, frames.decode_fields(_exactly(made, length, given))
    except frames.FrameError as error:
        raise ProtocolError(f"the keeper sent something that is not our protocol: {error}") from error
    except TimeoutError as error:
        raise AgentUnresponsive("the workspace's keeper does not answer") from error
    except ConnectionError as error:
        raise AgentUnresponsive("the workspace's keeper has ended") from error


def _exactly(made: socket.socket, size: int, given: list[socket.socket] | None) -> bytes:
    found = b""
    while len(found) < size:
        data, ancillary, _, _ = made.recvmsg(size - len(found), socket.CMSG_SPACE(4), socket.MSG_CMSG_CLOEXEC)
        for level, kind, payload in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                (descriptor,) = struct.unpack("i", payload[:4])
                received = socket.socket(fileno=descriptor)
                if given is None:
                    received.close()
                else:
                    given.append(received)
        if not data:
            raise ConnectionResetError
        found += data
    return found


def start(path: Path, values: Mapping[bytes, bytes], *, timeout_s: float = START_S) -> None:
    """Start the agent of a guest. Raises StartFailed, AgentUnresponsive."""
    with _asked(path, wire.ASK_START, wire.pairs(dict(values)), timeout_s) as made:
        kind, fields = _answer(made)
    if kind != messages.RESULT:
        raise_failure(fields)


def job(path: Path, name: bytes, words: list[bytes] | None = None, *, timeout_s: float = ASK_S) -> socket.socket:
    """A connection to a function inside (guest/jobs.py); one that there is not is at its end at once."""
    made = _asked(path, wire.ASK_JOB, [name, *(words or [])], timeout_s)
    made.settimeout(None)
    return made


def connect(path: Path, port: int, *, timeout_s: float = ASK_S) -> socket.socket:
    """A connection to a port of the guest's loopback. Raises OSError when nobody listens there, AgentUnresponsive."""
    given: list[socket.socket] = []
    _opened(path, wire.ASK_PORT, port, timeout_s, given).close()
    if not given:
        raise ProtocolError("the keeper's answer is malformed")
    return given[0]


def listen(path: Path, port: int, *, timeout_s: float = ASK_S) -> Listener:
    """Listen on a port inside. Raises OSError when it is taken, AgentUnresponsive."""
    return Listener(_opened(path, wire.ASK_LISTEN, port, timeout_s))


def _opened(
    path: Path, kind: int, port: int, timeout_s: float, given: list[socket.socket] | None = None
) -> socket.socket:
    made = _asked(path, kind, [b"%d" % port], timeout_s)
    try:
        answer, fields = _answer(made, given)
        if answer != messages.RESULT:
            number = messages.integer(fields[2], 1, 4095) if len(fields) > 2 else 5
            raise OSError(number, os.strerror(number))
        made.settimeout(None)
    except ValueError as error:
        made.close()
        raise ProtocolError("the keeper's answer is malformed") from error
    except BaseException:
        made.close()
        raise
    return made


class Listener:
    """Listens inside as long as it is open; what it accepts are connections, as a listening socket's."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection

    def fileno(self) -> int:
        """Readable when somebody has connected, or the keeper has ended."""
        return self._connection.fileno()

    def setblocking(self, flag: bool) -> None:
        """As a socket's."""
        self._connection.setblocking(flag)

    def accept(self) -> tuple[socket.socket, tuple[str, int]]:
        """The next connection, and an address that says nothing. Raises BlockingIOError, ConnectionError."""
        data, ancillary, _, _ = self._connection.recvmsg(1, socket.CMSG_SPACE(4), socket.MSG_CMSG_CLOEXEC)
        for level, kind, payload in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                (descriptor,) = struct.unpack("i", payload[:4])
                return socket.socket(fileno=descriptor), ("127.0.0.1", 0)
        raise ConnectionResetError("the keeper has ended" if not data else "the keeper sent no connection")

    def close(self) -> None:
        """Nobody listens there any more."""
        self._connection.close()
