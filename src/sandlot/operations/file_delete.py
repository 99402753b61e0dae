"""Delete a file or folder in a workspace."""

from __future__ import annotations

import os
from dataclasses import dataclass

from sandlot.operations.addressed import OneWorkspace
from sandlot.operations.operation import Caller, Effect, Operation, argument
from sandlot.workspaces import tools
from sandlot.workspaces.context import Context


@dataclass(frozen=True, kw_only=True)
class Request(OneWorkspace):
    """What to delete."""

    path: str = argument("file, symlink or folder inside", positional=True)
    recursive: bool = argument("a folder with all that is in it", default=False, short="r")


@dataclass(frozen=True, slots=True)
class Result:
    """How much is gone."""

    files: int
    folders: int


def run(context: Context, request: Request, _caller: Caller) -> Result:
    """Delete inside the workspace; symlinks are deleted, never followed."""
    record = context.store.find(request.workspace)
    answer = tools.call(context, record, "file_delete", [os.fsencode(request.path), tools.flag(request.recursive)])
    return Result(answer.number(), answer.number())


OPERATION = Operation(
    name="file_delete",
    command=("workspace", "file", "delete"),
    summary="Delete a file or folder inside a workspace.",
    request=Request,
    run=run,
    effect=Effect(destructive=True, idempotent=False),
    examples=("sandlot workspace file delete fix-123 build --recursive",),
)
