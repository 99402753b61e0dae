"""Message types and the layout of their fields.

Integers travel as decimal ASCII, text as UTF-8 (paths as raw bytes). One connection carries one request.
"""

# host -> agent
PING = 1  #       -                                         -> PONG
EXEC = 2  #       see Exec; descriptors: stdin, stdout, stderr, exit  -> STARTED OUTPUT* EXITED | FAILED
TOOL = 3  #       name, arguments...; descriptor: bulk (optional)     -> ITEM* RESULT | FAILED
KILL = 4  #       command number, signal (0: the whole tree)  -> RESULT | FAILED
WAIT = 5  #       command number                            -> RESULT when it has ended | FAILED
STATUS = 6  #     -                                         -> RESULT running command numbers...
FREEZE = 7  #     -; thawed when the connection closes      -> RESULT
SHUTDOWN = 8  #   grace in ms                               -> the connection closes when the agent is gone
RELEASE = 9  #    -; the agent outlives its launcher from now on  -> RESULT
IDLE = 10  #      seconds without activity before the agent ends (0: never)  -> RESULT
JOIN = 11  #      command number; its worker takes the connection over  -> JOINED, then the worker's own | FAILED
SERVICE = 12  #   see guest/service.py; descriptors as of EXEC  -> STARTED | FAILED
SHELL = 13  #     see guest/shell.py                          -> STARTED | FAILED
REFUSE = 14  #    port, label of the workspace: answer there that the network is off; port 0: no more -> RESULT | FAILED
DENIALS = 15  #   -                                         -> RESULT what was refused since it was last asked

# agent -> host
PONG = 64  #      commands running, processes, idle ms
STARTED = 65  #   pid inside
OUTPUT = 66  #    bytes of stdout so far, bytes of stderr so far
EXITED = 67  #    see Exited
ITEM = 68  #      one entry of a list, fields depend on the tool
RESULT = 69  #    fields depend on the request
FAILED = 70  #    code, message
JOINED = 71  #    fields depend on the kind of command

NUMBERED = (EXEC, SERVICE, SHELL)
"""Requests that start a numbered command; the number is their first field."""

DETACHED = 1
"""Exec flag: the command goes on when the connection closes (a background command)."""
CAPPED = 2
"""Exec flag: the timeout is the workspace's longest run of a command, not what the caller asked for."""
HIDING = 4
"""Exec flag: some of the environment are values of secrets, which are blanked out of what is stored of the output."""

LIMITS = ("memory", "processes", "disk", "inodes", "tmp", "duration", "open_files")
"""Limits that can end a command (reason ``limit:WORD``), or that it met and then ended by itself (``hit:WORD``)."""
REASONS = frozenset(("", "timeout", "killed", *("%s:%s" % (how, word) for how in ("limit", "hit") for word in LIMITS)))


def integer(field: bytes, low: int = 0, high: int = 2**63 - 1) -> int:
    """A decimal field, checked. Raises ValueError."""
    if not field or len(field) > 20 or not field.lstrip(b"-").isdigit():
        raise ValueError("not an integer")
    value = int(field)
    if not low <= value <= high:
        raise ValueError("integer out of range")
    return value


class Exec:
    """Start a command: number, flags, timeout, output quota, working folder, argv, hidden (if HIDING), environment."""

    __slots__ = ("argv", "cwd", "env", "flags", "hidden", "number", "quota", "timeout_ms")

    def __init__(
        self,
        number: int,
        flags: int,
        timeout_ms: int,
        quota: int,
        cwd: bytes,
        argv: "list[bytes]",
        env: "list[bytes]",
        hidden: int = 0,
    ) -> None:
        self.number = number
        self.flags = flags
        self.timeout_ms = timeout_ms  # 0: no limit
        self.quota = quota  # bytes of each stream kept from its start
        self.cwd = cwd
        self.argv = argv
        self.env = env  # NAME=value
        self.hidden = hidden  # how many of its last entries are values of secrets; travels with HIDING only

    def fields(self) -> "list[bytes]":
        head = [b"%d" % value for value in (self.number, self.flags, self.timeout_ms, self.quota)]
        hidden = [b"%d" % self.hidden] if self.flags & HIDING else []
        return [*head, self.cwd, b"%d" % len(self.argv), *self.argv, *hidden, *self.env]

    @classmethod
    def parse(cls, fields: "list[bytes]") -> "Exec":
        if len(fields) < 6:
            raise ValueError("short exec request")
        number, flags, timeout_ms, quota = (integer(field) for field in fields[:4])
        count = integer(fields[5], 1, len(fields) - 6)
        argv = fields[6 : 6 + count]
        env = fields[6 + count :]
        hidden = 0
        if flags & HIDING:
            if not env:
                raise ValueError("short exec request")
            hidden = integer(env[0], 0, len(env) - 1)
            env = env[1:]
        return cls(number, flags, timeout_ms, quota, fields[4], argv, env, hidden)


class Exited:
    """How a command ended. ``signal`` is 0 unless a signal ended it; ``reason`` is one of REASONS."""

    __slots__ = ("cpu_ms", "duration_ms", "exit_code", "max_rss", "reason", "signal", "stderr", "stdout", "survivors")

    def __init__(
        self,
        exit_code: int,
        signal: int,
        reason: str,
        duration_ms: int,
        cpu_ms: int,
        max_rss: int,
        stdout: int,
        stderr: int,
        survivors: int,
    ) -> None:
        self.exit_code = exit_code
        self.signal = signal
        self.reason = reason
        self.duration_ms = duration_ms
        self.cpu_ms = cpu_ms
        self.max_rss = max_rss  # bytes
        self.stdout = stdout  # bytes written in total, kept or not
        self.stderr = stderr
        self.survivors = survivors  # processes of its tree that could not be killed

    def fields(self) -> "list[bytes]":
        numbers = (self.duration_ms, self.cpu_ms, self.max_rss, self.stdout, self.stderr, self.survivors)
        head = [b"%d" % self.exit_code, b"%d" % self.signal, self.reason.encode()]
        return head + [b"%d" % number for number in numbers]

    @classmethod
    def parse(cls, fields: "list[bytes]") -> "Exited":
        if len(fields) < 9:
            raise ValueError("short exit record")
        reason = fields[2].decode("ascii")
        if reason not in REASONS:
            raise ValueError("unknown reason")
        numbers = [integer(field) for field in fields[3:9]]
        return cls(integer(fields[0], 0, 255), integer(fields[1], 0, 128), reason, *numbers)
