"""Save a workspace's state."""

from __future__ import annotations

from dataclasses import dataclass

from sandlot.operations.addressed import OneWorkspace
from sandlot.operations.operation import Caller, Operation, argument
from sandlot.workspaces import states
from sandlot.workspaces.context import Context


@dataclass(frozen=True, kw_only=True)
class Request(OneWorkspace):
    """Which workspace, and what to call its state."""

    name: str = argument("the snapshot's name", positional=True)


@dataclass(frozen=True, slots=True)
class Result:
    """The snapshot."""

    workspace_id: str
    name: str
    created_at: str


def run(context: Context, request: Request, _caller: Caller) -> Result:
    """Pause the workspace's processes, copy what changed, go on. /tmp is not part of a snapshot."""
    record, taken = states.snapshot(context, request.workspace, request.name)
    return Result(record.id, taken.name, taken.created_at)


OPERATION = Operation(
    name="snapshot_create",
    command=("workspace", "snapshot", "create"),
    summary="Save the files and home of a workspace under a name, to reset to or compare with.",
    request=Request,
    run=run,
    examples=("sandlot workspace snapshot create fix-123 before-upgrade",),
)
