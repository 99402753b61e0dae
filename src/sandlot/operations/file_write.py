"""Write a file in a workspace."""

from __future__ import annotations

import os
from dataclasses import dataclass

from sandlot.errors import UsageError
from sandlot.operations.addressed import OneWorkspace
from sandlot.operations.operation import Caller, Effect, Operation, argument
from sandlot.workspaces import tools
from sandlot.workspaces.context import Context


@dataclass(frozen=True, kw_only=True)
class Request(OneWorkspace):
    """Which file, and what goes into it."""

    path: str = argument("file inside; missing folders are made", positional=True)
    content: str | None = argument("the whole new content", default=None, kind="content")
    mode: str = argument("permission bits in octal [default: kept, or 0644]", default="")
    create_only: bool = argument("refuse when the file exists", default=False)


@dataclass(frozen=True, slots=True)
class Result:
    """What was written."""

    path: str
    """The absolute path inside, after symlinks."""
    bytes: int
    created: bool


def run(context: Context, request: Request, caller: Caller) -> Result:
    """Write inside the workspace: readers see the old content or the new, never a part."""
    source = os.fsencode(request.content) if request.content is not None else caller.content
    if source is None:
        raise UsageError("there is no content to write")
    record = context.store.find(request.workspace)
    arguments = [os.fsencode(request.path), request.mode.encode(), b"1", tools.flag(not request.create_only)]
    answer = tools.feed(context, record, "file_write", arguments, source)
    size, created = answer.number(), answer.flag()
    return Result(answer.text(), size, created)


OPERATION = Operation(
    name="file_write",
    command=("workspace", "file", "write"),
    summary="Make or replace a file inside a workspace.",
    request=Request,
    run=run,
    effect=Effect(destructive=True, idempotent=True),
    examples=(
        "sandlot workspace file write fix-123 notes.txt --text 'hello'",
        "sandlot workspace file write fix-123 src/app.py < app.py",
    ),
)
