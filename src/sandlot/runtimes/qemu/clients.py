"""Programs of the host on the workspace's socket: most want the agent, some the keeper itself (ASK_ in the wire)."""

from __future__ import annotations

import contextlib
import errno
import os
import select
import socket
import struct
from typing import TYPE_CHECKING

from sandlot.guest.flow import Flow
from sandlot.runtimes.qemu.descriptors import RECORD, HostFile, bounds, carry
from sandlot.wire import bridge as wire
from sandlot.wire import frames, messages

if TYPE_CHECKING:
    from sandlot.runtimes.qemu.bridge import Bridge

__all__ = ["AgentFlow", "Asking", "ClientFlow", "ListenFlow", "Newcomer", "is_ours"]

_RIGHTS = socket.CMSG_SPACE(wire.MAX_CARRIED * 4)
_CREDENTIALS = struct.Struct("iII")


def is_ours(client: socket.socket) -> bool:
    """Whether it is a process of the user whose workspace this is (or of root), whatever the socket's mode became."""
    found = client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    return _CREDENTIALS.unpack(found)[1] in (0, os.geteuid())


def receive(client: socket.socket, size: int) -> tuple[bytes, list[int]]:
    """Bytes and descriptors that are there. Raises OSError, also when there are more descriptors than may come."""
    data, ancillary, flags, _ = client.recvmsg(size, _RIGHTS, socket.MSG_CMSG_CLOEXEC | socket.MSG_DONTWAIT)
    descriptors: list[int] = []
    for level, kind, payload in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            count = len(payload) // 4
            descriptors.extend(struct.unpack(f"{count}i", payload[: count * 4]))
    if flags & socket.MSG_CTRUNC or (descriptors and not data):
        for descriptor in descriptors:
            os.close(descriptor)
        raise OSError(errno.EMFILE, "too many descriptors")
    return data, descriptors


def tcp_pair() -> tuple[socket.socket, socket.socket]:
    """Two connected TCP sockets: unlike a pair of unix sockets, either end can be reset. Raises OSError."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(1)
        one = socket.create_connection(listening.getsockname())
        try:
            other, address = listening.accept()
        except BaseException:
            one.close()
            raise
    if address != one.getsockname():  # somebody else on this machine was faster: no harm is done yet
        one.close()
        other.close()
        raise ConnectionAbortedError(errno.ECONNABORTED, os.strerror(errno.ECONNABORTED))
    for each in (one, other):
        each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return one, other


def _rights(given: socket.socket | None) -> list[tuple[int, int, bytes]]:
    return [] if given is None else [(socket.SOL_SOCKET, socket.SCM_RIGHTS, struct.pack("i", given.fileno()))]


class Newcomer:
    """Somebody who has connected and not said yet what he wants."""

    def __init__(self, bridge: Bridge, client: socket.socket) -> None:
        self._bridge = bridge
        self.client = client
        self._heard: list[tuple[bytes, list[int]]] = []
        bridge.readers.want(client.fileno(), select.EPOLLIN, self._readable)

    def _readable(self, _events: int) -> None:
        try:
            data, descriptors = receive(self.client, wire.PAYLOAD)
        except BlockingIOError:
            return
        except OSError:
            data, descriptors = b"", []
        if not data:
            self.close()
            return
        self._heard.append((data, descriptors))
        head = b"".join(each for each, _ in self._heard)[: frames.HEADER.size]
        if len(head) < frames.HEADER.size:
            return
        self._leave()
        # Whoever has been accepted may pass descriptors, each a stream of its own; a guest takes so many, and no more.
        if len(self._bridge.streams) + 1 + wire.MAX_CARRIED > wire.MAX_STREAMS:
            self.close()
        elif head[1] in wire.ASKED:
            Asking(self._bridge, self.client, self._heard)
        else:
            AgentFlow(self._bridge, self.client, self._heard)

    def _leave(self) -> None:
        self._bridge.readers.forget(self.client.fileno())
        self._bridge.newcomers.discard(self)

    def close(self) -> None:
        """It went without a word, or we do."""
        self._leave()
        for _, descriptors in self._heard:
            for descriptor in descriptors:
                os.close(descriptor)
        self.client.close()


class AgentFlow(Flow):
    """A client's connection to the agent, with what it passes."""

    def __init__(self, bridge: Bridge, client: socket.socket, heard: list[tuple[bytes, list[int]]]) -> None:
        super().__init__(bridge, bridge.number(), wire.AGENT)
        self._carried: list[Flow] = []
        self._request: frames.Decoder | None = frames.Decoder()
        self._client = client
        bridge.open(self, wire.AGENT)
        for data, descriptors in heard:
            self._pass_on(descriptors)
            self._learn(data)
            self.credit -= len(data)
            bridge.send(wire.frame(wire.DATA, self.number, data))
        self.attach(client)

    def take(self, size: int) -> bytes:
        """See Flow.take."""
        data, descriptors = receive(self._client, size)
        self._pass_on(descriptors)
        self._learn(data)
        return data

    def _pass_on(self, descriptors: list[int]) -> None:
        if not descriptors:
            return
        if len(self.mux.streams) + len(descriptors) > wire.MAX_STREAMS:
            for descriptor in descriptors:
                os.close(descriptor)
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        words: list[bytes] = []
        for descriptor in descriptors:
            flow, kind = carry(self.mux, descriptor)
            words += [b"%d" % flow.number, kind]
            self._carried.append(flow)
        # Before any byte of theirs: what can be read of them is read in a later turn.
        self.mux.send(wire.told(wire.CARRY, self.number, words))

    def _learn(self, data: bytes) -> None:
        """How long the files may get that came with the request: the client, whom we trust, has told the agent."""
        if self._request is None or not self._carried:
            self._request = None
            return
        try:
            found = self._request.feed(data)
        except frames.FrameError:
            found = [(0, 0, [])]
        if not found:
            return
        self._request = None
        limits = bounds(found[0][0], found[0][2])
        for index, flow in enumerate(self._carried):
            if isinstance(flow, HostFile):
                flow.bound = limits[index] if index < len(limits) else RECORD
        self._carried.clear()


