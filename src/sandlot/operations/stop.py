"""Stop a workspace and keep its files."""

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
    """The workspace, stopped."""

    workspace: WorkspaceInfo


def run(context: Context, request: Request, _caller: Caller) -> Result:
    """End its processes, politely first; a stopped one is left as it is."""
    record = lifecycle.stop(context, request.workspace)
    return Result(describe(context, record))


OPERATION = Operation(
    name="workspace_stop",
    command=("workspace", "stop"),
    summary="End every process of a workspace and keep its files.",
    request=Request,
    run=run,
    effect=Effect(idempotent=True),
    examples=("sandlot workspace stop fix-123",),
)
