"""List the environments."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from sandlot.bases.environments.definitions import DEFINITIONS
from sandlot.model.environment import HOST, split_label
from sandlot.operations.environments import EnvironmentRow, row_of
from sandlot.operations.operation import Caller, Effect, Operation
from sandlot.workspaces.context import Context
from sandlot.workspaces.environments import store_of
from sandlot.workspaces.preparation import Readiness


@dataclass(frozen=True, kw_only=True)
class Request:
    """Nothing to say."""


@dataclass(frozen=True, slots=True)
class Result:
    """The host's own, those that are here (the last used one first), and those that could be built."""

    environments: tuple[EnvironmentRow, ...]


def run(context: Context, _request: Request, _caller: Caller) -> Result:
    """Look."""
    stand = Counter(split_label(record.environment)[1] for record in context.store.all())
    there = [row_of(context, info, stand[info.environment.digest]) for info in store_of(context).list()]
    known = {name for row in there for name in row.names}
    host = EnvironmentRow(
        (HOST,), "", HOST, "this machine's /usr, read-only", readiness=Readiness.WARM, workspaces=stand[HOST]
    )
    more = [
        EnvironmentRow((each.name,), "", "packages", each.summary)
        for each in DEFINITIONS.values()
        if each.name not in known
    ]
    return Result((host, *there, *more))


OPERATION = Operation(
    name="env_list",
    command=("env", "list"),
    summary="List what can be inside a workspace besides its project, and what could be built.",
    request=Request,
    run=run,
    effect=Effect(read_only=True, idempotent=True),
    examples=("sandlot env list",),
)
