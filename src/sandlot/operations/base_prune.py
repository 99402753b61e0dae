"""Remove bases that nothing uses."""

from __future__ import annotations

from dataclasses import dataclass

from sandlot.bases.layer import AREAS
from sandlot.bases.prune import Pruned
from sandlot.operations.operation import Caller, Effect, Operation, argument
from sandlot.runtimes.qemu.places import Places
from sandlot.runtimes.qemu.template import PrunedGuests, prune
from sandlot.runtimes.qemu.upkeep import remove_orphans
from sandlot.settings import duration
from sandlot.workspaces.context import Context


@dataclass(frozen=True, kw_only=True)
class Request:
    """Which ones."""

    bases: tuple[str, ...] = argument(
        "only these, by their ids [all that nothing stands on]", positional=True, metavar="ID", default=()
    )
    unused_for: str = argument("only bases not used for this long", default="0s", kind="duration")
    dry_run: bool = argument("only say what would go", default=False)


@dataclass(frozen=True, slots=True)
class Result:
    """What is gone, or would go."""

    pruned: Pruned
    dry_run: bool
    guests: PrunedGuests
    """Templates of guests and what they are made of; where bases were named, those that stood on what is gone."""


def run(context: Context, request: Request, _caller: Caller) -> Result:
    """Remove; a base under any workspace or snapshot stays."""
    pruned = context.bases.prune(
        context.store.layers_in_use,
        unused_for_s=duration(request.unused_for) or 0,
        dry_run=request.dry_run,
        only=frozenset(request.bases),
    )
    places = Places.of(context.paths)
    layers = (context.paths.layer(layer) / area for layer in pruned.layers for area in AREAS)
    guests = remove_orphans(places, gone=frozenset(layers), dry_run=request.dry_run)
    if not request.bases:
        unused = prune(places, keep=0, unused_for_s=duration(request.unused_for) or 0, dry_run=request.dry_run)
        guests = PrunedGuests(guests.things + unused.things, guests.bytes + unused.bytes)
    return Result(pruned, request.dry_run, guests)


OPERATION = Operation(
    name="base_prune",
    command=("base", "prune"),
    summary="Remove bases that no workspace or snapshot stands on; the next create from such a source copies again.",
    request=Request,
    run=run,
    effect=Effect(destructive=True, idempotent=True),
    examples=("sandlot base prune --unused-for 30d --dry-run",),
)
