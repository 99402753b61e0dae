"""Both ends of the bridge in one process, each in a thread, for tests that look at what goes between them."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from sandlot.guest import channel
from sandlot.guest.bridge import GuestBridge, Started
from sandlot.runtimes.qemu.bridge import Bridge, Outcome
from sandlot.wire import bridge as wire
from sandlot.wire import frames, messages
from tests.runtimes.bridged import listener

PATIENCE_S = 30.0

Frame = tuple[int, int, bytes]


class HostEnd:
    """A keeper's bridge that serves a socket in ``folder``."""

    def __init__(self, folder: Path, port: socket.socket) -> None:
        self.socket = folder / "sock"
        self.bridge = Bridge(port)
        self.bridge.listen(listener(self.socket))
        self.outcome: Outcome | None = None
        self.turns = 0
        self.most_queued = 0
        self._ending, self._end = os.pipe()
        self.bridge.watch(self._ending, None)
        turn = self.bridge.turn

        def counted(timeout_ms: float | None = None) -> None:
            self.turns += 1
            turn(timeout_ms)
            self.most_queued = max(self.most_queued, self.bridge.queued)

        self.bridge.turn = counted  # type: ignore[method-assign]  # what a turn does is not changed
        self.thread = threading.Thread(target=self._run, daemon=True)

    def begin(self) -> None:
        self.thread.start()

    def _run(self) -> None:
        try:
            self.outcome = self.bridge.serve()
        finally:
            self.bridge.close()

    def over(self) -> Outcome | None:
        """How it has ended, once it has."""
        self.thread.join(PATIENCE_S)
        assert not self.thread.is_alive(), "the bridge goes on"
        return self.outcome

    def close(self) -> None:
        os.close(self._end)
        if self.thread.ident is not None:
            self.over()
        else:
            self.bridge.close()
        os.close(self._ending)

    def client(self) -> socket.socket:
        """Somebody on the workspace's socket."""
        made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        made.connect(os.fspath(self.socket))  # waits for room in the queue, as it would not with a time limit
        made.settimeout(PATIENCE_S)
        return made


class RawGuest:
    """A guest that says what a test wants it to."""

    def __init__(self, port: socket.socket) -> None:
        self.port = port
        self.port.settimeout(PATIENCE_S)
        self._decoder = wire.Decoder()
        self._heard: list[Frame] = []

    def say(self, *frames: bytes) -> None:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # it has heard enough
            self.port.sendall(b"".join(frames))

    def hear(self) -> Frame:
        """The next frame. Raises EOFError."""
        while not self._heard:
            data = self.port.recv(65536)
            if not data:
                raise EOFError
            self._heard += self._decoder.feed(data)
        return self._heard.pop(0)

    def until(self, kind: int) -> Frame:
        """The next frame of a kind."""
        while (frame := self.hear())[0] != kind:
            pass
        return frame


class GuestEnd:
    """A guest's bridge, and a listening socket that stands for its agent."""

    def __init__(self, folder: Path, port: socket.socket) -> None:
        self.agent = listener(folder / "agent")
        self.agent.settimeout(PATIENCE_S)
        self._alive, self._life = os.pipe()
        self.configured: list[dict[bytes, bytes]] = []
        self.turns = 0

        def start(_values: dict[bytes, bytes]) -> Started:
            return Started(os.fspath(folder / "agent"), self._alive)

        port.setblocking(False)
        self.bridge = GuestBridge(port.detach(), self.configured.append, start)
        turn = self.bridge.turn

        def counted(timeout_ms: float | None = None) -> None:
            self.turns += 1
            turn(timeout_ms)

        self.bridge.turn = counted  # type: ignore[method-assign]  # what a turn does is not changed
        self.thread = threading.Thread(target=self.bridge.run, daemon=True)
        self.thread.start()

    def accept(self) -> socket.socket:
        """The agent's end of the next connection."""
        made, _ = self.agent.accept()
        made.settimeout(PATIENCE_S)
        return made

    def end(self) -> None:
        """The agent ends."""
        if self._life >= 0:
            os.close(self._life)
            self._life = -1

    def close(self) -> None:
        self.end()
        self.thread.join(PATIENCE_S)
        assert not self.thread.is_alive(), "the guest's end goes on"
        self.agent.close()
        self.bridge.close()
        os.close(self._alive)


@contextlib.contextmanager
def hostile(folder: Path) -> Iterator[tuple[HostEnd, RawGuest]]:
    """A keeper, and a guest of the test's own."""
    ours, theirs = socket.socketpair()
    host = HostEnd(folder, ours)
    host.begin()
    try:
        with theirs:
            yield host, RawGuest(theirs)
    finally:
        host.close()


@contextlib.contextmanager
def joined(folder: Path, *, start: bool = True) -> Iterator[tuple[HostEnd, GuestEnd]]:
    """A keeper and a guest that understand each other."""
    ours, theirs = socket.socketpair()
    guest = GuestEnd(folder, theirs)
    host = HostEnd(folder, ours)
    host.bridge.hello(PATIENCE_S)
    host.bridge.configure({wire.HOSTNAME: b"clone"}, PATIENCE_S)
    if start:
        host.bridge.start({}, PATIENCE_S)
    host.begin()
    try:
        yield host, guest
    finally:
        guest.close() if start else None
        host.close()
        if not start:
            guest.close()


def eventually(condition: Callable[[], bool], what: str) -> None:
    """Wait until something is so."""
    pause = threading.Event()
    for _ in range(int(PATIENCE_S / 0.005)):
        if condition():
            return
        pause.wait(0.005)
    raise AssertionError(f"never: {what}")


Ends = tuple[HostEnd, GuestEnd]
HEAD = frames.encode(messages.PING, 1, [])


def connected(ends: Ends, *given: int) -> tuple[socket.socket, socket.socket, list[int]]:
    """(a client, the agent's end of its connection, what the agent got for the descriptors)."""
    host, guest = ends
    client = host.client()
    socket.send_fds(client, [HEAD], list(given))
    agent = guest.accept()
    data, descriptors = b"", []
    while len(data) < len(HEAD):
        more, found = channel.receive(agent)
        data += more
        descriptors += found
    assert data == HEAD
    return client, agent, descriptors


def pipe_of(ends: Ends, writing: bool) -> tuple[int, int]:
    """(the host's end of a pipe, the guest's end of it)."""
    read, write = os.pipe()
    passed, kept = (write, read) if writing else (read, write)
    client, agent, (inside,) = connected(ends, passed)
    os.close(passed)
    client.close()
    agent.close()
    return kept, inside


def read_all(descriptor: int) -> bytes:
    with open(descriptor, "rb", buffering=0) as file:
        return file.read()


def read_to_end(connection: socket.socket) -> bytes:
    found = b""
    while data := connection.recv(1 << 16):
        found += data
    return found
