"""Sockets of a workspace's network namespace, made there by a child that has joined it and handed out to us.

A socket keeps the namespace it was made in, whoever holds it: no tool, route or capability is needed inside, and
nothing of ours runs there.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import socket
import threading

__all__ = ["LOOPBACK", "SocketMaker"]

LOOPBACK = "127.0.0.1"
BACKLOG = 128
CONNECT_S = 10.0
_CLONE_NEWUSER, _CLONE_NEWNET = 0x10000000, 0x40000000
_PR_SET_PDEATHSIG = 1


class SocketMaker:
    """A child process in the namespace. Make it before any thread is started: it is forked."""

    def __init__(self, pidfd: int) -> None:
        """``pidfd``: the workspace's agent. Raises OSError when its namespace cannot be joined."""
        self._asking = threading.Lock()
        self._ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._pid = os.fork()
        if self._pid == 0:
            try:
                self._ours.close()
                _serve(theirs, pidfd)
            finally:
                os._exit(0)
        theirs.close()
        answer = self._ours.recv(16)
        if answer != b"0":
            self.close()
            raise OSError(int(answer or b"5"), "cannot join the workspace's network")

    def listener(self, port: int) -> socket.socket:
        """A socket that listens on the loopback address inside. Raises OSError."""
        return self._ask(b"L%d" % port)

    def connected(self, port: int) -> socket.socket | None:
        """A connection to a port of the loopback inside; None: nobody listens there.

        Servers listen on IPv4's loopback address, on all, or on IPv6's alone.
        """
        for family, address in ((socket.AF_INET, LOOPBACK), (socket.AF_INET6, "::1")):
            with contextlib.suppress(OSError):
                made = self._ask(b"C%d" % family)
                try:
                    made.settimeout(CONNECT_S)
                    made.connect((address, port))
                except BaseException:
                    made.close()
                    raise
                return made
        return None

    def _ask(self, request: bytes) -> socket.socket:
        with self._asking:
            self._ours.send(request)
            answer, descriptors, _, _ = socket.recv_fds(self._ours, 16, 1, socket.MSG_CMSG_CLOEXEC)
        if not descriptors:
            number = int(answer or b"5")
            raise OSError(number, os.strerror(number))
        return socket.socket(fileno=descriptors[0])

    def close(self) -> None:
        """End the child."""
        self._ours.close()
        os.waitpid(self._pid, 0)


def _serve(control: socket.socket, pidfd: int) -> None:
    """The child: join, then make what is asked for until nobody asks any more."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    # One call for both: the network belongs to an outer user namespace, in which we have no capability any more once
    # we have joined the agent's inner one.
    if libc.setns(pidfd, _CLONE_NEWUSER | _CLONE_NEWNET) != 0:
        control.send(b"%d" % ctypes.get_errno())
        return
    control.send(b"0")
    while request := control.recv(16):
        try:
            made = _make(request[:1], int(request[1:]))
        except OSError as error:
            control.send(b"%d" % (error.errno or 5))
            continue
        with made:
            socket.send_fds(control, [b"0"], [made.fileno()])


def _make(kind: bytes, number: int) -> socket.socket:
    if kind == b"C":
        return socket.socket(number, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    made = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind((LOOPBACK, number))
        made.listen(BACKLOG)
    except BaseException:
        made.close()
        raise
    return made
