"""The gateway: one process on the host for a workspace with a network, between its namespace and the world.

``python -m sandlot.workspaces.network.gateway FD``: FD is a socket to whoever started it (control.py), which says what
to serve (one message), then whose namespace (another), and is told when that is served. Until it says ``release`` the
gateway ends with it; afterwards it ends with the workspace's agent.

What is needed to answer "ready" is imported first, the proxy itself only while the first client connects.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import select
import signal
import socket
import sys
import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from sandlot.runtimes.qemu.asking import Listener
    from sandlot.workspaces.network.guest_network import GuestOpenNetwork
    from sandlot.workspaces.network.guest_sockets import GuestSockets
    from sandlot.workspaces.network.inside import SocketMaker
    from sandlot.workspaces.network.open_network import OpenNetwork
    from sandlot.workspaces.network.proxy import Proxy

__all__ = ["MESSAGE", "main"]

MESSAGE = 256 * 1024
"""Longest message on the control socket."""
MAX_CONNECTIONS = 256
"""Connections served at the same time, of clients and to published ports together; more wait to be accepted."""
DESCRIPTORS = 4096
LOG_BYTES = 8 << 20
"""No file we write grows beyond this, whatever a workspace makes us complain about."""
STACK_BYTES = 512 * 1024
BIND_S = 10.0
"""How long a port that our predecessor still holds may take to become free."""
_GONE = b""


class Gateway:
    """What one workspace is served."""

    def __init__(self, control: socket.socket) -> None:
        self.control = control
        self.released = False
        self.slots = threading.BoundedSemaphore(MAX_CONNECTIONS)
        self.serving: dict[int, tuple[socket.socket | Listener, Callable[[socket.socket], None]]] = {}
        self.maker: SocketMaker | GuestSockets | None = None
        self.making = threading.Lock()
        self.late: list[tuple[int, int]] = []
        self.waking, self.wake = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self.way_out: OpenNetwork | GuestOpenNetwork | None = None
        self._proxy: Proxy | None = None

    def run(self) -> None:
        plan = self._hear()
        if plan is None:
            return
        self.plan = plan
        try:
            ports = self._listen_outside(plan["ports"])
            self._say({"ports": ports})
            agent = self._hear()
            if agent is None:
                return
            pidfd = os.pidfd_open(agent["pid"])
            self._enter(agent, pidfd)
            self._bind_late()
        except OSError as error:
            self._say({"error": str(error)})
            return
        except _Taken as error:
            self._say({"taken": error.port, "forbidden": error.forbidden})
            return
        self._say({"ready": True})
        self._serve(pidfd)

    def close(self) -> None:
        """End our helpers."""
        for helper in (self.way_out, self.maker):
            if helper is not None:
                helper.close()

    # Getting ready

    def _hear(self) -> dict[str, Any] | None:
        data = self.control.recv(MESSAGE)
        return json.loads(data) if data else None

    def _say(self, message: dict[str, Any]) -> None:
        with contextlib.suppress(OSError):  # it is gone, and we follow as soon as we look
            self.control.send(json.dumps(message).encode())

    def _listen_outside(self, ports: list[dict[str, Any]]) -> list[int]:
        """The host's ports, in order. ``late`` ones are held by our predecessor, and bound when that is gone."""
        if not ports:
            return []
        from sandlot.workspaces.network.ports import PortTaken, listen

        found = []
        for each in ports:
            wanted = each["host_port"]
            if each["late"]:
                self.late.append((wanted, each["port"]))
                found.append(wanted)
                continue
            try:
                listener = listen(wanted)
            except PortTaken as error:
                if each["fixed"]:
                    raise _Taken(wanted, error.forbidden) from None
                listener = listen(0)
            self._add_port(listener, each["port"])
            found.append(listener.getsockname()[1])
        return found

    def _add_port(self, listener: socket.socket, port: int) -> None:
        from sandlot.workspaces.network.ports import carry

        self._add(listener, lambda accepted: carry(accepted, port, self._inside))

    def _inside(self, port: int) -> socket.socket | None:
        assert self.maker is not None  # noqa: S101  published ports keep it
        return self.maker.connected(port)

    def _add(self, listener: socket.socket | Listener, serve: Callable[[socket.socket], None]) -> None:
        listener.setblocking(False)
        self.serving[listener.fileno()] = (listener, serve)

    def _enter(self, agent: dict[str, Any], pidfd: int) -> None:
        if self.plan["open"]:
            self.way_out = _way_out(agent)
        maker = _maker(agent, pidfd)
        if self.plan["proxy"]:
            self._add(maker.listener(self.plan["proxy"]), self._client)
        if self.plan["ports"]:
            self.maker = maker
        else:
            maker.close()

    def _bind_late(self) -> None:
        """Take over what our predecessor held; that ends as soon as our launcher has heard that we are ready."""
        if self.late:
            threading.Thread(target=self._take_over, daemon=True).start()

    def _take_over(self) -> None:
        from sandlot.workspaces.network.ports import PortTaken, listen

        with contextlib.suppress(OSError):
            before = os.pidfd_open(self.plan["predecessor"])
            poller = select.poll()
            poller.register(before, select.POLLIN)
            poller.poll(BIND_S * 1000)
            os.close(before)
        for wanted, port in self.late:
            try:
                self._add_port(listen(wanted), port)
            except (PortTaken, OSError) as error:
                print(f"port {wanted} of the host was taken by somebody else: {error}", file=sys.stderr, flush=True)
        os.write(self.wake, b"\0")

    # Serving

    def _serve(self, pidfd: int) -> None:
        threading.stack_size(STACK_BYTES)
        # If the way out ends, so do we: the next command starts both anew.
        ends = [pidfd, *([self.way_out.ending] if self.way_out is not None else [])]
        while True:
            poller = select.poll()
            for descriptor in (*ends, self.waking, *self.serving):
                poller.register(descriptor, select.POLLIN)
            if not self.released:
                poller.register(self.control, select.POLLIN)
            for descriptor, _ in poller.poll():
                if descriptor in ends:
                    return
                if descriptor == self.waking:
                    os.read(self.waking, 64)
                elif descriptor in self.serving:
                    self._accept(*self.serving[descriptor])
                elif not self._released():
                    return

    def _released(self) -> bool:
        """Whether the launcher has let us go; else it is gone."""
        self.released = self.control.recv(MESSAGE) != _GONE
        if self.released:
            self.control.close()
        return self.released

    def _accept(self, listener: socket.socket | Listener, serve: Callable[[socket.socket], None]) -> None:
        if not self.slots.acquire(timeout=0.05):  # others first; this one waits in the kernel's queue
            return
        try:
            accepted, _ = listener.accept()
            threading.Thread(target=self._one, args=(accepted, serve), daemon=True).start()
        except (OSError, RuntimeError):
            self.slots.release()

    def _one(self, accepted: socket.socket, serve: Callable[[socket.socket], None]) -> None:
        try:
            serve(accepted)
        except Exception as error:  # one connection's misfortune is not that of the others
            print(f"a connection failed: {repr(error)[:500]}", file=sys.stderr, flush=True)
        finally:
            self.slots.release()
            accepted.close()

    def _client(self, accepted: socket.socket) -> None:
        with self.making:
            if self._proxy is None:
                self._proxy = _proxy(self.plan)
        self._proxy.serve(accepted)


