"""Read a file in a workspace."""

from __future__ import annotations

import os
from dataclasses import dataclass

from sandlot.errors import UsageError
from sandlot.operations.addressed import OneWorkspace
from sandlot.operations.operation import Caller, Effect, Operation, argument
from sandlot.workspaces import tools
from sandlot.workspaces.context import Context

ANSWER_BYTES = 64 * 1024


@dataclass(frozen=True, kw_only=True)
class Request(OneWorkspace):
    """Which file, and which part of it: lines or bytes."""

    path: str = argument("file inside", positional=True)
    first_line: int | None = argument("start at this line, counted from 1", default=None, least=1)
    lines: int | None = argument("this many lines", default=None, least=1)
    offset: int | None = argument("start at this byte, counted from 0", default=None, least=0)
    max_bytes: int | None = argument(
        "most bytes in the answer [default: 64K, or all when printed]", default=None, kind="size", least=1
    )


@dataclass(frozen=True, slots=True)
class Result:
    """The part of the file that was asked for."""

    path: str
    content: str
    """Bytes that are not UTF-8 are lone surrogates; empty when it was streamed to the caller."""
    size: int
    """Of the whole file, in bytes."""
    offset: int
    sent_bytes: int
    first_line: int
    last_line: int
    total_lines: int | None
    """Known when the end of the file was reached by lines."""
    complete: bool
    """Whether nothing follows what was sent."""
    mode: str
    mtime_ns: int


def run(context: Context, request: Request, caller: Caller) -> Result:
    """Read inside the workspace; symlinks are followed there."""
    by_line = request.first_line is not None or request.lines is not None
    if by_line and request.offset is not None:
        raise UsageError("lines and bytes exclude each other")
    record = context.store.find(request.workspace)
    parts: list[bytes] = []
    sink = caller.output
    limit = request.max_bytes if request.max_bytes is not None else 0 if sink else ANSWER_BYTES
    arguments = [
        os.fsencode(request.path),
        b"lines" if by_line else b"bytes",
        b"%d" % (request.first_line or 1 if by_line else request.offset or 0),
        b"%d" % (request.lines or 0),
        b"%d" % limit,
    ]
    take = parts.append if sink is None else lambda data: sink("stdout", data)
    answer = tools.collect(context, record, "file_read", arguments, take)
    size, offset, sent, total = answer.number(), answer.number(), answer.number(), answer.number()
    first, last, complete, mtime = answer.number(), answer.number(), answer.flag(), answer.number()
    return Result(
        path=request.path,
        content=os.fsdecode(b"".join(parts)),
        size=size,
        offset=offset,
        sent_bytes=sent,
        first_line=first,
        last_line=last,
        total_lines=None if total < 0 else total,
        complete=complete,
        mode=answer.text(),
        mtime_ns=mtime,
    )


OPERATION = Operation(
    name="file_read",
    command=("workspace", "file", "read"),
    summary="Read a file inside a workspace, or some of its lines or bytes.",
    request=Request,
    run=run,
    effect=Effect(read_only=True, idempotent=True),
    streams=True,
    examples=("sandlot workspace file read fix-123 src/app.py --first-line 40 --lines 20",),
)
