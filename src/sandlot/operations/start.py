"""Start a stopped workspace."""

from __future__ import annotations

from dataclasses import dataclass

from sandlot.operations.addressed import OneWorkspace
from sandlot.operations.described import WorkspaceInfo, describe
from sandlot.operations.operation import Caller, Effect, Operation
from sandlot.workspaces import lifecycle
from sandlot.workspaces.context import Context


@dataclass(frozen=True, kw_only=True)
class Request(OneWorkspace):
    """Which workspace."""


@dataclass(frozen=True, slots=True)
class Result:
    """The workspace, running."""

    workspace: WorkspaceInfo


def run(context: Context, request: Request, _caller: Caller) -> Result:
    """Start it; a running one is left as it is."""
    record = lifecycle.start(context, request.workspace)
    context.store.touch(record.id)
    return Result(describe(context, record))


OPERATION = Operation(
    name="workspace_start",
    command=("workspace", "start"),
    summary="Start a stopped workspace; its files are as they were, its /tmp is empty.",
    request=Request,
    run=run,
    effect=Effect(idempotent=True),
    examples=("sandlot workspace start fix-123",),
)
