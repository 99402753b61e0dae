"""What a forked worker does: run one command to its end, or one file tool."""

import _socket
import errno
import os
import select
import sys
import time

from sandlot.guest import channel, protect, tree
from sandlot.guest.signals import signal
from sandlot.wire import frames, messages

TERM_GRACE_S = 1.0
"""How long a tree may take to end after SIGTERM before it is killed."""
KILL_WAIT_S = 5.0
OUTPUT_EVERY_S = 0.02
SEND_WAIT_S = 5.0
CHUNK = 1 << 20
TAIL = 64 * 1024
"""Bytes of the end of a stream that are kept when its quota is exceeded."""
F_SETPIPE_SZ = 1031
_IGNORED = sorted(signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP, signal.SIGCHLD, signal.SIGCONT})
"""What a supervisor ignores: it has the uid of the command, whose `kill -TERM -1` must not end its supervision."""


def prepare(kind: int, fields: "list[bytes]") -> None:
    """Import, in the agent, what a worker is about to need: the first one waits for it, later ones are born with it."""
    try:
        if kind == messages.EXEC:
            import resource  # noqa: F401  os.wait4 needs it, and would look for it in every worker anew
        else:
            import fcntl  # noqa: F401

            from sandlot.guest import tools

            tools.get(fields[0].decode("ascii", "replace"))
    except Exception:  # noqa: S110  the worker fails in the same way, and says so to its client
        pass


def serve(
    connection: "_socket.socket",
    control: "_socket.socket",
    descriptors: "list[int]",
    kind: int,
    request: int,
    fields: "list[bytes]",
) -> None:
    """Do what one request asks; the caller ends the process afterwards."""
    if kind == messages.EXEC:
        if len(descriptors) != 4:
            raise ValueError("exec needs four descriptors")
        Supervisor(connection, control, messages.Exec.parse(fields), request, descriptors).run()
    else:
        control.close()
        _serve_tool(connection, descriptors, request, fields)


class Stream:
    """One output stream of a command: a pipe from it, a host file to keep it in.

    The command never holds the host file itself: through /proc/self/fd it could reopen it, grow it without limit, or
    rewrite what the host later reads. The file holds the first ``quota`` bytes, then the last TAIL bytes.
    """

    def __init__(self, target: int, quota: int) -> None:
        self.source, self.sink = os.pipe()
        os.set_blocking(self.source, False)
        self.target = target
        self.quota = quota
        self.total = 0
        self.tail = b""
        self.open = True

    def drain(self, budget: int = 16) -> bool:
        """Move what is there now; returns whether more may come."""
        while self.open and budget:
            budget -= 1
            try:
                moved = self._move()
            except BlockingIOError:
                return True
            except InterruptedError:
                continue
            if moved == 0:
                self.finish()
                return False
            if moved == 65536:  # the pipe was full: the command writes fast, give it more room
                self._widen()
            self.total += moved
        return self.open

    def _widen(self) -> None:
        import fcntl

        try:
            fcntl.fcntl(self.source, F_SETPIPE_SZ, CHUNK)
        except OSError:
            pass  # the user's share of pipe memory is used up; slower, not wrong

    def _move(self) -> int:
        room = self.quota - self.total
        if room > 0 and sys.version_info >= (3, 10):
            try:
                return os.splice(self.source, self.target, min(CHUNK, room), offset_dst=self.total)
            except OSError as error:
                if error.errno not in (errno.EINVAL, errno.ENOSPC, errno.EFBIG):
                    raise
        data = os.read(self.source, CHUNK)
        kept = 0
        if room > 0:
            try:
                kept = os.pwrite(self.target, data[:room], self.total)
            except OSError:
                self.quota = self.total  # the host's disk is full: count on, keep the tail in memory
        if kept < len(data):
            self.tail = (self.tail + data[kept:])[-TAIL:]
        return len(data)

    def finish(self) -> None:
        """The command has closed its end."""
        if self.open:
            self.open = False
            os.close(self.source)
            self.save_tail()

    def save_tail(self) -> None:
        """Put the end of an over-long stream behind the part that was kept."""
        if self.tail:
            try:
                os.pwrite(self.target, self.tail, self.quota)
            except OSError:
                pass


