"""Make an environment ready, and prove it."""

from __future__ import annotations

from dataclasses import dataclass

from sandlot.model.isolation import RuntimeChoice
from sandlot.operations.operation import Caller, Effect, Operation, argument
from sandlot.workspaces import preparation
from sandlot.workspaces.context import Context
from sandlot.workspaces.preparation import Readiness, Step


@dataclass(frozen=True, kw_only=True)
class Request:
    """Which one."""

    environment: str | None = argument(
        "a name of `sandlot env list` [the user's default]", default=None, positional=True, metavar="ENV"
    )
    runtime: RuntimeChoice | None = argument(
        "what isolates the workspace that is tried [default: bubblewrap]", default=None
    )


@dataclass(frozen=True, slots=True)
class Result:
    """What was done."""

    environment: str
    """Name and digest."""
    runtime: str
    isolation: str
    before: Readiness
    """How it stood: ``warm`` (a workspace of it started at once), ``cold`` or ``stale``."""
    steps: tuple[Step, ...]
    """Each with its milliseconds."""


def run(context: Context, request: Request, caller: Caller) -> Result:
    """Build what is missing; create, exec, reset, delete."""
    name = context.settings.environment if request.environment is None else request.environment
    done = preparation.prepare(context, name, runtime=request.runtime, progress=caller.progress, output=caller.output)
    return Result(done.record.environment, done.record.runtime, done.record.isolation, done.before, done.steps)


OPERATION = Operation(
    name="prepare",
    command=("prepare",),
    summary="Build what an environment needs and prove that it works: create, exec, reset, delete.",
    request=Request,
    run=run,
    effect=Effect(idempotent=True),
    examples=("sandlot prepare", "sandlot prepare debian:12"),
    streams=True,
)
