"""Wait for a background command."""

from __future__ import annotations

from dataclasses import dataclass

from sandlot.operations.addressed import OneWorkspace
from sandlot.operations.executed import ANSWER_BYTES, TIMED_OUT, CommandResult, command_result, exit_status
from sandlot.operations.operation import Caller, Effect, Operation, argument
from sandlot.settings import seconds
from sandlot.workspaces import command_files, commands
from sandlot.workspaces.context import Context


@dataclass(frozen=True, kw_only=True)
class Request(OneWorkspace):
    """Which command, and how long to wait."""

    number: int = argument("the command's number", positional=True, least=1)
    timeout: str = argument("give up waiting after this long; the command goes on", default="never", kind="duration")
    max_output: int = argument("bytes of each stream in the answer", default=ANSWER_BYTES, kind="size")


@dataclass(frozen=True, slots=True)
class Result(CommandResult):
    """The command; its state is ``running`` when the time was up first."""

    @property
    def exit_status(self) -> int:
        """As of every command; 124 when the waiting was too short."""
        if self.command.outcome is None:
            return TIMED_OUT
        return exit_status(self.command.outcome)


def run(context: Context, request: Request, caller: Caller) -> Result:
    """Wait, then hand over the output."""
    record = context.store.find(request.workspace)
    command = commands.wait(context, record, request.number, seconds(request.timeout), caller.cancellation)
    done = command_result(context, record, command, request.max_output)
    if caller.output is not None and command.outcome is not None:
        folder = context.paths.workspace(record.id).command(command.number)
        for name in ("stdout", "stderr"):
            command_files.replay(folder, name, caller.output)
    return Result(done.command, done.stdout, done.stderr, denied=done.denied)


OPERATION = Operation(
    name="workspace_wait",
    command=("workspace", "wait"),
    summary="Wait until a background command has ended and pass on its output and exit code.",
    request=Request,
    run=run,
    effect=Effect(read_only=True, idempotent=True),
    examples=("sandlot workspace wait fix-123 4 --timeout 30s",),
    passes_exit_code=True,
    streams=True,
)
