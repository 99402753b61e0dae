"""List the bases in the store."""

from __future__ import annotations

from dataclasses import dataclass

from sandlot.bases.store import BaseInfo
from sandlot.operations.operation import Caller, Effect, Operation
from sandlot.workspaces.context import Context


@dataclass(frozen=True, kw_only=True)
class Request:
    """Nothing to say."""


@dataclass(frozen=True, slots=True)
class Result:
    """Bases, the last used one first."""

    bases: tuple[BaseInfo, ...]


def run(context: Context, _request: Request, _caller: Caller) -> Result:
    """Look."""
    return Result(tuple(context.bases.list()))


OPERATION = Operation(
    name="base_list",
    command=("base", "list"),
    summary="List the shared bases that workspaces start from.",
    request=Request,
    run=run,
    effect=Effect(read_only=True, idempotent=True),
    examples=("sandlot base list",),
)
