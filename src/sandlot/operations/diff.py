"""What changed in a workspace."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from sandlot.errors import UsageError
from sandlot.model.changes import FileChange, TreeChanges
from sandlot.operations.addressed import OneWorkspace
from sandlot.operations.operation import Caller, Effect, Operation, argument
from sandlot.workspaces import changes
from sandlot.workspaces.context import Context
from sandlot.workspaces.secrets import redactor_of

ANSWER_BYTES = 64 * 1024
PIECE = 1 << 18


@dataclass(frozen=True, kw_only=True)
class Request(OneWorkspace):
    """Compared with what, which paths, how much of it."""

    paths: tuple[str, ...] = argument("only these files and folders", default=(), positional=True, metavar="PATH")
    to: str = argument("compare with the baseline or a snapshot", default="baseline", metavar="SNAPSHOT")
    include_ignored: bool = argument("also new files that git ignores", default=False)
    stat: bool = argument("files and line counts only, no patch", default=False)
    max_bytes: int | None = argument(
        "most bytes of patch in the answer [default: 64K, or all when printed]", default=None, kind="size"
    )
    handle: str | None = argument("go on reading a patch that an earlier answer has cut off", default=None)
    offset: int = argument("first byte of the patch to show, with --handle", default=0, least=0)


@dataclass(frozen=True, slots=True)
class Result:
    """The changes, and the patch (or the part of it that fits)."""

    files: tuple[FileChange, ...]
    additions: int
    deletions: int
    patch: str
    """What ``git apply`` accepts; bytes that are not UTF-8 are lone surrogates (os.fsencode gives them back). Empty
    when it was streamed to the caller."""
    patch_bytes: int
    """Size of the whole patch."""
    handle: str | None = None
    """Set when ``patch`` is not all of it: ask again with this and ``next_offset``."""
    next_offset: int | None = None
    ignored: int = 0
    """New files that were left out because git ignores them."""
    redacted: bool = False
    """Whether values of secrets were blanked out: the patch does not make the files that the workspace has."""


def run(context: Context, request: Request, caller: Caller) -> Result:
    """Compare on the host, at a cost that grows with what changed; running commands go on."""
    record = context.store.find(request.workspace)
    if request.handle is not None:
        path = changes.saved_patch(context, record, request.handle)
        return _answer(changes.Compared(TreeChanges(()), path), path, request, caller)
    if request.offset:
        raise UsageError("an offset needs a handle", hint="take both from the answer that was cut off")
    found = changes.compare(
        context,
        record,
        request.to,
        paths=request.paths,
        patch=not request.stat,
        include_ignored=request.include_ignored,
    )
    if found.patch is None:
        return Result(
            found.changes.files, found.changes.additions, found.changes.deletions, "", 0, ignored=found.ignored
        )
    keep = False
    try:
        redactor = redactor_of(context, record)
        redacted = redactor is not None and redactor.scrub(found.patch)
        result = replace(_answer(found, found.patch, request, caller), redacted=redacted)
        keep = result.handle is not None
    finally:
        if not keep:
            found.patch.unlink(missing_ok=True)
    return result


def _answer(found: changes.Compared, path: Path, request: Request, caller: Caller) -> Result:
    parts: list[bytes] = []
    sink = caller.output
    limit = request.max_bytes if request.max_bytes is not None or sink else ANSWER_BYTES
    end, size = _page(path, request.offset, limit, parts.append if sink is None else lambda data: sink("stdout", data))
    return Result(
        found.changes.files,
        found.changes.additions,
        found.changes.deletions,
        os.fsdecode(b"".join(parts)),
        size,
        path.name if end < size else None,
        end if end < size else None,
        found.ignored,
    )


def _page(path: Path, offset: int, limit: int | None, take: Callable[[bytes], None]) -> tuple[int, int]:
    """Hand over a part of a file: (the offset behind it, the file's size)."""
    with open(path, "rb") as file:
        size = file.seek(0, os.SEEK_END)
        position = file.seek(min(offset, size))
        end = size if limit is None else min(size, position + limit)
        while position < end and (data := file.read(min(PIECE, end - position))):
            take(data)
            position += len(data)
    return position, size


OPERATION = Operation(
    name="diff",
    command=("workspace", "diff"),
    summary="Show what changed since the baseline or a snapshot: files, line counts and one patch for git apply.",
    request=Request,
    run=run,
    effect=Effect(read_only=True, idempotent=True),
    streams=True,
    examples=(
        "sandlot workspace diff fix-123",
        "sandlot workspace diff fix-123 src --stat",
        "sandlot workspace diff fix-123 --to before-upgrade > change.patch",
    ),
)
