"""``sandlot host``: connect chat hosts to our server, and say why it does not work."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, Any

from sandlot.cli.terminal import shown, table
from sandlot.cli.words import parse, parser_of
from sandlot.errors import UsageError

if TYPE_CHECKING:
    from sandlot.hosts.connecting import Outcome
    from sandlot.hosts.host import Host, HostFinding
    from sandlot.hosts.launch import Launch
    from sandlot.hosts.records import Records

__all__ = ["COMMANDS", "add_arguments", "command", "parser"]

EXAMPLES = {
    "list": ("sandlot host list", "sandlot host list --json"),
    "connect": (
        "sandlot host connect claude-code --mode repro-fix",
        "sandlot host connect codex --mode inspect --dry-run",
        "sandlot host connect vscode --mode repro-fix --scope project",
    ),
    "disconnect": ("sandlot host disconnect codex", "sandlot host disconnect vscode --scope project"),
    "print-config": ("sandlot host print-config codex --mode repro-fix",),
    "doctor": ("sandlot host doctor", "sandlot host doctor claude-code --json"),
    "repair": (
        "sandlot host repair codex",
        "sandlot host repair codex entry.current",
        "sandlot host repair codex --undo",
    ),
}
COMMANDS = tuple(EXAMPLES)


def parser(name: str) -> argparse.ArgumentParser:
    """The parser of one of the commands."""
    made = parser_of(("host", name), EXAMPLES[name])
    add_arguments(made, name)
    return made


def add_arguments(made: argparse.ArgumentParser, name: str) -> None:
    """All that one of the commands takes."""
    from sandlot.hosts.catalog import HOSTS

    if name != "list":
        hosts = "one of: " + ", ".join(each.key for each in HOSTS)
        if name == "doctor":
            made.add_argument("host", metavar="HOST", nargs="?", help=f"{hosts} [all that are connected]")
        else:
            made.add_argument("host", metavar="HOST", help=hosts)
    if name == "repair":
        made.add_argument("checks", metavar="CHECK", nargs="*", help="put these right alone [all that can be]")
        made.add_argument("--undo", action="store_true", help="take our last change of this host's files back instead")
    if name in ("connect", "print-config", "doctor", "repair"):
        _add_launch(made, reads=name in ("doctor", "repair"))
    if name in ("connect", "disconnect", "print-config", "repair"):
        scope = {"repair": "which of several entries stays", "disconnect": "whose entry [all that are your own]"}
        made.add_argument(
            "--scope",
            choices=("user", "project"),
            help=scope.get(name, "for you everywhere, or for one project [user]"),
        )
    project = "the project to look into [the current folder]"
    if name in ("connect", "print-config"):
        project = "what workspaces are made from [the folder the host is opened in]; whose file, of project scope [.]"
    made.add_argument("--project-path", metavar="DIR", help=project)
    if name in ("connect", "disconnect", "repair"):
        made.add_argument("--dry-run", action="store_true", help="say what would be written, and write nothing")
    made.add_argument("--json", action="store_true", help="print the answer, or the error, as JSON")


def _add_launch(made: argparse.ArgumentParser, *, reads: bool) -> None:
    from sandlot.model.isolation import IsolationLevel, RuntimeChoice
    from sandlot.modes import CORE, FULL, StartupMode

    kept = " [what the entry says]" if reads else ""
    what = made.add_mutually_exclusive_group()
    what.add_argument("--mode", choices=[each.value for each in StartupMode], help=f"the startup mode{kept}")
    what.add_argument("--profile", choices=(CORE, FULL), help=f"instead of a mode{kept or f' [{CORE}]'}")
    made.add_argument("--read-only", action="store_true", help="only tools that change nothing")
    if not reads:
        made.add_argument(
            "--environment", metavar="ENV", help="what is inside workspaces [the setting for the mode, or host]"
        )
        made.add_argument(
            "--runtime", choices=[each.value for each in RuntimeChoice], help="what isolates workspaces [bubblewrap]"
        )
        made.add_argument(
            "--min-isolation",
            choices=[each.value for each in IsolationLevel],
            help="the least that workspaces are isolated; the server refuses to make others",
        )
        made.add_argument(
            "--allow",
            choices=("read-only", "all"),
            help="tools that the host may run without asking you [what it decides by itself]",
        )


def command(words: list[str], json_wanted: bool) -> int:
    """Run one of the commands: 0, or 1 where doctor has found something that does not work."""
    name = words[0]
    parsed = parse(parser(name), words[1:], json_wanted)
    run = {"list": _list, "connect": _connect, "disconnect": _disconnect, "print-config": _print_config,
           "doctor": _doctor, "repair": _repair}[name]  # fmt: skip
    return run(parsed)


def _answer(value: Any) -> None:
    from sandlot.cli.answer import as_json

    print(as_json(value))


def _asked(parsed: argparse.Namespace, host: Host) -> Launch:
    """The server that an entry is to start."""
    import os

    from sandlot.hosts.launch import Launch
    from sandlot.modes import StartupMode

    project = None
    if parsed.scope == "project":
        project = host.project_path  # the folder itself is where the entry will be read
    elif parsed.project_path is not None:
        project = os.path.abspath(parsed.project_path)
    return Launch(
        StartupMode(parsed.mode) if parsed.mode else None, parsed.profile, parsed.read_only, project,
        parsed.environment, parsed.runtime, parsed.min_isolation,
    )  # fmt: skip


def _wish(parsed: argparse.Namespace) -> Launch | None:
    """The server that an entry should start, or None: whatever it says."""
    from sandlot.hosts.launch import Launch
    from sandlot.modes import StartupMode

    if not (parsed.mode or parsed.profile or parsed.read_only):
        return None
    return Launch(StartupMode(parsed.mode) if parsed.mode else None, parsed.profile, parsed.read_only)


def _records() -> Records:
    from sandlot.hosts.records import Records
    from sandlot.paths import Paths

    return Records(Paths.default())


def _list(parsed: argparse.Namespace) -> int:
    from sandlot.hosts.around import Around
    from sandlot.hosts.listing import listing

    hosts = listing(Around.here(parsed.project_path), _records())
    if parsed.json:
        _answer({"hosts": hosts})
        return 0
    rows = []
    for each in hosts:
        connected = ", ".join(each.scopes) or ("unreadable" if each.problems else "no")
        rows.append((each.host, "yes" if each.used else "no", connected, each.surface, each.shown))
    table(("host", "here", "connected", "mode", "file"), rows)
    return 0


def _connect(parsed: argparse.Namespace) -> int:
    from sandlot.hosts.around import Around
    from sandlot.hosts.catalog import find_host
    from sandlot.hosts.connecting import connect, silent
    from sandlot.hosts.launch import Allow, Scope

    host, around = find_host(parsed.host), Around.here(parsed.project_path)
    place = host.place(around, Scope(parsed.scope or "user"))
    outcome = connect(
        host,
        around,
        _records(),
        place,
        _asked(parsed, host),
        Allow(parsed.allow or "none"),
        dry_run=parsed.dry_run,
        show=silent if parsed.json else _show,
    )
    if parsed.json:
        _answer(outcome)
        return 0
    _conclude(host, outcome)
    if outcome.writes and not outcome.dry_run:
        if outcome.next:
            print(f"next: {outcome.next}", file=sys.stderr)
        print(f"check: sandlot host doctor {host.key}", file=sys.stderr)
    return 0


def _disconnect(parsed: argparse.Namespace) -> int:
    from sandlot.hosts.around import Around
    from sandlot.hosts.catalog import find_host
    from sandlot.hosts.connecting import disconnect, silent
    from sandlot.hosts.launch import Scope

    host, around = find_host(parsed.host), Around.here(parsed.project_path)
    scope = Scope(parsed.scope) if parsed.scope else None
    show = silent if parsed.json else _show
    outcomes = disconnect(host, around, _records(), scope, dry_run=parsed.dry_run, show=show)
    if parsed.json:
        _answer({"disconnected": outcomes})
        return 0
    for each in outcomes:
        _conclude(host, each)
    return 0


def _show(outcome: Outcome) -> None:
    """All that will be written, and the whole command that the host will run, before anything is."""
    if outcome.command and outcome.writes:
        print(f"{outcome.host} will start: {shown(outcome.command)}")
    for write in outcome.writes:
        print(
            f"{'by its own command' if write.by_host else 'in'} {'' if write.by_host else shown(write.file)}".rstrip()
            + ":"
        )
        for line in write.lines:
            print(f"  {shown(line)}")
    sys.stdout.flush()


def _conclude(host: Host, outcome: Outcome) -> None:
    would = "nothing written: " if outcome.dry_run and outcome.writes else ""
    print(f"{would}{host.title}: {outcome.did}, {outcome.scope} scope, {shown(outcome.file)}")
    for backup in outcome.backups:
        print(f"backup: {shown(backup)}", file=sys.stderr)


def _print_config(parsed: argparse.Namespace) -> int:
    from sandlot.hosts.around import Around
    from sandlot.hosts.catalog import find_host
    from sandlot.hosts.connecting import snippet
    from sandlot.hosts.launch import Allow, Scope

    host, around = find_host(parsed.host), Around.here(parsed.project_path)
    scope, allow, launch = Scope(parsed.scope or "user"), Allow(parsed.allow or "none"), _asked(parsed, host)
    place = host.place(around, scope)
    host.check_allow(allow, launch, scope)
    entry = host.entry(launch, allow, scope, place)
    if parsed.json:
        _answer({"host": host.key, "scope": place.scope, "file": str(place.path), "keys": place.keys, "entry": entry})
        return 0
    print(snippet(place, entry).rstrip("\n"))
    print(f"for {shown(around.shown(place.path))}", file=sys.stderr)
    return 0


def _doctor(parsed: argparse.Namespace) -> int:
    from sandlot.hosts import checks
    from sandlot.hosts.around import Around
    from sandlot.hosts.catalog import HOSTS, find_host
    from sandlot.hosts.host import State

    around, records = Around.here(parsed.project_path), _records()
    hosts = (
        [find_host(parsed.host)] if parsed.host else [each for each in HOSTS if checks.connected(each, around, records)]
    )
    if not hosts:
        raise UsageError("no host is connected", hint="sandlot host connect HOST --mode repro-fix")
    findings: list[HostFinding] = []
    for host in hosts:
        found = checks.check(host, around, records, launch=_wish(parsed))
        findings += found
        if not parsed.json:
            _print_findings(host, found)
    ok = not any(each.state is State.FAILED for each in findings)
    if parsed.json:
        _answer({"ok": ok, "findings": findings})
    return 0 if ok else 1


def _print_findings(host: Host, findings: list[HostFinding]) -> None:
    print(host.title)
    width = max(len(each.check) for each in findings)
    for each in findings:
        mark = {"ok": "ok", "warning": "warn", "failed": "FAIL", "skipped": "-"}[each.state.value]
        print(f"  {mark:<4}  {each.check:<{width}}  {shown(each.detail)}")
        if each.hint and each.state.value in ("warning", "failed"):
            print(f"{'':<{width + 10}}hint: {shown(each.hint)}")
    sys.stdout.flush()


def _repair(parsed: argparse.Namespace) -> int:
    from sandlot.hosts import repairing
    from sandlot.hosts.around import Around
    from sandlot.hosts.catalog import find_host
    from sandlot.hosts.launch import Scope

    host, around, records = find_host(parsed.host), Around.here(parsed.project_path), _records()
    if parsed.undo:
        if parsed.checks:
            raise UsageError("--undo takes back the whole of the last change", hint="leave the checks out")
        files = repairing.undo(host, around, records, dry_run=parsed.dry_run)
        if parsed.json:
            _answer({"host": host.key, "undone": [str(path) for path in files], "dry_run": parsed.dry_run})
        for path in () if parsed.json else files:
            print(f"{'would bring' if parsed.dry_run else 'brought'} back: {shown(str(path))}")
        if not files and not parsed.json:
            print("nothing to undo", file=sys.stderr)
        return 0
    keep = Scope(parsed.scope) if parsed.scope else None
    done = repairing.repair(
        host, around, records, only=parsed.checks, launch=_wish(parsed), keep=keep, dry_run=parsed.dry_run
    )
    if parsed.json:
        rows = [{"checks": each.checks, "what": each.what, "file": str(each.plan.place.path)} for each in done]
        _answer({"host": host.key, "repaired": rows, "dry_run": parsed.dry_run})
        return 0
    for each in done:
        print(f"{', '.join(each.checks)}: {'would: ' if parsed.dry_run else ''}{shown(each.what)}")
        for step in each.plan.steps:
            for line in step.lines():
                print(f"  {shown(line)}")
    if not done:
        print("nothing that repair can put right", file=sys.stderr)
    elif not parsed.dry_run:
        print(f"undo: sandlot host repair {host.key} --undo", file=sys.stderr)
    print(f"check: sandlot host doctor {host.key}", file=sys.stderr)
    return 0
