"""Move a file or folder in a workspace."""

from __future__ import annotations

import os
from dataclasses import dataclass

from sandlot.operations.addressed import OneWorkspace
from sandlot.operations.operation import Caller, Effect, Operation, argument
from sandlot.workspaces import tools
from sandlot.workspaces.context import Context


@dataclass(frozen=True, kw_only=True)
class Request(OneWorkspace):
    """From where to where."""

    source: str = argument("file or folder inside", positional=True)
    destination: str = argument("its new path; missing folders are made", positional=True)
    overwrite: bool = argument("replace a file (or empty folder) that is there", default=False)


@dataclass(frozen=True, slots=True)
class Result:
    """Where it is now."""

    path: str


def run(context: Context, request: Request, _caller: Caller) -> Result:
    """Rename inside the workspace, or copy and delete where renaming is impossible."""
    record = context.store.find(request.workspace)
    arguments = [os.fsencode(request.source), os.fsencode(request.destination), tools.flag(request.overwrite)]
    tools.call(context, record, "file_move", arguments)
    return Result(request.destination)


OPERATION = Operation(
    name="file_move",
    command=("workspace", "file", "move"),
    summary="Move or rename a file or folder inside a workspace.",
    request=Request,
    run=run,
    effect=Effect(destructive=True),
    examples=("sandlot workspace file move fix-123 old.py src/new.py",),
)
