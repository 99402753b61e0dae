"""Bring later changes of the host into a workspace."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from sandlot.bases.source import classify
from sandlot.errors import UsageError
from sandlot.model.base import OriginKind
from sandlot.operations.addressed import OneWorkspace
from sandlot.operations.operation import Caller, Effect, Operation, argument
from sandlot.workspaces import sync
from sandlot.workspaces.context import Context


@dataclass(frozen=True, kw_only=True)
class Request(OneWorkspace):
    """From where, and what to do about conflicts."""

    source: str | None = argument(
        "host folder or checkout [default: where the workspace came from]",
        default=None,
        positional=True,
        host_path=True,
    )
    include_ignored: bool = argument("also take files that git ignores, as at create", default=False)
    committed_only: bool = argument("take the commit alone, as at create", default=False)
    force: bool = argument("overwrite files that the workspace has changed too", default=False)


@dataclass(frozen=True, slots=True)
class Result:
    """What arrived."""

    workspace_id: str
    source: str
    written: int
    deleted: int


def run(context: Context, request: Request, caller: Caller) -> Result:
    """Push all of it or nothing; the host's present state is the new baseline."""
    record = context.store.find(request.workspace)
    text = request.source
    if text is None:
        if record.origin.kind not in (OriginKind.GIT, OriginKind.FOLDER) or not os.path.isdir(record.origin.location):
            raise UsageError("this workspace did not come from a folder of the host", hint="name one as SOURCE")
        text = record.origin.location
    source = classify(
        text,
        include_ignored=request.include_ignored,
        committed_only=request.committed_only,
        cwd=Path.cwd(),
    )
    done = sync.push(context, record.id, source, force=request.force, progress=caller.progress)
    return Result(record.id, source.location, done.written, done.deleted)


OPERATION = Operation(
    name="workspace_sync_push",
    command=("workspace", "sync", "push"),
    summary="Bring later changes of the host folder into a workspace; they become part of its baseline.",
    request=Request,
    run=run,
    effect=Effect(destructive=True, idempotent=True),
    examples=("sandlot workspace sync push fix-123", "sandlot workspace sync push fix-123 ../other --force"),
)
