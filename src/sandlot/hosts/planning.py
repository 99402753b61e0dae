"""What connecting or disconnecting would change: a plan, which can be shown before it is carried out."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from sandlot.errors import HostConflict
from sandlot.hosts.around import Around
from sandlot.hosts.files import ConfigFile, read
from sandlot.hosts.formats.base import (
    Format,
    JsonObject,
    JsonValue,
    KeyPath,
    checked,
    get,
    with_value,
    without,
    without_empty,
)
from sandlot.hosts.host import Host, Place, Setting
from sandlot.hosts.launch import SERVER, Allow, Invocation, Launch, Scope, is_ours
from sandlot.hosts.records import Made, Records

__all__ = ["Edit", "Plan", "Step", "entry_at", "plan_connect", "plan_disconnect", "plan_edits"]


@dataclass(frozen=True, slots=True)
class Edit:
    """One value at one path; None: not there."""

    keys: KeyPath
    old: JsonValue
    new: JsonValue


@dataclass(frozen=True, slots=True)
class Step:
    """What happens to one file."""

    path: Path
    form: Format
    before: str | None
    after: str | None
    edits: tuple[Edit, ...]
    commands: tuple[tuple[str, ...], ...] = ()
    """The host's own, which do it in our place."""
    made: Made = Made.NOTHING
    within: Path | None = None

    def lines(self) -> list[str]:
        """What is written, exactly, and nothing of what others wrote there (it may be secret)."""
        if self.commands:
            return [shlex.join(each) for each in self.commands]
        found = []
        for edit in self.edits:
            if edit.new is None:
                found.append(f"- {'.'.join(edit.keys)}")
            else:
                found += ["+ " + line for line in self.form.put("", edit.keys, edit.new).rstrip("\n").split("\n")]
        return found


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be done for one host; nothing has been done yet."""

    host: Host
    place: Place
    entry: JsonObject | None
    """Our entry as it will be."""
    existed: bool
    steps: tuple[Step, ...]

    @property
    def invocation(self) -> Invocation | None:
        """The command that the host will start."""
        return self.host.read(self.entry)


def entry_at(host: Host, file: ConfigFile, place: Place) -> JsonObject | None:
    """Our entry in a file. Raises HostConflict when something else has its name."""
    present = get(file.value, (*place.keys, SERVER))
    if present is None:
        return None
    invocation = host.read(present)
    if not isinstance(present, dict) or invocation is None or not is_ours(invocation):
        raise HostConflict(
            f"{file.path} has an entry {SERVER!r} that does not start sandlot",
            hint="rename or remove that entry, then connect again",
        )
    return present


def plan_connect(
    host: Host, around: Around, place: Place, launch: Launch, allow: Allow, records: Records | None = None
) -> Plan:
    """Bring our entry to what it must be, with everything else as it is.

    Raises UsageError for what the host cannot do, HostConfigUnreadable, HostConflict.
    """
    scope = Scope.PROJECT if place.scope == "project" else Scope.USER
    host.check_allow(allow, launch, scope)
    file = read(place.path, place.form)
    present = entry_at(host, file, place)
    wanted = host.entry(launch, allow, scope, place)
    base = (*place.keys, SERVER)
    edits = [Edit(base, None, wanted)] if present is None else _differences(host, base, present, wanted)
    entry = get(_edited(file.value, edits), base)
    if not isinstance(entry, dict):
        raise HostConflict(f"{file.path} holds something else where servers are listed")
    steps = [_step(host, around, place, file, tuple(edits), present, entry)] if edits else []
    if scope is Scope.USER:
        steps += plan_edits(host.rules(around, launch, allow), records)
    return Plan(host, place, entry, present is not None, tuple(steps))


def plan_disconnect(host: Host, around: Around, place: Place, records: Records, *, rules: bool = True) -> Plan | None:
    """Take our entry out of a place, and what we had made around it; None: it is not there. Raises as plan_connect."""
    file = read(place.path, place.form)
    present = entry_at(host, file, place)
    if present is None:
        return None
    base = (*place.keys, SERVER)
    edits = [Edit(base, present, None)]
    record = records.find(place.path)
    by_host = bool(host.own_commands(around, place, present, None))
    made = record.made if record is not None and not by_host else Made.NOTHING
    if made is not Made.NOTHING and get(without(file.value, base), place.keys) == {}:
        edits.append(Edit(place.keys, {}, None))
    step = _step(host, around, place, file, tuple(edits), present, None)
    if made is Made.FILE and _is_empty(step.after or ""):
        step = replace(step, after=None)
    steps = [step]
    if rules and place.scope != "project":
        steps += plan_edits(host.rules(around, Launch(), Allow.NONE), records)
    return Plan(host, place, None, True, tuple(steps))


def _is_empty(text: str) -> bool:
    """Whether nothing is left, not even a comment."""
    return not text.strip().strip("{}").strip()


def _differences(host: Host, base: KeyPath, present: JsonObject, wanted: JsonObject) -> list[Edit]:
    """The edits that make an entry of ours what it must be; keys of the user's in it stay."""
    edits = list(_wanted_edits(base, present, wanted))
    for keys in host.loosening(present):
        if get(wanted, keys) is None:  # what was allowed before holds no longer, unless it was said again
            parent = get(present, keys[:-1])
            whole = keys[:-1] if len(keys) > 1 and isinstance(parent, dict) and len(parent) == 1 else keys
            edits.append(Edit((*base, *whole), get(present, whole), None))
    if present.get("disabled") is True:
        edits.append(Edit((*base, "disabled"), True, None))
    if present.get("enabled") is False and "enabled" not in wanted:
        edits.append(Edit((*base, "enabled"), False, True))
    return edits


