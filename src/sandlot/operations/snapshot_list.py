"""List a workspace's snapshots."""

from __future__ import annotations

from dataclasses import dataclass

from sandlot.operations.addressed import OneWorkspace
from sandlot.operations.operation import Caller, Effect, Operation
from sandlot.workspaces.context import Context


@dataclass(frozen=True, kw_only=True)
class Request(OneWorkspace):
    """Which workspace."""


@dataclass(frozen=True, slots=True)
class SnapshotInfo:
    """One snapshot."""

    name: str
    created_at: str


@dataclass(frozen=True, slots=True)
class Result:
    """Snapshots, oldest first; the baseline is always there and not listed."""

    workspace_id: str
    snapshots: tuple[SnapshotInfo, ...]


def run(context: Context, request: Request, _caller: Caller) -> Result:
    """Look; nothing counts as activity."""
    record = context.store.find(request.workspace)
    return Result(record.id, tuple(SnapshotInfo(each.name, each.created_at) for each in record.snapshots))


OPERATION = Operation(
    name="snapshot_list",
    command=("workspace", "snapshot", "list"),
    summary="List a workspace's snapshots.",
    request=Request,
    run=run,
    effect=Effect(read_only=True, idempotent=True),
    examples=("sandlot workspace snapshot list fix-123",),
)
