"""What a forked worker does with one command: start it, watch it, end its tree, write down how it ended."""

import _socket
import errno
import os
import select
import time

from sandlot.guest import channel, sink, tree
from sandlot.guest.controlled import IGNORED, Controlled, exited
from sandlot.guest.signals import signal
from sandlot.guest.stream import streams_of
from sandlot.guest.watch import Hits
from sandlot.wire import frames, messages

TERM_GRACE_S = 1.0
"""How long a tree may take to end after SIGTERM before it is killed."""
KILL_WAIT_S = 5.0
OUTPUT_EVERY_S = 0.02
LAST_WORDS = 4096
"""Bytes of stderr in which a command that failed may have said what it ran out of."""
SEND_WAIT_S = 5.0


class Supervisor(Controlled):
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
        self.stdin, out, err, record = descriptors
        self.record = sink.of(record)
        self.streams = streams_of(command, out, err)
        self.poller = select.poll()
        self.detached = bool(command.flags & messages.DETACHED)
        self.attached = True
        self.reason = ""
        self.kill_at = 0.0
        self.reported = 0.0
        self.said = 0
        self.pid = 0
        self.ended = False
        self.hits = Hits()

    def run(self) -> None:
        """Start, watch, report."""
        self._prepare()
        started = time.monotonic()
        try:
            self._spawn()
            self._close_child_ends()
        except OSError as error:
            self._not_started(error)
            return
        self.control.send(b"L%d" % self.pid)
        self._send(messages.STARTED, [b"%d" % self.pid])
        if self.detached:
            self._detach()
        status, usage = self._watch(started)
        self.ended = True
        survivors = 0
        self.reason = self.reason or self.hits.reason(status)
        ended_by_us = bool(self.reason) and not self.reason.startswith("hit:")
        if ended_by_us:
            survivors = tree.kill_descendants(os.getpid(), time.monotonic() + KILL_WAIT_S)
        for stream in self.streams:
            stream.drain(budget=1 << 30 if ended_by_us else 256)
            stream.save_tail()
        self.reason = self.reason or self.hits.reason_said(status, self.streams[1].last(LAST_WORDS))
        totals = (self.streams[0].total, self.streams[1].total)
        self._finish(exited(status, usage, self.reason, time.monotonic() - started, totals, survivors))
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
                program(command.argv[0], environment.get(b"PATH", b"/usr/bin:/bin")),
                command.argv,
                environment,
                file_actions=actions,
                setsid=True,
                setsigmask=[],
                setsigdef=IGNORED,
            )
        finally:
            os.chdir("/")

    def _close_child_ends(self) -> None:
        os.close(self.stdin)
        for stream in self.streams:
            os.close(stream.sink)

    def _not_started(self, error: OSError) -> None:
        """The program cannot be run: report it the way a shell does, 127 for "not found", 126 for "cannot"."""
        missing = error.errno in (errno.ENOENT, errno.ENOTDIR)
        text = "sandlot: %s: %s\n" % (os.fsdecode(error.filename or self.command.argv[0]), error.strerror)
        data = os.fsencode(text)
        try:
            self.streams[1].target.write(data, 0)
        except OSError:
            pass  # the host's disk is full; the exit code says it too
        self._send(messages.STARTED, [b"0"])
        reason = "hit:processes" if error.errno == errno.EAGAIN else ""  # fork(2): there may be no more of them
        self._finish(messages.Exited(127 if missing else 126, 0, reason, 0, 0, 0, 0, len(data), 0))

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
                self._terminate("limit:duration" if self.command.flags & messages.CAPPED else "timeout")
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

    def _end(self) -> None:
        self._terminate("killed")

    def _joined(self, connection: "_socket.socket", request: int) -> None:
        """A client wants to talk to us: a plain command has nothing to say."""
        connection.setblocking(False)
        try:
            channel.send(connection, messages.FAILED, request, [b"invalid_argument", b"not a shell or service"])
        except OSError:
            pass
        connection.close()

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

    def _over_limit(self, limit: str) -> None:
        """The watcher blames what we run: no grace, every moment costs the host more."""
        self.reason = self.reason or "limit:" + limit
        self.kill_at = time.monotonic() + 0.1  # once more: a fork may have been faster
        self._kill_hard()

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

    def _finish(self, how: messages.Exited) -> None:
        """The durable record first, then the client, then the agent."""
        self._write_down(frames.encode(messages.EXITED, self.request, how.fields()))
        self._send(messages.EXITED, how.fields())
        self._detach()
        self._tell_agent()

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


def program(name: bytes, path: bytes) -> bytes:
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
