"""One command in a workspace that exists only for it."""

from __future__ import annotations

from dataclasses import dataclass

from sandlot.model.base import Origin
from sandlot.model.workspace import WorkspaceRecord
from sandlot.operations.executed import (
    CommandRequest,
    CommandResult,
    argv_of,
    command_result,
    timeout_of,
)
from sandlot.operations.limited import LimitRequest, limits_from
from sandlot.operations.networking import NetworkRequest, network_of
from sandlot.operations.operation import Caller, Operation, argument
from sandlot.operations.secreted import RevealRequest, SecretsRequest, secrets_of
from sandlot.operations.seeding import SeedRequest, source_of, toolchains_of
from sandlot.workspaces import commands, creation, lifecycle, reaper
from sandlot.workspaces.context import Context
from sandlot.workspaces.secrets import redactor_of


@dataclass(frozen=True, kw_only=True)
class Request(CommandRequest, SeedRequest, LimitRequest, NetworkRequest, SecretsRequest, RevealRequest):
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
    timeout_of(request)  # a mistake in it is told before anything is made
    record, _ = creation.create(
        context,
        source_of(request, request.source),
        runtime=request.runtime,
        min_isolation=request.min_isolation,
        toolchains=toolchains_of(request),
        environment=request.environment,
        limits=limits_from(context, request),
        network=network_of(request),
        secrets=secrets_of(request),
        one_shot=True,
        progress=caller.progress,
    )
    caller.progress("", 0, 0)
    try:
        redactor = redactor_of(context, record)
        if redactor is None:
            return _run(context, record, request, argv, caller)
        from sandlot.operations.hidden import hidden

        return hidden(redactor, caller, lambda shown: _run(context, record, request, argv, shown))
    finally:
        lifecycle.delete(context, record.id)
        reaper.empty_trash(context)


def _run(context: Context, record: WorkspaceRecord, request: Request, argv: list[str], caller: Caller) -> Result:
    command = commands.execute(
        context,
        record,
        argv,
        cwd=request.cwd,
        env=request.env,
        stdin=caller.stdin,
        timeout_s=timeout_of(request),
        sink=caller.output,
        cancellation=caller.cancellation,
        reveal=request.reveal,
    )
    done = command_result(context, record, command, request.max_output)
    return Result(done.command, done.stdout, done.stderr, record.origin, denied=done.denied)


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
