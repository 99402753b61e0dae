"""The keeper: the process of ours that owns one QEMU and serves the workspace's socket.

Its process begins in starter.py, with two descriptors: CONTROL is a socket to whoever started it (keeping.py), which
says what is to be kept (one message: keeping.Plan) and hears when it is. LISTENING is the workspace's socket; it takes
clients from the start, and they are served as soon as the guest can.

Two kinds of life::

    clone   load a template's state, say ready, serve until the guest has ended
    boot    start a guest from nothing, say ready when its bridge runs, serve (jobs may put warm layers into it),
            and when told ``save`` write the state of the guest and end

Until CONTROL says ``release`` the keeper ends with its launcher. It ends when QEMU does, and QEMU is killed by the
kernel when the keeper ends, however that happens: neither can be left alone.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import time

from sandlot import process
from sandlot.errors import SandlotError, StartFailed
from sandlot.runtimes.qemu.bridge import Bridge, Outcome
from sandlot.runtimes.qemu.qmp import Control
from sandlot.runtimes.qemu.starter import BOOT_S, CLONE_S, MESSAGE
from sandlot.wire import bridge as wire

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from sandlot.runtimes.qemu.bound import Bound

__all__ = ["keep"]

CONSOLE_BYTES = 64 * 1024
"""What is kept of a guest's console: enough for a panic, and no more whatever a guest prints."""


class Keeper:
    """One guest."""

    def __init__(self, qemu: Bound, control: socket.socket, listening: socket.socket) -> None:
        self.qemu = qemu
        self.control = control
        self.listening = listening
        self.released = False
        self.saving = False
        self.serving = False
        self._console_left = CONSOLE_BYTES

    def run(self, plan: dict[str, Any], port: socket.socket, monitor: socket.socket, console: socket.socket) -> None:
        """Serve the guest at the other end of the three sockets until it ends."""
        try:
            bridge = self._start(plan, port, monitor, console)
        except SandlotError as error:
            self.qemu.kill()
            self.qemu.wait()
            self._log_all(console)
            self._say({"error": error.message})
            return
        why = bridge.serve()
        if why is Outcome.BROKEN:
            print(f"the guest does not keep to the protocol: {bridge.problem}", file=sys.stderr, flush=True)
        if self.saving:
            self._save(plan["state"])
        bridge.close()

    def _say(self, message: dict[str, Any]) -> None:
        try:
            self.control.send(json.dumps(message).encode())
        except OSError:
            pass  # it is gone, and we follow as soon as we look

    def _start(
        self, plan: dict[str, Any], port: socket.socket, control: socket.socket, console: socket.socket
    ) -> Bridge:
        identity = process.identify(self.qemu.pid)
        self.monitor = Control(control)
        bridge = Bridge(port)
        self._console = console
        console.setblocking(False)
        bridge.watch(console.fileno(), lambda: self._read_console(bridge))
        bridge.watch(self.control.fileno(), lambda: self._hear(bridge))
        self.monitor.greet()
        if plan["life"] == "boot":
            bridge.hello(BOOT_S)
        else:
            self._load(plan, bridge)
        bridge.watch(control.fileno(), self.monitor.drain)
        self._pidfd = os.pidfd_open(self.qemu.pid)
        bridge.watch(self._pidfd, None)
        bridge.listen(self.listening)
        self.serving = True
        if identity is None:
            raise StartFailed("QEMU ended")
        self._say({"pid": identity.pid, "start": identity.start_time})
        return bridge

    def _load(self, plan: dict[str, Any], bridge: Bridge) -> None:
        state = os.open(plan["state"], os.O_RDONLY | os.O_CLOEXEC)
        try:
            self.monitor.load(state, CLONE_S)
        finally:
            os.close(state)
        fresh = {
            wire.TIME: b"%d" % time.time_ns(),
            wire.SEED: os.urandom(64),
            wire.HOSTNAME: plan["hostname"].encode(),
            wire.WORKSPACE: plan["workspace"].encode(),
        }
        bridge.configure(fresh, CLONE_S)

    def _save(self, file: str) -> None:
        try:
            state = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            try:
                self.monitor.save(state, CLONE_S)
                os.fsync(state)
            finally:
                os.close(state)
        except (SandlotError, OSError) as error:
            self._say({"error": str(error)})
            return
        self._say({"saved": True})

    def _hear(self, bridge: Bridge) -> bool:
        """What the launcher wants; whether to go on."""
        try:
            word = self.control.recv(MESSAGE)
        except OSError:
            word = b""
        if word == b"release":
            self.released = True
            return True
        if self.released and not word:  # our launcher has gone its way
            bridge.unwatch(self.control.fileno())
            return True
        if not self.serving:  # a guest that has not come up has nobody to come up for
            raise SystemExit
        self.saving = word == b"save"
        return False

    def _read_console(self, bridge: Bridge) -> bool:
        try:
            data = self._console.recv(4096)
        except BlockingIOError:
            return True
        except OSError:
            data = b""
        if not data:
            bridge.unwatch(self._console.fileno())
        self._log(data)
        return True

    def _log_all(self, console: socket.socket) -> None:
        """What was said before the end."""
        console.setblocking(False)
        while self._console_left > 0:
            try:
                data = console.recv(4096)
            except OSError:
                return
            if not data:
                return
            self._log(data)

    def _log(self, data: bytes) -> None:
        if self._console_left > 0:
            data = data[: self._console_left]
            self._console_left -= len(data)
            try:
                os.write(2, data)
            except OSError:
                pass  # a full disk: its place is in nobody's way


def keep(plan: dict[str, Any], qemu: Bound, control: int, listening: int, ends: list[int]) -> None:
    """Serve until the guest has ended. The descriptors are a launcher's, the workspace's, and those of QEMU's sockets:
    port, monitor, console."""
    keeper = Keeper(qemu, socket.socket(fileno=control), socket.socket(fileno=listening))
    keeper.run(plan, *(socket.socket(fileno=end) for end in ends))
