"""Say what works on this machine, and what would fix what does not."""

from __future__ import annotations

import os
import platform
import re
import shutil
import sqlite3
import sys
from dataclasses import dataclass

from sandlot import process
from sandlot._version import __version__
from sandlot.bases.source import Source
from sandlot.errors import SandlotError
from sandlot.model.base import OriginKind
from sandlot.model.limits import LimitHit
from sandlot.model.workspace import WorkspaceRecord
from sandlot.operations.guest_findings import guest_findings
from sandlot.operations.limited import limit_findings
from sandlot.operations.networking import network_finding
from sandlot.operations.operation import Caller, Effect, Operation, argument
from sandlot.runtimes.base import Finding, ProbeReport
from sandlot.workspaces import changes, commands, creation, lifecycle, reaper, states
from sandlot.workspaces.context import Context
from sandlot.workspaces.limits import limits_of

LOW_SPACE = 1 << 30
GIT_SINCE = (2, 30)


@dataclass(frozen=True, kw_only=True)
class Request:
    """How deep to look."""

    deep: bool = argument("also create, change, compare, reset and delete a workspace for real", default=False)


@dataclass(frozen=True, slots=True)
class RuntimeInfo:
    """What one runtime can do here."""

    name: str
    available: bool
    isolation: str
    storage: str
    version: str
    known_gaps: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Result:
    """Everything that was tried."""

    ok: bool
    versions: dict[str, str]
    runtimes: tuple[RuntimeInfo, ...]
    findings: tuple[Finding, ...]
    state_folder: str
    leftovers: int
    """How many things ``sandlot repair`` would clean."""


def run(context: Context, request: Request, _caller: Caller) -> Result:
    """Try everything afresh; a check that fails is an answer, not an error."""
    findings = [*_state(context), _git()]
    runtimes = []
    try:
        report = context.runtime("bubblewrap").probe(fresh=True)
        findings += [*report.findings, *limit_findings(report.enforcement), network_finding()]
        runtimes.append(_info("bubblewrap", report))
    except SandlotError as error:
        findings.append(Finding("bubblewrap.prerequisites", False, error.message, error.hint))
    findings += _environments(context)
    guests, about_guests = guest_findings(context, deep=request.deep)
    findings += about_guests
    if guests is not None:
        runtimes.append(_info("qemu", guests))
    left = 0
    try:
        left = reaper.leftovers(context).total
        findings.append(
            Finding("state.leftovers", left == 0, f"{left} leftovers of killed processes", "sandlot repair", False)
        )
    except (SandlotError, OSError) as error:
        findings.append(Finding("state.database", False, str(error), getattr(error, "hint", "")))
    if request.deep and runtimes and runtimes[0].available:
        findings.append(_deep(context))
    versions = {
        "sandlot": __version__,
        "python": platform.python_version(),
        "kernel": platform.release(),
        "git": _git_version()[1],
        "sqlite": sqlite3.sqlite_version,
    }
    ok = all(finding.ok for finding in findings if finding.required)
    return Result(ok, versions, tuple(runtimes), tuple(findings), str(context.paths.state), left)


def _info(name: str, report: ProbeReport) -> RuntimeInfo:
    return RuntimeInfo(name, report.available, report.isolation, report.storage, report.version, report.known_gaps)


def _state(context: Context) -> list[Finding]:
    try:
        context.paths.ensure()
        free = shutil.disk_usage(context.paths.state).free
        mode = os.stat(context.paths.state).st_mode & 0o077
    except (SandlotError, OSError) as error:
        return [Finding("state.folder", False, str(error), "point SANDLOT_STATE_DIR at a folder you can write")]
    path = context.paths.state
    return [
        Finding("state.folder", True, f"{path} can be written"),
        Finding("state.private", mode == 0, f"{path} is private to you", f"chmod 700 {path}"),
        Finding("state.space", free > LOW_SPACE, f"{free >> 20} MiB free", "sandlot base prune", False),
    ]


def _environments(context: Context) -> list[Finding]:
    from sandlot.workspaces import preparation

    try:
        return preparation.findings(context)
    except (SandlotError, OSError) as error:
        return [Finding("environment.store", False, str(error), "sandlot repair", required=False)]


def _git_version() -> tuple[tuple[int, ...], str]:
    try:
        done = process.run(["git", "--version"], env={"PATH": os.environ.get("PATH", os.defpath)}, timeout=20)
    except OSError:
        return (), "not found"
    found = re.search(rb"(\d+)\.(\d+)(?:\.(\d+))?", done.stdout)
    if found is None:
        return (), "unknown"
    return tuple(int(part) for part in found.groups() if part), found[0].decode()


def _git() -> Finding:
    version, text = _git_version()
    fix = f"install git {'.'.join(map(str, GIT_SINCE))} or later"
    return Finding("git.version", version >= GIT_SINCE, f"git {text}", fix)


def _deep(context: Context) -> Finding:
    """The whole way, for real."""
    try:
        limits = limits_of(context, {"memory": "64M"})
        record, _ = creation.create(context, Source(OriginKind.NOTHING), limits=limits, one_shot=True)
        try:
            command = commands.execute(context, record, ["/bin/sh", "-c", "echo deep > probe"], timeout_s=60)
            if command.outcome is None or command.outcome.exit_code != 0:
                return Finding("deep.exec", False, "a command in a workspace failed", "sandlot doctor --json")
            if not _bounded(context, record):
                return Finding("deep.limits", False, "a memory bomb was not ended by its limit", "sandlot doctor")
            if len(changes.compare(context, record, "baseline").changes.files) != 1:
                return Finding("deep.diff", False, "the diff of a new file is wrong", "sandlot doctor --json")
            record = states.reset(context, record.id)
            if changes.compare(context, record, "baseline").changes.files:
                return Finding("deep.reset", False, "a reset left changes behind", "sandlot doctor --json")
        finally:
            lifecycle.delete(context, record.id)
            reaper.empty_trash(context)
    except SandlotError as error:
        return Finding("deep.workspace", False, f"{error.code}: {error.message}", error.hint)
    return Finding("deep.workspace", True, f"create, exec, diff, reset and delete work under {sys.executable}")


def _bounded(context: Context, record: WorkspaceRecord) -> bool:
    """Whether a program that takes more memory than it may is ended, and the answer says why."""
    bomb = "head -c 400M /dev/zero | tail | sleep 5"  # tail keeps what nobody reads, for as long as a look may take
    outcome = commands.execute(context, record, ["/bin/sh", "-c", bomb], timeout_s=60).outcome
    return outcome is not None and outcome.limit == LimitHit.MEMORY


OPERATION = Operation(
    name="doctor",
    command=("doctor",),
    summary="Check this machine by really running things, and say what fixes what does not work.",
    request=Request,
    run=run,
    effect=Effect(read_only=True, idempotent=True),
    examples=("sandlot doctor", "sandlot doctor --deep --json"),
)