class Supervisor:
    """Runs one command, as the reaper of everything it starts."""

    def __init__(
        self,
        connection: "_socket.socket",
        control: "_socket.socket",
        command: messages.Exec,
        request: int,
        descriptors: "list[int]",
    ) -> None:
        self.connection = connection
        self.control = control
        self.command = command
        self.request = request
        self.stdin, out, err, self.record = descriptors
        self.streams = [Stream(out, command.quota), Stream(err, command.quota)]
        self.poller = select.poll()
        self.detached = bool(command.flags & messages.DETACHED)
        self.attached = True
        self.reason = ""
        self.kill_at = 0.0
        self.reported = 0.0
        self.said = 0
        self.pid = 0
        self.ended = False

    def run(self) -> None:
        """Start, watch, report."""
        protect.adopt_orphans()
        for number in _IGNORED:
            signal.signal(number, signal.SIG_IGN)
        started = time.monotonic()
        try:
            self._spawn()
        except OSError as error:
            self._not_started(error)
            return
        self.control.send(b"%d." % self.pid)
        self._send(messages.STARTED, [b"%d" % self.pid])
        if self.detached:
            self._detach()
        status, usage = self._watch(started)
        self.ended = True
        survivors = 0
        if self.reason:
            survivors = tree.kill_descendants(os.getpid(), time.monotonic() + KILL_WAIT_S)
        for stream in self.streams:
            stream.drain(budget=1 << 30 if self.reason else 256)
            stream.save_tail()
        exited = messages.Exited(
            exit_code=os.WEXITSTATUS(status) if os.WIFEXITED(status) else 0,
            signal=os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0,
            reason=self.reason,
            duration_ms=int((time.monotonic() - started) * 1000),
            cpu_ms=int((usage.ru_utime + usage.ru_stime) * 1000),
            max_rss=usage.ru_maxrss * 1024,
            stdout=self.streams[0].total,
            stderr=self.streams[1].total,
            survivors=survivors,
        )
        self._finish(exited)
        self._linger()

    def _spawn(self) -> None:
        command = self.command
        # Only pipes and the pipe-like stdin of the host reach the command: see Stream.
        actions = [
            (os.POSIX_SPAWN_DUP2, self.stdin, 0),
            (os.POSIX_SPAWN_DUP2, self.streams[0].sink, 1),
            (os.POSIX_SPAWN_DUP2, self.streams[1].sink, 2),
        ]
        environment: dict[bytes, bytes] = {}
        for entry in command.env:
            name, _, value = entry.partition(b"=")
            environment[name] = value
        os.chdir(command.cwd)
        try:
            self.pid = os.posix_spawn(
                _program(command.argv[0], environment.get(b"PATH", b"/usr/bin:/bin")),
                command.argv,
                environment,
                file_actions=actions,
                setsid=True,
                setsigmask=[],
                setsigdef=_IGNORED,
            )
        finally:
            os.chdir("/")
        os.close(self.stdin)
        for stream in self.streams:
            os.close(stream.sink)

    def _not_started(self, error: OSError) -> None:
        """The program cannot be run: report it the way a shell does, 127 for "not found", 126 for "cannot"."""
        missing = error.errno in (errno.ENOENT, errno.ENOTDIR)
        text = "sandlot: %s: %s\n" % (os.fsdecode(error.filename or self.command.argv[0]), error.strerror)
        data = os.fsencode(text)
        try:
            os.pwrite(self.streams[1].target, data, 0)
        except OSError:
            pass  # the host's disk is full; the exit code says it too
        self._send(messages.STARTED, [b"0"])
        self._finish(messages.Exited(127 if missing else 126, 0, "", 0, 0, 0, 0, len(data), 0))

    def _watch(self, started: float) -> "tuple[int, os.struct_rusage]":  # type: ignore[name-defined]  # typeshed calls it resource.struct_rusage
        pidfd = os.pidfd_open(self.pid)
        for descriptor in (pidfd, self.streams[0].source, self.streams[1].source, self.control.fileno()):
            self.poller.register(descriptor, select.POLLIN)
        if self.attached:
            self.poller.register(self.connection.fileno(), select.POLLIN)
        deadline = started + self.command.timeout_ms / 1000 if self.command.timeout_ms else 0.0
        while True:
            events = dict(self.poller.poll(self._timeout(deadline)))
            for stream in self.streams:
                if stream.open and stream.source in events:
                    source = stream.source
                    if not stream.drain():
                        self.poller.unregister(source)
            if self.control.fileno() in events:
                self._obey()
            if self.attached and self.connection.fileno() in events:
                self._client_left()
            if pidfd in events:
                _, status, usage = os.wait4(self.pid, 0)
                os.close(pidfd)
                return status, usage
            now = time.monotonic()
            if deadline and now >= deadline and not self.reason:
                self._terminate("timeout")
            if self.kill_at and now >= self.kill_at:
                self.kill_at = 0.0
                self._kill_hard()
            self._progress(now)
            self._reap_orphans()

    def _timeout(self, deadline: float) -> "float | None":
        now = time.monotonic()
        due = [moment for moment in (self.kill_at, 0.0 if self.reason else deadline) if moment]
        if self.attached and self.said != self._total():
            due.append(self.reported + OUTPUT_EVERY_S)
        return min(channel.LONGEST_POLL_MS, max(0.0, (min(due) - now) * 1000 + 0.5)) if due else None

    def _total(self) -> int:
        return self.streams[0].total + self.streams[1].total

    def _progress(self, now: float) -> None:
        """Tell the client that there is more to read, at most every OUTPUT_EVERY_S."""
        if self.attached and self.said != self._total() and now - self.reported >= OUTPUT_EVERY_S:
            self.reported = now
            self.said = self._total()
            self._send(messages.OUTPUT, [b"%d" % stream.total for stream in self.streams], wait=False)

    def _reap_orphans(self) -> None:
        """Collect adopted processes; the command itself is waited for by number, for its resource usage."""
        while True:
            try:
                found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                return
            if found is None or found.si_pid == self.pid:
                return
            os.waitpid(found.si_pid, 0)

    def _obey(self) -> None:
        """The agent passes on a signal for the command; 0 means: end the whole tree."""
        data = self.control.recv(1)
        if not data:
            os._exit(1)  # the agent is gone, and so is the namespace
        if data == b"\0":
            self._terminate("killed")
        else:
            tree.send([self.pid], data[0])

    def _client_left(self) -> None:
        try:
            data = self.connection.recv(1)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._hung_up()

    def _hung_up(self) -> None:
        """Nobody listens any more: a command in the foreground that still runs is ended."""
        self._detach()
        if self.pid and not self.detached and not self.ended:
            self._terminate("killed")

    def _detach(self) -> None:
        if self.attached:
            self.attached = False
            try:
                self.poller.unregister(self.connection.fileno())
            except KeyError:
                pass
            self.connection.close()

    def _terminate(self, reason: str) -> None:
        if not self.reason:
            self.reason = reason
            self.kill_at = time.monotonic() + TERM_GRACE_S
            pids = tree.descendants(os.getpid())
            tree.send(pids, signal.SIGTERM)
            tree.send(pids, signal.SIGCONT)

    def _kill_hard(self) -> None:
        """The grace is over. Everything is stopped, then killed; the command itself stays for wait4 to collect."""
        tree.kill_all(os.getpid())

    def _send(self, kind: int, fields: "list[bytes]", wait: bool = True) -> None:
        if not self.attached:
            return
        try:
            if wait:
                self.connection.settimeout(SEND_WAIT_S)
                channel.send(self.connection, kind, self.request, fields)
            else:
                self.connection.send(frames.encode(kind, self.request, fields), _socket.MSG_DONTWAIT)
            self.connection.setblocking(False)
        except BlockingIOError:
            pass  # a slow reader misses a progress mark, nothing else
        except OSError:
            self._hung_up()

    def _finish(self, exited: messages.Exited) -> None:
        """The durable record first, then the client, then the agent."""
        try:
            os.pwrite(self.record, frames.encode(messages.EXITED, self.request, exited.fields()), 0)
        except OSError:
            pass  # the host's disk is full: the client that waits is still told
        os.close(self.record)
        self._send(messages.EXITED, exited.fields())
        self._detach()
        try:
            self.control.send(b"E")
        except OSError:
            pass

    def _linger(self) -> None:
        """Background children may hold the pipes: keep their output, and keep them from dying of SIGPIPE."""
        poller = select.poll()
        open_streams = [stream for stream in self.streams if stream.open]
        for stream in open_streams:
            poller.register(stream.source, select.POLLIN)
        while open_streams:
            poller.poll()
            for stream in list(open_streams):
                source = stream.source
                if not stream.drain():
                    poller.unregister(source)
                    open_streams.remove(stream)
            tree.reap()


