"""Stop a service of a workspace."""

from __future__ import annotations

from dataclasses import dataclass

from sandlot.errors import UsageError
from sandlot.operations.operation import Caller, Effect, Operation, argument
from sandlot.operations.serviced import OneService, ServiceResult, service_result
from sandlot.settings import seconds
from sandlot.workspaces import services
from sandlot.workspaces.context import Context
from sandlot.workspaces.lifecycle import touch

LONGEST_GRACE_S = 600.0


@dataclass(frozen=True, kw_only=True)
class Request(OneService):
    """Which service, and how patiently."""

    grace: str = argument(
        "SIGKILL what is left of it this long after SIGTERM, 10m at most", default="5s", kind="duration"
    )


@dataclass(frozen=True, slots=True)
class Result(ServiceResult):
    """The service, which is over, and what it printed last."""


def run(context: Context, request: Request, caller: Caller) -> Result:
    """Stop it; one that is over already is left as it is."""
    grace = seconds(request.grace)
    if grace is None or grace > LONGEST_GRACE_S:
        raise UsageError("the grace is at most 10m")
    record = context.store.find(request.workspace)
    command = services.find(context, record, request.name)
    info = services.stop(context, record, command, grace_s=grace, cancellation=caller.cancellation)
    touch(context, record)
    return service_result(context, record, info, Result)


OPERATION = Operation(
    name="service_stop",
    command=("workspace", "service", "stop"),
    summary="Stop a service and everything it started.",
    request=Request,
    run=run,
    effect=Effect(destructive=True, idempotent=True),
    examples=(
        "sandlot workspace service stop fix-123 web",
        "sandlot workspace service stop fix-123 db --grace 1m",
    ),
)
