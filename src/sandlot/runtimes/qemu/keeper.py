"""The keeper: the process of ours that owns one QEMU and serves the workspace's socket.

``keeper CONTROL LISTENING``, both descriptors: CONTROL is a socket to whoever started it (keeping.py), which says what
is to be kept (one message, a Plan) and hears when it is. LISTENING is the workspace's socket; it takes clients from
the start, and they are served as soon as the guest can.

Two kinds of life::

    clone   load a template's state, say ready, serve until the guest has ended
    boot    start a guest from nothing, say ready when its bridge runs, serve (jobs may put warm layers into it),
            and when told ``save`` write the state of the guest and end

Until CONTROL says ``release`` the keeper ends with its launcher. It ends when QEMU does, and QEMU is killed by the
kernel when the keeper ends, however that happens: neither can be left alone.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sandlot import process
from sandlot.errors import SandlotError
from sandlot.runtimes.qemu import commandline
from sandlot.runtimes.qemu.bridge import Bridge, Outcome
from sandlot.runtimes.qemu.commandline import Emulator, Machine
from sandlot.runtimes.qemu.qmp import Control
from sandlot.wire import bridge as wire

__all__ = ["BOOT_S", "CLONE_S", "MESSAGE", "Plan", "main"]

MESSAGE = 65536
"""Longest message on the control socket."""
BOOT_S = 180.0
"""How long a guest may take to boot: 3 s on a quiet machine, 10 s on a busy one under emulation, ten times that in
a test run on a loaded one."""
CLONE_S = 60.0
"""The same for a clone; a tenth of a second is usual."""
CONSOLE_BYTES = 64 * 1024
"""What is kept of a guest's console: enough for a panic, and no more whatever a guest prints."""
DESCRIPTORS = 8192


@dataclass(frozen=True, slots=True)
class Plan:
    """What a keeper is told to keep. Paths are texts: it travels as JSON."""

    life: str
    """``clone`` or ``boot``."""
    emulator: str
    version: str
    stamp: str
    accelerator: str
    processors: int
    memory: int
    ram: str
    state: str
    root: str
    data: str
    kernel: str = ""
    initramfs: str = ""
    python: str = ""
    hostname: str = "sandlot"
    workspace: str = ""

    @property
    def machine(self) -> Machine:
        emulator = Emulator(Path(self.emulator), self.version, self.stamp)
        return Machine(emulator, self.accelerator, self.processors, self.memory)


class Keeper:
    """One guest."""

    def __init__(self, control: socket.socket, listening: socket.socket) -> None:
        self.control = control
        self.listening = listening
        self.released = False
        self.saving = False
        self.qemu: subprocess.Popen[bytes] | None = None
        self._console_left = CONSOLE_BYTES

    def run(self) -> None:
        told = self.control.recv(MESSAGE)
        if not told:
            return
        plan = Plan(**json.loads(told))
        try:
            bridge = self._start(plan)
        except SandlotError as error:
            self._say({"error": error.message})
            return
        identity = process.identify(self.qemu.pid) if self.qemu is not None else None
        self._say(
            {"pid": self.qemu.pid, "start": identity.start_time} if identity and self.qemu else {"error": "QEMU ended"}
        )
        why = bridge.serve()
        if why is Outcome.BROKEN:
            print(f"the guest does not keep to the protocol: {bridge.problem}", file=sys.stderr, flush=True)
        if self.saving:
            self._save(plan)
        bridge.close()

    def close(self) -> None:
        """End QEMU."""
        if self.qemu is not None:
            self.qemu.kill()
            self.qemu.wait()

    def _say(self, message: dict[str, Any]) -> None:
        with contextlib.suppress(OSError):  # it is gone, and we follow as soon as we look
            self.control.send(json.dumps(message).encode())

    def _start(self, plan: Plan) -> Bridge:
        port, qemus_port = socket.socketpair()
        control, qemus_control = socket.socketpair()
        console, qemus_console = socket.socketpair()
        theirs = (qemus_port, qemus_control, qemus_console)
        self.qemu = process.spawn_bound(
            _argv(plan, *(each.fileno() for each in theirs)),
            env={"LC_ALL": "C", "PATH": "/usr/bin:/bin"},
            log=2,
            pass_fds=[each.fileno() for each in theirs],
        )
        for each in theirs:
            each.close()
        self.monitor = Control(control)
        bridge = Bridge(port)
        self._console = console
        console.setblocking(False)
        bridge.watch(console.fileno(), lambda: self._read_console(bridge))
        self.monitor.greet()
        if plan.life == "boot":
            bridge.hello(BOOT_S)
        else:
            self._load(plan, bridge)
        bridge.watch(self.control.fileno(), lambda: self._hear(bridge))
        bridge.watch(control.fileno(), self.monitor.drain)
        self._pidfd = os.pidfd_open(self.qemu.pid)
        bridge.watch(self._pidfd, None)
        bridge.listen(self.listening)
        return bridge

    def _load(self, plan: Plan, bridge: Bridge) -> None:
        state = os.open(plan.state, os.O_RDONLY | os.O_CLOEXEC)
        try:
            self.monitor.load(state, CLONE_S)
        finally:
            os.close(state)
        fresh = {
            wire.TIME: b"%d" % time.time_ns(),
            wire.SEED: os.urandom(64),
            wire.HOSTNAME: plan.hostname.encode(),
            wire.WORKSPACE: plan.workspace.encode(),
        }
        bridge.configure(fresh, CLONE_S)

    def _save(self, plan: Plan) -> None:
        try:
            state = os.open(plan.state, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
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
        self.saving = word == b"save"
        if self.released and not word:  # our launcher has gone its way
            bridge.unwatch(self.control.fileno())
            return True
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
        if self._console_left > 0:
            data = data[: self._console_left]
            self._console_left -= len(data)
            with contextlib.suppress(OSError):
                os.write(2, data)
        return True


def _argv(plan: Plan, port: int, control: int, console: int) -> list[str]:
    files = {"ram": Path(plan.ram), "root": Path(plan.root), "data": Path(plan.data)}
    if plan.life == "clone":
        return commandline.clone(plan.machine, **files, serial=port, control=control, console=console)
    return commandline.boot(
        plan.machine, **files, serial=port, control=control, console=console,
        kernel=Path(plan.kernel), initramfs=Path(plan.initramfs), python=plan.python,
    )  # fmt: skip


def main() -> None:
    """Entry point."""
    control = socket.socket(fileno=int(sys.argv[1]))
    listening = socket.socket(fileno=int(sys.argv[2]))
    for each in (control, listening):
        os.set_inheritable(each.fileno(), False)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, DESCRIPTORS) if hard > 0 else DESCRIPTORS, hard))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    keeper = Keeper(control, listening)
    try:
        keeper.run()
    except SystemExit:
        pass
    except Exception as error:  # what is left for whoever looks into the log
        print(f"the keeper failed: {error!r}", file=sys.stderr, flush=True)
        raise
    finally:
        keeper.close()


if __name__ == "__main__":
    main()
