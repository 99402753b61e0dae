"""``host doctor``: what stands between a host and our server."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from subprocess import TimeoutExpired

from sandlot import process
from sandlot.errors import HostConfigUnreadable, HostConflict, SandlotError
from sandlot.hosts.around import Around
from sandlot.hosts.files import read
from sandlot.hosts.formats.base import JsonObject, get
from sandlot.hosts.host import Host, HostFinding, Place, State
from sandlot.hosts.launch import SERVER, Allow, Invocation, Launch, Scope, is_ours
from sandlot.hosts.planning import Edit, entry_at, plan_connect
from sandlot.hosts.records import Records
from sandlot.hosts.starting import Answer, Era, start

__all__ = [
    "CHECKS",
    "Found",
    "check",
    "connected",
    "drift",
    "find_entries",
    "last_good",
    "named_here",
    "seems_used",
    "wanted_launch",
    "winner",
]

SLOW_MS = 500
"""Hosts make the model's first turn without a server that takes longer."""
PATIENCE_S = 5.0
"""What the least patient host grants (Gemini CLI)."""
VERSION_S = 20.0
PROBE_S = 60.0

CHECKS: dict[str, str] = {
    "binary.found": "the host's program is there, and its version",
    "config.parses": "its configuration files can be read",
    "entry.present": "our entry is there, and where",
    "entry.duplicates": "it is there once",
    "entry.enabled": "it is not switched off",
    "entry.current": "it says what we would write",
    "command.found": "the program it names is there",
    "start.legacy": "that program, in the host's own environment, answers a client of the revision 2025-11-25",
    "start.modern": "it answers a client of the revision 2026-07-28",
    "start.time": "it answers fast enough",
    "approval.state": "the host does not hold the server back",
    "approval.allowed": "what the model may do without asking",
    "host.probe": "the host's own check sees the server",
}
"""The checks and what each one means; the names never change."""
_ORDER = ("local", "project", "user")
"""Which scope counts when an entry stands in several."""


@dataclass(frozen=True, slots=True)
class Found:
    """One entry that starts sandlot."""

    place: Place
    name: str
    entry: JsonObject
    invocation: Invocation


def seems_used(host: Host, around: Around) -> bool:
    """Whether a host is here at all: its program, or a configuration of the user's."""
    if host.binary and around.program(host.binary):
        return True
    return any(place.path.exists() for place in host.places(around) if place.scope != "project")


def connected(host: Host, around: Around, records: Records) -> bool:
    """Whether there is an entry of ours, or a file that cannot be read and may hold one."""
    entries, wrong = find_entries(host, around, records)
    return bool(named_here(entries) or wrong)


def check(
    host: Host,
    around: Around,
    records: Records,
    *,
    launch: Launch | None = None,
    patience_s: float = PATIENCE_S,
    ask_host: bool = True,
) -> list[HostFinding]:
    """Every check, in the order of ``CHECKS``.

    ``launch``: what the entry is to start [what it starts]. ``ask_host``: also run the host's own program.
    """
    findings = [_binary(host, around)] if ask_host else []
    entries, wrong = find_entries(host, around, records)
    findings += wrong
    if not any(each.check == "config.parses" for each in wrong):
        findings.append(host.finding("config.parses", State.OK, "all files that are there can be read"))
    own = named_here(entries)
    if not own:
        if not any(each.check in ("entry.present", "config.parses") for each in wrong):
            hint = f"sandlot host connect {host.key} --mode repro-fix"
            findings.append(host.finding("entry.present", State.FAILED, "sandlot is not connected", hint))
        return findings
    where = ", ".join(f"{around.shown(each.place.path)} ({each.place.scope})" for each in own)
    findings.append(host.finding("entry.present", State.OK, f"in {where}: {winner(own).invocation.line()}"))
    findings += _duplicates(host, around, entries)
    for each in own:
        findings += _one(host, around, each, launch)
    first = winner(own)
    started = list(_starts(host, around, first, patience_s))
    findings += started
    if (state := host.approval(around, first.place, first.entry)) is not None:
        findings.append(state)
    findings.append(_allowed(host, around, first))
    # A host waits up to a minute for a server that does not start, to find out what we know by now.
    starts = bool(started) and not any(each.state is State.FAILED for each in started)
    if ask_host and starts and (probed := _probe(host, around, first)) is not None:
        findings.append(probed)
    return findings


