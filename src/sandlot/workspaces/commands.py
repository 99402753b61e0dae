"""Running commands in a workspace, and their history.

A command runs at most once. Its output goes to files in the workspace's folder as it comes, its end into a record
beside them, written by the supervisor inside: whoever started the command may die, the outcome is still known.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from sandlot.errors import (
    AgentUnresponsive,
    CommandInterrupted,
    CommandNotFound,
    ProtocolError,
    SandlotError,
    StateUnwritable,
    UsageError,
)
from sandlot.model.command import CommandOutcome, CommandRecord, CommandState, Output
from sandlot.model.workspace import WorkspaceRecord
from sandlot.runtimes.base import PROJECT
from sandlot.runtimes.bubblewrap.plan import environment
from sandlot.runtimes.channel import Channel, raise_failure
from sandlot.wire import frames, messages
from sandlot.workspaces.context import Context
from sandlot.workspaces.lifecycle import ensure_running, is_running, socket_of
from sandlot.workspaces.store import now

__all__ = ["OutputSink", "execute", "kill", "read_output", "refresh", "wait"]

DEFAULT_TIMEOUT_S = 120.0
CANCEL_WAIT_S = 4.0
"""After ctrl-C: how long the tree inside may take to be gone before we stop waiting for it."""
MARGIN_S = 30.0
"""How long after a command's own timeout the agent may take to report before it counts as unresponsive."""

OutputSink = Callable[[str, bytes], None]
"""Called with ``stdout`` or ``stderr`` and new bytes while a command runs."""


def execute(
    context: Context,
    record: WorkspaceRecord,
    argv: Sequence[str],
    *,
    cwd: str = PROJECT,
    env: Mapping[str, str] | None = None,
    stdin: bytes | BinaryIO | None = None,
    timeout_s: float | None = DEFAULT_TIMEOUT_S,
    background: bool = False,
    sink: OutputSink | None = None,
) -> CommandRecord:
    """Run a command and return its record, with its outcome unless it runs in the background.

    ``stdin`` is bytes or a binary file read while the command runs. ``timeout_s`` None means no limit. Interrupting
    the call (ctrl-C) ends the whole tree. Raises CommandInterrupted when the workspace ended before the command.
    """
    request = _request(argv, cwd, env or {}, timeout_s, context.settings.output_quota, background)
    record = ensure_running(context, record)
    if record.instance is None:
        raise CommandInterrupted("the workspace was stopped before the command started")
    token = record.instance.token
    command = context.store.add_command(
        record.id,
        lambda number: CommandRecord(
            number=number,
            argv=tuple(argv),
            cwd=cwd,
            background=background,
            started_at=now(),
            timeout_ms=request.timeout_ms,
            generation=record.generation,
            token=token,
            isolation=record.isolation,
        ),
    )
    request.number = command.number
    run = _Run(context, record, command, sink)
    try:
        return run.start(request, stdin)
    except BaseException as error:
        run.abandon(error)
        raise


def _request(
    argv: Sequence[str], cwd: str, env: Mapping[str, str], timeout_s: float | None, quota: int, background: bool
) -> messages.Exec:
    if not argv or not argv[0]:
        raise UsageError("there is no command to run", hint="sandlot workspace exec ID -- COMMAND [ARG...]")
    merged = {**environment(), "PWD": cwd, **env}
    for text in (*argv, cwd, *merged, *merged.values()):
        if "\0" in text:
            raise UsageError("a command, its folder and its environment cannot hold NUL characters")
    for name in merged:
        if not name or "=" in name:
            raise UsageError(f"{name!r} is not a valid environment variable name")
    if timeout_s is not None and timeout_s <= 0:
        raise UsageError("the timeout must be positive", hint="use none for no limit")
    return messages.Exec(
        number=0,
        flags=messages.DETACHED if background else 0,
        timeout_ms=0 if timeout_s is None else max(1, round(timeout_s * 1000)),
        quota=quota,
        cwd=os.fsencode(os.path.join(PROJECT, cwd)),
        argv=[os.fsencode(word) for word in argv],
        env=[os.fsencode(f"{name}={value}") for name, value in merged.items()],
    )


