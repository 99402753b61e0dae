"""``host connect`` and ``host disconnect``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from sandlot.hosts.applying import apply
from sandlot.hosts.around import Around
from sandlot.hosts.formats.base import JsonObject
from sandlot.hosts.host import Host, Place
from sandlot.hosts.launch import SERVER, Allow, Launch, Scope
from sandlot.hosts.planning import Plan, plan_connect, plan_disconnect
from sandlot.hosts.records import Records

__all__ = ["Outcome", "Write", "connect", "disconnect", "silent", "snippet"]


@dataclass(frozen=True, slots=True)
class Write:
    """What is written into one file, or the host's own commands that write it."""

    file: str
    lines: tuple[str, ...]
    by_host: bool


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one command did, or would do."""

    host: str
    scope: str
    file: str
    did: str
    """``connected``, ``updated``, ``already connected``, ``disconnected`` or ``not connected``."""
    dry_run: bool
    command: str
    """What the host starts from now on; empty when nothing."""
    entry: JsonObject | None
    writes: tuple[Write, ...]
    backups: tuple[str, ...] = ()
    next: str = ""
    """What the user does before it counts."""


Show = Callable[[Outcome], None]


def silent(_outcome: Outcome) -> None:
    """Show nothing."""


def connect(
    host: Host,
    around: Around,
    records: Records,
    place: Place,
    launch: Launch,
    allow: Allow = Allow.NONE,
    *,
    dry_run: bool = False,
    show: Show = silent,
) -> Outcome:
    """Write our entry, or bring it up to date; ``show`` is told what will be written before it is.

    Raises UsageError, HostConfigUnreadable, HostConflict, HostFailed, UnsafePath, StateUnwritable.
    """
    plan = plan_connect(host, around, place, launch, allow, records)
    did = "already connected" if not plan.steps else "updated" if plan.existed else "connected"
    return _carry_out(plan, around, records, did, dry_run, show)


def disconnect(
    host: Host,
    around: Around,
    records: Records,
    scope: Scope | None = None,
    *,
    dry_run: bool = False,
    show: Show = silent,
) -> tuple[Outcome, ...]:
    """Take our entry out of the places of a scope [of all that are the user's own]. Raises as ``connect``."""
    places = [
        each
        for each in host.places(around)
        if (each.scope != "project" if scope in (None, Scope.USER) else each.scope == scope)
    ]
    done = []
    with records.one_change():
        for place in places:  # one after the other: several may lie in one file
            plan = plan_disconnect(host, around, place, records)
            if plan is not None:
                done.append(_carry_out(plan, around, records, "disconnected", dry_run, show))
    if done:
        return tuple(done)
    place = places[0] if places else host.place(around, scope or Scope.USER)
    return (Outcome(host.key, place.scope, str(place.path), "not connected", dry_run, "", None, ()),)


def _carry_out(plan: Plan, around: Around, records: Records, did: str, dry_run: bool, show: Show) -> Outcome:
    invocation = plan.invocation
    outcome = Outcome(
        host=plan.host.key,
        scope=plan.place.scope,
        file=str(plan.place.path),
        did=did,
        dry_run=dry_run,
        command=invocation.line() if invocation else "",
        entry=plan.entry,
        writes=tuple(Write(str(step.path), tuple(step.lines()), bool(step.commands)) for step in plan.steps),
        next=plan.host.afterwards if plan.steps else "",
    )
    show(outcome)
    if dry_run or not plan.steps:
        return outcome
    return replace(outcome, backups=tuple(str(each) for each in apply(plan, around, records)))


def snippet(place: Place, entry: JsonObject) -> str:
    """Our entry alone, as a whole file of the host's notation."""
    return place.form.put("", (*place.keys, SERVER), entry)
