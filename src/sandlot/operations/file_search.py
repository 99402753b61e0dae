"""Search the files of a workspace."""

from __future__ import annotations

import os
from dataclasses import dataclass

from sandlot.operations.addressed import OneWorkspace
from sandlot.operations.operation import Caller, Effect, Operation, argument
from sandlot.workspaces import tools
from sandlot.workspaces.context import Context

LINE_BYTES = 400


@dataclass(frozen=True, kw_only=True)
class Request(OneWorkspace):
    """What to look for, and where."""

    pattern: str = argument("regular expression (Python's re)", positional=True)
    path: str = argument("file or folder inside", default=".", positional=True)
    literal: bool = argument("the pattern is plain text", default=False, short="F")
    ignore_case: bool = argument("upper and lower case are alike", default=False)
    glob: str = argument("only files whose path matches, such as '*.py'", default="")
    include_ignored: bool = argument("also files that git ignores", default=False)
    context: int = argument("lines to show around each match", default=0, least=0, most=100)
    limit: int = argument("most matches in the answer", default=200, least=1, most=10000)


@dataclass(frozen=True, slots=True)
class Match:
    """One line that matches, or one beside it."""

    path: str
    line: int
    column: int
    """Byte of the first match, from 1; 0 for a line of context."""
    text: str
    """The line, clipped around the match."""
    is_match: bool


@dataclass(frozen=True, slots=True)
class Result:
    """Lines, by path and number."""

    matches: tuple[Match, ...]
    truncated: bool
    """Whether there are more matches than the limit."""
    files_searched: int
    binary_skipped: int
    unreadable: int


def run(context: Context, request: Request, _caller: Caller) -> Result:
    """Search inside the workspace; ``.git``, binary files and what git ignores are left out."""
    record = context.store.find(request.workspace)
    found: list[Match] = []

    def take(item: tools.Answer) -> None:
        path, line, column, kind = item.text(), item.number(), item.number(), item.text()
        found.append(Match(path or request.path, line, column, item.text(), kind == "match"))

    arguments = [
        os.fsencode(request.path), os.fsencode(request.pattern), b"literal" if request.literal else b"regex",
        tools.flag(request.ignore_case), os.fsencode(request.glob), tools.flag(request.include_ignored),
        b"%d" % request.context, b"%d" % request.limit, b"%d" % LINE_BYTES,
    ]  # fmt: skip
    answer = tools.call(context, record, "file_search", arguments, item=take)
    files, _, more = answer.number(), answer.number(), answer.flag()
    return Result(tuple(found), more, files, answer.number(), answer.number())


OPERATION = Operation(
    name="file_search",
    command=("workspace", "file", "search"),
    summary="Find lines that match a pattern in the files of a workspace.",
    request=Request,
    run=run,
    effect=Effect(read_only=True, idempotent=True),
    examples=("sandlot workspace file search fix-123 'def \\w+_total' src --glob '*.py'",),
)