def find_entries(host: Host, around: Around, records: Records) -> tuple[list[Found], list[HostFinding]]:
    """All entries that start sandlot, and findings about files that cannot be read and names that are taken."""
    found: list[Found] = []
    wrong: list[HostFinding] = []
    broken: set[Path] = set()
    for place in host.places(around):
        try:
            file = read(place.path, place.form)
        except HostConfigUnreadable as error:
            if place.path not in broken:
                wrong.append(_broken(host, place, error, records))
            broken.add(place.path)
            continue
        servers = get(file.value, place.keys)
        for name, entry in servers.items() if isinstance(servers, dict) else ():
            invocation = host.read(entry)
            if isinstance(entry, dict) and invocation is not None and is_ours(invocation):
                found.append(Found(place, name, entry, invocation))
        try:
            entry_at(host, file, place)
        except HostConflict as error:
            wrong.append(host.finding("entry.present", State.FAILED, error.message, error.hint))
    return found, wrong


def named_here(entries: list[Found]) -> list[Found]:
    """Those under our own name."""
    return [each for each in entries if each.name == SERVER]


def winner(own: list[Found]) -> Found:
    """The entry that a host uses, of several."""
    rank = {scope: number for number, scope in enumerate(_ORDER)}
    return min(own, key=lambda each: rank.get(each.place.scope, len(rank)))


def last_good(place: Place, records: Records) -> str | None:
    """What we last wrote into a file, if that can be read."""
    record = records.find(place.path)
    if record is None or record.after is None:
        return None
    try:
        place.form.parse(record.after)
    except ValueError:
        return None
    return record.after


def wanted_launch(found: Found, launch: Launch | None) -> Launch:
    """What an entry is to start: what it starts, or what was asked for, in the project it is for."""
    here = Launch.of(found.invocation.arguments)
    return here if launch is None else launch.over(here)


def drift(host: Host, around: Around, found: Found, launch: Launch | None = None) -> tuple[Edit, ...]:
    """What would have to change for an entry to be as we write it. Raises UsageError."""
    wanted = wanted_launch(found, launch)
    allow = host.allowed(found.entry, around) if found.place.scope != "project" else Allow.NONE
    plan = plan_connect(host, around, found.place, wanted, allow)
    return tuple(edit for step in plan.steps if step.path == found.place.path for edit in step.edits)


def _broken(host: Host, place: Place, error: HostConfigUnreadable, records: Records) -> HostFinding:
    good = last_good(place, records) is not None
    hint = f"sandlot host repair {host.key} puts back what sandlot last wrote" if good else error.hint
    return host.finding("config.parses", State.FAILED, error.message, hint, repairable=good)


def _binary(host: Host, around: Around) -> HostFinding:
    path = around.program(host.binary) if host.binary else None
    if path is None:
        if host.desktop:
            return host.finding("binary.found", State.SKIPPED, f"{host.title} is an application; not looked for")
        return host.finding("binary.found", State.FAILED, f"{host.binary} is not on PATH", f"install {host.title}")
    try:
        done = process.run([path, "--version"], env=around.environ, cwd=around.home, timeout=VERSION_S)
    except (OSError, TimeoutExpired) as error:
        return host.finding("binary.found", State.FAILED, f"{path} --version: {error}", f"install {host.title} again")
    lines = done.stdout.decode("utf-8", "replace").split("\n")
    if done.returncode != 0:
        return host.finding("binary.found", State.FAILED, f"{path}: {done.message}", f"install {host.title} again")
    return host.finding("binary.found", State.OK, f"{path}, {lines[0].strip()}")


