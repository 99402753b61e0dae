"""Copy files out of a workspace."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from sandlot.errors import UsageError
from sandlot.operations.addressed import OneWorkspace
from sandlot.operations.operation import Caller, Operation, argument
from sandlot.runtimes.base import HOME
from sandlot.workspaces import changes
from sandlot.workspaces.context import Context
from sandlot.workspaces.export import archive_out, copy_out
from sandlot.workspaces.lifecycle import touch
from sandlot.workspaces.present import present
from sandlot.workspaces.secrets import redactor_of

ARCHIVES = (".tar", ".tar.gz", ".tgz")


@dataclass(frozen=True, kw_only=True)
class Request(OneWorkspace):
    """What to copy, and where to."""

    path: str = argument("file or folder inside, below /workspace or /home/agent", positional=True)
    destination: str = argument(
        "host path that does not exist yet; a name ending in .tar, .tar.gz or .tgz makes an archive",
        positional=True,
        host_path=True,
    )
    overwrite: bool = argument("replace what is at the destination", default=False)
    allow_secrets: bool = argument("also copy files that hold the value of a secret", default=False)


@dataclass(frozen=True, slots=True)
class Result:
    """What was copied."""

    destination: str
    files: int
    bytes: int
    skipped: tuple[str, ...]
    """Sockets, devices and FIFOs, which stay behind."""
    escaping_links: tuple[str, ...]
    """Symlinks that lead out of what was copied; they were copied as they are."""


def run(context: Context, request: Request, _caller: Caller) -> Result:
    """Copy on the host without following any link; complete or not at all."""
    record = context.store.find(request.workspace)
    if request.path == HOME or request.path.startswith(HOME + "/"):
        area = "home"
        path = os.fsencode(os.path.normpath(os.path.relpath(request.path, HOME)))
        if path.startswith(b".."):
            raise UsageError(f"{request.path!r} is not below {HOME}")
        path = b"" if path == b"." else path
    else:
        area = "workspace"
        path = changes.inside(request.path)
    redactor = None if request.allow_secrets else redactor_of(context, record)
    destination = Path(request.destination).absolute()
    copy = archive_out if destination.name.endswith(ARCHIVES) else copy_out
    with present(context, record, (area,)) as storage:
        stack = storage.stack(area)
        if redactor is not None:
            from sandlot.workspaces.secrets.leaving import refuse_exposed

            refuse_exposed(redactor, stack, (path,), "what is to be exported")
        done = copy(stack, path, destination, overwrite=request.overwrite)
    touch(context, record)
    context.store.add_event(record.id, "export", f"{request.path} to {destination}")
    return Result(str(destination), done.files, done.bytes, done.skipped, done.escaping_links)


OPERATION = Operation(
    name="workspace_export",
    command=("workspace", "export"),
    summary="Copy a file or folder out of a workspace to the host.",
    request=Request,
    run=run,
    examples=(
        "sandlot workspace export fix-123 dist ./dist",
        "sandlot workspace export fix-123 . /tmp/all.tar.gz",
    ),
)
