"""Who answers in the proxy's place while the network is off: 403 with a sentence, so that a tool says why it fails.

Part of the agent's loop. Nothing here waits, and what a client may hold is bounded; it reaches nobody anyway.
"""

import _socket
import select
import time

HOST = "127.0.0.1"
MAX_CLIENTS = 32
HEAD_BYTES = 4096
MAX_REMEMBERED = 64


class Refuser:
    """Listens, refuses, and remembers what it refused until somebody asks."""

    def __init__(self, poller: "select.poll", port: int, label: str) -> None:
        self.label = label
        self.poller = poller
        self.denied: list[bytes] = []
        self.clients: dict[int, tuple[_socket.socket, bytearray]] = {}
        self.listener = _socket.socket(_socket.AF_INET, _socket.SOCK_STREAM)
        self.listener.setsockopt(_socket.SOL_SOCKET, _socket.SO_REUSEADDR, 1)
        self.listener.bind((HOST, port))
        self.listener.listen(MAX_CLIENTS)
        self.listener.setblocking(False)
        poller.register(self.listener.fileno(), select.POLLIN)

    def has(self, descriptor: int) -> bool:
        return descriptor in self.clients or descriptor == self.listener.fileno()

    def serve(self, descriptor: int) -> None:
        """Do what one readable descriptor asks for."""
        try:
            if descriptor == self.listener.fileno():
                self._accept()
            else:
                self._read(*self.clients[descriptor])
        except BlockingIOError:
            pass
        except OSError:
            self._drop(descriptor)

    def _accept(self) -> None:
        descriptor, _ = self.listener._accept()  # type: ignore[attr-defined]  # not in typeshed; socket.accept wraps it
        client = _socket.socket(_socket.AF_INET, _socket.SOCK_STREAM, 0, fileno=descriptor)
        client.setblocking(False)
        if len(self.clients) >= MAX_CLIENTS:
            self._drop(next(iter(self.clients)))  # the oldest
        self.clients[descriptor] = (client, bytearray())
        self.poller.register(descriptor, select.POLLIN)

    def _read(self, client: "_socket.socket", head: bytearray) -> None:
        data = client.recv(HEAD_BYTES)
        head += data
        if data and b"\r\n\r\n" not in head and len(head) < HEAD_BYTES:
            return
        host, port = _asked(bytes(head))
        if host:
            self.denied = [*self.denied[1 - MAX_REMEMBERED :], b"%d %s %d" % (time.time() * 1000, host, port)]
        client.send(_answer(host.decode("ascii"), port, self.label))  # fits into the buffer of a fresh connection
        client.shutdown(_socket.SHUT_WR)
        self._drop(client.fileno())

    def _drop(self, descriptor: int) -> None:
        client = self.clients.pop(descriptor, None)
        if client is not None:
            self.poller.unregister(descriptor)
            client[0].close()

    def take(self) -> "list[bytes]":
        """What was refused since the last time, oldest first: time in ms, host, port."""
        denied, self.denied = self.denied, []
        return denied

    def forget(self) -> None:
        """Close our copies, in a forked worker."""
        self.listener.close()
        for client, _ in self.clients.values():
            client.close()

    def close(self) -> None:
        """Stop listening."""
        self.poller.unregister(self.listener.fileno())
        for descriptor in list(self.clients):
            self._drop(descriptor)
        self.listener.close()


def _asked(head: bytes) -> "tuple[bytes, int]":
    """(host, port) that a request names; an empty host: none."""
    words = head.split(b"\r\n", 1)[0].split(b" ")
    if len(words) != 3:
        return b"", 0
    target, default = words[1], b"443"
    if b"://" in target:
        scheme, _, target = target.partition(b"://")
        default = b"443" if scheme.lower() == b"https" else b"80"
    authority = target.split(b"/", 1)[0].split(b"?", 1)[0].rpartition(b"@")[2]
    host, colon, port = authority.rpartition(b":")
    if not colon or not port.isdigit() or len(port) > 5:
        host, port = authority, default
    host = bytes(byte if 33 <= byte < 127 else 63 for byte in host[:253])
    return host, int(port)


def _answer(host: str, port: int, label: str) -> bytes:
    why = "network_denied: %s:%d: the network of this workspace is off" % (host, port)
    hint = "sandlot workspace update %s --allow %s" % (label, host if port in (80, 443) else "%s:%d" % (host, port))
    body = "%s\nhint: %s\n" % (why, hint)
    return (
        "HTTP/1.1 403 %s; %s\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: %d\r\n"
        "X-Sandlot-Error: network_denied\r\nConnection: close\r\n\r\n%s" % (why, hint, len(body), body)
    ).encode("ascii", "replace")
