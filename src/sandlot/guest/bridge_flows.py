"""The streams of a guest's end of the bridge: connections to the agent, what goes with them, ports, jobs."""

import _socket
import errno
import fcntl
import os
import select
import struct
import termios

from sandlot.guest import sink
from sandlot.guest.flow import Flow
from sandlot.wire import bridge as wire

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sandlot.guest.bridge import GuestBridge

LOOPBACKS = ((_socket.AF_INET, "127.0.0.1"), (_socket.AF_INET6, "::1"))
"""Servers listen on IPv4's loopback address, on all, or on IPv6's alone."""
BACKLOG = 128
MOST_ACCEPTED = 256
"""Connections of one LISTEN stream; more wait in the kernel's queue."""


def arrived(descriptor: int) -> int:
    """Bytes that can be read from a socket now."""
    answer = bytearray(4)
    fcntl.ioctl(descriptor, termios.FIONREAD, answer)
    return int(struct.unpack("i", answer)[0])


class AgentFlow(Flow):
    """A client's connection to the agent."""

    def __init__(self, mux: "GuestBridge", number: int) -> None:
        super().__init__(mux, number, wire.AGENT)
        self.bridge = mux
        self.carried: list[int] = []

    def connect(self, address: str) -> None:
        """Raises BlockingIOError when the agent's queue is full, OSError when there is no agent."""
        made = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC)
        try:
            made.setblocking(False)
            made.connect(address)
        except BaseException:
            made.close()
            raise
        self.attach(made)

    def hear(self, kind: int, payload: bytes) -> None:
        if kind != wire.CARRY:
            super().hear(kind, payload)
            return
        fields = wire.fields_of(payload)
        if len(fields) % 2 or len(self.carried) + len(fields) // 2 > wire.MAX_CARRIED:
            raise wire.BridgeError("malformed descriptors")
        trouble = 0
        for number, what in zip(fields[::2], fields[1::2]):  # noqa: B905  Python 3.9
            self.bridge.theirs(int(number))
            try:
                self.carried.append(_inner_end(self.bridge, int(number), what))
            except OSError as error:  # no more descriptors to be had; the host is told of each that there is not
                trouble = error.errno or errno.EMFILE
                Flow(self.bridge, int(number), what).reset(trouble)
        if trouble:
            self._drop_carried()
            self.reset(trouble)

    def keep(self, payload: bytes) -> None:
        self.pending.append((payload, self.carried))
        self.carried = []

    def put(self, data: "bytes | memoryview", carried: "list[int]") -> int:
        assert self.socket is not None  # noqa: S101  for the type checker
        if not carried:
            return self.socket.send(data)
        rights = struct.pack("%di" % len(carried), *carried)
        count = self.socket.sendmsg([data], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, rights)])
        for descriptor in carried:
            os.close(descriptor)
        carried.clear()
        return count

    def discard(self) -> None:
        self._drop_carried()

    def _drop_carried(self) -> None:
        for descriptor in self.carried:
            os.close(descriptor)
        self.carried = []

    def over(self) -> None:
        self._drop_carried()


def _inner_end(bridge: "GuestBridge", number: int, kind: bytes) -> int:
    """The descriptor that the agent gets for one of the host. Raises OSError, BridgeError."""
    if kind in (wire.SOURCE, wire.SINK):
        read, write = os.pipe()
        ours, theirs = (write, read) if kind == wire.SOURCE else (read, write)
        os.set_blocking(ours, False)
        flow = Flow(bridge, number, kind)
        if kind == wire.SOURCE:
            flow.attach_target(ours)
        else:
            flow.attach_source(ours)
        return theirs
    if kind == wire.FILE:
        one, other = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)
        FileFlow(bridge, number).attach(one)
    elif kind == wire.DUPLEX:
        one, other = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_STREAM)
        Flow(bridge, number, kind).attach(one)
    else:
        raise wire.BridgeError("there is no descriptor of kind %r" % kind[:20])
    return other.detach()


class FileFlow(Flow):
    """A file of the host: what the agent writes to its sink (sink.py) goes there, and the end of the last copy of it.

    Nothing here waits for credit: the host writes to its file at once. So whatever was written before something was
    said on a connection is sent before that, too; see ``GuestBridge.read``.
    """

    def __init__(self, mux: "GuestBridge", number: int) -> None:
        super().__init__(mux, number, wire.FILE)
        self.bridge = mux

    def attach(self, socket: "_socket.socket") -> None:
        socket.setblocking(False)
        self.socket = socket
        self.source = socket.fileno()
        self.bridge.files.want(self.source, select.EPOLLIN, self.readable)

    def readable(self, _events: int = 0, _most: int = 0) -> None:
        """Send all that has been written until now."""
        assert self.socket is not None  # noqa: S101  for the type checker
        left = max(1, arrived(self.source))
        while left > 0:
            try:
                packet = self.socket.recv(sink.HEAD.size + sink.PIECE)
            except BlockingIOError:
                return
            except OSError:
                packet = b""
            if not packet:
                self.end()
                return
            left -= len(packet)
            word, number = sink.HEAD.unpack_from(packet)
            data = packet[sink.HEAD.size :]
            cut = word == sink.CUT
            self.mux.send(wire.cut(self.number, number) if cut else wire.write(self.number, number, data))

    def unwanted(self) -> None:
        """The host cannot write: nor can the agent, which still may hold its end open."""
        assert self.socket is not None  # noqa: S101  for the type checker
        self.socket.shutdown(_socket.SHUT_RD)
        self.bridge.files.want(self.source, 0, lambda _: self.end())  # told when both ways are shut

    def _close_source(self) -> None:
        if self.source >= 0:
            self.bridge.files.forget(self.source)
            self.source = -1


