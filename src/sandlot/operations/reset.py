"""Bring a workspace back to a saved state."""

from __future__ import annotations

from dataclasses import dataclass

from sandlot.operations.addressed import OneWorkspace
from sandlot.operations.described import WorkspaceInfo, describe
from sandlot.operations.operation import Caller, Effect, Operation, argument
from sandlot.workspaces import reaper, states
from sandlot.workspaces.context import Context


@dataclass(frozen=True, kw_only=True)
class Request(OneWorkspace):
    """Which workspace, and to what."""

    to: str = argument("baseline or the name of a snapshot", default="baseline", positional=True, metavar="SNAPSHOT")


@dataclass(frozen=True, slots=True)
class Result:
    """The workspace, running again."""

    workspace: WorkspaceInfo


def run(context: Context, request: Request, _caller: Caller) -> Result:
    """Everything goes back: files, home, processes, /tmp. The history of commands stays."""
    record = states.reset(context, request.workspace, request.to)
    context.store.touch(record.id)
    reaper.empty_trash(context)
    return Result(describe(context, record))


OPERATION = Operation(
    name="workspace_reset",
    command=("workspace", "reset"),
    summary="Bring files, home, processes and /tmp back to the baseline or a snapshot.",
    request=Request,
    run=run,
    effect=Effect(destructive=True, idempotent=True),
    examples=(
        "sandlot workspace reset fix-123",
        "sandlot workspace reset fix-123 before-upgrade",
    ),
)
