"""What is asked of an agent to start a numbered command of any kind, and the record that is made of it first."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from sandlot.errors import UsageError
from sandlot.model.command import CommandKind, CommandRecord
from sandlot.model.workspace import WorkspaceRecord
from sandlot.runtimes.base import PROJECT
from sandlot.runtimes.bubblewrap.plan import environment
from sandlot.wire import messages
from sandlot.workspaces.command_files import CommandFiles
from sandlot.workspaces.context import Context
from sandlot.workspaces.store import now

__all__ = ["exec_request", "register", "surroundings"]


def surroundings(record: WorkspaceRecord) -> dict[str, str]:
    """The environment of everything that is started in a workspace; its toolchains come first on PATH."""
    found = environment()
    bins = [os.path.join(path, "bin") for path in record.toolchains]
    found["PATH"] = ":".join([*bins, found["PATH"]])
    return found


def exec_request(
    context: Context,
    record: WorkspaceRecord,
    argv: Sequence[str],
    *,
    cwd: str = PROJECT,
    env: Mapping[str, str] | None = None,
    timeout_s: float | None = None,
    background: bool = False,
) -> messages.Exec:
    """Checked, with its number still missing. ``timeout_s`` None: no limit. Raises UsageError."""
    if not argv or not argv[0]:
        raise UsageError("there is no command to run", hint="sandlot workspace exec ID -- COMMAND [ARG...]")
    folder = os.path.join(PROJECT, cwd)
    merged = {**surroundings(record), "PWD": folder, **(env or {})}
    for text in (*argv, cwd, *merged, *merged.values()):
        if "\0" in text:
            raise UsageError("a command, its folder and its environment cannot hold NUL characters")
    for name in merged:
        if not name or "=" in name:
            raise UsageError(f"{name!r} is not a valid environment variable name")
    if timeout_s is not None and timeout_s <= 0:
        raise UsageError("the timeout must be positive", hint="never: no limit")
    return messages.Exec(
        number=0,
        flags=messages.DETACHED if background else 0,
        timeout_ms=0 if timeout_s is None else max(1, round(timeout_s * 1000)),
        quota=context.settings.output_quota,
        cwd=os.fsencode(folder),
        argv=[os.fsencode(word) for word in argv],
        env=[os.fsencode(f"{name}={value}") for name, value in merged.items()],
    )


def register(
    context: Context,
    record: WorkspaceRecord,
    files: CommandFiles,
    request: messages.Exec,
    argv: Sequence[str],
    *,
    cwd: str = PROJECT,
    kind: CommandKind = CommandKind.COMMAND,
    name: str | None = None,
) -> CommandRecord:
    """The record of a command that is about to start, stored, with its files; the request gets its number.

    ``record`` is the workspace as ``connect`` answered. Raises WorkspaceNotFound, StateUnwritable.
    """

    def begin(number: int) -> CommandRecord:
        files.make(context.paths.workspace(record.id).command(number))
        return CommandRecord(
            number=number,
            argv=tuple(argv),
            cwd=cwd,
            background=bool(request.flags & messages.DETACHED),
            started_at=now(),
            timeout_ms=request.timeout_ms,
            generation=record.generation,
            token=record.instance.token if record.instance else "",
            isolation=record.isolation,
            kind=kind,
            name=name,
        )

    command = context.store.add_command(record.id, begin)
    request.number = command.number
    return command
