"""PID 1 of a workspace: accepts requests, forks a worker for each command or tool, reaps, freezes, and idles out.

The loop itself never waits for anybody: commands and file tools run in workers, so ``PING`` and ``STATUS`` are answered
at once however busy the workspace is.
"""

import _socket
import errno
import gc
import os
import select
import sys
import time

from sandlot.guest import channel, protect, tree, watch, worker
from sandlot.guest.signals import signal
from sandlot.wire import frames, messages

TYPE_CHECKING = False
if TYPE_CHECKING:  # loaded when it is needed
    from sandlot.guest.refusal import Refuser

FREEZE_WAIT_S = 2.0
REPLY_WAIT_S = 5.0
ROOM_WAIT_S = 5.0
"""How long a request waits for room when there may be no more processes: the watcher is about to make some."""
ROOM_POLL_MS = 10.0
MAX_CONNECTIONS = 512
PROJECT = b"/workspace"
STAGE = b".sandlot-stage-"  # see tools/swap.py


class Connection:
    """A client whose request has not been answered yet."""

    __slots__ = ("decoder", "descriptors", "freezes", "opened", "request", "socket", "waits_for")

    def __init__(self, socket: "_socket.socket") -> None:
        self.socket = socket
        self.decoder = frames.Decoder()
        self.descriptors: list[int] = []
        self.opened = time.monotonic()
        self.request = 0
        self.waits_for = 0
        self.freezes = False

    def close(self) -> None:
        channel.close_all(self.descriptors)
        self.descriptors = []
        self.socket.close()


class Command:
    """A worker that runs a numbered command."""

    __slots__ = ("control", "kind", "leader", "number", "pid", "running")

    def __init__(self, kind: int, number: int, pid: int, control: "_socket.socket") -> None:
        self.kind = kind
        self.number = number
        self.pid = pid
        self.leader = 0
        self.control = control
        self.running = True