def _maker(agent: dict[str, Any], pidfd: int) -> SocketMaker | GuestSockets:
    """Who makes sockets where the agent is. Raises OSError."""
    if agent["keeper"]:
        from pathlib import Path

        from sandlot.workspaces.network.guest_sockets import GuestSockets

        return GuestSockets(Path(agent["keeper"]))
    from sandlot.workspaces.network.inside import SocketMaker

    return SocketMaker(pidfd)


def _way_out(agent: dict[str, Any]) -> OpenNetwork | GuestOpenNetwork:
    """An open network where the agent is. Raises OSError."""
    if agent["keeper"]:
        from pathlib import Path

        from sandlot.workspaces.network.guest_network import GuestOpenNetwork

        return GuestOpenNetwork(Path(agent["keeper"]), 2)
    from sandlot.workspaces.network.open_network import OpenNetwork

    return OpenNetwork(agent["pid"], 2)


def _proxy(plan: dict[str, Any]) -> Proxy:
    from pathlib import Path

    from sandlot.model.network import Network
    from sandlot.paths import Paths
    from sandlot.workspaces.network.denials import DenialLog
    from sandlot.workspaces.network.interception import interceptor_of
    from sandlot.workspaces.network.judge import Judge
    from sandlot.workspaces.network.proxy import Proxy

    paths = Paths(Path(plan["state"]), Path(plan["cache"]))
    return Proxy(
        Judge(Network.from_json(plan["network"]), plan["label"]),
        DenialLog(paths.workspace(plan["workspace"]).denials),
        interceptor_of(paths, plan["workspace"]),
    )


class _Taken(Exception):
    def __init__(self, port: int, forbidden: bool) -> None:
        super().__init__(port)
        self.port = port
        self.forbidden = forbidden


def main() -> None:
    """Entry point."""
    control = socket.socket(fileno=int(sys.argv[1]))
    os.set_inheritable(control.fileno(), False)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, DESCRIPTORS) if hard > 0 else DESCRIPTORS, hard))
    resource.setrlimit(resource.RLIMIT_FSIZE, (LOG_BYTES, LOG_BYTES))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    gateway = Gateway(control)
    with contextlib.suppress(SystemExit):
        gateway.run()
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    gateway.close()
    os._exit(0)  # threads that still talk have nobody left to talk to


if __name__ == "__main__":
    main()
