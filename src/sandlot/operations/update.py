"""Rename a workspace, change its labels, its lifetime, its network or its limits."""

from __future__ import annotations

from dataclasses import dataclass, replace

from sandlot.errors import UsageError
from sandlot.model.workspace import Lifetime
from sandlot.operations.addressed import OneWorkspace
from sandlot.operations.described import WorkspaceInfo, describe
from sandlot.operations.limited import LimitRequest, changed_limits
from sandlot.operations.networking import NetworkRequest, changed_network
from sandlot.operations.operation import Caller, Effect, Operation, argument
from sandlot.operations.seeding import idle_timeout_of
from sandlot.settings import duration
from sandlot.workspaces import lifecycle
from sandlot.workspaces.context import Context


@dataclass(frozen=True, kw_only=True)
class Request(OneWorkspace, LimitRequest, NetworkRequest):
    """What to change; what is not named stays."""

    name: str | None = argument("the new name", default=None)
    clear_name: bool = argument("take the name away", default=False)
    labels: dict[str, str] = argument("set a label, KEY=VALUE", factory=dict, kind="pairs", metavar="KEY=VALUE")
    clear_labels: tuple[str, ...] = argument("remove a label", default=(), metavar="KEY")
    idle_timeout: str | None = argument("stop it after this long without activity", default=None, kind="duration")
    retention: str | None = argument("delete it after being stopped for this long", default=None, kind="duration")
    disallow: tuple[str, ...] = argument("take a host off the list, as status shows it", default=(), metavar="HOST")
    unpublish: tuple[str, ...] = argument("publish this port no longer", default=(), metavar="PORT")


@dataclass(frozen=True, slots=True)
class Result:
    """The workspace as it is now."""

    workspace: WorkspaceInfo


def run(context: Context, request: Request, _caller: Caller) -> Result:
    """Change the record; an update without effect is fine."""
    if request.name is not None and request.clear_name:
        raise UsageError("a name cannot be set and cleared at once")

    def lifetime(old: Lifetime) -> Lifetime:
        if request.idle_timeout is not None:
            old = replace(old, idle_timeout_s=idle_timeout_of(request.idle_timeout))
        if request.retention is not None:
            old = replace(old, retention_s=duration(request.retention))
        return old

    record = lifecycle.update(
        context,
        request.workspace,
        name=request.name,
        clear_name=request.clear_name,
        labels=request.labels,
        clear_labels=request.clear_labels,
        lifetime=lifetime,
        network=lambda network: changed_network(network, request, request.disallow, request.unpublish),
        limits=lambda limits: changed_limits(context, request, limits),
    )
    return Result(describe(context, record))


OPERATION = Operation(
    name="workspace_update",
    command=("workspace", "update"),
    summary="Rename a workspace, set or clear labels, change its network, limits, and when it is stopped and deleted.",
    request=Request,
    run=run,
    effect=Effect(idempotent=True),
    examples=(
        "sandlot workspace update fix-123 --label owner=ana --clear-label draft",
        "sandlot workspace update fix-123 --allow example.org --publish 8000",
        "sandlot workspace update fix-123 --max-duration 1h",
    ),
)
