"""Close a shell."""

from __future__ import annotations

from dataclasses import dataclass

from sandlot.operations.operation import Caller, Effect, Operation
from sandlot.operations.shell_addressed import OneShell, ShellResult
from sandlot.workspaces import shells
from sandlot.workspaces.context import Context


@dataclass(frozen=True, kw_only=True)
class Request(OneShell):
    """Which shell."""


def run(context: Context, request: Request, _caller: Caller) -> ShellResult:
    """Hang up, wait a moment, end the whole tree; a shell that has ended is left as it is."""
    record = context.store.find(request.workspace)
    command = shells.close(context, record, shells.find(context, record, request.shell))
    return ShellResult(shells.info_of(context, record, command))


OPERATION = Operation(
    name="shell_close",
    command=("workspace", "shell", "close"),
    summary="Close a shell and end everything that was started in it; what it printed can still be read.",
    request=Request,
    run=run,
    effect=Effect(destructive=True, idempotent=True),
    examples=("sandlot workspace shell close fix-123 shell-1",),
)
