"""Apply a patch in a workspace."""

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
    """The patch, and how to read it."""

    patch: str | None = argument("output of git diff, git format-patch or diff -u", default=None, kind="content")
    strip: int | None = argument(
        "leading folders to cut off its paths [default: found out]", default=None, least=0, most=9
    )
    check: bool = argument("only say whether it would apply", default=False)


@dataclass(frozen=True, slots=True)
class PatchedFile:
    """One file the patch touches."""

    status: str
    path: str
    old_path: str
    additions: int
    deletions: int


@dataclass(frozen=True, slots=True)
class Result:
    """What was patched."""

    files: tuple[PatchedFile, ...]
    strategy: str
    """How strictly it was read: the strictest way that works is taken."""
    checked_only: bool


def run(context: Context, request: Request, caller: Caller) -> Result:
    """Apply inside the workspace, all of it or nothing."""
    source = os.fsencode(request.patch) if request.patch is not None else caller.content
    if source is None:
        raise UsageError("there is no patch")
    record = context.store.find(request.workspace)
    files: list[PatchedFile] = []

    def take(item: tools.Answer) -> None:
        files.append(PatchedFile(item.text(), item.text(), item.text(), item.number(), item.number()))

    arguments = [b"%d" % (-1 if request.strip is None else request.strip), tools.flag(request.check)]
    answer = tools.feed(context, record, "patch_apply", arguments, source, item=take)
    return Result(tuple(files), answer.text(), request.check)


OPERATION = Operation(
    name="patch_apply",
    command=("workspace", "patch", "apply"),
    summary="Apply a patch inside a workspace, all or nothing.",
    request=Request,
    run=run,
    effect=Effect(destructive=True),
    examples=(
        "sandlot workspace patch apply fix-123 < fix.patch",
        "sandlot workspace patch apply fix-123 --from-file fix.patch --check",
    ),
)
