"""What a forked worker does with one service: start it, see that it gets ready, restart it, end it, say how it is.

Whatever it says of the service is what it has just seen: it alone starts, watches and collects the processes, and
clients are told at the moment a state changes. Nothing below it outlives a run.
"""

import _socket
import os
import select
import time

from sandlot.guest import channel, tree
from sandlot.guest.audience import Audience, Client
from sandlot.guest.probe import Probe
from sandlot.guest.signals import signal
from sandlot.guest.supervisor import KILL_WAIT_S, OUTPUT_EVERY_S, TERM_GRACE_S, Supervisor
from sandlot.guest.watch import Hits
from sandlot.wire import frames, messages, service

FIRST_PAUSE_S = 0.01
"""Between the first looks at readiness; doubled up to the service's own interval, so that a quick start is seen."""
NOT_LOOKED = "it was not looked at"
LOOK_S = 5.0
"""How long one look may take."""
TREE_EVERY_S = 0.01
"""How often the tree is looked at while its end is awaited: there is no event for the end of a grandchild."""


class Ending:
    """Why a run is being ended, and what comes of it."""

    __slots__ = ("reason", "retry", "state")

    def __init__(self, state: bytes, reason: str, retry: bool = False) -> None:
        self.state = state
        self.reason = reason
        self.retry = retry  # it is a failure, which the restart policy decides about


