"""Running a target's command, inside its workspace or on the host: bounded, cancellable, line by line."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import IO, TYPE_CHECKING

from sandlot import process
from sandlot.errors import CommandInterrupted

if TYPE_CHECKING:
    import subprocess

    from sandlot.sdk import Workspace
    from sandlot.workspaces.cancellation import Cancellation

__all__ = ["Lines", "OnLine", "Ran", "run_inside", "run_on_host"]

OnLine = Callable[[str, str], None]
"""(``stdout`` or ``stderr``, a line without its end), as it comes."""
LINE_BYTES = 8 << 20
"""A longer line is cut: a stream's line can carry a file, but not fill our memory."""
KEPT_BYTES = 4 << 20
"""Most of each stream that is kept as text; its beginning."""
LOG_BYTES = 64 << 10
PIECE = 1 << 16
READERS_S = 5.0
"""How long a host command's leftovers may keep its pipes open once its process group is dead."""


@dataclass(frozen=True, slots=True)
class Ran:
    """How a command ended."""

    exit_status: int
    """As a shell would report it."""
    stdout: str
    """The first part of it."""
    log: str
    """Head and tail of both streams."""
    timed_out: bool
    duration_ms: int
    limit: str | None = None
    """The limit of the workspace that ended it."""
    cut: bool = False
    """Whether ``stdout`` is not all of it."""

    @property
    def failure(self) -> str:
        """Why it counts as failed; empty when it does not."""
        if self.timed_out:
            return "its time was up"
        if self.limit:
            return f"it was ended by the workspace's {self.limit} limit"
        return f"exit status {self.exit_status}" if self.exit_status else ""


@dataclass(slots=True)
class Lines:
    """Cuts a stream into lines without holding more than one of them."""

    take: Callable[[str], None]
    _rest: bytearray = field(default_factory=bytearray)
    _dropping: bool = False

    def feed(self, data: bytes) -> None:
        """More bytes."""
        pieces = data.split(b"\n")
        for piece in pieces[:-1]:
            self._add(piece)
            self._end()
        self._add(pieces[-1])

    def close(self) -> None:
        """What is left is a line, too."""
        if self._rest:
            self._end()

    def _add(self, piece: bytes) -> None:
        room = LINE_BYTES - len(self._rest)
        self._rest += piece[:room]

    def _end(self) -> None:
        line = self._rest.decode("utf-8", "replace").removesuffix("\r")
        self._rest.clear()
        self.take(line)


class _Taking:
    """Both streams of a command: lines to whoever listens, the beginning kept, head and tail for the log."""

    def __init__(self, on_line: OnLine | None) -> None:
        self._lines: dict[str, Lines] = {}
        for stream in ("stdout", "stderr"):
            self._lines[stream] = Lines(lambda line, stream=stream: on_line(stream, line) if on_line else None)  # type: ignore[misc]  # mypy cannot type a lambda with a default
        self._kept = bytearray()
        self._total = 0
        self._head = bytearray()
        self._tail = bytearray()
        self._lock = threading.Lock()

    def __call__(self, stream: str, data: bytes) -> None:
        with self._lock:
            if stream == "stdout":
                self._total += len(data)
                self._kept += data[: KEPT_BYTES - len(self._kept)]
            room = LOG_BYTES // 2 - len(self._head)
            self._head += data[:room]
            self._tail += data[max(0, room) :]
            del self._tail[: max(0, len(self._tail) - LOG_BYTES // 2)]
            self._lines[stream].feed(data)

    def ran(self, status: int, timed_out: bool, duration_ms: int, limit: str | None = None) -> Ran:
        for lines in self._lines.values():
            lines.close()
        log = self._head.decode("utf-8", "replace")
        if self._tail:
            log += f"\n[...]\n{self._tail.decode('utf-8', 'replace')}"
        kept = self._kept.decode("utf-8", "replace")
        return Ran(status, kept, log, timed_out, duration_ms, limit, self._total > len(self._kept))


def run_inside(
    workspace: Workspace,
    command: Sequence[str],
    *,
    stdin: bytes = b"",
    env: Mapping[str, str] | None = None,
    cwd: str = "/workspace",
    timeout_s: float | None = None,
    cancellation: Cancellation | None = None,
    on_line: OnLine | None = None,
) -> Ran:
    """Run a command in a workspace. Raises what ``Workspace.exec`` raises."""
    taking = _Taking(on_line)
    result = workspace.exec(
        command, cwd=cwd, env=env, stdin=stdin, timeout=timeout_s, on_output=taking, max_output=0,
        cancellation=cancellation,
    )  # fmt: skip
    outcome = result.command.outcome
    if outcome is None:
        return taking.ran(result.exit_status, False, 0)
    if outcome.state == "interrupted":
        raise CommandInterrupted("the workspace ended while the command ran")
    timed_out = outcome.state == "timed_out"
    limit = outcome.limit if outcome.state == "killed" else None
    return taking.ran(result.exit_status, timed_out, outcome.duration_ms, limit)


def run_on_host(
    command: Sequence[str],
    *,
    cwd: str,
    stdin: bytes = b"",
    env: Mapping[str, str] | None = None,
    timeout_s: float | None = None,
    cancellation: Cancellation | None = None,
    on_line: OnLine | None = None,
) -> Ran:
    """Run a command on the host, because the suite says so in words; its process group is dead afterwards."""
    taking = _Taking(on_line)
    began = time.monotonic()
    ended = threading.Event()
    with process.piped(command, env={**os.environ, **(env or {})}, cwd=cwd) as child:
        pumps = [
            threading.Thread(target=_write, args=(child.stdin, stdin), daemon=True),
            threading.Thread(target=_read, args=(child.stdout, "stdout", taking), daemon=True),
            threading.Thread(target=_read, args=(child.stderr, "stderr", taking), daemon=True),
        ]
        for pump in pumps:
            pump.start()
        threading.Thread(target=_wait, args=(child, ended), daemon=True).start()
        waking = contextlib.nullcontext() if cancellation is None else cancellation.waking(ended.set)
        with waking:
            ended.wait(timeout_s)
        if cancellation is not None:
            cancellation.check()
        timed_out = child.poll() is None
        process.end_group(child)
        for pump in pumps:
            pump.join(READERS_S)  # one that escaped into a session of its own may hold a pipe; it is left behind
        code = child.returncode
    status = 128 - code if code < 0 else code
    return taking.ran(status, timed_out, round((time.monotonic() - began) * 1000))


def _wait(child: subprocess.Popen[bytes], ended: threading.Event) -> None:
    child.wait()
    ended.set()


def _write(pipe: IO[bytes] | None, data: bytes) -> None:
    if pipe is None:
        return
    with contextlib.suppress(BrokenPipeError, ValueError):
        pipe.write(data)
        pipe.close()


def _read(pipe: IO[bytes] | None, stream: str, taking: Callable[[str, bytes], None]) -> None:
    if pipe is None:
        return
    with contextlib.suppress(ValueError, OSError):
        while data := os.read(pipe.fileno(), PIECE):
            taking(stream, data)
