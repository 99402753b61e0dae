"""Shells: interactive programs on a terminal inside, which stay open between calls.

A shell is a numbered command whose worker holds the terminal. Whoever wants to write to it, resize it or wait for its
output joins that worker for as long as it takes; its output is read from a file (ring.py), joined or not.
"""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from sandlot.errors import (
    AgentUnresponsive,
    CommandInterrupted,
    CommandNotFound,
    LimitReached,
    NameTaken,
    ProtocolError,
    SandlotError,
    ShellEnded,
    ShellNotFound,
    UsageError,
)
from sandlot.model.command import CommandKind, CommandRecord, CommandState
from sandlot.model.shell import ShellInfo
from sandlot.model.workspace import WorkspaceRecord
from sandlot.runtimes.base import PROJECT
from sandlot.runtimes.channel import Channel, raise_failure
from sandlot.wire import messages
from sandlot.wire import shell as wire
from sandlot.workspaces import ring
from sandlot.workspaces.cancellation import Cancellation
from sandlot.workspaces.command_files import CommandFiles, held
from sandlot.workspaces.commands import refresh
from sandlot.workspaces.context import Context
from sandlot.workspaces.environments import environment_of
from sandlot.workspaces.lifecycle import connect, is_running, socket_of
from sandlot.workspaces.naming import check_name
from sandlot.workspaces.requests import exec_request, register

__all__ = ["Link", "all_of", "close", "ended", "find", "folder_of", "info_of", "join", "open_shell", "wait_for_output"]

MOST_RUNNING = 64
"""Shells of one workspace that run at the same time."""
CLOSE_S = 8.0
"""How long a closed shell may take: its grace, then the kill."""
LET_GO_S = 2.0
"""How long a worker may take to be gone after its last word."""
_GIVEN = re.compile(r"shell-\d+")
_BASH = "/bin/bash"


class _ShellFiles(CommandFiles):
    """The files of a command, and the transcript."""

    def __init__(self, rows: int, columns: int) -> None:
        super().__init__()
        self._size = rows, columns

    def make(self, folder: Path) -> None:
        super().make(folder)
        self.descriptors.append(ring.make(folder, *self._size))


def open_shell(
    context: Context,
    record: WorkspaceRecord,
    argv: Sequence[str] = (),
    *,
    name: str | None = None,
    cwd: str = PROJECT,
    env: Mapping[str, str] | None = None,
    rows: int = 24,
    columns: int = 80,
) -> CommandRecord:
    """Open a shell (bash, else sh, unless told otherwise) and return its record.

    Raises NameTaken, LimitReached, UsageError (the program cannot be run).
    """
    if name is not None:
        check_name(name, "shell")
        if _GIVEN.fullmatch(name) or name.isdigit():
            raise UsageError(f"{name!r} is a name that we give", hint="choose another name, or none")
    refresh(context, record)
    running = [each for each in context.store.unfinished_commands(record.id) if each.kind is CommandKind.SHELL]
    if any(each.name == name for each in running if name):
        raise _taken(name)
    if len(running) >= MOST_RUNNING:
        raise LimitReached(f"{MOST_RUNNING} shells are open already", hint="sandlot workspace shell close ID SHELL")
    argv = argv or [_shell_of(context, record)]
    merged = {"TERM": "xterm-256color", **(env or {})}
    command = exec_request(context, record, argv, cwd=cwd, env=merged, background=True)
    record, channel = connect(context, record)
    with channel, _ShellFiles(rows, columns) as files:
        made = register(
            context, record, files, command, argv, cwd=cwd, kind=CommandKind.SHELL,
            name=name if name is not None else lambda number: f"shell-{number}",
        )  # fmt: skip
        try:
            _check_first(context, record, made, name)
            with files:
                channel.send(messages.SHELL, wire.Open(command, rows, columns).fields(), files.descriptors)
            message = channel.receive()
            if message is None:
                raise CommandInterrupted(f"workspace {record.label} ended while the shell was opened")
            if message[0] == messages.FAILED:
                raise_failure(message[1])
        except BaseException as error:
            channel.close()
            with contextlib.suppress(SandlotError, OSError):
                refresh(context, record)
            if isinstance(error, UsageError) and not error.hint:
                error.hint = "name a program and a folder that are there: sandlot workspace exec ID -- ls"
            raise
    return made