class Service(Supervisor):
    """Runs one service, as the reaper of everything it starts."""

    def __init__(
        self,
        connection: "_socket.socket",
        control: "_socket.socket",
        spec: service.Spec,
        request: int,
        descriptors: "list[int]",
    ) -> None:
        super().__init__(connection, control, spec.command, request, descriptors)
        self.spec = spec
        self.report = service.Report(b"starting")
        self.audience = Audience(self.poller, self.report)
        self.pidfd = -1
        self.probe: Probe | None = None
        self.probe_at = 0.0
        self.pause = FIRST_PAUSE_S
        self.complaint = NOT_LOOKED
        self.ready_by = 0.0
        self.steady_at = 0.0
        self.restart_at = 0.0
        self.in_a_row = 0
        self.ending: Ending | None = None
        self.give_up_at = 0.0
        self.over = False
        self.cpu_ms = 0
        self.max_rss = 0
        self.survivors = 0

    def run(self) -> None:
        """Start, watch, restart, end, write down."""
        self._prepare()
        began = time.monotonic()
        for descriptor in (self.control.fileno(), *(stream.source for stream in self.streams)):
            self.poller.register(descriptor, select.POLLIN)
        starter = Client(self.connection, self.request)
        self._begin()
        if starter.tell(messages.STARTED, [b"%d" % self.pid]) and not self.over:
            if not self.detached:
                self.audience.holder = starter
            self.audience.add(starter)
        elif not self.detached and not self.over:
            self._end_run(Ending(b"stopped", "its start was cancelled"), TERM_GRACE_S)
        while not self.over:
            self._turn()
        self._conclude(began, starter)

    def _turn(self) -> None:
        events = dict(self.poller.poll(self._due()))
        if self.control.fileno() in events:  # first: that the workspace stops is known before anything dies of it
            self._obey()
        for stream in self.streams:
            if stream.source in events:
                stream.drain()
        asked = self.audience.hear(events)
        if asked.abandoned:
            self._end_run(Ending(b"stopped", "its start was cancelled"), TERM_GRACE_S)
        if asked.grace_s >= 0:
            self._end_run(Ending(b"stopped", "it was stopped"), asked.grace_s)
        if self.probe is not None and self.probe.source in events:
            self._looked()
        if self.pidfd in events:
            self._main_ended()
        self._on_time(time.monotonic())
        self._reap_orphans()
        self.audience.progress([stream.total for stream in self.streams])

    def _due(self) -> "float | None":  # milliseconds
        if self.audience.asked.abandoned:  # seen while it was told something
            return 0.0
        moments = [self.ready_by, self.steady_at, self.restart_at, self.kill_at]
        if self.ending is not None:
            moments.append(self.give_up_at)
            if self.pid == 0:
                moments.append(time.monotonic() + TREE_EVERY_S)
        moments.append(self.probe_at if self.probe is None else self.probe.overdue)
        if self.audience.waiting(self._total()):
            moments.append(self.audience.told_at + OUTPUT_EVERY_S)
        due = [moment for moment in moments if moment]
        if not due:
            return None
        return min(channel.LONGEST_POLL_MS, max(0.0, (min(due) - time.monotonic()) * 1000 + 0.5))

    def _on_time(self, now: float) -> None:
        if self.ending is not None:
            self._see_end(now)
        elif self.restart_at and now >= self.restart_at:
            self.restart_at = 0.0
            self.report.restarts += 1
            self._begin()
        elif self.report.state == b"starting" and self.ready_by:
            if self.probe is not None and now >= self.probe.overdue:
                self._looked()
            if self.ready_by and now >= self.ready_by:
                self._not_ready()
            elif self.probe is None and self.probe_at and now >= self.probe_at:
                self._look(now)
        if self.steady_at and now >= self.steady_at:
            self.steady_at = 0.0
            self.in_a_row = 0

    # Runs

    def _begin(self) -> None:
        """Start the main process. One that cannot be started is not tried again: nothing would be different."""
        now = time.monotonic()
        self.hits = Hits()
        try:
            self._spawn()
        except OSError as error:
            self._cannot_start(error)
            return
        self.control.send(b"L%d" % self.pid)
        self.pidfd = os.pidfd_open(self.pid)
        self.poller.register(self.pidfd, select.POLLIN)
        self.report.pid = self.pid
        self.report.ready_ms = 0
        if self.spec.check == service.NOTHING:
            self.steady_at = now + self.spec.steady_ms / 1000
            self._set(b"running")
            return
        self.ready_by = now + self.spec.ready_ms / 1000
        self.probe_at = now
        self.pause = FIRST_PAUSE_S
        self._set(b"starting")

    def _cannot_start(self, error: OSError) -> None:
        missing = not os.path.isdir(self.command.cwd) or isinstance(error, (FileNotFoundError, NotADirectoryError))
        name = os.fsdecode(error.filename or self.command.argv[0])
        self.streams[1].drain()  # or there might be no room in the pipe
        os.write(self.streams[1].sink, os.fsencode("sandlot: %s: %s\n" % (name, error.strerror)))
        self.report.exit_code = 127 if missing else 126
        self.report.signal = 0
        self._decide(b"failed", "it cannot be started: %s: %s" % (name, error.strerror))

    def _main_ended(self) -> None:
        _, status, usage = os.wait4(self.pid, 0)
        self.poller.unregister(self.pidfd)
        os.close(self.pidfd)
        self.pidfd = -1
        self.pid = self.report.pid = 0
        self.control.send(b"L0")  # the number may be somebody else's from now on
        self.cpu_ms += int((usage.ru_utime + usage.ru_stime) * 1000)
        self.max_rss = max(self.max_rss, usage.ru_maxrss * 1024)
        self.report.exit_code = os.WEXITSTATUS(status) if os.WIFEXITED(status) else -1
        self.report.signal = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
        if self.ending is not None:
            return
        unready = self.report.state == b"starting"
        self._forget_times()
        left = self._kill_rest()
        what = _ended(self.report) + (" before it was ready" if unready else "")
        if left:
            what += " while %d of its processes went on; they were ended" % left
        if status:
            self.reason = self.hits.reason(status)
            limit = self.reason.partition(":")[2]
            self._failed(what + ("; the workspace's limit of %s was reached" % limit if limit else ""))
        else:
            self._decide(b"exited", what + ("; a service has to stay in the foreground" if left else ""))

    def _kill_rest(self) -> int:
        """End what a run leaves behind: it would hold the ports and files that the next one needs."""
        left = len(tree.descendants(os.getpid()))
        if left:
            self.survivors = tree.kill_descendants(os.getpid(), time.monotonic() + KILL_WAIT_S)
        return left

    def _forget_times(self) -> None:
        self.ready_by = self.probe_at = self.steady_at = self.restart_at = self.kill_at = 0.0
        if self.probe is not None:
            self.poller.unregister(self.probe.source)
            self.probe.close()
            self.probe = None

    def _failed(self, what: str) -> None:
        """A run has failed and nothing is left of it: the restart policy decides."""
        if self.in_a_row >= self.spec.max_restarts:
            times = "once" if self.in_a_row == 1 else "%d times in a row" % self.in_a_row
            self._decide(b"failed", what + ("; it was restarted %s" % times if self.in_a_row else ""))
            return
        self.reason = ""
        pause = min(self.spec.backoff_ms << min(self.in_a_row, 40), self.spec.longest_backoff_ms) / 1000
        self.in_a_row += 1
        self.restart_at = time.monotonic() + pause
        self._set(b"restarting", "%s; restart %d of %d in %g s" % (what, self.in_a_row, self.spec.max_restarts, pause))

    # Readiness

    def _look(self, now: float) -> None:
        limit = max(0.001, min(LOOK_S, self.ready_by - now))
        try:
            self.probe = Probe(self.spec.check, self.spec.words, self.command.cwd, self.command.env, limit)
        except OSError as error:  # no process or descriptor to be had just now
            self._complain("the check cannot be made: %s" % error.strerror)
            self.probe_at = now + self.spec.interval_ms / 1000
            return
        self.poller.register(self.probe.source, select.POLLIN)

    def _looked(self) -> None:
        assert self.probe is not None  # noqa: S101  for the type checker
        self.poller.unregister(self.probe.source)
        why = self.probe.answer()
        self.probe = None
        now = time.monotonic()
        if why is None:
            self.ready_by = self.probe_at = 0.0
            self.steady_at = now + self.spec.steady_ms / 1000
            self.report.ready_ms = _wall_ms()
            self._set(b"ready")
            return
        self._complain(why)
        interval = self.spec.interval_ms / 1000
        self.probe_at = now + min(self.pause, interval)
        self.pause = min(self.pause * 2, interval)

    def _complain(self, why: str) -> None:
        self.complaint = why
        self.report.reason = os.fsencode("not ready yet: " + why)[: service.REASON_BYTES]

    def _not_ready(self) -> None:
        if self.probe is not None and self.complaint == NOT_LOOKED:  # the look would end itself at this very moment
            self.complaint = self.probe.no_answer
        reason = "not ready within %g s: %s" % (self.spec.ready_ms / 1000, self.complaint)
        self._end_run(Ending(b"failed", reason, retry=True), TERM_GRACE_S)
        self.reason = "timeout"

    # Ends

    def _terminate(self, reason: str) -> None:
        self._end_run(Ending(b"stopped", "it was killed"), TERM_GRACE_S)
        self.reason = reason

    def _stopping(self) -> None:
        # The agent kills whatever is left after its own, longer grace; by then we must have written down the end.
        self._end_run(Ending(b"stopped", "the workspace was stopped"), TERM_GRACE_S)

    def _over_limit(self, limit: str) -> None:
        self._end_run(Ending(b"failed", "it went over the workspace's limit of %s" % limit, retry=True), 0.0)
        if self.ending is not None and self.ending.retry:
            self.reason = "limit:" + limit
        tree.kill_all(os.getpid())

    def _end_run(self, ending: Ending, grace_s: float) -> None:
        """SIGTERM to all, and a moment for all of them, not just for the main process. A stop overrides a failure."""
        now = time.monotonic()
        if self.over:
            return
        if self.ending is not None:
            if self.ending.retry and not ending.retry:
                self.ending = ending
                self.reason = "killed"
            self.kill_at = min(self.kill_at or now, now + grace_s)
            return
        self._forget_times()
        self.ending = ending
        self.reason = "killed"
        self.kill_at = now + grace_s
        self.give_up_at = self.kill_at + KILL_WAIT_S
        pids = tree.descendants(os.getpid())
        tree.send(pids, signal.SIGTERM)
        tree.send(pids, signal.SIGCONT)
        self._set(b"stopping", ending.reason)

    def _see_end(self, now: float) -> None:
        assert self.ending is not None  # noqa: S101  for the type checker
        left = tree.descendants(os.getpid()) if self.pid == 0 else [self.pid]
        if left and now < self.give_up_at:
            if now >= self.kill_at:
                tree.kill_all(os.getpid())
                self.kill_at = now + TREE_EVERY_S
            return
        ending, self.ending = self.ending, None
        self.kill_at = self.give_up_at = 0.0
        self.survivors = len(tree.descendants(os.getpid()))
        if self.survivors:  # in an uninterruptible wait: a further run beside it would be one too many
            reason = "%s; %d of its processes cannot be ended" % (ending.reason, self.survivors)
            self._decide(b"failed" if ending.retry else ending.state, reason)
        elif ending.retry:
            self._failed(ending.reason)
        else:
            self._decide(ending.state, ending.reason)

    def _decide(self, state: bytes, reason: str) -> None:
        """It is over; clients are told once that is written down."""
        self._forget_times()
        self.over = True
        self.report.since_ms = _wall_ms()
        self.report.state = state
        self.report.reason = os.fsencode(reason)[: service.REASON_BYTES]

    def _conclude(self, began: float, starter: Client) -> None:
        """The durable record first, then the clients, then the agent."""
        for stream in self.streams:
            os.close(stream.sink)
            stream.drain(budget=1 << 30)
            stream.save_tail()
        exited = messages.Exited(
            exit_code=max(0, self.report.exit_code),
            signal=self.report.signal,
            reason=self.reason,
            duration_ms=int((time.monotonic() - began) * 1000),
            cpu_ms=self.cpu_ms,
            max_rss=self.max_rss,
            stdout=self.streams[0].total,
            stderr=self.streams[1].total,
            survivors=self.survivors,
        )
        record = frames.encode(messages.EXITED, self.request, exited.fields())
        self._write_down(record + frames.encode(service.REPORT, self.request, self.report.fields()))
        self.audience.close(starter)
        self._tell_agent()

    def _set(self, state: bytes, reason: str = "") -> None:
        self.report.state = state
        self.report.reason = os.fsencode(reason)[: service.REASON_BYTES]
        self.report.since_ms = _wall_ms()
        self.audience.tell_all()

    def _joined(self, connection: "_socket.socket", request: int) -> None:
        for stream in self.streams:  # who asks may be about to read the files
            stream.save_tail()
        self.audience.join(connection, request)

    def _waited_for(self) -> "tuple[int, ...]":
        return (self.pid,) if self.probe is None else (self.pid, self.probe.pid)


def serve(
    connection: "_socket.socket",
    control: "_socket.socket",
    descriptors: "list[int]",
    request: int,
    fields: "list[bytes]",
) -> None:
    """Run the service that a request describes, to its end."""
    if len(descriptors) != 4:
        raise ValueError("a service needs four descriptors")
    Service(connection, control, service.Spec.parse(fields), request, descriptors).run()


def _wall_ms() -> int:
    return int(time.time() * 1000)


def _ended(report: service.Report) -> str:
    if not report.signal:
        return "it exited with %d" % report.exit_code
    names = [name for name in dir(signal) if name[:3] == "SIG" and name[3:4].isalpha()]
    found = [name for name in names if getattr(signal, name) == report.signal]
    return "it was ended by %s" % (found[0] if found else "signal %d" % report.signal)
