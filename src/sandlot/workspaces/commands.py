"""Running commands in a workspace, and their history.

A command runs at most once. Its output goes to files in the workspace's folder as it comes, its end into a record
beside them, written by the supervisor inside: whoever started the command may die, the outcome is still known.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from sandlot.errors import (
    AgentUnresponsive,
    CommandInterrupted,
    CommandNotFound,
    ProtocolError,
    SandlotError,
    WorkspaceNotFound,
)
from sandlot.model.command import CommandKind, CommandOutcome, CommandRecord, CommandState, Output
from sandlot.model.workspace import WorkspaceRecord
from sandlot.runtimes.base import PROJECT
from sandlot.runtimes.channel import Channel, raise_failure
from sandlot.wire import messages
from sandlot.workspaces import ring
from sandlot.workspaces.cancellation import Cancellation, Cancelled
from sandlot.workspaces.command_files import CommandFiles, exit_record, held, stretch
from sandlot.workspaces.context import Context
from sandlot.workspaces.lifecycle import connect, is_running, socket_of
from sandlot.workspaces.requests import exec_request, register, with_revealed
from sandlot.workspaces.secrets import scrub
from sandlot.workspaces.standard_input import standard_input

if TYPE_CHECKING:
    from sandlot.workspaces.redaction import Redactor

__all__ = ["OutputSink", "execute", "kill", "read_output", "recovered", "refresh", "responsive", "wait"]

DEFAULT_TIMEOUT_S = 120.0
CANCEL_WAIT_S = 4.0
"""After ctrl-C: how long the tree inside may take to be gone before we stop waiting for it."""
RESPONSIVE_S = 2.0
"""How long an agent may take to answer ``status`` before it is called unresponsive."""
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
    cancellation: Cancellation | None = None,
    reveal: Sequence[str] = (),
) -> CommandRecord:
    """Run a command and return its record, with its outcome unless it runs in the background.

    ``stdin`` is bytes or a binary file read while the command runs. ``timeout_s`` None means no limit. Interrupting
    the call (ctrl-C, ``cancellation``) ends the whole tree. ``reveal`` names secrets whose values this one command
    gets. Raises CommandInterrupted when the workspace ended before the command, SecretNotFound.
    """
    cancellation = cancellation or Cancellation()
    cancellation.check()
    env = with_revealed(context, record, env, reveal)
    longest = record.limits.max_duration_s
    capped = longest is not None and (timeout_s is None or longest < timeout_s)
    request = exec_request(
        context,
        record,
        argv,
        cwd=cwd,
        env=env,
        timeout_s=longest if capped else timeout_s,
        background=background,
        revealed=reveal,
    )
    request.flags |= messages.CAPPED if capped else 0
    record, channel = connect(context, record)
    with channel, CommandFiles() as files:
        command = register(context, record, files, request, argv, cwd=cwd, revealed=reveal)
        return _Run(context, record, command, sink, cancellation).carry_out(channel, request, stdin, files)


class _Run:
    """One command on its way."""

    def __init__(
        self,
        context: Context,
        record: WorkspaceRecord,
        command: CommandRecord,
        sink: OutputSink | None,
        cancellation: Cancellation,
    ) -> None:
        self.context = context
        self.record = record
        self.command = command
        self.sink = sink
        self.cancellation = cancellation
        self.folder = context.paths.workspace(record.id).command(command.number)
        self.sent = {"stdout": 0, "stderr": 0}

    def carry_out(
        self, channel: Channel, request: messages.Exec, stdin: bytes | BinaryIO | None, files: CommandFiles
    ) -> CommandRecord:
        """Send the request and follow it to its end, or until it has started if it runs in the background."""
        try:
            with channel, files, standard_input(stdin) as descriptor, self.cancellation.waking(channel.shutdown):
                channel.send(messages.EXEC, request.fields(), [descriptor, *files.descriptors])
                return self._follow(channel, request)
        except BaseException as error:
            self._abandon(error)
            if self.cancellation.cancelled:  # whatever it looked like from here
                raise Cancelled from error
            raise

    def _follow(self, channel: Channel, request: messages.Exec) -> CommandRecord:
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

    def _pass_on(self) -> None:
        """Hand new output to the sink, in bounded pieces."""
        if self.sink is None:
            return
        for name in self.sent:
            try:
                file = open(self.folder / name, "rb", buffering=0)  # noqa: SIM115  closed below
            except FileNotFoundError as error:
                raise CommandInterrupted(_why(self.context, self.record, self.command)) from error
            with file:
                file.seek(self.sent[name])
                while data := file.read(1 << 18):
                    self.sent[name] += len(data)
                    self.sink(name, data)

    def _finish(self, exited: messages.Exited) -> CommandRecord:
        scrub(self.context, self.record, self.folder)
        try:
            return self.context.store.finish_command(self.record.id, self.command, _outcome(exited))
        except WorkspaceNotFound as error:
            raise CommandInterrupted(f"workspace {self.record.label} was deleted while the command ran") from error

    def _ended_without_word(self) -> CommandRecord:
        """The connection closed before the end was told: believe the exit record, else say what happened."""
        self.cancellation.check()
        exited = exit_record(self.folder)
        if exited is not None:
            self._pass_on()
            return self._finish(exited)
        raise CommandInterrupted(_why(self.context, self.record, self.command))

    def _abandon(self, error: BaseException) -> None:
        """The call is over before the command was: wait for the end of its tree, and write down what is known."""
        if self.cancellation.cancelled or not isinstance(error, SandlotError):
            # Closing the connection has told the supervisor to end it.
            end = time.monotonic() + CANCEL_WAIT_S
            while held(self.folder) and time.monotonic() < end:
                time.sleep(0.01)
        with contextlib.suppress(SandlotError, OSError):
            if not held(self.folder):  # else it goes on, and the next one to look writes down how it ends
                exited = exit_record(self.folder)
                outcome = _outcome(exited) if exited else _lost(self.folder)
                scrub(self.context, self.record, self.folder)
                self.context.store.finish_command(self.record.id, self.command, outcome)


def _why(context: Context, record: WorkspaceRecord, command: CommandRecord) -> str:
    try:
        current = context.store.find(record.id)
    except WorkspaceNotFound:
        return f"workspace {record.label} was deleted while the command ran"
    if current.generation != command.generation:
        return f"workspace {record.label} was reset while the command ran"
    if not _answers(context, current):
        return f"workspace {record.label} was stopped while the command ran"
    return f"the supervisor of the command in workspace {record.label} was killed"


def _answers(context: Context, record: WorkspaceRecord) -> bool:
    """Whether there is an agent. One that is just dying closes its socket before its processes are seen to end."""
    if not is_running(context, record):
        return False
    try:
        with Channel(socket_of(context, record)) as channel:
            channel.call(messages.PING, answer=messages.PONG)
    except (SandlotError, OSError):
        return False
    return True


def _parse(fields: list[bytes]) -> messages.Exited:
    try:
        return messages.Exited.parse(fields)
    except ValueError as error:
        raise ProtocolError(f"the workspace sent a malformed exit record: {error}") from error


def _outcome(exited: messages.Exited) -> CommandOutcome:
    how, _, limit = exited.reason.partition(":")
    if how in ("timeout", "killed", "limit"):
        state = CommandState.TIMED_OUT if how == "timeout" else CommandState.KILLED
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
        limit=limit or None,
    )


def recovered(context: Context, record: WorkspaceRecord, number: int) -> CommandRecord:
    """What the files of a command still tell when its record is lost."""
    folder = context.paths.workspace(record.id).command(number)
    exited = exit_record(folder)
    outcome = None if exited is None and held(folder) else _outcome(exited) if exited else _lost(folder)
    shell = (folder / ring.NAME).exists()
    started = datetime.fromtimestamp(folder.stat().st_mtime, UTC).isoformat(timespec="milliseconds")
    return CommandRecord(
        number=number,
        argv=("(lost with the state database)",),
        cwd=PROJECT,
        background=True,
        started_at=started.replace("+00:00", "Z"),
        timeout_ms=0,
        generation=record.generation,
        token="",
        outcome=outcome,
        isolation=record.isolation,
        kind=CommandKind.SHELL if shell else CommandKind.COMMAND,
        name=f"shell-{number}" if shell else None,
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
    for command in context.store.unfinished_commands(record.id):
        folder = context.paths.workspace(record.id).command(command.number)
        if not held(folder):
            exited = exit_record(folder)
            outcome = _outcome(exited) if exited else replace(_lost(folder), cause=_cause(context, record, command))
            scrub(context, record, folder)
            context.store.finish_command(record.id, command, outcome)


def _cause(context: Context, record: WorkspaceRecord, command: CommandRecord) -> str:
    """What cut off a command that nobody wrote the end of."""
    current = context.store.find(record.id)
    if current.generation != command.generation:
        return "reset"
    instance = current.instance.token if current.instance else ""
    return "killed" if instance == command.token and _answers(context, current) else "ended"


def responsive(context: Context, record: WorkspaceRecord) -> bool:
    """Whether a running workspace's agent answers; a stopped one has none that could fail to."""
    if not is_running(context, record):
        return True
    try:
        with Channel(socket_of(context, record), deadline_s=RESPONSIVE_S) as channel:
            channel.call(messages.STATUS, timeout_s=RESPONSIVE_S)
    except (AgentUnresponsive, CommandInterrupted):
        return not is_running(context, record)
    return True


