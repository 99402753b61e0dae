"""List a workspace's shells."""

from __future__ import annotations

from dataclasses import dataclass

from sandlot.model.shell import ShellInfo
from sandlot.operations.addressed import OneWorkspace
from sandlot.operations.operation import Caller, Effect, Operation, argument
from sandlot.workspaces import shells
from sandlot.workspaces.context import Context


@dataclass(frozen=True, kw_only=True)
class Request(OneWorkspace):
    """Of which workspace, and how many."""

    running: bool = argument("only those that run", default=False)
    limit: int = argument("at most this many", default=100, least=1, most=1000)


@dataclass(frozen=True, slots=True)
class Result:
    """The shells, the newest first."""

    shells: tuple[ShellInfo, ...]


def run(context: Context, request: Request, _caller: Caller) -> Result:
    """Look; this does not count as activity."""
    record = context.store.find(request.workspace)
    found = []
    for command in shells.all_of(context, record):
        if request.running and command.outcome is not None:
            continue
        found.append(shells.info_of(context, record, command))
        if len(found) == request.limit:
            break
    return Result(tuple(found))


OPERATION = Operation(
    name="shell_list",
    command=("workspace", "shell", "list"),
    summary="List the shells of a workspace, running and ended, the newest first.",
    request=Request,
    run=run,
    effect=Effect(read_only=True, idempotent=True),
    examples=("sandlot workspace shell list fix-123",),
)