def _program(name: bytes, path: bytes) -> bytes:
    """The file to execute, looked up in the command's own PATH."""
    if b"/" in name:
        return name
    denied = None
    for folder in path.split(b":"):
        candidate = (folder or b".") + b"/" + name
        try:
            if not os.path.isfile(candidate):
                continue
            if os.access(candidate, os.X_OK):
                return candidate
            denied = candidate
        except ValueError:
            break
    if denied is not None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), denied)
    raise FileNotFoundError(errno.ENOENT, "command not found", name)


def _serve_tool(connection: "_socket.socket", descriptors: "list[int]", request: int, fields: "list[bytes]") -> None:
    """Run a file tool; its items are sent in batches, its client's disappearance ends it."""
    from sandlot.guest import tools

    connection.settimeout(None)
    _end_with(connection)
    batch: list[bytes] = []
    size = 0

    def emit(item: "list[bytes]") -> None:
        nonlocal size
        frame = frames.encode(messages.ITEM, request, item)
        batch.append(frame)
        size += len(frame)
        if size >= 65536:
            flush()

    def flush() -> None:
        nonlocal size
        if batch:
            connection.sendall(b"".join(batch))
            batch.clear()
            size = 0

    try:
        tool = tools.get(fields[0].decode("ascii", "replace"))
        result = tool(fields[1:], descriptors[0] if descriptors else -1, emit)
        flush()
        channel.close_all(descriptors)
        channel.send(connection, messages.RESULT, request, result)
    except tools.ToolError as error:
        flush()
        details = [os.fsencode(line) for line in error.details]
        channel.send(connection, messages.FAILED, request, [error.code.encode(), os.fsencode(error.message), *details])


class ClientLeft(BaseException):
    """Raised in a tool when its client is gone, so that it rolls back and ends."""


def _end_with(connection: "_socket.socket") -> None:
    import fcntl

    def ended(*_: object) -> None:
        try:
            if connection.recv(1, _socket.MSG_PEEK | _socket.MSG_DONTWAIT) == b"":
                raise ClientLeft
        except BlockingIOError:
            pass

    def stopped(*_: object) -> None:
        raise ClientLeft

    signal.signal(signal.SIGIO, ended)
    signal.signal(signal.SIGTERM, stopped)
    fcntl.fcntl(connection.fileno(), fcntl.F_SETOWN, os.getpid())
    flags = fcntl.fcntl(connection.fileno(), fcntl.F_GETFL)
    fcntl.fcntl(connection.fileno(), fcntl.F_SETFL, flags | os.O_ASYNC)
    ended()
