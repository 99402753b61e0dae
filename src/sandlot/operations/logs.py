"""Read a workspace's command history."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from sandlot.errors import UsageError
from sandlot.model.command import CommandKind, CommandRecord
from sandlot.operations.addressed import OneWorkspace
from sandlot.operations.denied import denied_during, recent_denials
from sandlot.operations.executed import ANSWER_BYTES
from sandlot.operations.operation import Caller, Effect, Operation, argument
from sandlot.settings import seconds
from sandlot.workspaces import command_files, commands, ring
from sandlot.workspaces.context import Context
from sandlot.workspaces.lifecycle import touch
from sandlot.workspaces.network.denials import summed
from sandlot.workspaces.secrets import redactor_of

if TYPE_CHECKING:
    from sandlot.workspaces.redaction import Redactor

CHUNK = 1 << 20


@dataclass(frozen=True, kw_only=True)
class Request(OneWorkspace):
    """The list of commands, or the output of one."""

    number: int | None = argument("show this command's output", default=None, positional=True, least=1)
    stream: str = argument("stdout or stderr", default="stdout")
    offset: int = argument("first byte of the output to show", default=0, least=0)
    limit: int | None = argument(
        "most bytes of output to show [default: 64K, or all when printed]", default=None, kind="size"
    )
    after: int = argument("list only commands behind this number", default=0, least=0)
    count: int = argument("list at most this many", default=50, least=1, most=1000)
    search: str | None = argument("list only commands whose words or output hold this text", default=None)
    wait: str | None = argument(
        "with a command's number: first wait up to this long for its end", default=None, kind="duration"
    )


@dataclass(frozen=True, slots=True)
class Result:
    """A page of the history, or a part of one command's output."""

    commands: tuple[CommandRecord, ...]
    next_after: int | None
    """Where the next page of the list begins; None: that was all."""
    output: str | None = None
    """Bytes that are not UTF-8 are lone surrogates (os.fsencode gives them back); empty when it was streamed."""
    next_offset: int | None = None
    """Where the output goes on; None: that was all (so far, of a running command)."""
    total_bytes: int = 0
    denied: tuple[str, ...] = ()
    """``host:port`` of what the network policy refused: to the one command, or to the workspace lately."""


def run(context: Context, request: Request, caller: Caller) -> Result:
    """Read; commands that ended unnoticed are brought up to date first."""
    record = context.store.find(request.workspace)
    commands.refresh(context, record)
    touch(context, record)
    if request.stream not in ("stdout", "stderr"):
        raise UsageError(f"unknown stream {request.stream!r}", hint="choose stdout or stderr")
    if request.wait is not None and request.number is None:
        raise UsageError("there is nothing to wait for", hint="name a command by its number")
    if request.number is not None:
        if request.wait is not None:
            commands.wait(context, record, request.number, seconds(request.wait), caller.cancellation)
        command = context.store.command(record.id, request.number)
        folder = context.paths.workspace(record.id).command(command.number)
        shown = _output(command, folder, request, caller, redactor_of(context, record))
        return replace(shown, denied=denied_during(context, record, command))
    found: list[CommandRecord] = []
    for command in context.store.commands(record.id, after=request.after):
        folder = context.paths.workspace(record.id).command(command.number)
        if request.search is None or _mentions(command, folder, request.search):
            found.append(command)
        if len(found) > request.count:
            break
    page = found[: request.count]
    denied = summed(recent_denials(context, record))
    return Result(tuple(page), page[-1].number if len(found) > len(page) else None, denied=denied)


def _output(
    command: CommandRecord, folder: Path, request: Request, caller: Caller, redactor: Redactor | None
) -> Result:
    parts: list[bytes] = []
    output = caller.output  # what was stderr once is the answer now
    sink = (lambda _, data: parts.append(data)) if output is None else (lambda _, data: output("stdout", data))
    limit = request.limit if request.limit is not None or caller.output else ANSWER_BYTES
    end, size = command_files.replay(
        folder, request.stream, sink, offset=request.offset, limit=limit, redactor=redactor
    )
    return Result((command,), None, os.fsdecode(b"".join(parts)), end if end < size else None, size)


def _mentions(command: CommandRecord, folder: Path, text: str) -> bool:
    if any(text in word for word in command.argv):
        return True
    needle = os.fsencode(text)
    for name in (ring.NAME,) if command.kind is CommandKind.SHELL else ("stdout", "stderr"):
        try:
            with open(folder / name, "rb") as file:
                kept = b""
                while data := file.read(CHUNK):
                    if needle in kept + data:
                        return True
                    kept = data[-len(needle) :]
        except FileNotFoundError:
            continue
    return False


OPERATION = Operation(
    name="workspace_logs",
    command=("workspace", "logs"),
    summary="List the commands a workspace has run, or read the output of one.",
    request=Request,
    run=run,
    effect=Effect(read_only=True, idempotent=True),
    streams=True,
    examples=(
        "sandlot workspace logs fix-123",
        "sandlot workspace logs fix-123 4 --stream stderr",
        "sandlot workspace logs fix-123 --search Traceback",
    ),
)
