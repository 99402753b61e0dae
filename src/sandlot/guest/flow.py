"""One stream of the bridge and the descriptors it has here: what is read goes over, what comes over is written.

A pipe's end is one way, a socket both. Each way ends by itself, as the local ends do: the end of what is read becomes
END, a reader that is gone becomes STOP.
"""

import _socket
import errno
import os
import select
from collections import deque

from sandlot.wire import bridge as wire

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sandlot.guest.mux import Mux

_LINGER_NONE = b"\1\0\0\0\0\0\0\0"
_GONE = select.EPOLLHUP | select.EPOLLERR


class Flow:
    """A stream. Not attached yet, it keeps what comes for the moment when it is."""

    shared = False  # somebody else has the socket, too: whether it blocks is not ours to change

    def __init__(self, mux: "Mux", number: int, kind: bytes) -> None:
        self.mux = mux
        self.number = number
        self.kind = kind
        self.source = -1
        self.target = -1
        self.socket: _socket.socket | None = None  # source and target are the same then
        self.credit = wire.WINDOW  # bytes we may send
        self.room = wire.WINDOW  # bytes the other side may send
        self.freed = 0
        self.pending: deque[tuple[bytes | memoryview, list[int]]] = deque()
        one_way = wire.ONE_WAY.get(kind)
        sends = one_way is None or one_way == mux.parity % 2
        self.sent_end = not sends
        self.got_end = one_way is not None and sends
        self.stopped = False  # we want no more
        mux.streams[number] = self

    # Attaching

    def attach(self, socket: "_socket.socket") -> None:
        """Both ways by one socket, ours from now on."""
        if not self.shared:
            socket.setblocking(False)
        self.socket = socket
        self.source = self.target = socket.fileno()
        self._begin()

    def attach_source(self, descriptor: int) -> None:
        """Something to read, ours from now on; must not block unless it is a regular file."""
        self.source = descriptor
        self._begin()

    def attach_target(self, descriptor: int) -> None:
        """Something to write, ours from now on; must not block."""
        self.target = descriptor
        self._begin()

    def _begin(self) -> None:
        self._watch_source()
        if self.target >= 0:
            self.writable(0)

    def _watch_source(self) -> None:
        if self.source < 0 or self.sent_end:
            return
        if self.credit > 0:
            try:
                self.mux.readers.want(self.source, select.EPOLLIN, self.readable)
            except PermissionError:  # a regular file, or a device such as /dev/null: can always be read
                self.mux.ready[self] = None
        else:
            self.mux.readers.forget(self.source)
            self.mux.ready.pop(self, None)

    # From here to there

    def take(self, size: int) -> bytes:
        """Read what there is; b"": the end. Raises OSError."""
        return os.read(self.source, size)

    def readable(self, _events: int = 0, _most: int = wire.PAYLOAD) -> None:
        """Send what can be read now."""
        if self.sent_end or self.source < 0 or self.credit <= 0:
            return
        try:
            data = self.take(min(_most, self.credit, wire.PAYLOAD))
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self._source_failed(error)
            return
        if not data:
            self.end()
            return
        self.credit -= len(data)
        self.mux.send(wire.frame(wire.DATA, self.number, data))
        if self.credit <= 0:
            self._watch_source()

    def _source_failed(self, error: OSError) -> None:
        if self.tcp and error.errno == errno.ECONNRESET:
            self.reset(errno.ECONNRESET)
        else:
            self.end()

    @property
    def tcp(self) -> bool:
        return self.socket is not None and self.socket.family != _socket.AF_UNIX

    def end(self) -> None:
        """No more comes from here."""
        if not self.sent_end:
            self.sent_end = True
            self.mux.send(wire.frame(wire.END, self.number))
        self._close_source()
        self._retire()

    def _close_source(self) -> None:
        if self.source < 0:
            return
        self.mux.readers.forget(self.source)
        self.mux.ready.pop(self, None)
        source, self.source = self.source, -1
        if self.socket is None:
            os.close(source)

    # From there to here

    def hear(self, kind: int, payload: bytes) -> None:
        """A frame has come. Raises BridgeError."""
        if kind == wire.DATA:
            self._data(payload)
        elif kind == wire.CREDIT:
            self.credit += wire.credit_of(payload)
            if self.credit > wire.WINDOW:
                raise wire.BridgeError("credit for more than the window")
            self._watch_source()
        elif kind == wire.END:
            self._ended()
        elif kind == wire.STOP:
            self.unwanted()
        elif kind == wire.RESET:
            self.aborted()
        else:
            raise wire.BridgeError("frame %d for a stream of kind %r" % (kind, self.kind[:20]))

    def _data(self, payload: bytes) -> None:
        if self.got_end or len(payload) > self.room:
            raise wire.BridgeError("data beyond the end or the window of stream %d" % self.number)
        self.room -= len(payload)
        if self.stopped:
            self.discard()
            return
        self.keep(payload)
        if len(self.pending) == 1 and self.target >= 0:
            self.writable(0)

    def keep(self, payload: bytes) -> None:
        """Put it behind what waits for the target."""
        self.pending.append((payload, []))

    def discard(self) -> None:
        """What has just come is not wanted any more."""

    def put(self, data: "bytes | memoryview", carried: "list[int]") -> int:  # noqa: ARG002  see AgentFlow
        """Write, with what it carries; returns how much was taken. Raises OSError."""
        return os.write(self.target, data)

    def writable(self, events: int) -> None:
        """Write what waits."""
        if events & _GONE and not events & select.EPOLLOUT:
            self.broken()
            return
        try:
            while self.pending:
                data, carried = self.pending[0]
                count = self.put(data, carried)
                self.freed += count
                if count < len(data):
                    self.pending[0] = memoryview(data)[count:], []
                else:
                    self.pending.popleft()
        except (BlockingIOError, InterruptedError):
            pass
        except OSError:
            self.broken()
            return
        if self.freed >= wire.WINDOW // 2 and not self.got_end:
            self.mux.send(wire.credit(self.number, self.freed))
            self.room += self.freed
            self.freed = 0
        if self.got_end and not self.pending:
            self._finish()
        else:
            self._watch_target()

    def _watch_target(self) -> None:
        """With nothing to write, it still is watched for the other end's disappearance."""
        if self.target >= 0:
            try:
                self.mux.writers.want(self.target, select.EPOLLOUT if self.pending else 0, self.writable)
            except PermissionError:  # a regular file or /dev/null: never full
                pass

    def _ended(self) -> None:
        if self.got_end and not self.stopped:
            raise wire.BridgeError("stream %d ends twice" % self.number)
        self.got_end = True
        if not self.pending and (self.target >= 0 or self.stopped):
            self._finish()

    def _finish(self) -> None:
        """All that was to come has come and is written."""
        if self.target >= 0:
            if self.socket is not None and not self.stopped:
                try:
                    self.socket.shutdown(_socket.SHUT_WR)
                except OSError:
                    pass  # it is broken already
            self._close_target()
        self._retire()

    def _close_target(self) -> None:
        if self.target < 0:
            return
        target, self.target = self.target, -1
        self.mux.writers.forget(target)
        if self.socket is None:
            os.close(target)

    def broken(self) -> None:
        """Nobody reads what we write."""
        if self.stopped:
            self._close_target()
            return
        self.stopped = True
        self._drop_pending()
        self._close_target()
        if not self.got_end:
            self.mux.send(wire.frame(wire.STOP, self.number))
        self._retire()

    # Ends

    def unwanted(self) -> None:
        """The other side wants no more of what we read."""
        if self.socket is not None and self.source >= 0:
            try:
                self.socket.shutdown(_socket.SHUT_RD)  # a writer is told, as by a pipe
            except OSError:
                pass
        self.end()

    def reset(self, number: int) -> None:
        """Tell the other side that it went wrong, and drop everything here."""
        self._abandon()
        self.stopped = True
        if not (self.sent_end and self.got_end):
            self.mux.send(wire.frame(wire.RESET, self.number, b"%d" % number))
            self.sent_end = True
        self._retire()

    def aborted(self) -> None:
        """The other side says that it went wrong there."""
        self._abandon()
        self.got_end = self.stopped = True
        self.end()

    def _abandon(self) -> None:
        self._drop_pending()
        if self.tcp and self.socket is not None:
            try:
                self.socket.setsockopt(_socket.SOL_SOCKET, _socket.SO_LINGER, _LINGER_NONE)
            except OSError:
                pass
        self._close_source()
        self._close_target()
        self._close_socket()

    def _drop_pending(self) -> None:
        for _, carried in self.pending:
            for descriptor in carried:
                os.close(descriptor)
        self.pending.clear()

    def _close_socket(self) -> None:
        if self.socket is not None:
            self.mux.readers.forget(self.socket.fileno())
            self.mux.writers.forget(self.socket.fileno())
            self.socket.close()
            self.socket = None

    def _retire(self) -> None:
        """Forget the stream when both ways have ended, for both sides."""
        if self.sent_end and self.got_end and not self.pending and self.number in self.mux.streams:
            self.drop()

    def drop(self) -> None:
        """Close everything here, and say nothing."""
        self._drop_pending()
        self._close_source()
        self._close_target()
        self._close_socket()
        if self.mux.streams.pop(self.number, None) is not None:
            self.over()

    def over(self) -> None:
        """The stream is gone: for subclasses."""
