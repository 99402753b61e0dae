"""What is asked of an agent to start a numbered command of any kind, and the record that is made of it first."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence

from sandlot.errors import UsageError
from sandlot.model.command import CommandKind, CommandRecord
from sandlot.model.environment import HOST
from sandlot.model.network import NetworkMode
from sandlot.model.workspace import WorkspaceRecord
from sandlot.runtimes.base import PROJECT
from sandlot.runtimes.bubblewrap.plan import environment
from sandlot.wire import messages
from sandlot.workspaces.command_files import CommandFiles
from sandlot.workspaces.context import Context
from sandlot.workspaces.network.serving import variables
from sandlot.workspaces.secrets import redactor_of
from sandlot.workspaces.store import now

__all__ = ["exec_request", "register", "surroundings", "with_revealed"]


def surroundings(context: Context, record: WorkspaceRecord) -> dict[str, str]:
    """The environment of everything that is started in a workspace; its toolchains come first on PATH."""
    found = environment()
    if record.environment != HOST:
        from sandlot.workspaces.environments import variables_for

        found = variables_for(context, record, found)
    bins = [os.path.join(path, "bin") for path in record.toolchains]
    found["PATH"] = ":".join([*bins, found["PATH"]])
    placeholders = {each.name: each.placeholder for each in record.secrets}
    return {**found, **variables(), **_trust(context, record), **placeholders}


def _trust(context: Context, record: WorkspaceRecord) -> dict[str, str]:
    """What tells programs whom to trust, where there is anybody to talk to."""
    if not record.secrets and record.network.mode is NetworkMode.OFF:
        return {}  # the usual case need not import anything
    from sandlot.workspaces.secrets.trust import trust_variables

    return trust_variables(context.paths.workspace(record.id), record)


def exec_request(
    context: Context,
    record: WorkspaceRecord,
    argv: Sequence[str],
    *,
    cwd: str = PROJECT,
    env: Mapping[str, str] | None = None,
    timeout_s: float | None = None,
    background: bool = False,
    revealed: Sequence[str] = (),
) -> messages.Exec:
    """Checked, with its number still missing. ``timeout_s`` None: no limit. Raises UsageError.

    ``revealed``: variables of ``env`` that hold values of secrets.
    """
    if not argv or not argv[0]:
        raise UsageError("there is no command to run", hint="sandlot workspace exec ID -- COMMAND [ARG...]")
    folder = os.path.join(PROJECT, cwd)
    merged = {**surroundings(context, record), "PWD": folder, **(env or {})}
    for text in (*argv, cwd, *merged, *merged.values()):
        if "\0" in text:
            raise UsageError("a command, its folder and its environment cannot hold NUL characters")
    for name in merged:
        if not name or "=" in name:
            raise UsageError(f"{name!r} is not a valid environment variable name")
    if timeout_s is not None and timeout_s <= 0:
        raise UsageError("the timeout must be positive", hint="never: no limit")
    hidden = dict.fromkeys(revealed)
    ordered = [*(name for name in merged if name not in hidden), *hidden]
    return messages.Exec(
        number=0,
        flags=(messages.DETACHED if background else 0) | (messages.HIDING if hidden else 0),
        timeout_ms=0 if timeout_s is None else max(1, round(timeout_s * 1000)),
        quota=context.settings.output_quota,
        cwd=os.fsencode(folder),
        argv=[os.fsencode(word) for word in argv],
        env=[os.fsencode(f"{name}={merged[name]}") for name in ordered],
        hidden=len(hidden),
    )


def with_revealed(
    context: Context, record: WorkspaceRecord, env: Mapping[str, str] | None, reveal: Sequence[str]
) -> Mapping[str, str]:
    """The environment a caller wants for a command, with the values of these secrets. Raises SecretNotFound."""
    if not reveal:
        return env or {}
    from sandlot.workspaces.secrets.keeping import values

    if twice := [name for name in reveal if name in (env or {})]:
        raise UsageError(f"{twice[0]} is both revealed and set otherwise")
    return {**(env or {}), **values(context, record, reveal)}


def register(
    context: Context,
    record: WorkspaceRecord,
    files: CommandFiles,
    request: messages.Exec,
    argv: Sequence[str],
    *,
    cwd: str = PROJECT,
    kind: CommandKind = CommandKind.COMMAND,
    name: str | Callable[[int], str] | None = None,
    revealed: Sequence[str] = (),
) -> CommandRecord:
    """The record of a command that is about to start, stored, with its files; the request gets its number.

    ``record`` is the workspace as ``connect`` answered. ``name`` may be made from the number.
    Raises WorkspaceNotFound, StateUnwritable.
    """

    # A value that the caller's own shell has put into the words must not get into the records.
    hiding = redactor_of(context, record)
    kept_argv = tuple(argv) if hiding is None else tuple(hiding.text(word) for word in argv)

    def begin(number: int) -> CommandRecord:
        chosen = name(number) if callable(name) else name
        files.make(context.paths.workspace(record.id).command(number))
        return CommandRecord(
            number=number,
            argv=kept_argv,
            cwd=cwd,
            background=bool(request.flags & messages.DETACHED),
            started_at=now(),
            timeout_ms=request.timeout_ms,
            generation=record.generation,
            token=record.instance.token if record.instance else "",
            isolation=record.isolation,
            kind=kind,
            name=chosen,
            revealed=tuple(revealed),
        )

    command = context.store.add_command(record.id, begin)
    request.number = command.number
    return command
