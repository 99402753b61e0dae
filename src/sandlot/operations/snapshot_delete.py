"""Forget a snapshot."""

from __future__ import annotations

from dataclasses import dataclass

from sandlot.operations.addressed import OneWorkspace
from sandlot.operations.operation import Caller, Effect, Operation, argument
from sandlot.workspaces import reaper, states
from sandlot.workspaces.context import Context


@dataclass(frozen=True, kw_only=True)
class Request(OneWorkspace):
    """Which snapshot."""

    name: str = argument("the snapshot's name", positional=True)


@dataclass(frozen=True, slots=True)
class Result:
    """The snapshot that is gone."""

    workspace_id: str
    name: str


def run(context: Context, request: Request, _caller: Caller) -> Result:
    """Forget it; the workspace's present state is untouched."""
    record = states.delete_snapshot(context, request.workspace, request.name)
    reaper.empty_trash(context)
    return Result(record.id, request.name)


OPERATION = Operation(
    name="snapshot_delete",
    command=("workspace", "snapshot", "delete"),
    summary="Delete a snapshot.",
    request=Request,
    run=run,
    effect=Effect(destructive=True, idempotent=True),
    examples=("sandlot workspace snapshot delete fix-123 before-upgrade",),
)