class _Run:
    """One command on its way."""

    def __init__(
        self, context: Context, record: WorkspaceRecord, command: CommandRecord, sink: OutputSink | None
    ) -> None:
        self.context = context
        self.record = record
        self.command = command
        self.sink = sink
        self.folder = context.paths.workspace(record.id).command(command.number)
        self.sent = {"stdout": 0, "stderr": 0}

    def start(self, request: messages.Exec, stdin: bytes | BinaryIO | None) -> CommandRecord:
        """Send the request and follow it to its end, or until it has started if it runs in the background."""
        socket = socket_of(self.context, self.record)
        with contextlib.ExitStack() as stack:
            descriptors = [stack.enter_context(_standard_input(stdin)), *self._files(stack)]
            channel = stack.enter_context(Channel(socket))
            channel.send(messages.EXEC, request.fields(), descriptors)
            limit = None if not request.timeout_ms else request.timeout_ms / 1000 + MARGIN_S
            end = None if limit is None else time.monotonic() + limit
            while True:
                message = channel.receive(None if end is None else max(0.1, end - time.monotonic()))
                if message is None:
                    return self._ended_without_word()
                kind, fields = message
                if kind == messages.FAILED:
                    raise_failure(fields)
                if kind == messages.STARTED and self.command.background:
                    return self.command
                if kind == messages.OUTPUT:
                    self._pass_on()
                if kind == messages.EXITED:
                    self._pass_on()
                    return self._finish(_parse(fields))

    def _files(self, stack: contextlib.ExitStack) -> Iterator[int]:
        """stdout, stderr and exit: opened here, written by the supervisor inside, never seen by the command."""
        try:
            self.folder.mkdir(mode=0o700)
            for name in ("stdout", "stderr", "exit"):
                descriptor = os.open(self.folder / name, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
                stack.callback(os.close, descriptor)
                yield descriptor
        except OSError as error:
            raise StateUnwritable(f"cannot write {self.folder}: {error.strerror}") from error

    def _pass_on(self) -> None:
        """Hand new output to the sink, in bounded pieces."""
        if self.sink is None:
            return
        for name in self.sent:
            with open(self.folder / name, "rb", buffering=0) as file:
                file.seek(self.sent[name])
                while data := file.read(1 << 18):
                    self.sent[name] += len(data)
                    self.sink(name, data)

    def _finish(self, exited: messages.Exited) -> CommandRecord:
        return self.context.store.finish_command(self.record.id, self.command, _outcome(exited))

    def _ended_without_word(self) -> CommandRecord:
        """The connection closed before the end was told: believe the exit record, else say what happened."""
        exited = _exit_record(self.folder)
        if exited is not None:
            self._pass_on()
            return self._finish(exited)
        raise CommandInterrupted(_why(self.context, self.record, self.command))

    def abandon(self, error: BaseException) -> None:
        """The call is over before the command was: wait for the end of its tree, and write down what is known."""
        if not isinstance(error, SandlotError):  # ctrl-C: closing the connection has told the supervisor to end it
            end = time.monotonic() + CANCEL_WAIT_S
            while (
                _exit_record(self.folder) is None and time.monotonic() < end and is_running(self.context, self.record)
            ):
                time.sleep(0.01)
        with contextlib.suppress(SandlotError, OSError):
            exited = _exit_record(self.folder)
            outcome = _outcome(exited) if exited else _lost(self.folder)
            if exited or isinstance(error, SandlotError):
                self.context.store.finish_command(self.record.id, self.command, outcome)


def _why(context: Context, record: WorkspaceRecord, command: CommandRecord) -> str:
    current = context.store.find(record.id)
    if current.generation != command.generation:
        return f"workspace {record.label} was reset while the command ran"
    if not is_running(context, current):
        return f"workspace {record.label} was stopped while the command ran"
    return f"the supervisor of the command in workspace {record.label} was killed"


@contextlib.contextmanager
def _standard_input(source: bytes | BinaryIO | None) -> Iterator[int]:
    """A descriptor for the command's stdin.

    Never a file or terminal of the host: through /proc/self/fd code inside could reopen a file for writing, and type
    into a terminal. What the host has is pumped through a pipe.
    """
    if source is None:
        descriptor = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        try:
            yield descriptor
        finally:
            os.close(descriptor)
        return
    read, write = os.pipe()
    pump = threading.Thread(target=_pump, args=(source, write), daemon=True, name="sandlot-stdin")
    pump.start()
    try:
        yield read
    finally:
        os.close(read)


def _pump(source: bytes | BinaryIO, write: int) -> None:
    try:
        if isinstance(source, bytes):
            view = memoryview(source)
            while view:
                view = view[os.write(write, view) :]
            return
        reader = getattr(source, "read1", source.read)
        while data := reader(1 << 16):
            view = memoryview(data)
            while view:
                view = view[os.write(write, view) :]
    except (BrokenPipeError, OSError, ValueError):
        pass  # the command does not read its input to the end, or the source was closed
    finally:
        os.close(write)


def _parse(fields: list[bytes]) -> messages.Exited:
    try:
        return messages.Exited.parse(fields)
    except ValueError as error:
        raise ProtocolError(f"the workspace sent a malformed exit record: {error}") from error


def _exit_record(folder: Path) -> messages.Exited | None:
    """How the command ended, as its supervisor wrote it down, or None."""
    try:
        with open(folder / "exit", "rb") as file:
            data = file.read(4096)
        found = frames.Decoder().feed(data)
        return messages.Exited.parse(found[0][2]) if found else None
    except (OSError, ValueError, frames.FrameError):
        return None


def _outcome(exited: messages.Exited) -> CommandOutcome:
    if exited.reason:
        state = CommandState.TIMED_OUT if exited.reason == "timeout" else CommandState.KILLED
    else:
        state = CommandState.SIGNALED if exited.signal else CommandState.EXITED
    name = None
    if exited.signal:
        with contextlib.suppress(ValueError):
            name = signal.Signals(exited.signal).name
        name = name or f"SIG{exited.signal}"
    return CommandOutcome(
        state=state,
        exit_code=None if exited.signal else exited.exit_code,
        signal=name,
        duration_ms=exited.duration_ms,
        cpu_ms=exited.cpu_ms,
        max_rss_bytes=exited.max_rss,
        stdout_bytes=exited.stdout,
        stderr_bytes=exited.stderr,
        survivors=exited.survivors,
    )


def _lost(folder: Path) -> CommandOutcome:
    """The outcome of a command whose end nobody could write down."""
    sizes = []
    for name in ("stdout", "stderr"):
        try:
            sizes.append(os.stat(folder / name).st_size)
        except OSError:
            sizes.append(0)
    return CommandOutcome(CommandState.INTERRUPTED, None, None, 0, 0, 0, sizes[0], sizes[1])


def refresh(context: Context, record: WorkspaceRecord) -> None:
    """Bring the history up to date: background commands that have ended, commands whose caller or workspace died."""
    running: set[int] | None = None
    for command in context.store.unfinished_commands(record.id):
        folder = context.paths.workspace(record.id).command(command.number)
        exited = _exit_record(folder)
        if exited is None:
            if running is None:
                running = _running(context, record)
            same = record.instance is not None and record.instance.token == command.token
            if same and command.number in running:
                continue
            exited = _exit_record(folder)  # it may have ended between the two looks
            if exited is None and same and _young(command):
                continue  # recorded, on its way to the agent
        outcome = _outcome(exited) if exited else _lost(folder)
        context.store.finish_command(record.id, command, outcome)


def _young(command: CommandRecord) -> bool:
    return (datetime.now(UTC) - datetime.fromisoformat(command.started_at)).total_seconds() < 10


def _running(context: Context, record: WorkspaceRecord) -> set[int]:
    """Numbers of the commands that run now."""
    if not is_running(context, record):
        return set()
    try:
        with Channel(socket_of(context, record)) as channel:
            return {messages.integer(field) for field in channel.call(messages.STATUS)}
    except AgentUnresponsive:
        if is_running(context, record):
            raise
        return set()
    except ValueError as error:
        raise ProtocolError("the workspace sent a malformed status") from error


def wait(context: Context, record: WorkspaceRecord, number: int, timeout_s: float | None) -> CommandRecord:
    """The record of a command once it has ended, or as it is after ``timeout_s``."""
    command = context.store.command(record.id, number)
    if command.outcome is None and is_running(context, record):
        with contextlib.suppress(AgentUnresponsive, CommandInterrupted), Channel(socket_of(context, record)) as channel:
            channel.call(messages.WAIT, [b"%d" % number], timeout_s=timeout_s)
    refresh(context, context.store.find(record.id))
    return context.store.command(record.id, number)


def kill(context: Context, record: WorkspaceRecord, number: int, signal_number: int = 0) -> CommandRecord:
    """End a running command's whole tree, or send its main process one signal. An ended one is left as it is."""
    command = context.store.command(record.id, number)
    if command.outcome is not None or not is_running(context, record):
        refresh(context, record)
        return context.store.command(record.id, number)
    with contextlib.suppress(CommandNotFound), Channel(socket_of(context, record)) as channel:
        channel.call(messages.KILL, [b"%d" % number, b"%d" % signal_number])
    return wait(context, record, number, CANCEL_WAIT_S) if signal_number == 0 else command


def read_output(folder: Path, name: str, total: int | None, *, limit: int) -> Output:
    """One stream of a command: all of it, or its head and tail with a line between that says what is missing."""
    try:
        with open(folder / name, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            total = size if total is None else max(total, size)
            lost = total - size
            if size <= limit and not lost:
                return Output(file.read().decode("utf-8", "replace"), total, False)
            half = max(1, limit // 2)
            head = file.read(min(half, size))
            file.seek(max(len(head), size - half))
            tail = file.read()
    except FileNotFoundError:
        return Output("", total or 0, bool(total), total or 0)
    missing = total - len(head) - len(tail)
    gap = f"\n[... {missing} bytes left out ...]\n" if missing else ""
    text = head.decode("utf-8", "replace") + gap + tail.decode("utf-8", "replace")
    return Output(text, total, True, lost)
