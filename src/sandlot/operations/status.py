"""Show one workspace."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass

from sandlot.errors import StateUnwritable
from sandlot.model.command import CommandKind, CommandRecord
from sandlot.model.service import ServiceInfo
from sandlot.operations.addressed import OneWorkspace
from sandlot.operations.denied import recent_denials
from sandlot.operations.described import WorkspaceInfo, describe
from sandlot.operations.operation import Caller, Effect, Operation
from sandlot.workspaces import commands, services
from sandlot.workspaces.context import Context
from sandlot.workspaces.network.denials import Denial

SERVICE = CommandKind.SERVICE


@dataclass(frozen=True, kw_only=True)
class Request(OneWorkspace):
    """Which workspace."""


@dataclass(frozen=True, slots=True)
class Result:
    """Its facts, and what runs in it now."""

    workspace: WorkspaceInfo
    running: tuple[CommandRecord, ...]
    services: tuple[ServiceInfo, ...]
    """The last one of each name, whether it runs or not."""
    commands: int
    """How many commands its history holds."""
    responsive: bool
    """Whether its agent answers (a stopped workspace has none to answer)."""
    denials: tuple[Denial, ...] = ()
    """What its network policy refused lately, oldest first."""


def run(context: Context, request: Request, _caller: Caller) -> Result:
    """Look; nothing counts as activity, and a busy workspace answers as fast as an idle one."""
    record = context.store.find(request.workspace)
    with contextlib.suppress(StateUnwritable):  # a full disk: the history stays as it was, and looking still works
        commands.refresh(context, record)
    responsive = commands.responsive(context, record)
    return Result(
        workspace=describe(context, record),
        running=tuple(each for each in context.store.unfinished_commands(record.id) if each.kind is not SERVICE),
        services=tuple(services.all_of(context, record)),
        commands=context.store.last_command(record.id),
        responsive=responsive,
        denials=recent_denials(context, record, ask=responsive),
    )


OPERATION = Operation(
    name="workspace_status",
    command=("workspace", "status"),
    summary="Show a workspace: state, origin, isolation, deadline, running commands, services.",
    request=Request,
    run=run,
    effect=Effect(read_only=True, idempotent=True),
    examples=("sandlot workspace status fix-123",),
)
