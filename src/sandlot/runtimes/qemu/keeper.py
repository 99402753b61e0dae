"""The keeper: the process of ours that owns one QEMU and serves the workspace's socket.

``keeper CONTROL LISTENING``, both descriptors: CONTROL is a socket to whoever started it (keeping.py), which says what
is to be kept (one message: keeping.Plan) and hears when it is. LISTENING is the workspace's socket; it takes clients
from the start, and they are served as soon as the guest can.

Two kinds of life::

    clone   load a template's state, say ready, serve until the guest has ended
    boot    start a guest from nothing, say ready when its bridge runs, serve (jobs may put warm layers into it),
            and when told ``save`` write the state of the guest and end

Until CONTROL says ``release`` the keeper ends with its launcher. It ends when QEMU does, and QEMU is killed by the
kernel when the keeper ends, however that happens: neither can be left alone.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import socket
import sys

from sandlot import process

TYPE_CHECKING = False  # QEMU waits for what is imported here
if TYPE_CHECKING:
    import subprocess
    from typing import Any

    from sandlot.runtimes.qemu.bridge import Bridge

__all__ = ["BOOT_S", "CLONE_S", "CONSOLE_FD", "CONTROL_FD", "MESSAGE", "PORT_FD", "main"]

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
PORT_FD, CONTROL_FD, CONSOLE_FD = 10, 11, 12
"""The numbers of the sockets that QEMU inherits; its command line names them."""


class Keeper:
    """One guest."""

    def __init__(self, control: socket.socket, listening: socket.socket) -> None:
        self.control = control
        self.listening = listening
        self.released = False
        self.saving = False
        self.serving = False
        self.qemu: subprocess.Popen[bytes] | None = None
        self._console_left = CONSOLE_BYTES

    def run(self) -> None:
        told = self.control.recv(MESSAGE)
        if not told:
            return
        plan = json.loads(told)
        mine = self._spawn(plan)
        # Only now, while QEMU starts itself: what talks to it.
        from sandlot.errors import SandlotError
        from sandlot.runtimes.qemu.bridge import Outcome

        try:
            bridge = self._start(plan, *mine)
        except SandlotError as error:
            self.close()
            self._log_all(mine[2])
            self._say({"error": error.message})
            return
        why = bridge.serve()
        if why is Outcome.BROKEN:
            print(f"the guest does not keep to the protocol: {bridge.problem}", file=sys.stderr, flush=True)
        if self.saving:
            self._save(plan["state"])
        bridge.close()

    def close(self) -> None:
        """End QEMU."""
        if self.qemu is not None:
            self.qemu.kill()
            self.qemu.wait()

    def _say(self, message: dict[str, Any]) -> None:
        try:
            self.control.send(json.dumps(message).encode())
        except OSError:
            pass  # it is gone, and we follow as soon as we look

    def _spawn(self, plan: dict[str, Any]) -> list[socket.socket]:
        """Start QEMU; our ends of its sockets."""
        from sandlot.runtimes.qemu import landlock

        mine = []
        for number in (PORT_FD, CONTROL_FD, CONSOLE_FD):
            ours, theirs = socket.socketpair()
            os.dup2(theirs.fileno(), number)
            theirs.close()
            mine.append(ours)
        passed = (PORT_FD, CONTROL_FD, CONSOLE_FD)
        # What QEMU itself says goes the way of the guest's console, too: a guest can make it complain without end.
        rules = landlock.ruleset(plan["reads"], plan["writes"])
        try:
            environment = {"LC_ALL": "C", "PATH": "/usr/bin:/bin"}
            self.qemu = process.spawn_bound(plan["argv"], env=environment, log=CONSOLE_FD, pass_fds=passed, rules=rules)
        finally:
            if rules is not None:
                os.close(rules)
        for number in passed:
            os.close(number)
        return mine

    def _start(
        self, plan: dict[str, Any], port: socket.socket, control: socket.socket, console: socket.socket
    ) -> Bridge:
        from sandlot.errors import StartFailed
        from sandlot.runtimes.qemu.bridge import Bridge
        from sandlot.runtimes.qemu.qmp import Control

        assert self.qemu is not None  # noqa: S101  for the type checker
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
        import time

        from sandlot.wire import bridge as wire

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
        from sandlot.errors import SandlotError

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


def _out_of_the_way(number: str) -> socket.socket:
    """A socket that we inherit, under a number that QEMU's are not given."""
    moved = fcntl.fcntl(int(number), fcntl.F_DUPFD_CLOEXEC, CONSOLE_FD + 1)
    os.close(int(number))
    return socket.socket(fileno=moved)


def _limit_ourselves() -> None:
    import resource

    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, DESCRIPTORS) if hard > 0 else DESCRIPTORS, hard))
    except (OSError, ValueError):
        pass
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def main() -> None:
    """Entry point."""
    keeper = Keeper(_out_of_the_way(sys.argv[1]), _out_of_the_way(sys.argv[2]))
    _limit_ourselves()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
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
