"""List a workspace's services."""

from __future__ import annotations

from dataclasses import dataclass

from sandlot.model.service import ServiceInfo
from sandlot.operations.addressed import OneWorkspace
from sandlot.operations.operation import Caller, Effect, Operation, argument
from sandlot.workspaces import services
from sandlot.workspaces.context import Context


@dataclass(frozen=True, kw_only=True)
class Request(OneWorkspace):
    """Which ones."""

    all: bool = argument("earlier ones of the same names, too", default=False)


@dataclass(frozen=True, slots=True)
class Result:
    """Services as they are now, in the order they were started in."""

    workspace_id: str
    services: tuple[ServiceInfo, ...]


def run(context: Context, request: Request, _caller: Caller) -> Result:
    """Ask each one; nothing counts as activity, and a stopped workspace stays stopped."""
    record = context.store.find(request.workspace)
    return Result(record.id, tuple(services.all_of(context, record, earlier=request.all)))


OPERATION = Operation(
    name="service_list",
    command=("workspace", "service", "list"),
    summary="List a workspace's services and how they are.",
    request=Request,
    run=run,
    effect=Effect(read_only=True, idempotent=True),
    examples=("sandlot workspace service list fix-123",),
)
