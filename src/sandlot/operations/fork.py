"""Make workspaces from the present state of another."""

from __future__ import annotations

from dataclasses import dataclass

from sandlot.errors import UsageError
from sandlot.operations.addressed import OneWorkspace
from sandlot.operations.described import WorkspaceInfo, describe
from sandlot.operations.operation import Caller, Operation, argument
from sandlot.workspaces import states
from sandlot.workspaces.context import Context


@dataclass(frozen=True, kw_only=True)
class Request(OneWorkspace):
    """From which, how many, called what."""

    name: str | None = argument("name of the new workspace; with --count: NAME-1, NAME-2 and so on", default=None)
    count: int = argument("how many to make", default=1, least=1, most=100)
    labels: dict[str, str] = argument("set a label, KEY=VALUE", factory=dict, kind="pairs", metavar="KEY=VALUE")


@dataclass(frozen=True, slots=True)
class Result:
    """The new workspaces, running."""

    workspaces: tuple[WorkspaceInfo, ...]


def run(context: Context, request: Request, _caller: Caller) -> Result:
    """All of them or none. Files come along, processes do not."""
    names: tuple[str | None, ...] = (request.name,) * request.count
    if request.name is not None and request.count > 1:
        names = tuple(f"{request.name}-{number}" for number in range(1, request.count + 1))
    if request.name == "":
        raise UsageError("a name cannot be empty")
    made = states.fork(context, request.workspace, names=names, labels=request.labels)
    return Result(tuple(describe(context, record) for record in made))


OPERATION = Operation(
    name="workspace_fork",
    command=("workspace", "fork"),
    summary="Make new workspaces from the present state of another.",
    request=Request,
    run=run,
    examples=("sandlot workspace fork fix-123 --name try --count 3",),
)
