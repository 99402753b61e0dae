"""List files in a workspace."""

from __future__ import annotations

import os
from dataclasses import dataclass

from sandlot.operations.addressed import OneWorkspace
from sandlot.operations.operation import Caller, Effect, Operation, argument
from sandlot.workspaces import tools
from sandlot.workspaces.context import Context

_KINDS = {"f": "file", "d": "folder", "l": "symlink", "o": "other"}


@dataclass(frozen=True, kw_only=True)
class Request(OneWorkspace):
    """Which folder, how deep, which names."""

    path: str = argument("folder (or file) inside", default=".", positional=True)
    recursive: bool = argument("all levels below", default=False, short="r")
    depth: int | None = argument("this many levels", default=None, least=1)
    glob: str = argument("only paths that match, such as '**/*.py'", default="")
    hidden: bool = argument("also names that start with a dot", default=False, short="a")
    limit: int = argument("most entries in the answer", default=1000, least=1, most=10000)
    cursor: str = argument("go on behind this entry of an earlier answer", default="")


@dataclass(frozen=True, slots=True)
class Entry:
    """One file, folder or symlink; ``path`` is relative to the folder that was listed."""

    path: str
    kind: str
    size: int
    mode: str
    """Permission bits in octal."""
    mtime_ns: int
    target: str
    """Where a symlink points; else empty."""


@dataclass(frozen=True, slots=True)
class Result:
    """A page of entries, ordered by path."""

    entries: tuple[Entry, ...]
    cursor: str | None
    """Set when there are more."""
    unreadable_folders: int


def run(context: Context, request: Request, _caller: Caller) -> Result:
    """List inside the workspace."""
    record = context.store.find(request.workspace)
    entries: list[Entry] = []

    def take(item: tools.Answer) -> None:
        path, kind, size, mode = item.text(), item.text(), item.number(), item.text()
        entries.append(Entry(path, _KINDS.get(kind, "other"), size, mode, item.number(), item.text()))

    depth = request.depth if request.depth is not None else 0 if request.recursive else 1
    arguments = [
        os.fsencode(request.path), b"%d" % depth, os.fsencode(request.glob), tools.flag(request.hidden), b"0",
        b"%d" % request.limit, os.fsencode(request.cursor),
    ]  # fmt: skip
    answer = tools.call(context, record, "file_list", arguments, item=take)
    more, cursor, _ = answer.flag(), answer.text(), answer.number()
    return Result(tuple(entries), cursor if more else None, answer.number())


OPERATION = Operation(
    name="file_list",
    command=("workspace", "file", "list"),
    summary="List files and folders inside a workspace.",
    request=Request,
    run=run,
    effect=Effect(read_only=True, idempotent=True),
    examples=("sandlot workspace file list fix-123 src --recursive --glob '**/*.py'",),
)
