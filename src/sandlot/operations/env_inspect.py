"""Show one environment."""

from __future__ import annotations

from dataclasses import dataclass

from sandlot.model.environment import Environment
from sandlot.operations.operation import Caller, Effect, Operation, argument
from sandlot.runtimes.qemu.places import Places
from sandlot.runtimes.qemu.upkeep import held_for
from sandlot.workspaces.context import Context
from sandlot.workspaces.environments import store_of


@dataclass(frozen=True, kw_only=True)
class Request:
    """Which one."""

    name: str = argument("its name, or the beginning of its digest", positional=True)


@dataclass(frozen=True, slots=True)
class Result:
    """All that is known of it."""

    name: str
    environment: Environment
    root: str
    """Its root file system on this machine; never write to it."""
    workspaces: tuple[str, ...]
    """Ids of the workspaces that stand on it."""
    guests_bytes: int = 0
    """What guests keep of it besides, in bytes: its packed root and templates."""


def run(context: Context, request: Request, _caller: Caller) -> Result:
    """Look."""
    store = store_of(context)
    name, found = store.find(request.name)
    stand = tuple(record.id for record in context.store.all() if record.environment.endswith(f"@{found.digest}"))
    root = store.root(found.digest)
    return Result(name, found, str(root), stand, held_for(Places.of(context.paths), root))


OPERATION = Operation(
    name="env_inspect",
    command=("env", "inspect"),
    summary="Show an environment: what it was made from, its variables, sizes, and who stands on it.",
    request=Request,
    run=run,
    effect=Effect(read_only=True, idempotent=True),
    examples=("sandlot env inspect debian:12",),
)
