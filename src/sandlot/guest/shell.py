"""What a forked worker does with one shell: hold its terminal, keep its transcript, serve its clients, end its tree.

Nothing here ever waits for a client or for the shell: what a client does not read is merged into the next word it gets,
and input that the shell does not read is refused once the queue is full.
"""

import _socket
import errno
import os
import select
import time

from sandlot.guest import channel, sink, tree
from sandlot.guest.controlled import Controlled, exited
from sandlot.guest.shell_client import Client
from sandlot.guest.signals import signal
from sandlot.guest.supervisor import KILL_WAIT_S, TERM_GRACE_S
from sandlot.guest.terminal import Terminal
from sandlot.guest.transcript import Transcript
from sandlot.guest.watch import Hits
from sandlot.wire import frames, messages
from sandlot.wire import shell as wire

MAX_CLIENTS = 64
FLOOD_PAUSE_S = 0.002
"""Rest after a full batch: a flood of output costs a fraction of a processor, and still passes 30 MB/s."""
LAST_BATCHES = 64
"""How much of what a shell has left in its terminal is kept when it has ended: more than a terminal holds."""
MISTAKES = (
    errno.ENOENT, errno.ENOTDIR, errno.EACCES, errno.ENOEXEC, errno.EISDIR, errno.ELOOP, errno.ENAMETOOLONG,
    errno.E2BIG, errno.EPERM,
)  # fmt: skip
"""What goes wrong when a program or folder is named that cannot be used; the rest is the machine's fault."""
LIVELY_S = 1.0
"""How often, at most, the agent is told that the shell is in use."""
LAST_WORD_S = 1.0