def _wanted_edits(base: KeyPath, present: JsonObject, wanted: JsonObject) -> Iterable[Edit]:
    for key, value in wanted.items():
        here = present.get(key)
        if isinstance(value, dict) and isinstance(here, dict):
            yield from _wanted_edits((*base, key), here, value)
        elif here != value or type(here) is not type(value):
            yield Edit((*base, key), here, value)


def plan_edits(settings: Iterable[Setting], records: Records | None = None) -> list[Step]:
    """Steps for settings beside our entry; objects that are left empty go too. Raises HostConfigUnreadable."""
    steps = []
    for each in settings:
        file = read(each.path, each.form)
        keys, value = each.keys, each.value
        while value is None and len(keys) > 1 and get(without(file.value, keys), keys[:-1]) == {}:
            keys = keys[:-1]
        edit = Edit(keys, get(file.value, keys), value)
        after: str | None = _after(file, each.form, (edit,))
        record = records.find(each.path) if records else None
        if record is not None and record.made is Made.FILE and _is_empty(after or ""):
            after = None
        made = Made.FILE if file.text is None else Made.NOTHING
        steps.append(Step(each.path, each.form, file.text, after, (edit,), made=made))
    return steps


def _step(
    host: Host,
    around: Around,
    place: Place,
    file: ConfigFile,
    edits: tuple[Edit, ...],
    old: JsonObject | None,
    new: JsonObject | None,
) -> Step:
    made = Made.NOTHING
    if file.text is None:
        made = Made.FILE
    elif get(file.value, place.keys) is None:
        made = Made.CONTAINER
    return Step(
        path=place.path,
        form=place.form,
        before=file.text,
        after=_after(file, place.form, edits),
        edits=edits,
        commands=host.own_commands(around, place, old, new),
        made=made,
        within=around.project if place.scope == "project" else None,
    )


def _edited(value: JsonObject, edits: Iterable[Edit]) -> JsonObject:
    for edit in edits:
        value = without(value, edit.keys) if edit.new is None else with_value(value, edit.keys, edit.new)
    return value


def _after(file: ConfigFile, form: Format, edits: tuple[Edit, ...]) -> str:
    text = file.text or ""
    bare = file.value
    for edit in edits:
        text = form.drop(text, edit.keys) if edit.new is None else form.put(text, edit.keys, edit.new)
        bare = without_empty(bare, edit.keys) if edit.new is None else with_value(bare, edit.keys, edit.new)
    return checked(form, text, _edited(file.value, edits), bare)
