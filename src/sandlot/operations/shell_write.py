"""Type into a shell."""

from __future__ import annotations

import os
from dataclasses import dataclass

from sandlot.errors import UsageError
from sandlot.operations.operation import Caller, Operation, argument
from sandlot.operations.shell_addressed import OneShell
from sandlot.wire.shell import INPUT_QUEUE
from sandlot.workspaces import keys, shells
from sandlot.workspaces.context import Context


@dataclass(frozen=True, kw_only=True)
class Request(OneShell):
    """Where and what: the text, then the keys, then Enter."""

    text: str = argument("what to type", default="", positional=True)
    keys: tuple[str, ...] = argument(
        "a key to press, such as ctrl-c, up, tab, escape, page-down, f1 or alt-b", default=(), metavar="KEY"
    )
    enter: bool = argument("press Enter at the end", default=False)


@dataclass(frozen=True, slots=True)
class Result:
    """How much was typed."""

    bytes: int
    cursor: int
    """How much the shell had printed before: read from here to see what came of it."""


def run(context: Context, request: Request, _caller: Caller) -> Result:
    """Type it, all or nothing; what the shell makes of it is to be read."""
    data = os.fsencode(request.text + keys.typed(request.keys) + (keys.KEYS["enter"] if request.enter else ""))
    if not data:
        raise UsageError("there is nothing to type", hint="give a text, --key or --enter")
    if len(data) > INPUT_QUEUE:
        raise UsageError(
            f"{len(data)} bytes are too much to type at once",
            hint=f"at most {INPUT_QUEUE}; write a file instead: sandlot workspace file write ID PATH",
        )
    record = context.store.find(request.workspace)
    command = shells.find(context, record, request.shell)
    with shells.join(context, record, command) as link:
        cursor = link.write(data)
    context.store.touch(record.id)
    return Result(len(data), cursor)


OPERATION = Operation(
    name="shell_write",
    command=("workspace", "shell", "write"),
    summary="Type text and keys into a shell.",
    request=Request,
    run=run,
    examples=(
        "sandlot workspace shell write fix-123 shell-1 'pytest -q' --enter",
        "sandlot workspace shell write fix-123 shell-1 --key ctrl-c",
    ),
)
