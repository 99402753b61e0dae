"""Signal what runs in a shell."""

from __future__ import annotations

import signal
from dataclasses import dataclass

from sandlot.errors import UsageError
from sandlot.operations.operation import Caller, Effect, Operation, argument
from sandlot.operations.shell_addressed import OneShell, ShellResult
from sandlot.workspaces import shells
from sandlot.workspaces.context import Context


@dataclass(frozen=True, kw_only=True)
class Request(OneShell):
    """Which shell, and which signal."""

    signal: str = argument("the signal, such as INT, TERM, KILL, HUP or USR1", positional=True)


def run(context: Context, request: Request, _caller: Caller) -> ShellResult:
    """Send it to the foreground process group: the program in front, or the shell itself when it waits for input."""
    try:
        number = signal.Signals["SIG" + request.signal.upper().removeprefix("SIG")].value
    except KeyError:
        raise UsageError(f"unknown signal {request.signal!r}", hint="write INT, TERM, KILL, HUP, USR1...") from None
    record = context.store.find(request.workspace)
    command = shells.find(context, record, request.shell)
    with shells.join(context, record, command) as link:
        link.signal(number)
    context.store.touch(record.id)
    command = shells.find(context, record, str(command.number))
    return ShellResult(shells.info_of(context, record, command))


OPERATION = Operation(
    name="shell_signal",
    command=("workspace", "shell", "signal"),
    summary="Send a signal to what runs in the foreground of a shell.",
    request=Request,
    run=run,
    effect=Effect(destructive=True),
    examples=("sandlot workspace shell signal fix-123 shell-1 INT",),
)
