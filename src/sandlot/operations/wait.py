"""Wait for a background command."""

from __future__ import annotations

from dataclasses import dataclass

from sandlot.operations.addressed import OneWorkspace
from sandlot.operations.executed import ANSWER_BYTES, CommandResult, command_result
from sandlot.operations.operation import Caller, Effect, Operation, argument
from sandlot.settings import duration
from sandlot.workspaces import commands
from sandlot.workspaces.context import Context


@dataclass(frozen=True, kw_only=True)
class Request(OneWorkspace):
    """Which command, and how long to wait."""

    number: int = argument("the command's number", positional=True, least=1)
    timeout: str = argument("give up waiting after this long; the command goes on", default="never", kind="duration")
    max_output: int = argument("bytes of each stream in the answer", default=ANSWER_BYTES, kind="size")


def run(context: Context, request: Request, _caller: Caller) -> CommandResult:
    """Wait; the answer's state is ``running`` when the time was up first."""
    record = context.store.find(request.workspace)
    command = commands.wait(context, record, request.number, duration(request.timeout))
    return command_result(context, record, command, request.max_output)


OPERATION = Operation(
    name="workspace_wait",
    command=("workspace", "wait"),
    summary="Wait until a background command has ended and pass on its output and exit code.",
    request=Request,
    run=run,
    effect=Effect(read_only=True, idempotent=True),
    examples=("sandlot workspace wait fix-123 4 --timeout 30s",),
    passes_exit_code=True,
)
