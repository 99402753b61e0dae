"""Who is told about a service, and what they may ask of it.

None of them can hold up the service's worker: who does not read misses marks of progress, or is let go.
"""

import _socket
import select
import time

from sandlot.guest.supervisor import OUTPUT_EVERY_S
from sandlot.wire import frames, messages, service

MAX_FOLLOWERS = 64
MAX_CLIENTS = 256
"""Followers and others: those only ask or stop, and must get through however many follow."""
LONGEST_GRACE_MS = 600_000


class Client:
    """Somebody who is told about the service."""

    __slots__ = ("connection", "decoder", "follows", "request", "said")

    def __init__(self, connection: "_socket.socket", request: int) -> None:
        self.connection = connection
        self.request = request
        self.decoder = frames.Decoder()
        self.follows = False
        self.said = -1

    def tell(self, kind: int, fields: "list[bytes]") -> bool:
        """False: it is gone, or does not read."""
        try:
            self.connection.send(frames.encode(kind, self.request, fields), _socket.MSG_DONTWAIT)
        except OSError:
            return False
        return True


class Asked:
    """What clients have asked for since the service looked last."""

    __slots__ = ("abandoned", "grace_s")

    def __init__(self) -> None:
        self.grace_s = -1.0  # a stop; negative: none
        self.abandoned = False  # whoever was waiting for the start is gone


class Audience:
    """The clients of one service."""

    def __init__(self, poller: "select.poll", report: service.Report) -> None:
        self.poller = poller
        self.report = report
        self.clients: dict[int, Client] = {}
        self.holder: Client | None = None
        """Whoever started the service and still waits: without it the service ends."""
        self.asked = Asked()
        self.told_at = 0.0

    def add(self, client: Client) -> None:
        """From now on it hears of every change."""
        client.connection.setblocking(False)
        self.clients[client.connection.fileno()] = client
        self.poller.register(client.connection.fileno(), select.POLLIN)
        self._tell(client)

    def join(self, connection: "_socket.socket", request: int) -> None:
        """Somebody new, whom the agent has passed on."""
        client = Client(connection, request)
        if client.tell(messages.JOINED, self.report.fields()) and len(self.clients) < MAX_CLIENTS:
            self.add(client)
        else:
            connection.close()

    def tell_all(self) -> None:
        """How the service is now. Who cannot take that is let go rather than left with an old state."""
        for client in list(self.clients.values()):
            self._tell(client)

    def hear(self, events: "dict[int, int]") -> Asked:
        """Read what came from clients: what they ask for."""
        for descriptor in [each for each in self.clients if each in events]:
            self._hear(self.clients[descriptor])
        asked, self.asked = self.asked, Asked()
        return asked

    def waiting(self, total: int) -> "list[Client]":
        """Who follows the output and has not been told that there are ``total`` bytes of it."""
        return [client for client in self.clients.values() if client.follows and client.said != total]

    def progress(self, totals: "list[int]") -> None:
        """Tell those who follow that there is more to read, at most every OUTPUT_EVERY_S."""
        now = time.monotonic()
        waiting = self.waiting(sum(totals))
        if waiting and now - self.told_at >= OUTPUT_EVERY_S:
            self.told_at = now
            for client in waiting:
                client.said = sum(totals)
                client.tell(messages.OUTPUT, [b"%d" % each for each in totals])  # else earlier marks wait to be read

    def close(self, starter: Client) -> None:
        """The last word to all; to who started the service also if it never got that far."""
        for client in list(self.clients.values()) or [starter]:
            client.tell(service.REPORT, self.report.fields())
            client.connection.close()

    def _tell(self, client: Client) -> None:
        if not client.tell(service.REPORT, self.report.fields()):
            self._leave(client)

    def _leave(self, client: Client) -> None:
        descriptor = client.connection.fileno()
        if self.clients.pop(descriptor, None) is not None:
            self.poller.unregister(descriptor)
            client.connection.close()
            if client is self.holder:
                self.holder = None
                self.asked.abandoned = True

    def _hear(self, client: Client) -> None:
        try:
            data = client.connection.recv(4096)
            if not data:
                self._leave(client)
                return
            for kind, _, fields in client.decoder.feed(data):
                if kind == service.STOP:
                    self.asked.grace_s = messages.integer(fields[0], 0, LONGEST_GRACE_MS) / 1000
                elif kind == service.KEEP:
                    self.holder = None
                elif kind == service.FOLLOW:
                    self._follow(client)
        except BlockingIOError:
            return
        except (OSError, ValueError, IndexError, frames.FrameError):
            self._leave(client)

    def _follow(self, client: Client) -> None:
        client.follows = sum(each.follows for each in self.clients.values()) < MAX_FOLLOWERS
        if not client.follows:
            client.tell(messages.FAILED, [b"workspace_busy", b"too many clients follow this service"])
            self._leave(client)
