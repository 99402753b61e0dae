"""List a workspace's secrets."""

from __future__ import annotations

from dataclasses import dataclass

from sandlot.operations.addressed import OneWorkspace
from sandlot.operations.operation import Caller, Effect, Operation
from sandlot.operations.secreted import SecretInfo, describe_secrets, secret_warnings
from sandlot.workspaces.context import Context


@dataclass(frozen=True, kw_only=True)
class Request(OneWorkspace):
    """Which workspace."""


@dataclass(frozen=True, slots=True)
class Result:
    """Names and hosts, by name; never values, nor anything about them."""

    workspace_id: str
    secrets: tuple[SecretInfo, ...]
    warnings: tuple[str, ...] = ()


def run(context: Context, request: Request, _caller: Caller) -> Result:
    """Look; nothing counts as activity."""
    from sandlot.workspaces.secrets import keeping

    record = context.store.find(request.workspace)
    warnings = (*secret_warnings(record), *keeping.damage(context, record))
    return Result(record.id, describe_secrets(record), warnings)


OPERATION = Operation(
    name="secret_list",
    command=("workspace", "secret", "list"),
    summary="List a workspace's secrets: names and hosts, never values.",
    request=Request,
    run=run,
    effect=Effect(read_only=True, idempotent=True),
    examples=("sandlot workspace secret list fix-123",),
)
