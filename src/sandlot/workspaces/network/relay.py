"""Bytes both ways between two sockets, without passing through this process (splice(2)), each half closed by itself."""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import socket

__all__ = ["IDLE_S", "keep_alive", "relay", "reset"]

IDLE_S = 3600.0
"""A tunnel in which nothing moved for this long is closed."""
PIPE_BYTES = 512 * 1024
TURN = 64
_FLAGS = os.SPLICE_F_MOVE | os.SPLICE_F_NONBLOCK


class _Direction:
    """From one socket through a pipe to another."""

    def __init__(self, source: socket.socket, sink: socket.socket) -> None:
        self._source = source
        self._sink = sink
        self._read, self._write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        with contextlib.suppress(OSError):  # beyond the user's share of pipe memory: slower, and works
            fcntl.fcntl(self._write, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        self._held = 0
        self._ended = False
        self.done = False

    def wants(self) -> tuple[int, int]:
        """(descriptor, event) that it waits for."""
        return (self._sink.fileno(), select.POLLOUT) if self._held else (self._source.fileno(), select.POLLIN)

    def move(self) -> bool:
        """Move what can be moved now; whether anything was. Raises OSError when an end is broken."""
        moved = False
        try:
            for _ in range(TURN):  # then it is the other direction's turn
                if self.done:
                    break
                if self._held:
                    count = os.splice(self._read, self._sink.fileno(), self._held, flags=_FLAGS)
                    self._held -= count
                elif self._ended:
                    self.done = True
                    self._sink.shutdown(socket.SHUT_WR)
                else:
                    count = os.splice(self._source.fileno(), self._write, PIPE_BYTES, flags=_FLAGS)
                    self._held, self._ended = count, count == 0
                moved = True
        except BlockingIOError:
            pass
        return moved

    def close(self) -> None:
        os.close(self._read)
        os.close(self._write)


def relay(one: socket.socket, other: socket.socket, *, idle_s: float = IDLE_S) -> None:
    """Pass bytes on until both sides have ended, one is broken, or nothing moves for ``idle_s``. Closes neither."""
    one.setblocking(False)
    other.setblocking(False)
    with contextlib.ExitStack() as stack:
        directions = []
        for source, sink in ((one, other), (other, one)):
            direction = _Direction(source, sink)
            stack.callback(direction.close)
            directions.append(direction)
        try:
            _run(directions, idle_s)
        except OSError:
            # A reset on one side is a reset on the other: a peer must not take half an answer for a whole one.
            reset(one)
            reset(other)


def _run(directions: list[_Direction], idle_s: float) -> None:
    while waiting := [each for each in directions if not each.done]:
        if sum(each.move() for each in waiting):
            continue
        poller = select.poll()
        wanted: dict[int, int] = {}
        for descriptor, event in (each.wants() for each in waiting):
            wanted[descriptor] = wanted.get(descriptor, 0) | event
        for descriptor, events in wanted.items():
            poller.register(descriptor, events)
        if not poller.poll(idle_s * 1000):
            raise TimeoutError


def reset(connection: socket.socket) -> None:
    """Make the coming close a reset instead of an orderly end."""
    with contextlib.suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")


def keep_alive(connection: socket.socket) -> None:
    """Small messages go at once, and a peer that vanished is noticed."""
    with contextlib.suppress(OSError):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