class PortFlow(Flow):
    """A connection to a port of the guest's loopback."""

    def __init__(self, mux: "GuestBridge", number: int, port: int) -> None:
        super().__init__(mux, number, wire.PORT)
        self.left = [(family, (address, port)) for family, address in LOOPBACKS]
        self.trying: _socket.socket | None = None
        self._try(errno.ECONNREFUSED)

    def _try(self, number: int) -> None:
        """The next address; ``number`` says why the last one failed."""
        while self.left:
            family, address = self.left.pop(0)
            try:
                self.trying = _socket.socket(family, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC)
                self.trying.setblocking(False)
                self.trying.connect(address)
            except BlockingIOError:
                assert self.trying is not None  # noqa: S101  for the type checker
                self.mux.writers.want(self.trying.fileno(), select.EPOLLOUT, self._answered)
                return
            except OSError as error:
                number = error.errno or number
                self._give_up()
            else:
                self._connected()
                return
        self.reset(number)

    def _answered(self, _events: int) -> None:
        assert self.trying is not None  # noqa: S101  for the type checker
        self.mux.writers.forget(self.trying.fileno())
        number = self.trying.getsockopt(_socket.SOL_SOCKET, _socket.SO_ERROR)
        if number:
            self._give_up()
            self._try(number)
        else:
            self._connected()

    def _connected(self) -> None:
        assert self.trying is not None  # noqa: S101  for the type checker
        made, self.trying = self.trying, None
        self.mux.send(wire.frame(wire.OPENED, self.number))
        quick(made)
        self.attach(made)

    def _give_up(self) -> None:
        if self.trying is not None:
            self.mux.writers.forget(self.trying.fileno())
            self.trying.close()
            self.trying = None

    def unwanted(self) -> None:
        self._give_up()
        self.left.clear()
        super().unwanted()

    def over(self) -> None:
        self._give_up()


def quick(made: "_socket.socket") -> None:
    """Small messages go at once."""
    made.setsockopt(_socket.IPPROTO_TCP, _socket.TCP_NODELAY, 1)


class ListenFlow(Flow):
    """The guest listens on a port while this stream is open; each connection is a CLIENT stream of its own."""

    def __init__(self, mux: "GuestBridge", number: int, port: int) -> None:
        super().__init__(mux, number, wire.LISTEN)
        self.bridge = mux
        self.clients = 0
        self.listener: _socket.socket | None = None
        made = _socket.socket(_socket.AF_INET, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC)
        try:
            made.setsockopt(_socket.SOL_SOCKET, _socket.SO_REUSEADDR, 1)
            made.bind((LOOPBACKS[0][1], port))
            made.listen(BACKLOG)
        except OSError as error:
            made.close()
            self.reset(error.errno or errno.EIO)
            return
        made.setblocking(False)
        self.listener = made
        self.mux.send(wire.frame(wire.OPENED, number))
        self.left(0)

    def left(self, count: int) -> None:
        """So many clients have gone: there is room for others."""
        self.clients -= count
        if self.listener is not None and self.clients < MOST_ACCEPTED:
            self.mux.readers.want(self.listener.fileno(), select.EPOLLIN, self._accept)

    def _accept(self, _events: int) -> None:
        assert self.listener is not None  # noqa: S101  for the type checker
        try:
            descriptor, _ = self.listener._accept()  # type: ignore[attr-defined]  # not in typeshed; socket.accept wraps it
        except OSError:
            return  # it has gone, or there are no descriptors left: the next turn
        os.set_inheritable(descriptor, False)
        made = _socket.socket(_socket.AF_INET, _socket.SOCK_STREAM, 0, fileno=descriptor)
        quick(made)
        self.clients += 1
        flow = ClientFlow(self.bridge, self)
        self.mux.open(flow, wire.CLIENT, [b"%d" % self.number])
        flow.attach(made)
        if self.clients >= MOST_ACCEPTED:
            self.mux.readers.forget(self.listener.fileno())

    def _ended(self) -> None:
        self.over()
        super()._ended()
        self.end()

    def unwanted(self) -> None:
        self.over()
        super().unwanted()

    def over(self) -> None:
        if self.listener is not None:
            self.mux.readers.forget(self.listener.fileno())
            self.listener.close()
            self.listener = None


class ClientFlow(Flow):
    """Somebody who has connected to a port on which the host listens."""

    def __init__(self, mux: "GuestBridge", listening: ListenFlow) -> None:
        self.listening = listening
        super().__init__(mux, mux.number(), wire.CLIENT)

    def over(self) -> None:
        self.listening.left(1)
