"""List workspaces."""

from __future__ import annotations

from dataclasses import dataclass

from sandlot.model.workspace import WorkspaceState
from sandlot.operations.described import WorkspaceInfo, describe
from sandlot.operations.operation import Caller, Effect, Operation, argument
from sandlot.workspaces.context import Context


@dataclass(frozen=True, kw_only=True)
class Request:
    """Which ones: all conditions must hold."""

    labels: dict[str, str] = argument(
        "only with this label, KEY=VALUE", factory=dict, kind="pairs", metavar="KEY=VALUE"
    )
    name: str | None = argument("only with this name", default=None)
    state: WorkspaceState | None = argument("only in this state", default=None)


@dataclass(frozen=True, slots=True)
class Result:
    """Workspaces, most recently active first."""

    workspaces: tuple[WorkspaceInfo, ...]


def run(context: Context, request: Request, _caller: Caller) -> Result:
    """Look; nothing counts as activity."""
    found = []
    for record in context.store.all():
        if request.name is not None and record.name != request.name:
            continue
        if any(record.labels.get(key) != value for key, value in request.labels.items()):
            continue
        info = describe(context, record)
        if request.state is None or info.state == request.state:
            found.append(info)
    return Result(tuple(found))


OPERATION = Operation(
    name="workspace_list",
    command=("workspace", "list"),
    summary="List workspaces, most recently active first.",
    request=Request,
    run=run,
    effect=Effect(read_only=True, idempotent=True),
    examples=("sandlot workspace list", "sandlot workspace list --label issue=123 --state running"),
)
