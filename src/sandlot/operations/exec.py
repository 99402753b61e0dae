"""Run a command in a workspace."""

from __future__ import annotations

from dataclasses import dataclass

from sandlot.operations.addressed import OneWorkspace
from sandlot.operations.executed import (
    CommandRequest,
    CommandResult,
    argv_of,
    command_result,
    timeout_of,
)
from sandlot.operations.operation import Caller, Operation, argument
from sandlot.operations.secreted import RevealRequest
from sandlot.workspaces import commands
from sandlot.workspaces.context import Context


@dataclass(frozen=True, kw_only=True)
class Request(CommandRequest, OneWorkspace, RevealRequest):
    """Where, what and how."""

    background: bool = argument(
        "return at once; read it with logs, wait for it with wait, end it with kill", default=False
    )


def run(context: Context, request: Request, caller: Caller) -> CommandResult:
    """Run it once; never retried."""
    record = context.store.find(request.workspace)
    command = commands.execute(
        context,
        record,
        argv_of(request),
        cwd=request.cwd,
        env=request.env,
        stdin=caller.stdin,
        timeout_s=None if request.background and request.timeout is None else timeout_of(request),
        background=request.background,
        sink=caller.output,
        cancellation=caller.cancellation,
        reveal=request.reveal,
    )
    return command_result(context, record, command, request.max_output)


OPERATION = Operation(
    name="workspace_exec",
    command=("workspace", "exec"),
    summary="Run a command in a workspace and pass on its output and exit code.",
    request=Request,
    run=run,
    examples=(
        "sandlot workspace exec fix-123 -- pytest -q",
        "sandlot workspace exec fix-123 --timeout 10m --env CI=1 -c 'make test | tail'",
        "sandlot workspace exec fix-123 --background -- python -m http.server",
    ),
    passes_exit_code=True,
    streams=True,
)
