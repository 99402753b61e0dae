"""Published ports: connections to 127.0.0.1 on the host go on to a port inside."""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable

from sandlot.workspaces.network.inside import LOOPBACK
from sandlot.workspaces.network.relay import keep_alive, relay, reset

__all__ = ["PortTaken", "carry", "listen"]

BACKLOG = 128
IDLE_S = 86400.0
"""Longer than a tunnel of the proxy may be idle: both ends are here, and pools of connections lie idle for hours."""

Connect = Callable[[int], socket.socket | None]
"""A connection to a port inside, or None when nobody listens there."""


class PortTaken(Exception):
    """Somebody else listens on the host's port, or (``forbidden``) only root may."""

    def __init__(self, error: OSError) -> None:
        super().__init__(error.strerror)
        self.forbidden = error.errno == errno.EACCES


def listen(host_port: int) -> socket.socket:
    """A listener on 127.0.0.1; port 0 is picked by the kernel. Raises PortTaken."""
    made = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # connections that just ended hold no port
        made.bind((LOOPBACK, host_port))
        made.listen(BACKLOG)
    except OSError as error:
        made.close()
        if error.errno in (errno.EADDRINUSE, errno.EACCES):
            raise PortTaken(error) from error
        raise
    return made


def carry(outside: socket.socket, port: int, connect: Connect) -> None:
    """Serve one connection from the host until both halves have ended; closes it."""
    with outside:
        keep_alive(outside)
        inside = connect(port)
        if inside is None:  # nobody listens there: the caller sees its connection reset, as near to refused as it gets
            reset(outside)
            return
        with inside:
            keep_alive(inside)
            relay(outside, inside, idle_s=IDLE_S)
