"""What a client passes with a request: told apart, and read and written without ever waiting for it.

A descriptor is shared with whoever passed it, so its flags are not ours to change: a pipe is opened once more, in a way
that does not block. Where that is not possible it is asked before each read or write whether it is ready.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import socket
import stat

from sandlot.guest.flow import Flow
from sandlot.guest.mux import Mux
from sandlot.wire import bridge as wire
from sandlot.wire import frames, messages, service, shell

__all__ = ["HostFile", "bounds", "carry"]

RECORD = 64 * 1024
"""Most bytes of the record of a command's end."""
TAIL = 64 * 1024
"""See guest/stream.py."""
_ATOMIC = 4096
"""A pipe that is ready takes so many bytes at once (pipe(7))."""


def carry(mux: Mux, descriptor: int) -> tuple[Flow, bytes]:
    """The stream for a descriptor, ours from now on: (stream, its kind)."""
    mode = os.fstat(descriptor).st_mode
    access = fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_ACCMODE
    if stat.S_ISSOCK(mode):
        duplex = _Shared(mux, mux.number(), wire.DUPLEX)
        duplex.attach(socket.socket(fileno=descriptor))
        return duplex, wire.DUPLEX
    if stat.S_ISREG(mode) and access != os.O_RDONLY:
        return HostFile(mux, descriptor), wire.FILE
    kind = wire.SINK if access == os.O_WRONLY else wire.SOURCE
    opened = _anew(descriptor, mode, access)
    flow = Flow(mux, mux.number(), kind) if opened >= 0 else _Careful(mux, mux.number(), kind)
    if opened >= 0:
        os.close(descriptor)
        descriptor = opened
    if kind == wire.SINK:
        flow.attach_target(descriptor)
    else:
        flow.attach_source(descriptor)
    return flow, kind


def _anew(descriptor: int, mode: int, access: int) -> int:
    """The same thing, opened so that it does not block; -1 where that cannot be or would not be the same."""
    if not (stat.S_ISFIFO(mode) or stat.S_ISCHR(mode)):
        return -1
    flags = (os.O_WRONLY if access == os.O_WRONLY else os.O_RDONLY) | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
    with contextlib.suppress(OSError):
        return os.open(f"/proc/self/fd/{descriptor}", flags)
    return -1


class _Shared(Flow):
    """A socket of whoever passed it."""

    shared = True

    def take(self, size: int) -> bytes:
        assert self.socket is not None  # noqa: S101  for the type checker
        return self.socket.recv(size, socket.MSG_DONTWAIT)

    def put(self, data: bytes | memoryview, carried: list[int]) -> int:  # noqa: ARG002  nothing is carried to it
        assert self.socket is not None  # noqa: S101  for the type checker
        return self.socket.send(data, socket.MSG_DONTWAIT)


class _Careful(Flow):
    """Something that may block: a regular file (which does not, for long), or what cannot be opened once more."""

    def take(self, size: int) -> bytes:
        if not _ready(self.source, select.POLLIN):
            raise BlockingIOError
        return os.read(self.source, size)

    def put(self, data: bytes | memoryview, carried: list[int]) -> int:  # noqa: ARG002  nothing is carried to a pipe
        if not _ready(self.target, select.POLLOUT):
            raise BlockingIOError
        return os.write(self.target, data[:_ATOMIC])


def _ready(descriptor: int, event: int) -> bool:
    poller = select.poll()
    poller.register(descriptor, event)
    return bool(poller.poll(0))


class HostFile(Flow):
    """A file of the host to which a command's supervisor writes.

    Open here, with its lock, exactly as long as the supervisor has it. What a guest says is bounded: it can neither
    fill the disk nor write elsewhere.
    """

    def __init__(self, mux: Mux, descriptor: int) -> None:
        super().__init__(mux, mux.number(), wire.FILE)
        self.descriptor = descriptor
        self.bound = 0
        """The end of what may be written, known when the request is; see ``bounds``."""
        self.failed = False

    def hear(self, kind: int, payload: bytes) -> None:
        """See Flow.hear."""
        if kind not in (wire.WRITE, wire.CUT):
            super().hear(kind, payload)
            return
        if self.got_end:
            raise wire.BridgeError("a file is written that was closed")
        offset = wire.offset_of(payload)
        size = len(payload) - 8 if kind == wire.WRITE else 0
        if offset + size > self.bound:
            raise wire.BridgeError(f"bytes {offset} to {offset + size} of a file that may have {self.bound}")
        if self.failed:
            return
        try:
            if kind == wire.CUT:
                os.ftruncate(self.descriptor, offset)
            else:
                os.pwrite(self.descriptor, memoryview(payload)[8:], offset)
        except OSError:  # the disk is full: the supervisor is told, and keeps the end of the output in memory
            self.failed = True
            self.mux.send(wire.frame(wire.STOP, self.number))

    def _ended(self) -> None:
        super()._ended()
        self.stopped = True
        self._retire()

    def _data(self, payload: bytes) -> None:
        raise wire.BridgeError(f"{len(payload)} bytes of data for a file")

    def over(self) -> None:
        """See Flow.over."""
        os.close(self.descriptor)


def bounds(kind: int, fields: list[bytes]) -> list[int]:
    """How long each of a request's files may get, in the order of its descriptors; RECORD for any other."""
    try:
        if kind == messages.EXEC:
            quota = messages.Exec.parse(fields).quota
        elif kind == messages.SERVICE:
            quota = service.Spec.parse(fields).command.quota
        elif kind == messages.SHELL:
            return [0, 0, RECORD, shell.DATA + shell.CAPACITY]
        else:
            return []
    except (ValueError, IndexError, frames.FrameError):
        return []  # the agent refuses it
    return [0, quota + TAIL, quota + TAIL, RECORD]
