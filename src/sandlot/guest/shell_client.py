"""Somebody outside who talks to a shell, and is never waited for."""

import _socket
import errno

from sandlot.wire import frames


class Client:
    """Somebody outside who talks to the shell."""

    def __init__(self, connection: "_socket.socket", request: int) -> None:
        self.connection = connection
        self.request = request
        self.decoder = frames.Decoder()
        self.said = 0
        self.stuck = False

    def send(self, kind: int, fields: "list[bytes]") -> bool:
        """Whether it was taken, whole. Raises OSError when the client is gone, or took a part only."""
        data = frames.encode(kind, self.request, fields)
        try:
            if self.connection.send(data, _socket.MSG_DONTWAIT) != len(data):
                raise OSError(errno.EPIPE, "a frame was cut")
        except BlockingIOError:
            self.stuck = True
            return False
        return True
