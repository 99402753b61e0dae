"""Sockets of a guest's network, for which there is no namespace to join: its keeper carries them over the bridge.

The sibling of ``inside.SocketMaker``. Both ends of what comes from here are TCP, so a reset on one side is one on the
other.
"""

from __future__ import annotations

import contextlib
import socket
from pathlib import Path

from sandlot.errors import SandlotError
from sandlot.runtimes.qemu import asking

__all__ = ["GuestSockets"]

CONNECT_S = 10.0


class GuestSockets:
    """Makes them by asking the keeper on the workspace's socket."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def listener(self, port: int) -> asking.Listener:
        """Something that listens on the loopback address inside. Raises OSError."""
        try:
            return asking.listen(self._path, port)
        except SandlotError as error:
            raise OSError(error.message) from error

    def connected(self, port: int) -> socket.socket | None:
        """A connection to a port of the loopback inside; None: nobody listens there."""
        with contextlib.suppress(OSError, SandlotError):
            return asking.connect(self._path, port, timeout_s=CONNECT_S)
        return None

    def close(self) -> None:
        """Nothing is held."""