def _duplicates(host: Host, around: Around, entries: list[Found]) -> Iterator[HostFinding]:
    own, others = named_here(entries), [each for each in entries if each.name != SERVER]
    if len(own) > 1:
        where = ", ".join(f"{around.shown(each.place.path)} ({each.place.scope})" for each in own)
        yield host.finding(
            "entry.duplicates",
            State.WARNING,
            f"in {len(own)} places, of which the host uses one: {where}",
            f"sandlot host repair {host.key} --scope SCOPE keeps the one of that scope",
            repairable=True,
        )
    for each in others:
        yield host.finding(
            "entry.duplicates",
            State.WARNING,
            f"{each.name!r} in {around.shown(each.place.path)} starts sandlot as well: {each.invocation.line()}",
            "every tool is there twice; remove one of the entries",
        )
    if len(entries) == 1:
        yield host.finding("entry.duplicates", State.OK, "in one place only")


def _one(host: Host, around: Around, found: Found, launch: Launch | None) -> Iterator[HostFinding]:
    where = around.shown(found.place.path)
    repair = f"sandlot host repair {host.key}"
    if found.entry.get("disabled") is True or found.entry.get("enabled") is False:
        yield host.finding("entry.enabled", State.FAILED, f"it is switched off in {where}", repair, repairable=True)
    else:
        yield host.finding("entry.enabled", State.OK, f"it is not switched off in {where}")
    try:
        edits = [each for each in drift(host, around, found, launch) if each.keys[-1] not in ("enabled", "disabled")]
    except SandlotError as error:
        yield host.finding("entry.current", State.WARNING, error.message, error.hint)
        edits = []
    else:
        said = "; ".join(_said(edit, len(found.place.keys) + 1) for edit in edits)
        if edits:
            yield host.finding("entry.current", State.WARNING, f"{where}: {said}", repair, repairable=True)
        else:
            yield host.finding("entry.current", State.OK, f"{where} says what sandlot would write")
    program = _resolved(host, around, found)
    if program is None:
        yield host.finding(
            "command.found",
            State.FAILED,
            f"{found.invocation.command} is not there, or cannot be executed",
            repair if edits else "install sandlot where PATH finds it: pipx install sandlot",
            repairable=bool(edits),
        )
    else:
        yield host.finding("command.found", State.OK, program)


def _said(edit: Edit, depth: int) -> str:
    name = ".".join(edit.keys[depth:])
    if edit.new is None:
        return f"{name} is {json.dumps(edit.old)}"
    if edit.old is None:
        return f"{name} is missing"
    return f"{name} is {json.dumps(edit.old)}, not {json.dumps(edit.new)}"


def _is_as_written(host: Host, found: Found) -> bool:
    """Whether a project's entry starts what ours would, with nothing added to the environment."""
    entry = host.entry(Launch.of(found.invocation.arguments), Allow.NONE, Scope.PROJECT, found.place)
    ours = host.read(entry)
    return ours is not None and found.invocation == ours


def _resolved(host: Host, around: Around, found: Found) -> str | None:
    path = host.environment(around, found.invocation).get("PATH", os.defpath)
    return shutil.which(os.path.expanduser(found.invocation.command), path=path)


_VARIABLE = re.compile(r"\$\{(?:workspaceFolder|CLAUDE_PROJECT_DIR)(?::-[^}]*)?\}")


