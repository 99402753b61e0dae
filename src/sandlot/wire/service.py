"""What is said about services: how to start one, what its worker reports, what a joined client may ask.

A client that joins a service gets JOINED with a report's fields, then REPORT at every change of state, and the end of
the stream when the service is over. The connection that started it is such a client, too, from STARTED on.
"""

from sandlot.wire import messages

# client -> worker
STOP = 32  #    grace in ms: end the service, SIGTERM first
KEEP = 33  #    -; the service goes on when this connection closes
FOLLOW = 34  #  -; send OUTPUT whenever there is more to read

# worker -> client
REPORT = 96  #  see Report

NOTHING = b"none"
FILE = b"file"
TCP = b"tcp"
HTTP = b"http"
COMMAND = b"command"
CHECKS = {NOTHING: (0, 0), FILE: (1, 1), TCP: (2, 2), HTTP: (4, 4), COMMAND: (1, 1 << 16)}
"""How many words each check of readiness has, at least and at most: path; host, port; host, port, path and query,
Host header; argument vector."""

STATES = (b"starting", b"ready", b"running", b"restarting", b"stopping", b"exited", b"failed", b"stopped")
FINAL = (b"exited", b"failed", b"stopped")
REASON_BYTES = 800


class Spec:
    """Start a service. The number stands first, as in every numbered request; the command's own fields at the end."""

    __slots__ = (
        "backoff_ms", "check", "command", "interval_ms", "longest_backoff_ms", "max_restarts", "ready_ms", "steady_ms",
        "words",
    )  # fmt: skip

    def __init__(
        self,
        command: messages.Exec,
        *,
        check: bytes = NOTHING,
        words: "list[bytes] | None" = None,
        interval_ms: int = 250,
        ready_ms: int = 30_000,
        max_restarts: int = 0,
        backoff_ms: int = 500,
        longest_backoff_ms: int = 30_000,
        steady_ms: int = 60_000,
    ) -> None:
        self.command = command
        self.check = check
        self.words = words or []
        self.interval_ms = interval_ms
        self.ready_ms = ready_ms  # how long each start may take to get ready
        self.max_restarts = max_restarts  # in a row; 0: never restarted
        self.backoff_ms = backoff_ms  # before the first restart, doubled for each further one
        self.longest_backoff_ms = longest_backoff_ms
        self.steady_ms = steady_ms  # having run well for this long, it is as if it had never been restarted

    def fields(self) -> "list[bytes]":
        numbers = (
            self.interval_ms, self.ready_ms, self.max_restarts, self.backoff_ms, self.longest_backoff_ms,
            self.steady_ms, len(self.words),
        )  # fmt: skip
        own = [b"%d" % value for value in numbers]
        return [b"%d" % self.command.number, self.check, *own, *self.words, *self.command.fields()]

    @classmethod
    def parse(cls, fields: "list[bytes]") -> "Spec":
        if len(fields) < 9 or fields[1] not in CHECKS:
            raise ValueError("malformed service request")
        interval, ready, restarts, backoff, longest, steady = (
            messages.integer(field, 0, 1 << 40) for field in fields[2:8]
        )
        count = messages.integer(fields[8], *CHECKS[fields[1]])
        if len(fields) < 9 + count:
            raise ValueError("short service request")
        return cls(
            messages.Exec.parse(fields[9 + count :]),
            check=fields[1],
            words=fields[9 : 9 + count],
            interval_ms=max(1, interval),
            ready_ms=ready,
            max_restarts=restarts,
            backoff_ms=backoff,
            longest_backoff_ms=longest,
            steady_ms=steady,
        )


class Report:
    """How a service is. Times are milliseconds since the epoch, 0 where there is none."""

    __slots__ = ("exit_code", "pid", "ready_ms", "reason", "restarts", "signal", "since_ms", "state")

    def __init__(
        self,
        state: bytes,
        reason: bytes = b"",
        pid: int = 0,
        restarts: int = 0,
        exit_code: int = -1,
        signal: int = 0,
        since_ms: int = 0,
        ready_ms: int = 0,
    ) -> None:
        self.state = state
        self.reason = reason
        self.pid = pid  # of its main process, inside; 0: there is none
        self.restarts = restarts  # since it was started, all counted
        self.exit_code = exit_code  # of the last run that has ended; -1: none, or a signal ended it
        self.signal = signal
        self.since_ms = since_ms  # it has been in this state since then
        self.ready_ms = ready_ms  # when the present run became ready

    def fields(self) -> "list[bytes]":
        numbers = (self.pid, self.restarts, self.exit_code, self.signal, self.since_ms, self.ready_ms)
        return [self.state, self.reason[:REASON_BYTES], *(b"%d" % number for number in numbers)]

    @classmethod
    def parse(cls, fields: "list[bytes]") -> "Report":
        if len(fields) < 8 or fields[0] not in STATES or len(fields[1]) > REASON_BYTES:
            raise ValueError("malformed report")
        pid, restarts = (messages.integer(field, 0, 1 << 40) for field in fields[2:4])
        exit_code, signal = messages.integer(fields[4], -1, 255), messages.integer(fields[5], 0, 128)
        since, ready = (messages.integer(field, 0, 1 << 47) for field in fields[6:8])
        return cls(fields[0], fields[1], pid, restarts, exit_code, signal, since, ready)
