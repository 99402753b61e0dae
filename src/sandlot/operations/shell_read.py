"""Read what a shell has printed."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass

from sandlot.errors import CommandInterrupted, UsageError
from sandlot.model.command import CommandRecord
from sandlot.model.shell import ShellInfo
from sandlot.model.workspace import WorkspaceRecord
from sandlot.operations.operation import Caller, Effect, Operation, argument
from sandlot.operations.shell_addressed import OneShell
from sandlot.settings import seconds
from sandlot.workspaces import ring, shells
from sandlot.workspaces.context import Context
from sandlot.workspaces.lifecycle import touch
from sandlot.workspaces.secrets import redactor_of

ANSWER_BYTES = 64 * 1024
MOST_BYTES = 1 << 20
PATIENCE_S = 30.0
"""How long ``idle`` alone waits at most."""
_BEGUN = re.compile(rb"\x1b(?:\[[0-9;:?<>=! ]{0,64}|\][^\x07\x1b]{0,256})?$")


@dataclass(frozen=True, kw_only=True)
class Request(OneShell):
    """Which part, in which form, and what to wait for."""

    cursor: int | None = argument(
        "first byte to show, as an earlier answer's next_cursor [default: the end of what there is]",
        default=None,
        least=0,
    )
    max_bytes: int = argument(
        "at most this many bytes; the rest is behind next_cursor", default=ANSWER_BYTES, kind="size", least=1,
        most=MOST_BYTES,
    )  # fmt: skip
    plain: bool = argument("what a terminal would show of it, without escape codes", default=False)
    wait: str | None = argument("wait up to this long for something behind the cursor", default=None, kind="duration")
    idle: str | None = argument(
        "until nothing more has come for this long, such as 300ms; alone it waits up to 30s, and without --cursor it "
        "does not insist on something new",
        default=None,
        kind="duration",
    )


@dataclass(frozen=True, slots=True)
class Result:
    """A part of what the shell has printed."""

    shell: ShellInfo
    text: str
    """Bytes that are not UTF-8 are lone surrogates (os.fsencode gives them back), in plain text replacement characters;
    empty when it was streamed."""
    cursor: int
    """Offset of its first byte in all that the shell has printed."""
    next_cursor: int
    """Where to read on."""
    dropped: int
    """Bytes behind the cursor asked for that are no longer kept: a shell keeps its last MiB."""
    more: bool
    """Whether there is more to read right now."""
    running: bool
    """Whether the shell can still print more."""


def run(context: Context, request: Request, caller: Caller) -> Result:
    """Wait if asked to, then read."""
    record = context.store.find(request.workspace)
    command = shells.find(context, record, request.shell)
    folder = shells.folder_of(context, record, command)
    head = ring.head(folder)
    total = head.total if head else 0
    if request.cursor is not None and request.cursor > total:
        raise UsageError(
            f"cursor {request.cursor} lies behind all that {command.name} has printed", hint=f"it is at {total} now"
        )
    touch(context, record)
    idle = None if request.idle is None else seconds(request.idle)
    if request.wait is not None or request.idle is not None:
        shells.wait_for_output(
            context,
            record,
            command,
            _behind(request, total),
            timeout_s=PATIENCE_S if request.wait is None else seconds(request.wait),
            idle_s=idle,
            cancellation=caller.cancellation,
        )
        command = shells.find(context, record, str(command.number))
    return _read(context, record, command, request, caller)


def _behind(request: Request, total: int) -> int:
    """Something beyond this must have come. What was just typed may have been answered before we look, so who only asks
    for silence, and names no cursor, gets it at once."""
    if request.cursor is not None:
        return request.cursor
    return total if request.wait is not None else -1


def _read(
    context: Context, record: WorkspaceRecord, command: CommandRecord, request: Request, caller: Caller
) -> Result:
    from sandlot.workspaces import screen

    info = shells.info_of(context, record, command)
    whole_screen = request.plain and request.cursor is None
    limit = screen.RENDERED if whole_screen else min(request.max_bytes, MOST_BYTES)
    if request.plain:
        limit = min(limit, screen.RENDERED)
    try:
        piece = ring.read(
            shells.folder_of(context, record, command), request.cursor, limit, redactor_of(context, record)
        )
    except FileNotFoundError as error:
        raise CommandInterrupted("the workspace was deleted before the shell's output was read") from error
    data = piece.data
    if info.running or piece.end < piece.total:
        data = _whole(data, escapes=request.plain)
    if request.plain:
        text = screen.render(data, info.rows, info.columns).text
        shown = text.encode("utf-8", "replace")
        if len(shown) > request.max_bytes:  # the end is what counts on a screen
            text = shown[-request.max_bytes :].decode("utf-8", "ignore")
    else:
        text = os.fsdecode(data)
    if caller.output is not None:
        lines = text + "\n" if text else ""
        caller.output("stdout", lines.encode("utf-8", "replace") if request.plain else data)
        text = ""
    end = piece.start + len(data)
    return Result(info, text, piece.start, end, piece.dropped, end < piece.total, info.running)


def _whole(data: bytes, *, escapes: bool) -> bytes:
    """Without a character, or escape sequence, that has only begun: the next answer has all of it."""
    end = len(data)
    for back in range(1, min(3, end) + 1):
        byte = data[end - back]
        if byte >= 0xC0:
            needed = 2 if byte < 0xE0 else 3 if byte < 0xF0 else 4
            end -= back if needed > back else 0
            break
        if byte < 0x80:
            break
    if escapes and (begun := _BEGUN.search(data, max(0, end - 300), end)):
        end = begun.start()
    return data[:end] if end else data


OPERATION = Operation(
    name="shell_read",
    command=("workspace", "shell", "read"),
    summary="Read what a shell has printed, as it is or as plain text, and wait for it if asked to.",
    request=Request,
    run=run,
    effect=Effect(read_only=True, idempotent=True),
    streams=True,
    examples=(
        "sandlot workspace shell read fix-123 shell-1 --plain",
        "sandlot workspace shell read fix-123 shell-1 --cursor 1024 --plain --wait 10s --idle 300ms",
    ),
)
