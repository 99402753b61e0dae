"""Bring a workspace's changes back to the host."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from sandlot.errors import Refused, UsageError
from sandlot.model.base import OriginKind
from sandlot.model.changes import FileChange
from sandlot.operations.addressed import OneWorkspace
from sandlot.operations.operation import Caller, Effect, Operation, argument
from sandlot.workspaces import changes
from sandlot.workspaces.context import Context
from sandlot.workspaces.handback import apply_to_host
from sandlot.workspaces.present import WORKSPACE, present
from sandlot.workspaces.secrets import redactor_of


@dataclass(frozen=True, kw_only=True)
class Request(OneWorkspace):
    """Where to, and whether it has been reviewed."""

    target: str | None = argument(
        "host folder to change [default: where the workspace came from]", default=None, host_path=True, metavar="DIR"
    )
    paths: tuple[str, ...] = argument("only these files and folders", default=(), positional=True, metavar="PATH")
    include_ignored: bool = argument("also new files that git ignores", default=False)
    to: str = argument("changes since the baseline or this snapshot", default="baseline", metavar="SNAPSHOT")
    yes: bool = argument("really change the host; without it only say what would change", default=False, short="y")
    allow_escaping_links: bool = argument("also make symlinks that lead out of the target", default=False)
    allow_secrets: bool = argument("also bring files that hold the value of a secret", default=False)


@dataclass(frozen=True, slots=True)
class Result:
    """What was applied, or would be."""

    target: str
    applied: bool
    files: tuple[FileChange, ...]
    additions: int
    deletions: int
    ignored: int = 0
    """New files that stay behind because git ignores them."""


def run(context: Context, request: Request, _caller: Caller) -> Result:
    """Check the whole patch against the target, then apply all of it or nothing."""
    record = context.store.find(request.workspace)
    target = request.target
    if target is None:
        if record.origin.kind not in (OriginKind.GIT, OriginKind.FOLDER) or not os.path.isdir(record.origin.location):
            raise UsageError("this workspace did not come from a folder of the host", hint="name one with --target DIR")
        target = record.origin.location
    found = changes.compare(context, record, request.to, paths=request.paths, include_ignored=request.include_ignored)
    patch = found.patch
    if patch is None or not found.changes.files:
        return Result(target, False, (), 0, 0, found.ignored)
    try:
        omitted = [f"{change.path!a}: {change.omitted}" for change in found.changes.files if change.omitted]
        if omitted:
            raise Refused(
                "the change holds files that do not fit into a patch",
                hint=f"sandlot workspace export {record.label} PATH DESTINATION",
                details=tuple(omitted),
            )
        redactor = None if request.allow_secrets else redactor_of(context, record)
        if redactor is not None:
            from sandlot.workspaces.secrets.leaving import refuse_exposed

            changed = (os.fsencode(change.path) for change in found.changes.files)
            with present(context, record, WORKSPACE) as storage:
                refuse_exposed(redactor, storage.stack("workspace"), changed, "the change")
        apply_to_host(
            patch,
            Path(target).absolute(),
            scratch=context.paths.workspace(record.id).patches,
            check_only=not request.yes,
            allow_escaping_links=request.allow_escaping_links,
        )
    finally:
        patch.unlink(missing_ok=True)
    if request.yes:
        context.store.add_event(record.id, "apply", f"{len(found.changes.files)} files to {target}")
    done = found.changes
    return Result(target, request.yes, done.files, done.additions, done.deletions, found.ignored)


OPERATION = Operation(
    name="workspace_apply",
    command=("workspace", "apply"),
    summary="Apply a workspace's changes to the host folder it came from, all or nothing; shows them first.",
    request=Request,
    run=run,
    effect=Effect(destructive=True),
    examples=("sandlot workspace apply fix-123", "sandlot workspace apply fix-123 --yes"),
)