def _shell_of(context: Context, record: WorkspaceRecord) -> str:
    environment = environment_of(context, record)
    if environment is None:  # inside, /bin is what it is on the host
        return _BASH if os.access(_BASH, os.X_OK) else "/bin/sh"
    return environment.shell or "/bin/sh"


def _taken(name: str | None) -> NameTaken:
    return NameTaken(f"a shell named {name!r} is open already", hint="choose another name, or none")


def _check_first(context: Context, record: WorkspaceRecord, made: CommandRecord, name: str | None) -> None:
    """Of two that open a shell of the same name at the same time, the later one finds the earlier one."""
    for each in context.store.unfinished_commands(record.id) if name else ():
        if each.kind is CommandKind.SHELL and each.name == name and each.number < made.number:
            raise _taken(name)


def folder_of(context: Context, record: WorkspaceRecord, command: CommandRecord) -> Path:
    """The folder that holds a shell's transcript."""
    return context.paths.workspace(record.id).command(command.number)


def info_of(context: Context, record: WorkspaceRecord, command: CommandRecord) -> ShellInfo:
    """The facts about a shell, as of now."""
    head = None
    with contextlib.suppress(ProtocolError):  # a damaged one tells nothing; reading it says so
        head = ring.head(folder_of(context, record, command))
    outcome = command.outcome
    return ShellInfo(
        name=command.name or f"shell-{command.number}",
        number=command.number,
        state=command.state,
        argv=command.argv,
        cwd=command.cwd,
        rows=head.rows if head else 0,
        columns=head.columns if head else 0,
        started_at=command.started_at,
        exit_code=outcome.exit_code if outcome else None,
        signal=outcome.signal if outcome else None,
        duration_ms=outcome.duration_ms if outcome else None,
        total_bytes=head.total if head else 0,
    )


def all_of(context: Context, record: WorkspaceRecord) -> list[CommandRecord]:
    """The workspace's shells, running and ended, the newest first."""
    refresh(context, record)
    return [each for each in reversed(context.store.commands(record.id)) if each.kind is CommandKind.SHELL]


def find(context: Context, record: WorkspaceRecord, key: str) -> CommandRecord:
    """The shell with this name or number; of several with one name the newest. Raises ShellNotFound."""
    for each in all_of(context, record):
        if each.name == key or str(each.number) == key:
            return each
    raise ShellNotFound(f"workspace {record.label} has no shell {key!r}")


class Link:
    """A connection to the worker of a running shell."""

    def __init__(self, channel: Channel, label: str, total: int) -> None:
        self.channel = channel
        self.total = total
        """Bytes the shell has printed, as far as we were told."""
        self.ended = False
        self._label = label

    def __enter__(self) -> Link:
        return self

    def __exit__(self, *_: object) -> None:
        self.channel.close()

    def ask(self, kind: int, fields: Sequence[bytes] = ()) -> list[bytes]:
        """Ask for something and wait until it is done; the fields of the answer. Raises ShellEnded, ShellBusy."""
        try:
            self.channel.send(kind, fields)
            while (message := self.channel.receive()) is not None:
                if message[0] == messages.FAILED:
                    raise_failure(message[1])
                if message[0] == messages.RESULT:
                    return message[1]
                self.note(message[0], message[1])
        except CommandInterrupted as error:
            raise self.gone() from error
        raise self.gone()

    def write(self, data: bytes) -> int:
        """Type; the answer is what the shell had printed before. Raises ShellBusy: nothing was typed."""
        fields = self.ask(wire.INPUT, [data])
        try:
            return messages.integer(fields[0])
        except (ValueError, IndexError) as error:
            raise ProtocolError("the shell answered with something else") from error

    def resize(self, rows: int, columns: int) -> None:
        """Change the size of the terminal."""
        self.ask(wire.RESIZE, [b"%d" % rows, b"%d" % columns])

    def signal(self, number: int) -> None:
        """Signal the foreground process group."""
        self.ask(wire.SIGNAL, [b"%d" % number])

    def note(self, kind: int, fields: list[bytes]) -> None:
        """Take in a message that is no answer: how far the output goes, or the end."""
        if kind == messages.EXITED:
            self.ended = True
        elif kind == messages.OUTPUT:
            try:
                self.total = messages.integer(fields[0])
            except (ValueError, IndexError) as error:
                raise ProtocolError("the shell sent a malformed notification") from error

    def gone(self) -> ShellEnded:
        """What to say when there is nobody any more."""
        self.ended = True
        return ShellEnded(f"shell {self._label} has ended")