def wait(
    context: Context,
    record: WorkspaceRecord,
    number: int,
    timeout_s: float | None,
    cancellation: Cancellation | None = None,
) -> CommandRecord:
    """The record of a command once it has ended, or as it is after ``timeout_s``; ``cancellation`` ends the waiting."""
    cancellation = cancellation or Cancellation()
    end = None if timeout_s is None else time.monotonic() + timeout_s
    while True:
        refresh(context, record)
        command = context.store.command(record.id, number)
        left = None if end is None else end - time.monotonic()
        if command.outcome is not None or (left is not None and left <= 0):
            return command
        cancellation.check()
        with (
            contextlib.suppress(AgentUnresponsive, CommandInterrupted),
            Channel(socket_of(context, context.store.find(record.id))) as channel,
            cancellation.waking(channel.shutdown),
        ):
            channel.call(messages.WAIT, [b"%d" % number], timeout_s=left)
        if held(context.paths.workspace(record.id).command(number)):
            time.sleep(0.01)  # it has not reached the agent yet, or is just being written down


def kill(context: Context, record: WorkspaceRecord, number: int, signal_number: int = 0) -> CommandRecord:
    """End a running command's whole tree, or send its main process one signal. An ended one is left as it is."""
    command = context.store.command(record.id, number)
    if command.outcome is not None or not is_running(context, record):
        refresh(context, record)
        return context.store.command(record.id, number)
    with contextlib.suppress(CommandNotFound), Channel(socket_of(context, record)) as channel:
        channel.call(messages.KILL, [b"%d" % number, b"%d" % signal_number])
    return wait(context, record, number, CANCEL_WAIT_S) if signal_number == 0 else command


def read_output(folder: Path, name: str, total: int | None, *, limit: int, redactor: Redactor | None = None) -> Output:
    """One stream of a command: all of it, or its head and tail with a line between that says what is missing.

    Of a shell, its end.
    """
    if name == "stdout" and (folder / ring.NAME).exists():
        piece = ring.read(folder, None, max(1, limit), redactor)
        return Output(piece.data.decode("utf-8", "replace"), piece.total, piece.start > 0)
    try:
        with open(folder / name, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            total = size if total is None else max(total, size)
            lost = total - size
            if size <= limit and not lost:
                return Output(stretch(file, 0, size, redactor).decode("utf-8", "replace"), total, False)
            half = max(1, limit // 2)
            head = stretch(file, 0, min(half, size), redactor)
            tail = stretch(file, max(len(head), size - half), size, redactor)
    except FileNotFoundError as error:
        if total:
            raise CommandInterrupted("the workspace was deleted before the command's output was read") from error
        return Output("", 0, False)
    missing = total - len(head) - len(tail)
    gap = f"\n[... {missing} bytes left out ...]\n" if missing else ""
    text = head.decode("utf-8", "replace") + gap + tail.decode("utf-8", "replace")
    return Output(text, total, True, lost)
