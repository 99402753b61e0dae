"""The keeper's end of the bridge: host programs on the workspace's socket, streams on the guest's serial port.

How the keeper uses it (one thread; ``serve`` is its event loop)::

    bridge = Bridge(port)                        # port: the connected unix socket of QEMU's virtio-serial chardev
    bridge.hello(deadline_s)                     # only after a boot: a clone's template has said it already
    bridge.configure({TIME: ..., SEED: ..., HOSTNAME: ..., WORKSPACE: ...}, deadline_s)
    bridge.listen(listening)                     # from now on clients of the workspace's socket are served
    bridge.watch(leash, lambda: False)           # further descriptors of the loop: False ends ``serve``
    bridge.watch(pidfd_of_qemu, lambda: False)
    why = bridge.serve()                         # until the agent has ended, the port is closed, or a watch says so
    bridge.close()

The launcher then talks to the workspace's socket: ``asking.job(socket, b"storage")`` for layers and mounts,
``asking.start(socket, {IDLE: ..., LIMITS: ...})`` to start the agent, and the agent's own requests. Clients that come
before the agent has started wait for it. A keeper may also call ``bridge.start(values, deadline_s)`` itself.

A base template is made in the same way: hello, listen, jobs through the socket, ``serve`` until a watch ends it; the
port is quiet then. CONFIGURE begins a new session: both sides forget every stream.

What comes from the guest is hostile. It can only be what the protocol allows, in amounts that the protocol bounds;
anything else ends the bridge (``Outcome.BROKEN``), and with it the guest. The process must not limit the size of its
files (RLIMIT_FSIZE): the outputs of commands are among them.
"""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Callable, Mapping
from enum import StrEnum

from sandlot.errors import StartFailed
from sandlot.guest.mux import Mux, PortClosed
from sandlot.runtimes.qemu.clients import Asking, ClientFlow, ListenFlow, Newcomer, is_ours
from sandlot.wire import bridge as wire
from sandlot.wire import messages

__all__ = ["Bridge", "Outcome"]

MOST_CLIENTS = 1024
"""Connections on the workspace's socket and what is passed with them; more wait in the kernel's queue."""
MOST_INSIDE = 320
"""Streams that a guest may have opened: connections to ports on which the host listens."""
RATE, BURST = 200, 1000
"""How many of them may begin in a second, and at once: each leaves a port of the host's loopback waiting for a minute
(TIME_WAIT), and a guest must not use them up."""


class Outcome(StrEnum):
    """Why ``serve`` has returned."""

    ENDED = "ended"
    """The agent has ended, and said so."""
    CLOSED = "closed"
    """The port is gone: QEMU has ended."""
    BROKEN = "broken"
    """The guest does not keep to the protocol; ``Bridge.problem`` says in what."""
    ASKED = "asked"
    """A watch said so."""


