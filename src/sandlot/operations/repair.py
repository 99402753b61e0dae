"""Clean up after killed processes and damaged state."""

from __future__ import annotations

from dataclasses import dataclass

from sandlot.operations.operation import Caller, Effect, Operation
from sandlot.workspaces import reaper
from sandlot.workspaces.context import Context


@dataclass(frozen=True, kw_only=True)
class Request:
    """Nothing to say."""


@dataclass(frozen=True, slots=True)
class Result:
    """What was found and put right."""

    found: reaper.Leftovers


def run(context: Context, _request: Request, _caller: Caller) -> Result:
    """Look everywhere; never touches a workspace that is in order."""
    return Result(reaper.repair(context))


OPERATION = Operation(
    name="repair",
    command=("repair",),
    summary="Finish or remove what killed processes left, and rebuild a damaged state database.",
    request=Request,
    run=run,
    effect=Effect(idempotent=True),
    examples=("sandlot repair",),
)
