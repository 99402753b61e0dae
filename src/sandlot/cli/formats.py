"""Results for people: one function for each kind of answer."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable
from typing import Any

from sandlot.cli import environments, limits, networks, secrets, services, shell
from sandlot.cli.terminal import shown, table

__all__ = ["print_ids", "print_result"]


def print_ids(result: Any) -> None:
    """The ids in a result, one a line, for scripts."""
    for each in getattr(result, "workspaces", None) or [getattr(result, "workspace", None)]:
        if each is not None:
            print(each.id)
    if hasattr(result, "command"):
        print(result.command.number)


def print_result(name: str, request: Any, result: Any) -> None:
    """The answer; of what was streamed only the end is told."""
    if name in WITH_REQUEST:
        WITH_REQUEST[name](request, result)
    else:
        FORMATS.get(name, _workspace)(result)


def _size(count: int) -> str:
    amount = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if amount < 1024 or unit == "GiB":
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1024
    return ""


def _origin(origin: Any) -> str:
    parts = [origin.kind.value, origin.location]
    if origin.commit:
        parts.append(origin.commit[:12] + (" (dirty)" if origin.dirty else ""))
    return " ".join(part for part in parts if part)


def _facts(info: Any, *, limited: bool = False) -> None:
    rows = [
        ("workspace", info.id + (f" ({info.name})" if info.name else "")),
        ("state", info.state.value),
        ("isolation", f"{info.isolation.value} ({info.runtime}, {info.storage})"),
        ("origin", f"{_origin(info.origin)}, {info.origin.files} files, {_size(info.origin.bytes)}"),
    ]
    if info.environment != "host":
        rows.append(("environment", info.environment))
    if info.labels:
        rows.append(("labels", " ".join(f"{key}={value}" for key, value in sorted(info.labels.items()))))
    if info.forked_from:
        rows.append(("forked from", info.forked_from))
    if info.snapshots:
        rows.append(("snapshots", ", ".join(info.snapshots)))
    if info.deadline:
        rows.append(("unless used", f"{info.deadline.action} at {info.deadline.at}"))
    if limited:  # elsewhere only what nobody enforces is said, by a warning
        rows += limits.rows(info.limits)
    rows += networks.rows(info.network)
    rows += secrets.rows(info.secrets)
    for key, value in rows:
        print(f"{key:12} {shown(value)}")
    for path in info.origin.skipped[:10]:
        print(f"{'skipped':12} {shown(path)} (not a file, folder or symlink)")
    for warning in info.warnings:
        print(f"warning: {warning}", file=sys.stderr)


def _workspace(result: Any) -> None:
    for info in getattr(result, "workspaces", None) or [result.workspace]:
        _facts(info)


def _created(result: Any) -> None:
    _facts(result.workspace)
    print(f"{'base':12} {result.base}" + (" (cached)" if result.cached else ""))
    print(f"next: sandlot workspace exec {result.workspace.name or result.workspace.id} -- COMMAND", file=sys.stderr)


def _listed(result: Any) -> None:
    if not result.workspaces:
        print("no workspaces", file=sys.stderr)
        return
    rows = [
        (
            each.id,
            each.name or "-",
            each.state.value,
            each.active_at[:19].replace("T", " "),
            " ".join(f"{key}={value}" for key, value in sorted(each.labels.items())) or "-",
            _origin(each.origin),
        )
        for each in result.workspaces
    ]
    table(("id", "name", "state", "active (utc)", "labels", "origin"), rows)
    for each in result.workspaces:
        for warning in each.warnings:
            print(f"warning: {each.name or each.id}: {warning}", file=sys.stderr)


def _status(result: Any) -> None:
    _facts(result.workspace, limited=True)
    print(f"{'commands':12} {result.commands}, {len(result.running)} running")
    for command in result.running:
        print(f"  {command.number}. {shown(shlex.join(command.argv))} (since {command.started_at})")
    networks.print_denials(result.denials)
    if result.services:
        print("services")
        for each in result.services:
            print(f"  {services.service_line(each)}")
    if not result.responsive:
        print("warning: the workspace's agent does not answer", file=sys.stderr)


def _word(command: Any) -> str:
    outcome = command.outcome
    if outcome is None:
        return "running"
    if outcome.exit_code is not None:
        return f"exit {outcome.exit_code}"
    return str(outcome.signal or outcome.state.value)


def _command_end(result: Any) -> None:
    """A word on stderr about an end that the exit status alone does not tell."""
    outcome = result.command.outcome
    if outcome is None:
        return
    networks.print_denied(result.denied)
    if outcome.state in ("timed_out", "killed"):
        seconds = outcome.duration_ms / 1000
        print(f"sandlot: {outcome.state.value.replace('_', ' ')} after {seconds:.1f} s", file=sys.stderr)
    limits.print_hit(outcome)
    for name, output in (("stdout", result.stdout), ("stderr", result.stderr)):
        if output.lost_bytes:
            lost = f"{output.lost_bytes} bytes of {name}"
            print(f"warning: {lost} beyond SANDLOT_OUTPUT_QUOTA were dropped", file=sys.stderr)
    if outcome.survivors:
        print(f"warning: {outcome.survivors} processes could not be killed", file=sys.stderr)


def _background(request: Any, result: Any) -> None:
    if result.command.outcome is None:
        number = result.command.number
        print(f"command {number} is running")
        print(f"next: sandlot workspace wait {shlex.quote(request.workspace)} {number}", file=sys.stderr)
    else:
        _command_end(result)


def _waited(result: Any) -> None:
    if result.command.outcome is None:
        print(f"command {result.command.number} is running still", file=sys.stderr)
    else:
        _command_end(result)


def _killed(result: Any) -> None:
    print(f"command {result.command.number}: {_word(result.command)}")


def _logs(result: Any) -> None:
    networks.print_denied(result.denied)
    if result.output is not None:
        if result.next_offset is not None:
            print(f"more: --offset {result.next_offset} (of {result.total_bytes} bytes)", file=sys.stderr)
        return
    if not result.commands:
        print("no commands", file=sys.stderr)
        return
    rows = [
        (str(each.number), _word(each), each.started_at[:19].replace("T", " "),
         f"{each.outcome.duration_ms / 1000:.2f} s" if each.outcome else "-", shlex.join(each.argv)[:120])
        for each in result.commands
    ]  # fmt: skip
    table(("no", "outcome", "started (utc)", "took", "command"), rows)
    if result.next_after is not None:
        print(f"more: --after {result.next_after}", file=sys.stderr)


def _summary(result: Any) -> None:
    print(result.text, end="")


def _changes(result: Any, out: Any = None) -> None:
    for change in result.files:
        counts = "binary" if change.binary else f"+{change.additions} -{change.deletions}"
        path = f"{change.old_path} -> {change.path}" if change.old_path else change.path
        note = f"  [not in the patch: {change.omitted}]" if change.omitted else ""
        print(f"{change.status.value:8}  {counts:>12}  {shown(path)}{note}", file=out or sys.stdout)
    files = "1 file" if len(result.files) == 1 else f"{len(result.files)} files"
    print(f"{files} changed, +{result.additions} -{result.deletions}", file=out or sys.stdout)


def _ignored(result: Any) -> None:
    if result.ignored:
        print(
            f"{result.ignored} new files that git ignores are left out (--include-ignored shows them)", file=sys.stderr
        )


def _diff(request: Any, result: Any) -> None:
    """The patch has gone to stdout, ready for git apply; nothing else may."""
    _ignored(result)
    if request.stat:
        _changes(result)
        return
    for change in result.files:
        if change.omitted:
            print(f"warning: {shown(change.path)} is not in the patch: {change.omitted}", file=sys.stderr)
    if result.redacted:
        print("warning: values of secrets were blanked out; the patch is not what the workspace holds", file=sys.stderr)
    if request.handle is None and not result.files:
        print("no changes", file=sys.stderr)
    if result.handle is not None:
        more = f"--handle {result.handle} --offset {result.next_offset}"
        print(f"more: {more} (of {result.patch_bytes} bytes)", file=sys.stderr)


def _applied(result: Any) -> None:
    _changes(result)
    _ignored(result)
    if result.applied:
        print(f"applied to {shown(result.target)}", file=sys.stderr)
    elif result.files:
        print(f"nothing was changed in {shown(result.target)}; repeat with --yes to apply", file=sys.stderr)


def _exported(result: Any) -> None:
    print(f"{result.files} files, {_size(result.bytes)} -> {shown(result.destination)}")
    for path in result.skipped:
        print(f"warning: {shown(path)} stays behind: neither file, folder nor symlink", file=sys.stderr)
    for path in result.escaping_links:
        print(f"warning: the symlink {shown(path)} leads out of what was exported", file=sys.stderr)


def _synced(result: Any) -> None:
    print(f"{result.written} written, {result.deleted} deleted, from {shown(result.source)}")


def _deleted(result: Any) -> None:
    for each in result.deleted:
        print(f"deleted {each}")


def _snapshot(result: Any) -> None:
    print(f"snapshot {result.name}")


def _snapshots(result: Any) -> None:
    table(("name", "created (utc)"), [(each.name, each.created_at[:19].replace("T", " ")) for each in result.snapshots])


def _files(result: Any) -> None:
    for entry in result.entries:
        target = f" -> {shown(entry.target)}" if entry.target else ""
        print(f"{entry.mode:>6} {entry.size:>12}  {shown(entry.path)}{'/' if entry.kind == 'folder' else ''}{target}")
    if result.cursor is not None:
        print(f"more: --cursor {shlex.quote(result.cursor)}", file=sys.stderr)


def _read(result: Any) -> None:
    if not result.complete:
        by_line = f"--first-line {result.last_line + 1}"
        by_byte = f"--offset {result.offset + result.sent_bytes}"
        print(f"more: {by_line if result.last_line else by_byte} (of {result.size} bytes)", file=sys.stderr)


def _written(result: Any) -> None:
    print(f"{'created' if result.created else 'replaced'} {shown(result.path)}, {result.bytes} bytes")


def _searched(result: Any) -> None:
    for match in result.matches:
        mark = ":" if match.is_match else "-"
        print(f"{shown(match.path)}{mark}{match.line}{mark}{shown(match.text)}")
    if result.truncated:
        print("more matches were left out", file=sys.stderr)


def _patched(result: Any) -> None:
    for each in result.files:
        path = f"{each.old_path} -> {each.path}" if each.old_path else each.path
        print(f"{each.status:8}  {shown(path)}")
    print(f"{'would apply' if result.checked_only else 'applied'} ({result.strategy})", file=sys.stderr)


def _bases(result: Any) -> None:
    rows = [
        (each.base.id[:16], _size(each.bytes), str(each.base.origin.files), each.used_at[:19].replace("T", " "),
         _origin(each.base.origin))
        for each in result.bases
    ]  # fmt: skip
    table(("id", "size", "files", "used (utc)", "origin"), rows)


def _pruned(result: Any) -> None:
    word = "would remove" if result.dry_run else "removed"
    print(f"{word} {len(result.pruned.bases)} bases, {len(result.pruned.layers)} layers, {_size(result.pruned.bytes)}")
    if result.guests.things:
        print(f"{word} {result.guests.things} templates and files of guests, {_size(result.guests.bytes)}")


def _doctor(result: Any) -> None:
    for finding in result.findings:
        word = "ok" if finding.ok else "FAIL" if finding.required else "note"
        print(f"{word:5} {finding.check:26} {shown(finding.detail)}")
        if not finding.ok and finding.fix:
            print(f"      {'':26} fix: {finding.fix}")
    for runtime in result.runtimes:
        if not runtime.available:  # its finding says why
            continue
        print(f"\n{runtime.name}: isolation {runtime.isolation}, storage {runtime.storage}, {runtime.version}")
        for gap in runtime.known_gaps:
            print(f"  known gap: {gap}")
    print("\n" + "  ".join(f"{key} {value}" for key, value in result.versions.items()))


def _repaired(result: Any) -> None:
    found = result.found
    if not found.total:
        print("nothing to repair")
        return
    for name in ("rebuilt", "workspaces", "instances", "folders", "layers", "expired", "trash", "groups"):
        count = getattr(found, name)
        if count:
            print(f"{name:12} {count}")


FORMATS: dict[str, Callable[[Any], None]] = {
    "base_list": _bases,
    "base_prune": _pruned,
    "doctor": _doctor,
    "env_build": environments.print_built,
    "env_import": environments.print_built,
    "env_inspect": environments.print_inspected,
    "env_list": environments.print_listed,
    "env_prune": environments.print_pruned,
    "file_list": _files,
    "file_read": _read,
    "file_search": _searched,
    "file_write": _written,
    "file_move": lambda result: print(f"moved to {shown(result.path)}"),
    "file_delete": lambda result: print(f"deleted {result.files} files, {result.folders} folders"),
    "patch_apply": _patched,
    "prepare": environments.print_prepared,
    "repair": _repaired,
    "service_list": services.print_listed,
    "service_logs": services.print_logged,
    "service_start": services.print_service,
    "service_status": services.print_service,
    "service_stop": services.print_service,
    "shell_close": shell.print_closed,
    "shell_list": shell.print_list,
    "shell_read": shell.print_read,
    "shell_resize": shell.print_closed,
    "shell_signal": shell.print_closed,
    "shell_write": lambda result: print(f"typed {result.bytes} bytes\nnext: --cursor {result.cursor}"),
    "secret_delete": secrets.print_deleted,
    "secret_list": secrets.print_list,
    "secret_set": secrets.print_set,
    "snapshot_create": _snapshot,
    "snapshot_delete": _snapshot,
    "snapshot_list": _snapshots,
    "workspace_apply": _applied,
    "workspace_create": _created,
    "workspace_delete": _deleted,
    "workspace_export": _exported,
    "workspace_kill": _killed,
    "workspace_list": _listed,
    "workspace_logs": _logs,
    "workspace_run": _command_end,
    "workspace_status": _status,
    "workspace_summary": _summary,
    "workspace_sync_push": _synced,
    "workspace_wait": _waited,
}
WITH_REQUEST: dict[str, Callable[[Any, Any], None]] = {
    "diff": _diff,
    "shell_open": shell.print_opened,
    "workspace_exec": _background,
}
