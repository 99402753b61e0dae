"""What changed in a workspace."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from sandlot.errors import UsageError
from sandlot.model.changes import FileChange
from sandlot.operations.addressed import OneWorkspace
from sandlot.operations.operation import Caller, Effect, Operation, argument
from sandlot.workspaces import changes
from sandlot.workspaces.context import Context


@dataclass(frozen=True, kw_only=True)
class Request(OneWorkspace):
    """Compared with what, which paths, how much of it."""

    paths: tuple[str, ...] = argument("only these files and folders", default=(), positional=True, metavar="PATH")
    to: str = argument("compare with the baseline or a snapshot", default="baseline", metavar="SNAPSHOT")
    stat: bool = argument("files and line counts only, no patch", default=False)
    max_bytes: int = argument("most bytes of patch in the answer", default=64 * 1024, kind="size")
    handle: str | None = argument("go on reading a patch that an earlier answer has cut off", default=None)
    offset: int = argument("first byte of the patch to show, with --handle", default=0, least=0)


@dataclass(frozen=True, slots=True)
class Result:
    """The changes, and the patch (or the part of it that fits)."""

    files: tuple[FileChange, ...]
    additions: int
    deletions: int
    patch: str
    """What ``git apply`` accepts; bytes that are not UTF-8 are lone surrogates (os.fsencode gives them back)."""
    patch_bytes: int
    """Size of the whole patch."""
    handle: str | None = None
    """Set when ``patch`` is not all of it: ask again with this and ``next_offset``."""
    next_offset: int | None = None


def run(context: Context, request: Request, _caller: Caller) -> Result:
    """Compare on the host, at a cost that grows with what changed; running commands go on."""
    record = context.store.find(request.workspace)
    if request.handle is not None:
        path = changes.saved_patch(context, record, request.handle)
        text, following, size = _page(path, request.offset, request.max_bytes)
        return Result((), 0, 0, text, size, request.handle if following is not None else None, following)
    if request.offset:
        raise UsageError("an offset needs a handle")
    found = changes.compare(context, record, request.to, paths=request.paths, patch=not request.stat)
    if found.patch is None:
        return Result(found.changes.files, found.changes.additions, found.changes.deletions, "", 0)
    text, following, size = _page(found.patch, 0, request.max_bytes)
    if following is None:
        found.patch.unlink(missing_ok=True)
    return Result(
        found.changes.files,
        found.changes.additions,
        found.changes.deletions,
        text,
        size,
        found.patch.name if following is not None else None,
        following,
    )


def _page(path: Path, offset: int, limit: int) -> tuple[str, int | None, int]:
    with open(path, "rb") as file:
        file.seek(offset)
        data = file.read(limit)
        size = file.seek(0, os.SEEK_END)
    end = offset + len(data)
    return os.fsdecode(data), end if end < size else None, size


OPERATION = Operation(
    name="diff",
    command=("workspace", "diff"),
    summary="Show what changed since the baseline or a snapshot: files, line counts and one patch for git apply.",
    request=Request,
    run=run,
    effect=Effect(read_only=True, idempotent=True),
    examples=(
        "sandlot workspace diff fix-123",
        "sandlot workspace diff fix-123 src --stat",
        "sandlot workspace diff fix-123 --to before-upgrade > change.patch",
    ),
)