def join(context: Context, record: WorkspaceRecord, command: CommandRecord) -> Link:
    """A connection to a running shell. Raises ShellEnded."""
    ended = ShellEnded(f"shell {command.name} of workspace {record.label} has ended ({command.state})")
    if command.outcome is not None or not is_running(context, record):
        raise ended
    try:
        channel = Channel(socket_of(context, record))
    except AgentUnresponsive as error:
        if is_running(context, context.store.find(record.id)):
            raise
        raise ended from error
    try:
        fields = channel.call(messages.JOIN, [b"%d" % command.number], answer=messages.JOINED)
        return Link(channel, str(command.name), messages.integer(fields[0]))
    except (CommandNotFound, CommandInterrupted) as error:
        channel.close()
        raise ended from error
    except (ValueError, IndexError) as error:
        channel.close()
        raise ProtocolError("the shell answered with something else") from error
    except BaseException:
        channel.close()
        raise


def wait_for_output(
    context: Context,
    record: WorkspaceRecord,
    command: CommandRecord,
    cursor: int,
    *,
    timeout_s: float | None,
    idle_s: float | None = None,
    cancellation: Cancellation | None = None,
) -> None:
    """Return when the shell has printed something behind ``cursor`` (and then nothing for ``idle_s``), has ended, or
    the time is up."""
    cancellation = cancellation or Cancellation()
    cancellation.check()
    end = None if timeout_s is None else time.monotonic() + timeout_s
    try:
        link = join(context, record, command)
    except ShellEnded:
        return
    with link, cancellation.waking(link.channel.shutdown):
        quiet_since = time.monotonic()
        while not link.ended:
            moments = [] if end is None else [end]
            if link.total > cursor:
                if idle_s is None:
                    return
                moments.append(quiet_since + idle_s)
            left = min(moments) - time.monotonic() if moments else None
            if left is not None and left <= 0:
                return
            try:
                message = link.channel.receive(left)
            except AgentUnresponsive:
                continue  # the time is up
            cancellation.check()
            if message is None:
                return
            before = link.total
            link.note(*message)
            if link.total != before:
                quiet_since = time.monotonic()
    cancellation.check()


def ended(context: Context, record: WorkspaceRecord, command: CommandRecord) -> CommandRecord:
    """The record of a shell whose worker has just let go of us. Raises WorkspaceNotFound when it was deleted."""
    folder = folder_of(context, record, command)
    end = time.monotonic() + LET_GO_S
    while held(folder) and time.monotonic() < end:
        time.sleep(0.002)
    record = context.store.find(record.id)
    refresh(context, record)
    return context.store.command(record.id, command.number)


def close(context: Context, record: WorkspaceRecord, command: CommandRecord) -> CommandRecord:
    """Hang up, and end what does not go by itself; the record afterwards. An ended one is left as it is."""
    try:
        with join(context, record, command) as link:
            link.ask(wire.CLOSE)
            end = time.monotonic() + CLOSE_S
            while not link.ended and (left := end - time.monotonic()) > 0:
                message = link.channel.receive(left)
                if message is None:
                    break
                link.note(*message)
    except ShellEnded:
        pass
    found = ended(context, record, command)
    if found.state is CommandState.RUNNING:
        raise AgentUnresponsive(f"shell {command.name} did not end within {CLOSE_S:.0f} s")
    return found