class Agent:
    """The event loop."""

    def __init__(self, listener: "_socket.socket", idle_s: float, leash: int, limits: str = "") -> None:
        self.listener = listener
        self.idle_s = idle_s
        self.poller = select.poll()
        self.connections: dict[int, Connection] = {}
        self.commands: dict[int, Command] = {}  # by descriptor of the control socket
        self.tools: set[int] = set()
        self.deferred: list[tuple[Connection, int, int, list[bytes]]] = []
        self.crowded_out: list[tuple[Connection, int, int, list[bytes]]] = []
        self.freeze: tree.Freeze | None = None
        self.watch = watch.Watch(limits)
        self.active = time.monotonic()
        self.stop_at = 0.0
        self.wake, wake_write = os.pipe()
        os.set_blocking(self.wake, False)
        os.set_blocking(wake_write, False)
        signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        listener.setblocking(False)
        self.poller.register(listener.fileno(), select.POLLIN)
        self.poller.register(self.wake, select.POLLIN)
        self.refuser: Refuser | None = None
        self.leash = leash
        self.poller.register(leash, 0)  # POLLHUP is always reported

    def run(self) -> None:
        """Serve until told to stop or idle for too long."""
        while True:
            for descriptor, _ in self.poller.poll(self.watch.sooner(self._timeout())):
                if descriptor == self.listener.fileno():
                    self._accept()
                elif descriptor == self.wake:
                    self._reap()
                elif descriptor == self.leash:
                    return  # whoever started us is gone and has not released us
                elif descriptor in self.commands:
                    self._heard(self.commands[descriptor])
                elif self.refuser is not None and self.refuser.has(descriptor):
                    self.refuser.serve(descriptor)
                elif descriptor in self.connections:
                    self._read(self.connections[descriptor])
            if self.watch.due() and self.freeze is None:
                self.watch.look(self.commands.values(), self.tools)
            if self.crowded_out and self.freeze is None:
                waiting, self.crowded_out = self.crowded_out, []
                for entry in waiting:
                    self._start(*entry)
            if self._finished():
                return

    def _timeout(self) -> "float | None":
        """Milliseconds until something is due."""
        if self.stop_at:
            return 5
        if self.crowded_out:
            return ROOM_POLL_MS
        if not self.idle_s:
            return None
        return min(channel.LONGEST_POLL_MS, max(1.0, (self.active + self.idle_s - time.monotonic()) * 1000))

    def _finished(self) -> bool:
        now = time.monotonic()
        if self.stop_at:
            others = [pid for pid, (_, state) in tree.processes().items() if pid != 1 and state not in "ZX"]
            return not others or now >= self.stop_at
        if not self.idle_s or now < self.active + self.idle_s:
            return False
        # A shell that is merely open does not keep a workspace alive; its worker says when it is used.
        busy = any(command.running and command.kind != messages.SHELL for command in self.commands.values())
        if self.tools or self.freeze is not None or busy:
            self.active = now
            return False
        return not self.poller.poll(0)  # somebody may have come just now

    def _accept(self) -> None:
        try:
            descriptor, _ = self.listener._accept()  # type: ignore[attr-defined]  # not in typeshed; socket.accept wraps it
        except OSError:
            return
        connection = Connection(_socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM, 0, fileno=descriptor))
        os.set_inheritable(descriptor, False)
        if len(self.connections) >= MAX_CONNECTIONS or not channel.peer_is_outside(connection.socket):
            connection.close()
            return
        connection.socket.setblocking(False)
        self.connections[descriptor] = connection
        self.poller.register(descriptor, select.POLLIN)
        self._read(connection)

    def _read(self, connection: Connection) -> None:
        try:
            data, descriptors = channel.receive(connection.socket)
            connection.descriptors += descriptors
            if not data or len(connection.descriptors) > channel.MAX_DESCRIPTORS:
                self._drop(connection)
                return
            for kind, request, fields in connection.decoder.feed(data):
                self._serve(connection, kind, request, fields)
        except BlockingIOError:
            return
        except (OSError, frames.FrameError):
            self._drop(connection)

    def _forget(self, connection: Connection) -> None:
        descriptor = connection.socket.fileno()
        if self.connections.pop(descriptor, None) is not None:
            self.poller.unregister(descriptor)

    def _drop(self, connection: Connection) -> None:
        self._forget(connection)
        self.deferred = [entry for entry in self.deferred if entry[0] is not connection]
        self.crowded_out = [entry for entry in self.crowded_out if entry[0] is not connection]
        if connection.freezes:
            self._thaw()
        connection.close()

    def _answer(self, connection: Connection, kind: int, fields: "list[bytes]") -> None:
        connection.socket.settimeout(REPLY_WAIT_S)
        try:
            channel.send(connection.socket, kind, connection.request, fields)
        except OSError:
            pass
        if not connection.freezes:
            self._drop(connection)

    def _serve(self, connection: Connection, kind: int, request: int, fields: "list[bytes]") -> None:
        connection.request = request
        if kind not in (messages.STATUS, messages.DENIALS):
            self.active = time.monotonic()
        try:
            if kind in messages.NUMBERED or kind == messages.TOOL:
                if self.freeze is not None:  # nothing may start while a snapshot is being taken
                    self.deferred.append((connection, kind, request, fields))
                else:
                    self._start(connection, kind, request, fields)
            elif kind in (messages.PING, messages.STATUS):
                self._status(connection, kind)
            elif kind == messages.KILL:
                self._kill(connection, messages.integer(fields[0]), messages.integer(fields[1], 0, 64))
            elif kind == messages.JOIN:
                self._join(connection, messages.integer(fields[0]))
            elif kind == messages.WAIT:
                self._wait(connection, messages.integer(fields[0]))
            elif kind == messages.FREEZE:
                self._freeze(connection)
            elif kind == messages.IDLE:
                self.idle_s = float(messages.integer(fields[0], 0, 10**9))
                self._answer(connection, messages.RESULT, [b"set"])
            elif kind == messages.RELEASE:
                self._release(connection)
            elif kind == messages.REFUSE:
                self._refuse(connection, messages.integer(fields[0], 0, 65535), fields[1].decode())
            elif kind == messages.DENIALS:
                self._answer(connection, messages.RESULT, self.refuser.take() if self.refuser is not None else [])
            elif kind == messages.SHUTDOWN:
                self.stop_at = time.monotonic() + messages.integer(fields[0], 0, 600_000) / 1000
                self._announce_stop()
                try:
                    os.kill(-1, signal.SIGTERM)
                except ProcessLookupError:
                    pass
                shells = [
                    each.leader for each in self.commands.values() if each.kind == messages.SHELL and each.running
                ]
                tree.send([leader for leader in shells if leader > 1], signal.SIGHUP)  # they ignore SIGTERM
            else:
                self._answer(connection, messages.FAILED, [b"invalid_argument", b"unknown request"])
        except (ValueError, IndexError) as error:
            self._answer(connection, messages.FAILED, [b"invalid_argument", str(error).encode()])

    def _start(self, connection: Connection, kind: int, request: int, fields: "list[bytes]") -> None:
        number = messages.integer(fields[0]) if kind in messages.NUMBERED else 0
        patient = time.monotonic() < connection.opened + ROOM_WAIT_S
        if number and self.watch.storage.hopeless():
            if patient and self.watch.storage.stale(connection.opened):  # what was ended just now may be gone by now
                self.watch.wake()
                self.crowded_out.append((connection, kind, request, fields))
                return
            text = b"the workspace's files take more than twice what its disk and inode limits allow"
            self._answer(connection, messages.FAILED, [b"limit_reached", text])
            return
        worker.prepare(kind, fields)
        ours, theirs = _pair()
        try:
            pid = os.fork()
        except OSError as error:
            ours.close()
            theirs.close()
            if error.errno == errno.EAGAIN and patient:
                self.watch.wake()
                self.crowded_out.append((connection, kind, request, fields))
                return
            self._answer(connection, messages.FAILED, [b"start_failed", os.strerror(error.errno or 0).encode()])
            return
        if pid == 0:
            self._become_worker(connection, theirs, kind, request, fields)
        theirs.close()
        self.watch.wake()
        if number:
            ours.setblocking(False)
            self.commands[ours.fileno()] = Command(kind, number, pid, ours)
            self.poller.register(ours.fileno(), select.POLLIN)
        else:
            ours.close()
            self.tools.add(pid)
        self._forget(connection)
        connection.close()

    def _become_worker(
        self, connection: Connection, control: "_socket.socket", kind: int, request: int, fields: "list[bytes]"
    ) -> None:
        """Runs in the forked child; never returns."""
        status = 1
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            self.listener.close()
            os.close(self.wake)
            if self.refuser is not None:
                self.refuser.forget()
            for other in self.connections.values():
                if other is not connection:
                    other.close()
            for command in self.commands.values():
                command.control.close()
            self.watch.restrict()
            worker.serve(connection.socket, control, connection.descriptors, kind, request, fields)
            status = 0
        except (SystemExit, worker.ClientLeft):
            pass  # a tool was ended by a stop, or by its client: the end of the stream says so
        except BaseException as error:  # a worker must never fall back into the agent's loop
            try:
                connection.socket.settimeout(REPLY_WAIT_S)
                channel.send(connection.socket, messages.FAILED, request, [b"agent_error", repr(error).encode()[:2000]])
            except Exception:
                status = 2
        finally:
            os._exit(status)

    def _heard(self, command: Command) -> None:
        """A worker says what it started (L, a pid), that it is in use (A), has ended (E), or is gone (end of file)."""
        try:
            data = command.control.recv(32)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if data[:1] == b"L":
            command.leader = int(data[1:])
            return
        if data[:1] == b"A":
            self.active = time.monotonic()
            return
        if command.running:
            command.running = False
            if not data:  # killed: nobody would see how its command ends, so that must not go on
                tree.kill_session(command.leader)
            self.active = time.monotonic()
            for connection in [each for each in self.connections.values() if each.waits_for == command.number]:
                self._answer(connection, messages.RESULT, [b"ended"])
        if not data:
            self.poller.unregister(command.control.fileno())
            del self.commands[command.control.fileno()]
            command.control.close()

    def _workers(self) -> "set[int]":
        return self.tools.union(command.pid for command in self.commands.values())

    def _find(self, number: int) -> "Command | None":
        for command in self.commands.values():
            if command.number == number and command.running:
                return command
        return None

    def _kill(self, connection: Connection, number: int, signal_number: int) -> None:
        command = self._find(number)
        if command is None:
            self._answer(connection, messages.FAILED, [b"command_not_found", b"the command is not running"])
            return
        try:
            command.control.send(b"K%d" % signal_number)
        except OSError:
            pass  # it ended meanwhile, which is what was wanted
        self._answer(connection, messages.RESULT, [b"sent"])

    def _announce_stop(self) -> None:
        """Tell services first: one that ends because of the stop is not restarted, and says so."""
        for command in [each for each in self.commands.values() if each.kind == messages.SERVICE]:
            try:
                command.control.send(b"Q")
            except OSError:
                pass  # it has just ended

    def _join(self, connection: Connection, number: int) -> None:
        """Hand the connection to the worker of a command, which serves it from now on."""
        command = self._find(number)
        if command is not None:
            rights = [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, connection.socket.fileno().to_bytes(4, sys.byteorder))]
            try:
                command.control.sendmsg([b"J%d" % connection.request], rights)
            except OSError:
                command = None  # it ended just now
        if command is None:
            self._answer(connection, messages.FAILED, [b"command_not_found", b"the command is not running"])
        else:
            self._drop(connection)

    def _wait(self, connection: Connection, number: int) -> None:
        if self._find(number) is None:
            self._answer(connection, messages.RESULT, [b"ended"])
        else:
            connection.waits_for = number

    def _status(self, connection: Connection, kind: int) -> None:
        running = [b"%d" % command.number for command in self.commands.values() if command.running]
        if kind == messages.STATUS:
            self._answer(connection, messages.RESULT, running)
            return
        idle = int((time.monotonic() - self.active) * 1000)
        count = len(tree.processes()) - 1
        self._answer(connection, messages.PONG, [b"%d" % len(running), b"%d" % count, b"%d" % idle])

    def _release(self, connection: Connection) -> None:
        """The launcher has recorded us: live on without it. Until then its death is ours, so no start can leak."""
        if self.leash >= 0:
            self.poller.unregister(self.leash)
            os.close(self.leash)
            self.leash = -1
        self._answer(connection, messages.RESULT, [b"released"])

    def _refuse(self, connection: Connection, port: int, label: str) -> None:
        if self.refuser is not None:
            self.refuser.close()
            self.refuser = None
        if port:
            from sandlot.guest.refusal import Refuser

            try:
                self.refuser = Refuser(self.poller, port, label)
            except OSError as error:
                self._answer(connection, messages.FAILED, [b"start_failed", os.strerror(error.errno or 0).encode()])
                return
        self._answer(connection, messages.RESULT, [b"set"])

    def _freeze(self, connection: Connection) -> None:
        if self.freeze is not None:
            self._answer(connection, messages.FAILED, [b"workspace_busy", b"another snapshot is being taken"])
            return
        self.freeze = tree.Freeze(self._workers())
        if not self.freeze.stop(time.monotonic() + FREEZE_WAIT_S):
            self._thaw()
            self._answer(connection, messages.FAILED, [b"workspace_busy", b"a process could not be paused"])
            return
        connection.freezes = True
        self._answer(connection, messages.RESULT, [b"frozen"])

    def _thaw(self) -> None:
        if self.freeze is not None:
            self.freeze.resume()
            self.freeze = None
        waiting, self.deferred = self.deferred, []
        for connection, kind, request, fields in waiting:
            self._start(connection, kind, request, fields)

    def _reap(self) -> None:
        try:
            os.read(self.wake, 4096)
        except BlockingIOError:
            pass
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG | os.WUNTRACED)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if not os.WIFSTOPPED(status):
                self.tools.discard(pid)
            elif self.freeze is None and pid in self._workers():
                os.kill(pid, signal.SIGCONT)  # a command may not pause the worker that holds its time limit


