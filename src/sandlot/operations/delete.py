"""Delete workspaces."""

from __future__ import annotations

from dataclasses import dataclass

from sandlot.errors import UsageError, WorkspaceNotFound
from sandlot.operations.operation import Caller, Effect, Operation, argument
from sandlot.workspaces import lifecycle, reaper
from sandlot.workspaces.context import Context


@dataclass(frozen=True, kw_only=True)
class Request:
    """Which workspaces."""

    workspaces: tuple[str, ...] = argument("id or name", positional=True, metavar="ID", default=())
    labels: dict[str, str] = argument("all with this label, KEY=VALUE", factory=dict, kind="pairs", metavar="KEY=VALUE")
    all: bool = argument("every workspace", default=False)


@dataclass(frozen=True, slots=True)
class Result:
    """Ids of the workspaces that are gone."""

    deleted: tuple[str, ...]


def run(context: Context, request: Request, _caller: Caller) -> Result:
    """Delete completely: no process, mount, socket, folder or record stays."""
    if not request.workspaces and not request.labels and not request.all:
        raise UsageError("there is nothing to delete", hint="name a workspace, or use --label or --all")
    if request.workspaces and (request.labels or request.all):
        raise UsageError("names exclude --label and --all")
    found = [context.store.find(key) for key in request.workspaces]  # all exist, or none is deleted
    if not request.workspaces:
        found = [
            record
            for record in context.store.all()
            if all(record.labels.get(key) == value for key, value in request.labels.items())
        ]
    deleted = []
    for record in found:
        try:
            deleted.append(lifecycle.delete(context, record.id).id)
        except WorkspaceNotFound:  # somebody else deletes, too
            if request.workspaces:
                raise
    reaper.empty_trash(context)
    return Result(tuple(deleted))


OPERATION = Operation(
    name="workspace_delete",
    command=("workspace", "delete"),
    summary="Delete workspaces with everything in them.",
    request=Request,
    run=run,
    effect=Effect(destructive=True, idempotent=True),
    examples=("sandlot workspace delete fix-123", "sandlot workspace delete --label issue=123"),
)
