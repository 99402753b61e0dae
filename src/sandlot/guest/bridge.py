"""The guest's end of the bridge: root, outside of the agent's pid namespace, in nobody's reach.

PID 1 of the guest (boot.py) becomes it by calling ``main`` with the virtio-serial device. It says HELLO, waits for
CONFIGURE, serves JOBs at any time (jobs.py: name -> function), starts the agent when START comes (confine.py), and says
ENDED when the agent has ended; then it returns, and the guest is to be ended. It never returns for any other reason
but a port that is closed for good, which only a socket (in tests) can be.

It needs /proc, /dev, a tmpfs on /run and ``lo`` up; what the agent sees is what is mounted when START comes.
"""

import os
import select
import stat
import time

from sandlot.guest import bridge_flows, jobs
from sandlot.guest.flow import Flow
from sandlot.guest.mux import Mux, PortClosed, Watched
from sandlot.wire import bridge as wire

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    Values = dict[bytes, bytes]

AWAY_S = 0.02
"""Between looks whether the host has come back: a port without one is always readable, and empty."""
RETRY_MS = 2.0
"""Between attempts to connect to an agent whose queue is full; nothing tells when it has room."""
LAST_WORDS_S = 5.0
FILES = 8192
"""Open files: four for each stream at most."""


class Refused(Exception):
    """A request of the host could not be carried out: code, message."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class Started:
    """A running agent: where it listens, and a pidfd."""

    def __init__(self, address: str, pidfd: int) -> None:
        self.address = address
        self.pidfd = pidfd


class GuestBridge(Mux):
    """Serves one guest. ``configure`` and ``start`` do what the host asks for, or raise Refused or OSError."""

    def __init__(self, port: int, configure: "Callable[[Values], None]", start: "Callable[[Values], Started]") -> None:
        self.files = Watched()
        super().__init__(port, 2)
        self.most_queued = 1 << 40  # the host is trusted, and what files have held is not ours to refuse
        self._configure = configure
        self._start = start
        self.agent: Started | None = None
        self.ended = False
        self.unconnected: list[bridge_flows.AgentFlow] = []
        self.last: list[tuple[Flow, bytes]] = []
        self._is_device = stat.S_ISCHR(os.fstat(port).st_mode)

    def run(self) -> None:
        """Serve until the agent has ended, or a port that is no device is closed."""
        self.send(wire.told(wire.HELLO, wire.CONTROL, [b"version", b"%d" % wire.VERSION]))
        try:
            while not self.ended:
                self.turn(RETRY_MS if self.agent is not None and self.unconnected else None)
                self._connect()
            self._conclude()
        except PortClosed:
            pass

    def turn(self, timeout_ms: "float | None" = None) -> None:
        self._ask(self.files.fileno(), 0 if self.crowded else select.POLLIN)
        super().turn(timeout_ms)

    def read(self, events: "dict[int, int]", most: int) -> None:
        """Read sources; before what is said on connections, the files that were written before it was said."""
        ready = self.readers.waiting(most) if self.readers.fileno() in events else []
        connections = []
        for call in ready:
            flow = getattr(call, "__self__", None)
            if isinstance(flow, bridge_flows.AgentFlow):
                connections.append((flow, max(1, bridge_flows.arrived(flow.source))))
        if connections or self.files.fileno() in events:
            self.sweep()
        for flow, size in connections:
            flow.readable(0, size)
        for call in ready:
            if not isinstance(getattr(call, "__self__", None), bridge_flows.AgentFlow):
                call(0)

    def sweep(self) -> None:
        """Send everything that has been written to files until now."""
        for call in self.files.waiting(wire.MAX_STREAMS):
            call(0)

    def disconnected(self) -> None:
        if not self._is_device:
            raise PortClosed
        time.sleep(AWAY_S)

    # What the host asks for

    def control(self, kind: int, fields: "list[bytes]") -> None:
        if kind not in (wire.CONFIGURE, wire.START):
            raise wire.BridgeError("unknown request %d" % kind)
        values = wire.values_of(fields)
        try:
            if kind == wire.CONFIGURE:
                self.forget()
                self.unconnected.clear()
                self.last.clear()
                self._configure(values)
            else:
                self._begin(values)
        except (OSError, Refused) as error:
            code = error.code if isinstance(error, Refused) else "start_failed"
            answer = [b"%d" % kind, code.encode(), os.fsencode(str(error))[:2000]]
            self.send(wire.told(wire.REFUSED, wire.CONTROL, answer))
            return
        self.send(wire.told(wire.DONE, wire.CONTROL, [b"%d" % kind]))

    def _begin(self, values: "Values") -> None:
        if self.agent is not None:
            raise Refused("workspace_busy", "the agent runs already")
        self.agent = self._start(values)
        self.attend(self.agent.pidfd, self._over)

    def _over(self) -> None:
        self.ended = True

    def opened(self, number: int, kind: bytes, words: "list[bytes]") -> None:
        if kind == wire.AGENT:
            self.unconnected.append(bridge_flows.AgentFlow(self, number))
            self._connect()
        elif kind == wire.PORT:
            bridge_flows.PortFlow(self, number, int(words[0]))
        elif kind == wire.LISTEN:
            bridge_flows.ListenFlow(self, number, int(words[0]))
        elif kind == wire.JOB:
            self._job(number, words)
        else:
            raise wire.BridgeError("there is no stream of kind %r" % kind[:20])

    def _connect(self) -> None:
        """Connect those who wait for the agent, in the order in which they came."""
        while self.agent is not None and self.unconnected:
            flow = self.unconnected[0]
            try:
                if flow.number in self.streams:
                    flow.connect(self.agent.address)
            except BlockingIOError:
                return
            except OSError as error:
                flow.reset(error.errno or 111)
            self.unconnected.pop(0)

    def _job(self, number: int, words: "list[bytes]") -> None:
        flow = Flow(self, number, wire.JOB)
        if words[1:] == [wire.LAST]:
            self.last.append((flow, words[0]))
        else:
            self._run(flow, words[0] if words else b"", words[1:])

    def _run(self, flow: Flow, name: bytes, words: "list[bytes]") -> None:
        try:
            connection, pid = jobs.start(name, words)
        except KeyError:
            flow.reset(38)  # ENOSYS
            return
        except OSError as error:
            flow.reset(error.errno or 11)
            return
        pidfd = os.pidfd_open(pid)

        def collect() -> None:
            self.attend(pidfd, None)
            os.close(pidfd)
            os.waitpid(pid, 0)

        self.attend(pidfd, collect)
        flow.attach(connection)

    def _conclude(self) -> None:
        """The agent is gone, and with it everything below it: nothing comes any more but what has been written."""
        end = time.monotonic() + LAST_WORDS_S
        assert self.agent is not None  # noqa: S101  for the type checker
        self.attend(self.agent.pidfd, None)
        self.unconnected.clear()
        self.sweep()
        for flow, name in self.last:
            if flow.number in self.streams:
                self._run(flow, name, [])
        while any(stream.kind == wire.JOB for stream in self.streams.values()):
            self.turn()  # the host looks at what is left; when who does is gone, so is the stream
        if self._is_device:
            os.sync()  # the agent does it, too, unless it has failed: what is not on the disk now is lost
        self.readers.call(wire.MAX_STREAMS)
        self.send(wire.told(wire.ENDED, wire.CONTROL, []))
        while self.out and time.monotonic() < end:
            self.turn(100)


def main(port: int) -> None:
    """Serve a guest by the descriptor of its port; see the top of this file."""
    import resource

    from sandlot.guest import clone, confine

    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = max(hard, FILES)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    os.set_blocking(port, False)
    GuestBridge(port, clone.freshen, confine.start).run()
