"""What a worker that holds a command, a service or a shell owes to the agent, whichever it is.

It stands above everything that is started below it, does what the agent says on the control socket, and writes down how
it ended before it tells anybody.
"""

import _socket
import os

from sandlot.guest import channel, protect, sink, tree
from sandlot.guest.signals import signal
from sandlot.wire import messages

IGNORED = sorted(signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP, signal.SIGCHLD, signal.SIGCONT})
"""What a supervisor ignores: it has the uid of the command, whose `kill -TERM -1` must not end its supervision."""


class Controlled:
    """One such worker."""

    control: "_socket.socket"
    record: sink.Sink
    """Where it is written down how it ended."""
    pid: int
    """What it holds; 0: not started, or gone."""

    def _prepare(self) -> None:
        """Be the one that everything below us ends up with, and that nothing below us can end politely."""
        protect.adopt_orphans()
        for number in IGNORED:
            signal.signal(number, signal.SIG_IGN)

    def _obey(self) -> None:
        """The agent passes on a signal for what we hold (0: end the whole tree), a client, a limit, or a stop."""
        data, descriptors = channel.receive(self.control)
        if not data:
            os._exit(1)  # the agent is gone, and so is the namespace
        if data[:1] == b"J":
            self._joined(_socket.socket(fileno=descriptors[0]), int(data[1:]))
        elif data == b"K0":
            self._end()
        elif data[:1] == b"X":
            self._over_limit(data[1:].decode())
        elif data == b"Q":
            self._stopping()
        elif self.pid:
            tree.send([self.pid], int(data[1:]))

    def _joined(self, connection: "_socket.socket", request: int) -> None:
        """A client wants to talk to us."""
        raise NotImplementedError

    def _end(self) -> None:
        """The whole tree is to end, with a grace."""
        raise NotImplementedError

    def _over_limit(self, limit: str) -> None:
        """The watcher blames what we hold: no grace, every moment costs the host more."""
        raise NotImplementedError

    def _stopping(self) -> None:
        """The workspace is being stopped; everything in it gets SIGTERM right now."""

    def _waited_for(self) -> "tuple[int, ...]":
        """Children that are collected by number, for their resource usage."""
        return (self.pid,)

    def _reap_orphans(self) -> None:
        """Collect adopted processes."""
        while True:
            try:
                found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                return
            if found is None or found.si_pid in self._waited_for():
                return
            os.waitpid(found.si_pid, 0)

    def _write_down(self, record: bytes) -> None:
        """The durable record: before anybody is told."""
        try:
            self.record.write(record, 0)
        except OSError:
            pass  # the host's disk is full: those who wait are still told
        self.record.close()

    def _tell_agent(self) -> None:
        """That we have ended."""
        try:
            self.control.send(b"E")
        except OSError:
            pass


def exited(
    status: int,
    usage: "os.struct_rusage",  # type: ignore[name-defined]  # typeshed calls it resource.struct_rusage
    reason: str,
    lasted_s: float,
    totals: "tuple[int, int]",
    survivors: int,
) -> messages.Exited:
    """How a process ended, as wait4(2) says it; ``totals``: bytes of stdout and stderr."""
    return messages.Exited(
        exit_code=os.WEXITSTATUS(status) if os.WIFEXITED(status) else 0,
        signal=os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0,
        reason=reason,
        duration_ms=int(lasted_s * 1000),
        cpu_ms=int((usage.ru_utime + usage.ru_stime) * 1000),
        max_rss=usage.ru_maxrss * 1024,
        stdout=totals[0],
        stderr=totals[1],
        survivors=survivors,
    )
