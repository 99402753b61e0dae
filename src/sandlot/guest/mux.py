"""Streams over one port (wire/bridge.py): the engine of both ends of the bridge.

One thread, one loop, nothing that blocks. Descriptors whose bytes go to the other side are read only while there is
room in the queue to the port; what comes from there waits for a slow target in its own stream, whose credit bounds it.
So memory is bounded by WINDOW for each stream and by what the queue holds, whoever floods or does not read.
"""

import errno
import os
import select

from sandlot.guest.flow import Flow
from sandlot.wire import bridge as wire

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

HIGH = 4 * wire.PAYLOAD
"""No source is read while so many bytes wait for the port: a small word never stands behind more of others'."""
MOST_QUEUED = HIGH + (1 << 20)
"""What the other side may make us answer without reading it."""
TURNS = 4
"""Sources that are read before others get theirs."""
PORT_WRITE = 32 * 1024
_PIECE = 4096
_PIECES = 16


class PortClosed(Exception):
    """The other side is gone."""


class Mux:
    """The port, the streams on it, and the loop. Subclasses say what an OPEN and a control frame do."""

    def __init__(self, port: int, parity: int) -> None:
        """``port`` does not block, and is ours from now on. ``parity`` 1: the host's end; 2: the guest's."""
        self.port = port
        self.parity = parity
        self.streams: dict[int, Flow] = {}
        self.readers = Watched()
        self.writers = Watched()
        self.ready: dict[Flow, None] = {}  # sources that can always be read: epoll(7) does not take regular files
        self.attended: dict[int, Callable[[], object]] = {}
        self.most_queued = MOST_QUEUED
        self._poller = select.poll()
        self._asked: dict[int, int] = {}
        self._buffer = bytearray(_PIECE * _PIECES)
        # A virtio-serial port gives a page at a time: one system call takes many of them.
        self._pieces = [memoryview(self._buffer)[at : at + _PIECE] for at in range(0, len(self._buffer), _PIECE)]
        self.decoder = wire.Decoder()
        self.out: list[bytes | memoryview] = []
        self.queued = 0
        self._next = parity
        self._seen = 0

    def forget(self) -> None:
        """Begin a session: every stream is gone."""
        for stream in reversed(list(self.streams.values())):  # what was passed before the connection it came with
            stream.drop()
        self._next = self.parity
        self._seen = 0

    def close(self) -> None:
        """Close everything, the port as well."""
        self.forget()
        self.readers.close()
        self.writers.close()
        os.close(self.port)

    # For subclasses

    def opened(self, number: int, kind: bytes, words: "list[bytes]") -> None:
        """The other side has opened a stream."""
        raise NotImplementedError

    def control(self, kind: int, fields: "list[bytes]") -> None:
        """A frame of stream 0 has come."""
        raise NotImplementedError

    def disconnected(self) -> None:
        """The port is at its end."""
        raise PortClosed

    # Sending

    def send(self, data: bytes) -> None:
        """Queue a whole frame."""
        self.out.append(data)
        self.queued += len(data)

    @property
    def crowded(self) -> bool:
        """Whether sources have to wait."""
        return self.queued >= HIGH

    def number(self) -> int:
        """One for a stream of ours."""
        number = self._next
        self._next += 2
        return number

    def open(self, stream: Flow, kind: bytes, words: "Iterable[bytes]" = ()) -> None:
        """Tell the other side of a stream of ours."""
        self.send(wire.told(wire.OPEN, stream.number, [kind, *words]))

    def flush(self) -> None:
        """Give the port what it takes now."""
        if self.queued > self.most_queued:
            raise wire.BridgeError("it does not read what it has asked for")
        at = 0
        out = self.out
        try:
            while at < len(out):
                data = out[at]
                end = at + 1
                size = len(data)
                while end < len(out) and size + len(out[end]) <= PORT_WRITE:
                    size += len(out[end])
                    end += 1
                if end > at + 1:
                    data = b"".join(out[at:end])
                written = os.write(self.port, data)
                self.queued -= written
                at = end
                if written < size:
                    at -= 1
                    out[at] = memoryview(data)[written:]
        except BlockingIOError:
            pass
        except OSError as error:
            if error.errno not in (errno.EPIPE, errno.ECONNRESET):
                raise
            raise PortClosed from error
        finally:
            del out[:at]

    # The loop

    def attend(self, descriptor: int, call: "Callable[[], object] | None") -> None:
        """Have something called when a descriptor can be read; None: no more."""
        if call is None:
            self.attended.pop(descriptor, None)
        else:
            self.attended[descriptor] = call
        self._ask(descriptor, 0 if call is None else select.POLLIN)

    def _ask(self, descriptor: int, events: int) -> None:
        if self._asked.get(descriptor, 0) != events:
            if not events:
                self._poller.unregister(descriptor)
                del self._asked[descriptor]
            else:
                self._poller.register(descriptor, events)
                self._asked[descriptor] = events

    def turn(self, timeout_ms: "float | None" = None) -> None:
        """Wait until something can be done, and do some of it. Raises PortClosed, BridgeError."""
        crowded = self.crowded
        self._ask(self.port, select.POLLIN | (select.POLLOUT if self.out else 0))
        self._ask(self.readers.fileno(), 0 if crowded else select.POLLIN)
        self._ask(self.writers.fileno(), select.POLLIN)
        events = dict(self._poller.poll(0 if self.ready and not crowded else timeout_ms))
        for descriptor in events:
            call = self.attended.get(descriptor)
            if call is not None:
                call()
        if events.get(self.port, 0) & ~select.POLLOUT:
            self._receive()
        if self.writers.fileno() in events:
            self.writers.call(64)
        if not self.crowded:
            self.read(events, TURNS)
        self.flush()

    def read(self, events: "dict[int, int]", most: int) -> None:
        """Read from at most so many sources that can be read."""
        if self.readers.fileno() in events:
            self.readers.call(most)
        for stream in list(self.ready)[:most]:
            self.ready[stream] = self.ready.pop(stream)  # to the end of the row
            stream.readable()

    def _receive(self) -> None:
        for _ in range(TURNS):
            try:
                count = os.readv(self.port, self._pieces)
            except BlockingIOError:
                return
            except ConnectionResetError:
                count = 0
            if not count:
                self.disconnected()
                return
            for kind, number, payload in self.decoder.feed(bytes(self._buffer[:count])):
                self._frame(kind, number, payload)
            if count < len(self._buffer):
                return

    def _frame(self, kind: int, number: int, payload: bytes) -> None:
        if number == wire.CONTROL:
            self.control(kind, wire.fields_of(payload))
            return
        if kind == wire.OPEN:
            self._opened(number, wire.fields_of(payload))
            return
        stream = self.streams.get(number)
        if stream is not None:
            stream.hear(kind, payload)
        elif kind not in (wire.CREDIT, wire.STOP, wire.RESET) or not self._known(number):
            raise wire.BridgeError("frame %d for stream %d, which there is not" % (kind, number))

    def _known(self, number: int) -> bool:
        """Whether there has been such a stream: the other side did not know yet that it was over."""
        return number < self._next if number % 2 == self.parity % 2 else number <= self._seen

    def _opened(self, number: int, fields: "list[bytes]") -> None:
        self.theirs(number)
        if not fields:
            raise wire.BridgeError("a stream without a kind")
        self.opened(number, fields[0], fields[1:])

    def theirs(self, number: int) -> None:
        """Take note of a number that the other side has given to a stream."""
        if number % 2 == self.parity % 2 or number <= self._seen:
            raise wire.BridgeError("stream %d is not new" % number)
        if len(self.streams) >= wire.MAX_STREAMS:
            raise wire.BridgeError("too many streams")
        self._seen = number