class Shell(Controlled):
    """One shell and its worker's loop."""

    def __init__(self, control: "_socket.socket", spec: wire.Open, request: int, descriptors: "list[int]") -> None:
        self.control = control
        self.spec = spec
        self.request = request
        record, ring = descriptors
        self.record = sink.of(record)
        self.transcript = Transcript(sink.of(ring), spec.rows, spec.columns)
        self.poller = select.poll()
        self.clients: dict[int, Client] = {}
        self.queue = bytearray()
        self.master = -1
        self.pid = 0
        self.reason = ""
        self.kill_at = 0.0
        self.rest_until = 0.0
        self.told = 0.0

    def run(self, connection: "_socket.socket") -> None:
        """Open, serve, report."""
        self._prepare()
        started = time.monotonic()
        hits = Hits()
        try:
            self._open()
        except OSError as error:
            self._not_opened(connection, error)
            return
        self.control.send(b"L%d" % self.pid)
        _say(connection, messages.STARTED, self.request, [b"%d" % self.pid])
        status, usage = self._watch()
        if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL:  # the kernel was faster than the watcher
            self.reason = self.reason or hits.reason(status)
        survivors = self._end_tree() if self.reason else 0
        for _ in range(LAST_BATCHES):
            if not self._drain():
                break
        totals = (self.transcript.total, 0)
        self._finish(exited(status, usage, self.reason, time.monotonic() - started, totals, survivors))

    def _open(self) -> None:
        self.terminal = Terminal(self.spec.rows, self.spec.columns)
        self.master = self.terminal.master
        self.pid = self.terminal.spawn(self.spec.command)

    def _not_opened(self, connection: "_socket.socket", error: OSError) -> None:
        missing = error.errno in (errno.ENOENT, errno.ENOTDIR)
        name = os.fsdecode(error.filename or self.spec.command.argv[0])
        self._finish(messages.Exited(127 if missing else 126, 0, "", 0, 0, 0, 0, 0, 0))
        text = "the shell cannot be opened: %s: %s" % (name, error.strerror)
        code = b"invalid_argument" if error.errno in MISTAKES else b"start_failed"
        _say(connection, messages.FAILED, self.request, [code, os.fsencode(text)])

    def _watch(self) -> "tuple[int, os.struct_rusage]":  # type: ignore[name-defined]  # typeshed calls it resource.struct_rusage
        """Serve until the shell has ended."""
        pidfd = os.pidfd_open(self.pid)
        self.poller.register(pidfd, select.POLLIN)
        self.poller.register(self.control.fileno(), select.POLLIN)
        self.poller.register(self.master, select.POLLIN)
        while True:
            events = self._step()
            if pidfd in events:
                self.poller.unregister(pidfd)
                _, status, usage = os.wait4(self.pid, 0)
                os.close(pidfd)
                return status, usage
            if self.kill_at and time.monotonic() >= self.kill_at:
                self.kill_at = 0.0
                tree.kill_all(os.getpid())
            self._reap_orphans()

    def _step(self, longest_ms: "float | None" = None) -> "dict[int, int]":
        """Wait until something happens, at most so long, and do what it asks for."""
        events = dict(self.poller.poll(self._timeout(longest_ms)))
        for descriptor in events:
            if descriptor == self.master:
                self._terminal(events[descriptor])
            elif descriptor == self.control.fileno():
                self._obey()
            elif descriptor in self.clients:
                self._serve(self.clients[descriptor], events[descriptor])
        if self.rest_until and time.monotonic() >= self.rest_until:
            self.rest_until = 0.0
            self._listen()
        self._tell()
        return events

    def _timeout(self, longest_ms: "float | None") -> "float | None":
        now = time.monotonic()
        due = [(moment - now) * 1000 + 0.5 for moment in (self.kill_at, self.rest_until) if moment]
        if self.clients:
            due.append(LIVELY_S * 1000)
        if longest_ms is not None:
            due.append(longest_ms)
        return max(0.0, min(due)) if due else None

    def _listen(self) -> None:
        """What we want to know of the terminal: output unless we rest, room for input if there is any to write."""
        wanted = 0 if self.rest_until else select.POLLIN
        self.poller.modify(self.master, wanted | (select.POLLOUT if self.queue else 0))

    def _terminal(self, event: int) -> None:
        if event & select.POLLOUT:
            self._feed()
        if event & ~select.POLLOUT and self._drain():
            self.rest_until = time.monotonic() + FLOOD_PAUSE_S
            self._listen()

    def _drain(self) -> bool:
        """Move what there is to the transcript; whether it was a full batch, so that there may be more."""
        parts = []
        size = 0
        while size < wire.BATCH:
            try:
                data = os.read(self.master, wire.BATCH - size)
            except InterruptedError:
                continue
            except OSError:  # nothing there
                break
            if not data:
                break
            parts.append(data)
            size += len(data)
        if parts:
            self.transcript.add(b"".join(parts))
            self._lively()
        return size >= wire.BATCH

    def _feed(self) -> None:
        """Write what waits, as far as the terminal takes it."""
        while self.queue:
            try:
                written = os.write(self.master, bytes(self.queue[:4096]))
            except OSError:
                break  # it is full: the shell does not read
            del self.queue[:written]
        self._listen()

    def _lively(self) -> None:
        """Tell the agent that the shell is in use, or it would idle out: a shell that is merely open does not count."""
        now = time.monotonic()
        if now - self.told >= LIVELY_S:
            self.told = now
            try:
                self.control.send(b"A", _socket.MSG_DONTWAIT)
            except OSError:
                pass  # it is busy; the next time

    def _tell(self) -> None:
        """Let every client know how far the transcript goes; who does not listen is told the last state later."""
        if self.clients:
            self._lively()
        for client in list(self.clients.values()):
            if client.said != self.transcript.total and not client.stuck:
                try:
                    if client.send(messages.OUTPUT, [b"%d" % self.transcript.total]):
                        client.said = self.transcript.total
                    else:
                        self.poller.modify(client.connection.fileno(), select.POLLIN | select.POLLOUT)
                except OSError:
                    self._leave(client)

    def _over_limit(self, limit: str) -> None:
        self.reason = self.reason or "limit:" + limit
        tree.kill_all(os.getpid())

    def _joined(self, connection: "_socket.socket", request: int) -> None:
        client = Client(connection, request)
        connection.setblocking(False)
        try:
            if len(self.clients) >= MAX_CLIENTS:
                client.send(messages.FAILED, [b"shell_busy", b"too many clients use the shell"])
                connection.close()
                return
            client.said = self.transcript.total
            fields = (self.transcript.total, self.transcript.rows, self.transcript.columns)
            client.send(messages.JOINED, [b"%d" % field for field in fields])
        except OSError:
            connection.close()
            return
        self.clients[connection.fileno()] = client
        self.poller.register(connection.fileno(), select.POLLIN)

    def _leave(self, client: Client) -> None:
        if self.clients.pop(client.connection.fileno(), None) is not None:
            self.poller.unregister(client.connection.fileno())
            client.connection.close()

    def _serve(self, client: Client, event: int) -> None:
        try:
            if event & select.POLLOUT:
                client.stuck = False
                self.poller.modify(client.connection.fileno(), select.POLLIN)
            if not event & ~select.POLLOUT:
                return
            data = client.connection.recv(65536)
            if not data:
                raise OSError(errno.EPIPE, "gone")
            for kind, _, fields in client.decoder.feed(data):
                if not client.send(*self._answer(kind, fields)):
                    raise OSError(errno.EPIPE, "it asks and does not listen")
        except BlockingIOError:
            return
        except (OSError, frames.FrameError):
            self._leave(client)

    def _answer(self, kind: int, fields: "list[bytes]") -> "tuple[int, list[bytes]]":
        try:
            if kind == wire.INPUT:
                return self._input(fields[0])
            if kind == wire.RESIZE:
                self._resize(*wire.size(fields))
            elif kind == wire.SIGNAL:
                tree_signal(self._foreground(), messages.integer(fields[0], 1, 64))
            elif kind == wire.CLOSE:
                self._end()
            else:
                return messages.FAILED, [b"invalid_argument", b"unknown request"]
        except (ValueError, IndexError) as error:
            return messages.FAILED, [b"invalid_argument", str(error).encode()]
        except OSError as error:
            return messages.FAILED, [b"invalid_argument", os.fsencode(error.strerror or "it failed")]
        return messages.RESULT, []

    def _input(self, data: bytes) -> "tuple[int, list[bytes]]":
        if len(self.queue) + len(data) > wire.INPUT_QUEUE:
            return messages.FAILED, [b"shell_busy", b"the shell does not read its input; nothing was written"]
        before = self.transcript.total
        self.queue += data
        self._feed()
        self._lively()
        return messages.RESULT, [b"%d" % before]

    def _resize(self, rows: int, columns: int) -> None:
        if (rows, columns) == (self.transcript.rows, self.transcript.columns):
            tree_signal(self._foreground(), signal.SIGWINCH)  # whoever comes to look wants it drawn again
            return
        self.transcript.rows, self.transcript.columns = rows, columns
        self.transcript.head()
        self.terminal.resize(rows, columns)

    def _foreground(self) -> int:
        """The process group that has the terminal; the shell's own where there is none."""
        return self.terminal.foreground() or self.pid

    def _end(self) -> None:
        """Hang up, on everything below us: what a shell leaves in its session, and what has left that."""
        if not self.reason:
            self.reason = "killed"
            self.kill_at = time.monotonic() + TERM_GRACE_S
            pids = tree.descendants(os.getpid())
            tree.send(pids, signal.SIGHUP)
            tree.send(pids, signal.SIGCONT)

    def _end_tree(self) -> int:
        """The shell has been closed: the rest of its tree gets the rest of the grace; how many could not be killed."""
        end = self.kill_at
        while time.monotonic() < end and tree.descendants(os.getpid()):
            self._step(10)
            self._reap_orphans()
        return tree.kill_descendants(os.getpid(), time.monotonic() + KILL_WAIT_S)

    def _finish(self, how: messages.Exited) -> None:
        """The transcript, then the durable record, then the clients, then the agent."""
        self.transcript.finish()
        self._write_down(frames.encode(messages.EXITED, self.request, how.fields()))
        for client in list(self.clients.values()):
            try:
                client.send(messages.EXITED, how.fields())
            except OSError:
                pass
            self._leave(client)
        self._tell_agent()


def tree_signal(group: int, number: int) -> None:
    """Signal a process group that may be gone."""
    try:
        os.killpg(group, number)
    except (ProcessLookupError, PermissionError):
        pass


def _say(connection: "_socket.socket", kind: int, request: int, fields: "list[bytes]") -> None:
    """Answer whoever opened the shell, who may be gone: the shell stays all the same."""
    try:
        connection.settimeout(LAST_WORD_S)
        channel.send(connection, kind, request, fields)
    except OSError:
        pass
    connection.close()


def serve(
    connection: "_socket.socket", control: "_socket.socket", descriptors: "list[int]", request: int,
    fields: "list[bytes]",
) -> None:  # fmt: skip
    """Open the shell that was asked for and serve it to its end; descriptors: stdout, stderr (unused), exit, ring."""
    if len(descriptors) != 4:
        raise ValueError("a shell needs four descriptors")
    channel.close_all(descriptors[:2])
    Shell(control, wire.Open.parse(fields), request, descriptors[2:]).run(connection)