class Bridge(Mux):
    """The streams of one guest."""

    def __init__(self, port: socket.socket) -> None:
        """``port`` is ours from now on."""
        port.setblocking(False)
        super().__init__(port.detach(), 1)
        self.problem = ""
        self.newcomers: set[Newcomer] = set()
        self.asking: set[Asking] = set()
        self._listening: socket.socket | None = None
        self._over: Outcome | None = None
        self._said_hello = False
        self._answers: dict[int, list[bytes]] = {}
        self._starting: list[Asking] = []
        self._enough = MOST_CLIENTS
        self._allowed = float(BURST)
        self._allowed_at = time.monotonic()

    # The guest itself

    def hello(self, deadline_s: float) -> None:
        """Wait until the guest has booted. Raises StartFailed."""
        self._wait(lambda: self._said_hello, deadline_s, "the guest did not come up")

    def configure(self, values: Mapping[bytes, bytes], deadline_s: float) -> None:
        """Begin a session with a clone. Raises StartFailed."""
        self.forget()
        self._request(wire.CONFIGURE, values, deadline_s)

    def start(self, values: Mapping[bytes, bytes], deadline_s: float) -> None:
        """Start the agent. Raises StartFailed."""
        self._request(wire.START, values, deadline_s)

    def asked_to_start(self, asking: Asking, values: Mapping[bytes, bytes]) -> None:
        """A client asks for START, and waits for the answer."""
        self._starting.append(asking)
        self.send(wire.told(wire.START, wire.CONTROL, wire.pairs(dict(values))))

    def _request(self, kind: int, values: Mapping[bytes, bytes], deadline_s: float) -> None:
        self._answers.pop(kind, None)
        self.send(wire.told(kind, wire.CONTROL, wire.pairs(dict(values))))
        self._wait(lambda: kind in self._answers, deadline_s, "the guest does not answer")
        refused = self._answers.pop(kind)
        if refused:
            raise StartFailed(refused[1].decode("utf-8", "replace"))

    def _wait(self, done: Callable[[], bool], deadline_s: float, otherwise: str) -> None:
        end = time.monotonic() + deadline_s
        while not done():
            left = end - time.monotonic()
            if left <= 0:
                raise StartFailed(f"{otherwise} within {deadline_s:g} s")
            try:
                self.turn(left * 1000)
            except PortClosed as error:
                raise StartFailed("the guest ended while it started") from error
            except (wire.BridgeError, ValueError) as error:
                raise StartFailed(f"the guest does not keep to the protocol: {error}") from error

    def control(self, kind: int, fields: list[bytes]) -> None:
        """See Mux.control."""
        if kind == wire.HELLO:
            self._said_hello = True
        elif kind == wire.ENDED:
            self._over = self._over or Outcome.ENDED
        elif kind in (wire.DONE, wire.REFUSED) and fields:
            self._answered(kind, fields)
        else:
            raise wire.BridgeError(f"control frame {kind}")

    def _answered(self, kind: int, fields: list[bytes]) -> None:
        asked = fields[0]
        if asked not in (b"%d" % wire.CONFIGURE, b"%d" % wire.START) or (kind == wire.REFUSED and len(fields) < 3):
            raise wire.BridgeError("an answer to nothing")
        refused = [each[:2000] for each in fields[1:3]] if kind == wire.REFUSED else []
        if asked == b"%d" % wire.START and self._starting:
            asking = self._starting.pop(0)
            if asking not in self.asking:
                return
            asking.answer(messages.FAILED if refused else messages.RESULT, refused)
            asking.close()
        else:
            self._answers[int(asked)] = refused

    # Its streams

    def opened(self, number: int, kind: bytes, words: list[bytes]) -> None:
        """See Mux.opened: all a guest may open is a connection to a port on which the host listens."""
        if kind != wire.CLIENT or len(words) != 1:
            raise wire.BridgeError(f"a guest may not open a stream of kind {kind[:20]!r}")
        listening = self.streams.get(messages.integer(words[0], 0, 1 << 32)) if words[0].isdigit() else None
        ClientFlow(self, number, listening if isinstance(listening, ListenFlow) else None)

    def may_come(self) -> bool:
        """Whether a guest may open one more connection now."""
        if sum(number % 2 == 0 for number in self.streams) > MOST_INSIDE:
            return False
        now = time.monotonic()
        self._allowed = min(float(BURST), self._allowed + (now - self._allowed_at) * RATE)
        self._allowed_at = now
        if self._allowed < 1:
            return False
        self._allowed -= 1
        return True

    # The host's programs

    def listen(self, listening: socket.socket) -> None:
        """Serve clients of the workspace's socket, which is ours from now on."""
        listening.setblocking(False)
        self._listening = listening
        self._heed()

    def _heed(self) -> None:
        if self._listening is not None:
            self.readers.want(self._listening.fileno(), select.EPOLLIN, self._accept)

    def _accept(self, _events: int) -> None:
        assert self._listening is not None  # noqa: S101  for the type checker
        if self.busy >= self._enough:
            self.readers.forget(self._listening.fileno())
            return
        try:
            client, _ = self._listening.accept()
        except ConnectionAbortedError:
            return
        except OSError:  # no more descriptors to be had: again when something has been closed
            self._enough = max(1, self.busy)
            self.readers.forget(self._listening.fileno())
            return
        if not is_ours(client):
            client.close()
            return
        client.setblocking(False)
        self.newcomers.add(Newcomer(self, client))

    @property
    def busy(self) -> int:
        """How much is open: connections, and what was passed with them."""
        return len(self.newcomers) + len(self.asking) + len(self.streams)

    def watch(self, descriptor: int, call: Callable[[], bool] | None) -> None:
        """Have ``call`` called when the descriptor can be read or its other end is gone; when it says False, or is
        None, ``serve`` ends. It stays the caller's."""

        def look() -> None:
            if call is None or not call():
                self._over = self._over or Outcome.ASKED

        self.attend(descriptor, look)

    def unwatch(self, descriptor: int) -> None:
        """Before it is closed."""
        self.attend(descriptor, None)

    def serve(self) -> Outcome:
        """Pass everything on until it is over."""
        if self._over is Outcome.ASKED:
            self._over = None
        while self._over is None:
            try:
                self.turn()
            except PortClosed:
                self._over = Outcome.CLOSED
            except (wire.BridgeError, ValueError) as error:
                self.problem = str(error)
                self._over = Outcome.BROKEN
            if self.busy < self._enough:
                self._enough = MOST_CLIENTS
                self._heed()
        return self._over

    def close(self) -> None:
        """Close everything: clients see the end of their connections."""
        for newcomer in list(self.newcomers):
            newcomer.close()
        for asking in list(self.asking):
            asking.close()
        if self._listening is not None:
            self.readers.forget(self._listening.fileno())
            self._listening.close()
            self._listening = None
        super().close()
