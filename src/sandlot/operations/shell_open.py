"""Open a shell."""

from __future__ import annotations

from dataclasses import dataclass

from sandlot.operations.addressed import OneWorkspace
from sandlot.operations.operation import Caller, Operation, argument
from sandlot.operations.shell_addressed import ShellResult
from sandlot.wire.shell import MAX_COLUMNS, MAX_ROWS
from sandlot.workspaces import shells
from sandlot.workspaces.context import Context


@dataclass(frozen=True, kw_only=True)
class Request(OneWorkspace):
    """Where and what."""

    command: tuple[str, ...] = argument(
        "the program and its arguments [default: bash, else sh]",
        default=(),
        positional=True,
        kind="command",
        metavar="COMMAND",
    )
    name: str | None = argument("what to call it [default: shell-NUMBER]", default=None)
    cwd: str = argument("working folder inside, absolute or below /workspace", default="/workspace", metavar="DIR")
    env: dict[str, str] = argument("an environment variable", factory=dict, kind="pairs", metavar="NAME=VALUE")
    rows: int = argument("rows of its terminal", default=24, least=1, most=MAX_ROWS)
    columns: int = argument("columns of its terminal", default=80, least=1, most=MAX_COLUMNS)


def run(context: Context, request: Request, _caller: Caller) -> ShellResult:
    """Open it; it stays open when the caller goes."""
    record = context.store.find(request.workspace)
    command = shells.open_shell(
        context,
        record,
        request.command,
        name=request.name,
        cwd=request.cwd,
        env=request.env,
        rows=request.rows,
        columns=request.columns,
    )
    return ShellResult(shells.info_of(context, record, command))


OPERATION = Operation(
    name="shell_open",
    command=("workspace", "shell", "open"),
    summary="Open a shell on a terminal of its own in a workspace, to be used by the other shell commands.",
    request=Request,
    run=run,
    examples=(
        "sandlot workspace shell open fix-123",
        "sandlot workspace shell open fix-123 --name repl --columns 120 -- python3 -q",
    ),
)
