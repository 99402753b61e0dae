"""Take a secret away from a workspace."""

from __future__ import annotations

from dataclasses import dataclass

from sandlot.operations.addressed import OneWorkspace
from sandlot.operations.operation import Caller, Effect, Operation, argument
from sandlot.workspaces.context import Context


@dataclass(frozen=True, kw_only=True)
class Request(OneWorkspace):
    """Which workspace, which secret."""

    name: str = argument("name of the secret", positional=True)


@dataclass(frozen=True, slots=True)
class Result:
    """What is gone."""

    workspace_id: str
    name: str


def run(context: Context, request: Request, _caller: Caller) -> Result:
    """Its value is gone from disk; its placeholder, wherever it was written, stands for nothing any more."""
    from sandlot.workspaces.secrets import keeping

    record = keeping.drop(context, request.workspace, request.name)
    return Result(record.id, request.name)


OPERATION = Operation(
    name="secret_delete",
    command=("workspace", "secret", "delete"),
    summary="Take a secret away from a workspace.",
    request=Request,
    run=run,
    effect=Effect(destructive=True),
    examples=("sandlot workspace secret delete fix-123 API_KEY",),
)
