"""What happened in a workspace, short enough for a pull request."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import dataclass

from sandlot.model.base import Origin
from sandlot.model.changes import FileChange
from sandlot.model.command import CommandKind, CommandRecord
from sandlot.model.service import ServiceInfo
from sandlot.model.workspace import WorkspaceRecord
from sandlot.operations.addressed import OneWorkspace
from sandlot.operations.described import WorkspaceInfo, describe
from sandlot.operations.operation import Caller, Effect, Operation
from sandlot.workspaces import changes, commands, services
from sandlot.workspaces.context import Context

COMMANDS_SHOWN = 30
FILES_SHOWN = 50
WIDTH = 100


@dataclass(frozen=True, kw_only=True)
class Request(OneWorkspace):
    """Which workspace."""


@dataclass(frozen=True, slots=True)
class Event:
    """An export, sync or apply."""

    at: str
    kind: str
    detail: str


@dataclass(frozen=True, slots=True)
class Result:
    """Everything since the last reset, as data and as text."""

    workspace: WorkspaceInfo
    commands: tuple[CommandRecord, ...]
    """Services are among them."""
    services: tuple[ServiceInfo, ...]
    """As they are now, the last one of each name."""
    files: tuple[FileChange, ...]
    additions: int
    deletions: int
    events: tuple[Event, ...]
    open_questions: tuple[str, ...]
    text: str
    """Plain text; file names and commands come from inside, control characters are escaped."""
    redacted: bool = False
    """Whether values of secrets were blanked out."""


def run(context: Context, request: Request, _caller: Caller) -> Result:
    """Collect and render."""
    record = context.store.find(request.workspace)
    commands.refresh(context, record)
    info = describe(context, record)
    ran = tuple(context.store.commands(record.id, after=record.reset_from))
    compared = changes.compare(context, record, "baseline", patch=False)
    found = compared.changes
    events = tuple(Event(*event) for event in context.store.events(record.id, record.reset_at or ""))
    kept = tuple(each for each in services.all_of(context, record) if each.number > record.reset_from)
    questions = (*_questions(context, record, ran, found.files), *_service_questions(kept))
    plain = tuple(each for each in ran if each.kind is not CommandKind.SERVICE)
    text = _render(info, record, plain, kept, found.files, found.additions, found.deletions, events, questions)
    if compared.ignored:
        text += f"\n{compared.ignored} new files that git ignores are left out\n"
    return Result(info, ran, kept, found.files, found.additions, found.deletions, events, questions, text)


def _line(text: str) -> str:
    """Text from inside, on one line without control characters, cut to a bounded width."""
    clean = "".join(char if char.isprintable() else char.encode("unicode_escape", "replace").decode() for char in text)
    return clean if len(clean) <= WIDTH else clean[: WIDTH - 3] + "..."


def _outcome(command: CommandRecord) -> str:
    outcome = command.outcome
    if outcome is None:
        return "running"
    if outcome.state == "exited":
        return "ok" if outcome.exit_code == 0 else f"exit {outcome.exit_code}"
    return outcome.signal or outcome.state if outcome.state == "signaled" else str(outcome.state).replace("_", " ")


def _questions(
    context: Context, _record: WorkspaceRecord, ran: tuple[CommandRecord, ...], files: tuple[FileChange, ...]
) -> Iterator[str]:
    quota = context.settings.output_quota
    last: dict[tuple[str, ...], CommandRecord] = {}
    for command in ran:
        if command.kind is CommandKind.COMMAND:  # that a service or shell runs is no question
            last[command.argv] = command
    for command in last.values():  # a failure that a later run of the same command made good is no question
        if command.outcome is None:
            yield f"command {command.number} is still running"
        elif command.outcome.state != "exited" or command.outcome.exit_code != 0:
            yield f"command {command.number} did not succeed: {_outcome(command)}"
    for command in ran:
        if command.outcome and max(command.outcome.stdout_bytes, command.outcome.stderr_bytes) > quota:
            yield f"output of command {command.number} was cut at {quota} bytes"
    for change in files:
        if change.omitted:
            yield f"{_line(change.path)} is not in the patch: {change.omitted}"


def _service_questions(kept: tuple[ServiceInfo, ...]) -> Iterator[str]:
    for each in kept:
        if each.state in ("failed", "interrupted", "unknown"):
            yield _line(f"service {each.name} is {each.state}: {each.reason}")


def _origin(origin: Origin) -> str:
    words = [origin.kind.value]
    if origin.location:
        words.append(origin.location)
    if origin.commit:
        words.append("at " + origin.commit[:12])
    if origin.ref:
        words.append(f"({origin.ref})")
    if origin.dirty:
        words.append("with uncommitted changes")
    return _line(" ".join(words))


def _render(
    info: WorkspaceInfo,
    record: WorkspaceRecord,
    ran: tuple[CommandRecord, ...],
    kept: tuple[ServiceInfo, ...],
    files: tuple[FileChange, ...],
    additions: int,
    deletions: int,
    events: tuple[Event, ...],
    questions: tuple[str, ...],
) -> str:
    lines = [f"workspace {record.label} ({info.isolation} isolation, {info.runtime})", f"from: {_origin(info.origin)}"]
    if info.environment != "host":
        lines.append(f"inside: {info.environment}")
    if record.reset_at:
        lines.append(f"since the reset at {record.reset_at}")
    lines += ["", f"commands: {len(ran)}"]
    for command in ran[-COMMANDS_SHOWN:]:
        lines.append(f"  {command.number}. [{_outcome(command)}] {_line(shlex.join(command.argv))}")
    if len(ran) > COMMANDS_SHOWN:
        lines.append(f"  ... and {len(ran) - COMMANDS_SHOWN} before these")
    if kept:
        lines += ["", f"services: {len(kept)}"]
        lines += [_line(f"  {each.name} [{each.state}] {shlex.join(each.argv)}") for each in kept]
    lines += ["", f"files changed: {len(files)} (+{additions} -{deletions})"]
    for change in files[:FILES_SHOWN]:
        counts = "binary" if change.binary else f"+{change.additions} -{change.deletions}"
        path = f"{change.old_path} -> {change.path}" if change.old_path else change.path
        lines.append(f"  {change.status.value:8} {_line(path)} ({counts})")
    if len(files) > FILES_SHOWN:
        lines.append(f"  ... and {len(files) - FILES_SHOWN} more")
    if info.snapshots:
        lines += ["", "snapshots: " + ", ".join(info.snapshots)]
    if events:
        lines += ["", "handed over:"] + [f"  {event.kind}: {_line(event.detail)}" for event in events]
    if questions:
        lines += ["", "open questions:"] + [f"  - {question}" for question in questions]
    return "\n".join(lines) + "\n"


OPERATION = Operation(
    name="workspace_summary",
    command=("workspace", "summary"),
    summary="Say what happened in a workspace since it was made or reset: commands, changes, open questions.",
    request=Request,
    run=run,
    effect=Effect(read_only=True, idempotent=True),
    examples=("sandlot workspace summary fix-123",),
)
