"""Show one service of a workspace."""

from __future__ import annotations

from dataclasses import dataclass

from sandlot.operations.operation import Caller, Effect, Operation
from sandlot.operations.serviced import OneService, ServiceResult, service_result
from sandlot.workspaces import services
from sandlot.workspaces.context import Context


@dataclass(frozen=True, kw_only=True)
class Request(OneService):
    """Which service."""


@dataclass(frozen=True, slots=True)
class Result(ServiceResult):
    """The last service of that name as it is now, and what it printed last."""


def run(context: Context, request: Request, _caller: Caller) -> Result:
    """Ask it; nothing counts as activity, and a stopped workspace stays stopped."""
    record = context.store.find(request.workspace)
    info = services.inspect(context, record, services.find(context, record, request.name))
    return service_result(context, record, info, Result)


OPERATION = Operation(
    name="service_status",
    command=("workspace", "service", "status"),
    summary="Say how a service is and why, with the last lines it printed.",
    request=Request,
    run=run,
    effect=Effect(read_only=True, idempotent=True),
    examples=("sandlot workspace service status fix-123 web",),
)
