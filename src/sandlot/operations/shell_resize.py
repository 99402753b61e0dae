"""Change the size of a shell's terminal."""

from __future__ import annotations

from dataclasses import dataclass

from sandlot.operations.operation import Caller, Effect, Operation, argument
from sandlot.operations.shell_addressed import OneShell, ShellResult
from sandlot.wire.shell import MAX_COLUMNS, MAX_ROWS
from sandlot.workspaces import shells
from sandlot.workspaces.context import Context


@dataclass(frozen=True, kw_only=True)
class Request(OneShell):
    """Which shell, and its new size."""

    rows: int = argument("rows of the terminal", positional=True, least=1, most=MAX_ROWS)
    columns: int = argument("columns of the terminal", positional=True, least=1, most=MAX_COLUMNS)


def run(context: Context, request: Request, _caller: Caller) -> ShellResult:
    """Resize; the program in front is told (SIGWINCH)."""
    record = context.store.find(request.workspace)
    command = shells.find(context, record, request.shell)
    with shells.join(context, record, command) as link:
        link.resize(request.rows, request.columns)
    context.store.touch(record.id)
    return ShellResult(shells.info_of(context, record, command))


OPERATION = Operation(
    name="shell_resize",
    command=("workspace", "shell", "resize"),
    summary="Change the size of a shell's terminal.",
    request=Request,
    run=run,
    effect=Effect(idempotent=True),
    examples=("sandlot workspace shell resize fix-123 shell-1 40 120",),
)