class Asking:
    """Somebody who wants something of the keeper: one request, then what it leads to."""

    def __init__(self, bridge: Bridge, client: socket.socket, heard: list[tuple[bytes, list[int]]]) -> None:
        self._bridge = bridge
        self.client = client
        self._buffer = b"".join(data for data, _ in heard)
        for _, descriptors in heard:
            for descriptor in descriptors:  # nobody here takes any
                os.close(descriptor)
        bridge.asking.add(self)
        self._look()

    def _look(self) -> None:
        try:
            kind, _, length = frames.decode_header(self._buffer[: frames.HEADER.size])
            if length > wire.PAYLOAD:
                raise frames.FrameError("too long")
            end = frames.HEADER.size + length
            if len(self._buffer) < end:
                self._bridge.readers.want(self.client.fileno(), select.EPOLLIN, self._more)
                return
            fields = frames.decode_fields(self._buffer[frames.HEADER.size : end])
            self._serve(kind, fields, self._buffer[end:])
        except (frames.FrameError, wire.BridgeError, ValueError, IndexError) as error:
            self.refuse("invalid_argument", str(error))

    def _more(self, _events: int) -> None:
        try:
            data = self.client.recv(wire.PAYLOAD, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self.close()
            return
        self._buffer += data
        self._look()

    def _serve(self, kind: int, fields: list[bytes], rest: bytes) -> None:
        self._bridge.readers.forget(self.client.fileno())
        if kind in (wire.ASK_PORT, wire.ASK_LISTEN):
            port = messages.integer(fields[0], 1, 65535)
            (PortFlow if kind == wire.ASK_PORT else ListenFlow)(self._bridge, self, port)
        elif kind == wire.ASK_JOB:
            self._bridge.asking.discard(self)
            JobFlow(self._bridge, self.client, fields, rest)
        else:
            self._bridge.asked_to_start(self, wire.values_of(fields))

    def answer(self, kind: int, fields: list[bytes], given: socket.socket | None = None) -> None:
        """A frame that fits into the buffer of a connection on which nothing has been said yet."""
        with contextlib.suppress(OSError):  # it has gone
            self.client.sendmsg([frames.encode(kind, 1, fields)], _rights(given), socket.MSG_DONTWAIT)

    def refuse(self, code: str, message: str) -> None:
        """Say why not, and close."""
        self.answer(messages.FAILED, [code.encode(), os.fsencode(message)[:2000]])
        self.close()

    def close(self) -> None:
        """Let it go."""
        self._bridge.readers.forget(self.client.fileno())
        self._bridge.asking.discard(self)
        self.client.close()


class _Wanted(Flow):
    """A stream that begins only when the guest says OPENED."""

    def __init__(self, bridge: Bridge, kind: bytes, asking: Asking, port: int) -> None:
        super().__init__(bridge, bridge.number(), kind)
        self.bridge = bridge
        self.asking: Asking | None = asking
        bridge.open(self, kind, [b"%d" % port])
        bridge.writers.want(asking.client.fileno(), 0, lambda _: self._gone())

    def hear(self, kind: int, payload: bytes) -> None:
        """See Flow.hear."""
        asking = self.asking
        if asking is None:
            super().hear(kind, payload)
        elif kind == wire.OPENED:
            self.asking = None
            self.bridge.writers.forget(asking.client.fileno())
            self.bridge.asking.discard(asking)
            self.begin(asking)
        else:
            if kind == wire.RESET and payload.isdigit() and len(payload) < 5:
                self._refused(int(payload))
            super().hear(kind, payload)

    def begin(self, asking: Asking) -> None:
        """It works, and who asked is to be told."""
        raise NotImplementedError

    def _refused(self, number: int) -> None:
        if self.asking is not None:
            asking, self.asking = self.asking, None
            self.bridge.writers.forget(asking.client.fileno())
            asking.answer(messages.FAILED, [b"network_unavailable", os.strerror(number).encode(), b"%d" % number])
            asking.close()

    def _gone(self) -> None:
        """Whoever asked does not wait any more."""
        self._refused(errno.ECANCELED)
        self.reset(errno.ECANCELED)

    def over(self) -> None:
        """See Flow.over."""
        self._refused(errno.ECONNRESET)


class PortFlow(_Wanted):
    """A connection to a port inside."""

    def __init__(self, bridge: Bridge, asking: Asking, port: int) -> None:
        super().__init__(bridge, wire.PORT, asking, port)

    def begin(self, asking: Asking) -> None:
        """See _Wanted.begin."""
        try:
            ours, theirs = tcp_pair()
        except OSError as error:
            asking.refuse("network_unavailable", str(error))
            self.reset(error.errno or errno.EIO)
            return
        with theirs:
            asking.answer(messages.RESULT, [], theirs)
        asking.close()
        self.attach(ours)


class ListenFlow(_Wanted):
    """Connections made inside to a port on which the host listens there, handed on as descriptors."""

    def __init__(self, bridge: Bridge, asking: Asking, port: int) -> None:
        super().__init__(bridge, wire.LISTEN, asking, port)

    def begin(self, asking: Asking) -> None:
        """See _Wanted.begin."""
        asking.answer(messages.RESULT, [])
        self.attach(asking.client)

    def hand_on(self, theirs: socket.socket) -> bool:
        """Whether whoever listens has got it, or will."""
        if self.socket is None:
            return False
        try:
            self.socket.sendmsg([b"C"], _rights(theirs), socket.MSG_DONTWAIT)
        except OSError:
            return False
        return True


class JobFlow(Flow):
    """A connection to a function inside."""

    def __init__(self, bridge: Bridge, client: socket.socket, words: list[bytes], rest: bytes) -> None:
        super().__init__(bridge, bridge.number(), wire.JOB)
        bridge.open(self, wire.JOB, words)
        if rest:
            self.credit -= len(rest)
            bridge.send(wire.frame(wire.DATA, self.number, rest))
        self.attach(client)


class ClientFlow(Flow):
    """A connection that somebody inside has made to a port on which the host listens."""

    def __init__(self, bridge: Bridge, number: int, listening: ListenFlow | None) -> None:
        super().__init__(bridge, number, wire.CLIENT)
        if listening is None or not bridge.may_come():
            self.reset(errno.ECONNREFUSED)
            return
        try:
            ours, theirs = tcp_pair()
        except OSError as error:
            self.reset(error.errno or errno.EIO)
            return
        with theirs:
            taken = listening.hand_on(theirs)
        if taken:
            self.attach(ours)
        else:
            ours.close()
            self.reset(errno.ECONNREFUSED)