def _pair() -> "tuple[_socket.socket, _socket.socket]":
    return _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)


def _recover() -> None:
    """Put back what a patch or sync was changing when the workspace was killed: all or nothing holds across a kill."""
    try:
        cut_off = any(name.startswith(STAGE) for name in os.listdir(PROJECT))
    except OSError:
        return
    if not cut_off:
        return
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            from sandlot.guest import tools

            tools.get("recover")([PROJECT], -1, lambda _: None)
            status = 0
        finally:
            os._exit(status)
    os.waitpid(pid, 0)


def main() -> None:
    """Entry point: ``agent LISTENING_FD IDLE_SECONDS LEASH_FD LIMITS`` (0: never idle; limits: see watch.py).

    ``LIMITS`` also says ``new=1`` if nothing can have been changed here before, and ``sync=1`` if what was changed must
    be on a disk when we end.
    """
    descriptor = int(sys.argv[1])
    os.set_inheritable(descriptor, False)
    leash = int(sys.argv[3])
    os.set_inheritable(leash, False)
    limits = sys.argv[4] if len(sys.argv) > 4 else ""
    watch.own_descriptors(limits)
    protect.forbid_inspection()
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # PID 1 is immune to what it has no handler for
    os.umask(0o022)
    listener = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM, 0, fileno=descriptor)
    gc.disable()
    gc.freeze()
    told = watch.Limits(limits)
    if not told.get("new"):
        _recover()
    agent = Agent(listener, float(sys.argv[2]), leash, limits)
    agent.run()  # it has a name, so that its connections are open until we end
    if told.get("sync"):
        os.sync()  # when our connections close, the host may end the machine whose memory holds what was written
