"""``host repair``: puts right what ``host doctor`` has named, and nothing else; one backup takes it back."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from sandlot.errors import HostConflict, UsageError
from sandlot.hosts import checks
from sandlot.hosts.applying import apply
from sandlot.hosts.around import Around
from sandlot.hosts.files import read, read_text, replace
from sandlot.hosts.formats.base import Unparsable, checked, get, with_value, without, without_empty
from sandlot.hosts.host import Host, HostFinding
from sandlot.hosts.launch import SERVER, Allow, Launch, Scope
from sandlot.hosts.planning import Plan, Step, plan_connect, plan_disconnect
from sandlot.hosts.records import Record, Records

__all__ = ["Repair", "repair", "undo"]

_REWRITES = frozenset({"entry.current", "entry.enabled", "command.found", "start.legacy", "start.modern", "start.time"})


@dataclass(frozen=True, slots=True)
class Repair:
    """One thing put right (or, in a dry run, to be put right)."""

    checks: tuple[str, ...]
    what: str
    plan: Plan


def repair(
    host: Host,
    around: Around,
    records: Records,
    *,
    only: Sequence[str] = (),
    launch: Launch | None = None,
    keep: Scope | None = None,
    dry_run: bool = False,
    look: Callable[[], list[HostFinding]] | None = None,
) -> list[Repair]:
    """Look, then put right what can be; ``only``: these checks. Raises UsageError, and as ``apply``."""
    for name in only:
        if name not in checks.CHECKS:
            raise UsageError(f"there is no check {name!r}", hint="checks: " + ", ".join(checks.CHECKS))
    findings = (look or (lambda: checks.check(host, around, records, launch=launch, ask_host=False)))()
    named = {each.check for each in findings if each.repairable and (not only or each.check in only)}
    done: list[Repair] = []

    def carry(names: Iterable[str], what: str, plan: Plan) -> None:
        if not dry_run:
            apply(plan, around, records)
        done.append(Repair(tuple(sorted(names)), what, plan))

    with records.one_change():
        if "config.parses" in named:
            for plan in _restorations(host, around, records):
                carry(["config.parses"], f"put back what sandlot last wrote into {plan.place.path}", plan)
        if "entry.duplicates" in named:
            own = _own(host, around, records)
            kept = _kept(own, keep)
            for each in (each for each in own if each is not kept):
                gone = plan_disconnect(host, around, each.place, records, rules=False)
                if gone is not None:
                    carry(["entry.duplicates"], f"took the entry out of {gone.place.path} ({gone.place.scope})", gone)
        if rewrites := named & _REWRITES:
            for each in _own(host, around, records):
                wanted = checks.wanted_launch(each, launch)
                allow = Allow.NONE if each.place.scope == "project" else host.allowed(each.entry, around)
                plan = plan_connect(host, around, each.place, wanted, allow, records)
                if plan.steps:
                    carry(rewrites, f"wrote the entry in {each.place.path} anew", plan)
    return done


def _own(host: Host, around: Around, records: Records) -> list[checks.Found]:
    entries, _ = checks.find_entries(host, around, records)
    return checks.named_here(entries)


def _kept(own: list[checks.Found], keep: Scope | None) -> checks.Found:
    """The one of several entries that stays."""
    if keep is not None:
        if (same := [each for each in own if each.place.scope == keep]) != []:
            return same[0]
        raise UsageError(f"there is no entry of {keep} scope to keep", hint="leave --scope out")
    return next((each for each in own if each.place.scope == Scope.USER), checks.winner(own))


def _restorations(host: Host, around: Around, records: Records) -> list[Plan]:
    """For each file that cannot be read: what we last wrote."""
    plans: dict[Path, Plan] = {}
    for place in host.places(around):
        good = checks.last_good(place, records)
        text = read_text(place.path)
        if good is None or text is None or place.path in plans:
            continue
        try:
            place.form.parse(text)
        except Unparsable:
            within = around.project if place.scope == "project" else None
            step = Step(place.path, place.form, text, good, (), within=within)
            plans[place.path] = Plan(host, place, None, True, (step,))
    return list(plans.values())


def undo(host: Host, around: Around, records: Records, *, dry_run: bool = False) -> list[Path]:
    """Bring the host's files to what they were before our last change; which ones.

    Where a file has changed since, only our entry is brought back. Raises HostConflict where that is impossible.
    """
    paths = {place.path: place for place in host.places(around)}
    done = []
    for path in (*paths, *host.rule_files(around)):
        record = records.find(path)
        if record is None:
            continue
        place = paths.get(path)
        within = around.project if place is not None and place.scope == "project" else None
        present = read_text(path)
        text = record.before if present == record.after else _only_ours(host, around, path, record)
        if not dry_run:
            replace(path, present, text, within=within)
            records.forget(path)
        done.append(path)
    return done


def _only_ours(host: Host, around: Around, path: Path, record: Record) -> str:
    """The present text with our entries as they were before."""
    places = [place for place in host.places(around) if place.path == path]
    if not places:
        raise HostConflict(f"{path} has changed since", hint=f"compare it by hand; the backup is of {record.path}")
    form = places[0].form
    file = read(path, form)
    text, value, bare = file.text or "", file.value, file.value
    try:
        before = form.parse(record.before or "")
    except Unparsable as error:
        raise HostConflict(f"{path} has changed since, and its backup cannot be read: {error}") from None
    for place in places:
        keys = (*place.keys, SERVER)
        old, new = get(value, keys), get(before, keys)
        if old == new:
            continue
        text = form.drop(text, keys) if new is None else form.put(text, keys, new)
        value = without(value, keys) if new is None else with_value(value, keys, new)
        bare = without_empty(bare, keys) if new is None else with_value(bare, keys, new)
    return checked(form, text, value, bare)