class Watched:
    """An epoll set whose descriptors know what is to be called."""

    def __init__(self) -> None:
        self._set = select.epoll()
        self._calls: dict[int, tuple[int, Callable[[int], object]]] = {}

    def fileno(self) -> int:
        return self._set.fileno()

    def close(self) -> None:
        self._set.close()

    def want(self, descriptor: int, events: int, call: "Callable[[int], object]") -> None:
        """Have ``call`` told of these events, errors and the other end's disappearance. PermissionError: it cannot."""
        known = self._calls.get(descriptor)
        if known is None:
            self._set.register(descriptor, events)
        elif known[0] != events:
            self._set.modify(descriptor, events)
        self._calls[descriptor] = events, call

    def forget(self, descriptor: int) -> None:
        """Before it is closed, or nothing is wanted of it."""
        if self._calls.pop(descriptor, None) is not None:
            self._set.unregister(descriptor)

    def call(self, most: int) -> None:
        """Tell of what there is. The kernel lets those wait that were told of last."""
        for descriptor, events in self._set.poll(0, most):
            known = self._calls.get(descriptor)
            if known is not None:
                known[1](events)

    def waiting(self, most: int) -> "list[Callable[[int], object]]":
        """What would be called now."""
        found = [self._calls.get(descriptor) for descriptor, _ in self._set.poll(0, most)]
        return [each[1] for each in found if each is not None]
