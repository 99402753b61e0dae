"""One command in a workspace that exists only for it."""

from __future__ import annotations

from dataclasses import dataclass

from sandlot.model.base import Origin
from sandlot.operations.executed import (
    CommandRequest,
    CommandResult,
    argv_of,
    command_result,
    timeout_of,
)
from sandlot.operations.operation import Caller, Operation, argument
from sandlot.operations.seeding import SeedRequest, source_of, toolchains_of
from sandlot.workspaces import commands, lifecycle, reaper
from sandlot.workspaces.context import Context


@dataclass(frozen=True, kw_only=True)
class Request(CommandRequest, SeedRequest):
    """What to run, and on what."""

    source: str | None = argument(
        "what the workspace is made from, as for create", default=None, short="s", host_path=True
    )


@dataclass(frozen=True, slots=True)
class Result(CommandResult):
    """The command, and where its workspace came from."""

    origin: Origin


def run(context: Context, request: Request, caller: Caller) -> Result:
    """Create, run, delete, whatever happens; a killed caller takes the workspace with it."""
    argv = argv_of(request)
    timeout = timeout_of(request)
    record, _ = lifecycle.create(
        context,
        source_of(request, request.source),
        runtime=request.runtime,
        min_isolation=request.min_isolation,
        toolchains=toolchains_of(request),
        one_shot=True,
        progress=caller.progress,
    )
    try:
        command = commands.execute(
            context,
            record,
            argv,
            cwd=request.cwd,
            env=request.env,
            stdin=caller.stdin,
            timeout_s=timeout,
            sink=caller.output,
            cancellation=caller.cancellation,
        )
        done = command_result(context, record, command, request.max_output)
    finally:
        lifecycle.delete(context, record.id)
        reaper.empty_trash(context)
    return Result(done.command, done.stdout, done.stderr, record.origin)


OPERATION = Operation(
    name="workspace_run",
    command=("run",),
    summary="Run one command in a fresh workspace and delete it afterwards.",
    request=Request,
    run=run,
    examples=(
        "sandlot run -- python3 -c 'print(1)'",
        "sandlot run --source . --timeout 5m -- make test",
    ),
    passes_exit_code=True,
    streams=True,
)
