"""Remove environments that nothing uses."""

from __future__ import annotations

from dataclasses import dataclass

from sandlot.bases.environments.store import PrunedEnvironments
from sandlot.operations.operation import Caller, Effect, Operation, argument
from sandlot.runtimes.qemu.places import Places
from sandlot.runtimes.qemu.template import PrunedGuests
from sandlot.runtimes.qemu.upkeep import remove_orphans
from sandlot.settings import duration
from sandlot.workspaces import environments
from sandlot.workspaces.context import Context


@dataclass(frozen=True, kw_only=True)
class Request:
    """Which ones."""

    names: tuple[str, ...] = argument(
        "only these, by name or digest [all that no workspace stands on]", positional=True, metavar="ENV", default=()
    )
    unused_for: str = argument("only environments not used for this long", default="0s", kind="duration")
    dry_run: bool = argument("only say what would go", default=False)


@dataclass(frozen=True, slots=True)
class Result:
    """What is gone, or would go."""

    pruned: PrunedEnvironments
    dry_run: bool
    guests: PrunedGuests
    """What guests kept of them: packed roots and templates."""


def run(context: Context, request: Request, _caller: Caller) -> Result:
    """Remove; one that a workspace stands on stays."""
    with context.bases.alone():
        pruned = environments.store_of(context).prune(
            lambda: environments.in_use(context),
            unused_for_s=duration(request.unused_for) or 0,
            dry_run=request.dry_run,
            only=frozenset(request.names),
        )
        store = environments.store_of(context)
        gone = frozenset(store.root(digest) for digest in pruned.digests)
        guests = remove_orphans(Places.of(context.paths), gone=gone, dry_run=request.dry_run)
    return Result(pruned, request.dry_run, guests)


OPERATION = Operation(
    name="env_prune",
    command=("env", "prune"),
    summary="Remove environments that no workspace stands on; build or import makes them again.",
    request=Request,
    run=run,
    effect=Effect(destructive=True, idempotent=True),
    examples=("sandlot env prune --unused-for 30d --dry-run", "sandlot env prune tools:v1"),
)