def _starts(host: Host, around: Around, found: Found, patience_s: float) -> Iterator[HostFinding]:
    """The command itself, twice: a client begins in one of two ways."""
    program = _resolved(host, around, found)
    if program is None:
        return
    arguments = tuple(_VARIABLE.sub(str(around.project), each) for each in found.invocation.arguments)
    repair = f"sandlot host repair {host.key}"
    try:
        repairable = bool(drift(host, around, found))
    except SandlotError:
        repairable = False
    if found.place.scope == "project" and not _is_as_written(host, found):
        # A project's files come from whoever wrote it: what they name is not run on the strength of a check.
        detail = "not started: a project's entry that is not as sandlot writes it may start anything"
        hint = repair if repairable else f"sandlot host disconnect {host.key} --scope project, or look at the entry"
        yield host.finding("start.legacy", State.FAILED, detail, hint, repairable=repairable)
        return
    answers: list[Answer] = []
    for name, era in (("start.legacy", Era.LEGACY), ("start.modern", Era.MODERN)):
        env = host.environment(around, found.invocation)
        answer = start((program, *arguments), env=env, cwd=around.project, era=era, patience_s=patience_s)
        if answer.problem:
            hint = repair if repairable else f"try it: {found.invocation.line()}"
            yield host.finding(name, State.FAILED, answer.problem, hint, repairable=repairable)
        else:
            answers.append(answer)
            yield host.finding(name, State.OK, f"{len(answer.tools)} tools, sha256 {answer.sha256[:16]}")
    if len(answers) < 2:
        detail = f"it did not answer both within {patience_s:g} s"
        yield host.finding("start.time", State.FAILED, detail, repair if repairable else "", repairable=repairable)
        return
    slowest = max(each.elapsed_ms for each in answers)
    late = slowest > SLOW_MS
    hint = "hosts make the first turn without a server that is late; sandlot's own program is faster than a wrapper"
    state = State.WARNING if late else State.OK
    yield host.finding("start.time", state, f"{slowest} ms", hint if late else "", repairable=late and repairable)


def _allowed(host: Host, around: Around, found: Found) -> HostFinding:
    allow = host.allowed(found.entry, around)
    if allow is Allow.ALL:
        hint = f"sandlot host connect {host.key} without --allow takes that back"
        return host.finding("approval.allowed", State.OK, "every tool runs without asking", hint)
    if allow is Allow.READ_ONLY:
        return host.finding("approval.allowed", State.OK, "tools that only read run without asking")
    return host.finding("approval.allowed", State.OK, f"as {host.title} itself decides")


def _probe(host: Host, around: Around, found: Found) -> HostFinding | None:
    probe = host.probe(around)
    if probe is None or around.program(probe.argv[0]) is None:
        return None
    if found.place.scope == "project" and not probe.projects:
        # It would start every server that the project names, or knows of no projects.
        return host.finding("host.probe", State.SKIPPED, f"{' '.join(probe.argv)} is not asked about a project's entry")
    try:
        env = {**around.environ, **probe.needs}
        # In the user's home, where nobody else's configuration is, unless the entry is for the project alone.
        cwd = around.home if found.place.scope == "user" else around.project
        done = process.run(probe.argv, env=env, cwd=cwd, timeout=PROBE_S)
    except (OSError, TimeoutExpired) as error:
        return host.finding("host.probe", State.WARNING, f"{' '.join(probe.argv)}: {error}")
    said = (done.stdout + done.stderr).decode("utf-8", "replace")
    plain = re.sub("\x1b\\[[0-9;]*m", "", said)
    verb = "connects" if probe.connects else "shows it"
    if re.search(probe.good, plain):
        return host.finding("host.probe", State.OK, f"{' '.join(probe.argv)}: {verb}")
    if probe.pending and (waiting := re.search(f".*{probe.pending}.*", plain)):
        hint = f"start {probe.argv[0]} in the project and agree"
        return host.finding("host.probe", State.WARNING, waiting[0].strip(), hint)
    lines = [line.strip() for line in plain.split("\n") if SERVER in line] or plain.strip().split("\n")[:1]
    return host.finding("host.probe", State.FAILED, f"{' '.join(probe.argv)}: {lines[0][:200]}", " ".join(probe.argv))
