"""End a running command."""

from __future__ import annotations

import signal
from dataclasses import dataclass

from sandlot.errors import UsageError
from sandlot.model.command import CommandRecord
from sandlot.operations.addressed import OneWorkspace
from sandlot.operations.operation import Caller, Effect, Operation, argument
from sandlot.workspaces import commands
from sandlot.workspaces.context import Context


@dataclass(frozen=True, kw_only=True)
class Request(OneWorkspace):
    """Which command, and how."""

    number: int = argument("the command's number", positional=True, least=1)
    signal: str | None = argument("send its main process this signal instead of ending the whole tree", default=None)


@dataclass(frozen=True, slots=True)
class Result:
    """The command as it is now."""

    command: CommandRecord


def run(context: Context, request: Request, _caller: Caller) -> Result:
    """Signal it; a command that has ended is left as it is."""
    number = 0
    if request.signal is not None:
        name = "SIG" + request.signal.upper().removeprefix("SIG")
        try:
            number = signal.Signals[name].value
        except KeyError:
            raise UsageError(f"unknown signal {request.signal!r}", hint="write TERM, INT, HUP, KILL, USR1...") from None
    record = context.store.find(request.workspace)
    return Result(commands.kill(context, record, request.number, number))


OPERATION = Operation(
    name="workspace_kill",
    command=("workspace", "kill"),
    summary="End a running command and everything it started.",
    request=Request,
    run=run,
    effect=Effect(destructive=True, idempotent=True),
    examples=("sandlot workspace kill fix-123 4", "sandlot workspace kill fix-123 4 --signal HUP"),
)
