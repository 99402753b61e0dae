"""Results as answers: workspaces, services, shells, snapshots."""

from __future__ import annotations

import dataclasses
import json
import shlex
from collections.abc import Callable
from typing import Any

from sandlot.mcpserver.answering import CAP, Answer, Asked, guarded
from sandlot.mcpserver.cleaning import one_line, shown_plainly, size_of

__all__ = ["FORMATS", "anything"]

_ROWS = 20


def _origin(origin: Any) -> str:
    words = [origin.kind.value, one_line(origin.location, 300)]
    if origin.commit:
        words.append("at " + origin.commit[:12] + (" with uncommitted changes" if origin.dirty else ""))
    return " ".join(word for word in words if word)


def brief(info: Any) -> dict[str, Any]:
    """A workspace in a list."""
    found: dict[str, Any] = {"id": info.id}
    if info.name:
        found["name"] = info.name
    found["state"] = info.state.value
    if info.labels:
        found["labels"] = {key: one_line(value) for key, value in sorted(info.labels.items())[:_ROWS]}
        if len(info.labels) > _ROWS:
            found["labels_left_out"] = len(info.labels) - _ROWS
    found["origin"] = _origin(info.origin)
    found["active_at"] = info.active_at
    return found


def full(info: Any) -> dict[str, Any]:
    """A workspace by itself."""
    found = brief(info)
    found["isolation"] = f"{info.isolation.value} ({info.runtime})"
    found["network"] = info.network.mode.value
    if info.network.allow:
        found["allowed_hosts"] = list(info.network.allow)
    if info.network.ports:
        found["ports"] = {str(each.port): f"127.0.0.1:{each.host_port}" for each in info.network.ports}
    if info.deadline:
        found["unless_used"] = f"{info.deadline.action} at {info.deadline.at}"
    if info.snapshots:
        found["snapshots"] = list(info.snapshots)
    if info.forked_from:
        found["forked_from"] = info.forked_from
    if info.secrets:
        found["secrets"] = [each.name for each in info.secrets]
    if info.warnings:
        found["warnings"] = [one_line(each, 300) for each in info.warnings]
    return found


def lines_of(found: dict[str, Any]) -> list[str]:
    """The same facts, a line each."""
    return [f"{key}: {_words(value)}" for key, value in found.items()]


def _words(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key}={_words(each)}" for key, each in value.items())
    if isinstance(value, (list, tuple)):
        return "; ".join(_words(each) for each in value)
    return str(value).lower() if isinstance(value, bool) else str(value)


def _listed(_asked: Asked, result: Any) -> Answer:
    rows = [brief(each) for each in result.workspaces]
    shown = list(rows)
    while shown and size_of(json.dumps(shown)) > CAP - 200:
        shown = shown[: len(shown) * 9 // 10]
    left_out = len(rows) - len(shown)
    structured: dict[str, Any] = {"workspaces": shown}
    lines = ["; ".join(_words(value) if key in ("id", "state") else f"{key} {_words(value)}"
                       for key, value in row.items()) for row in shown]  # fmt: skip
    if left_out:
        structured["left_out"] = left_out
        lines.append(f"{left_out} more are left out: give labels or a name")
    return Answer("\n".join(lines) or "no workspaces", structured)


def _status(asked: Asked, result: Any) -> Answer:
    found = full(result.workspace)
    found["commands"] = result.commands
    found["responsive"] = result.responsive
    inside: dict[str, Any] = {}
    if result.running:
        inside["running"] = [
            {"number": each.number, "command": one_line(shlex.join(each.argv), 120), "since": each.started_at}
            for each in result.running[:_ROWS]
        ]
    if result.services:
        inside["services"] = [_service_facts(each) for each in result.services[:_ROWS]]
    if result.denials:
        inside["refused_by_network"] = [f"{one_line(each.place, 120)} at {each.at}" for each in result.denials[-_ROWS:]]
    text = guarded(lines_of(found), asked.workspace, "facts", "\n".join(lines_of(inside)))
    return Answer(text, {**found, **inside, **_marked(result.services)})


def _service_facts(info: Any) -> dict[str, Any]:
    found: dict[str, Any] = {"name": info.name, "number": info.number, "state": info.state.value}
    if info.reason:
        found["reason"] = one_line(info.reason)
    found["command"] = one_line(shlex.join(info.argv), 120)
    if info.restarts:
        found["restarts"] = info.restarts
    return found


def _created(_asked: Asked, result: Any) -> Answer:
    info = result.workspace
    lines = [f"made workspace {info.id}: name this id{' or ' + info.name if info.name else ''} in every call"]
    lines.append(f"made from: {_origin(info.origin)}, {info.origin.files} files, {info.origin.bytes} bytes")
    lines += lines_of({key: value for key, value in full(info).items() if key not in ("id", "name", "origin")})
    return Answer("\n".join(lines))


def _workspace(_asked: Asked, result: Any) -> Answer:
    found = getattr(result, "workspaces", None) or (result.workspace,)
    return Answer("\n\n".join("\n".join(lines_of(full(each))) for each in found))


def _deleted(_asked: Asked, result: Any) -> Answer:
    return Answer("\n".join(f"deleted {each}" for each in result.deleted) or "nothing was deleted")


def _synced(_asked: Asked, result: Any) -> Answer:
    return Answer(f"{result.written} files written, {result.deleted} deleted, from {one_line(result.source, 500)}")


def _service(asked: Asked, result: Any) -> Answer:
    info = result.service
    lines = [f"service {info.name} (command {info.number}): {info.state.value}"]
    if info.restarts:
        lines.append(f"restarts: {info.restarts}")
    if result.ports:
        lines.append("ports: " + ", ".join(f"{each.port} at 127.0.0.1:{each.host_port}" for each in result.ports))
    parts = [f"reason: {one_line(info.reason)}"] if info.reason else []
    parts += [
        f"--- last {name}\n{text}"
        for name, output in (("stdout", result.stdout), ("stderr", result.stderr))
        if (text := shown_plainly(output.text[-3500:]).strip("\n"))
    ]
    return Answer(guarded(lines, asked.workspace, "output", "\n".join(parts)))


def _services(asked: Asked, result: Any) -> Answer:
    rows = [_service_facts(each) for each in result.services[:LISTED]]
    text = guarded([f"{len(rows)} services"], asked.workspace, "services", "\n".join(_words(row) for row in rows))
    return Answer(text if rows else "no services", {"services": rows, **_marked(result.services)})


def _marked(services: Any) -> dict[str, Any]:
    """The mark, for data: some hosts show their model that alone."""
    return {"untrusted": ["services.reason"]} if any(each.reason for each in services) else {}


LISTED = 50


def _service_logs(asked: Asked, result: Any) -> Answer:
    info = result.service
    lines = [f"service {info.name}: {info.state.value}"]
    parts = [f"reason: {one_line(info.reason)}"] if info.reason else []
    for name in ("stdout", "stderr"):
        text, total = getattr(result, name), getattr(result, f"{name}_bytes")
        if total:
            lines.append(f"{name}: the last {size_of(text)} of {total} bytes; tail=N shows fewer lines")
        clean = shown_plainly(text).strip("\n")
        if clean:
            parts.append(f"--- {name}\n{clean}")
    return Answer(
        guarded(lines if parts else [*lines, "it printed nothing"], asked.workspace, "output", "\n".join(parts))
    )


def _shell(_asked: Asked, result: Any) -> Answer:
    return Answer(_shell_line(result.shell))


def _shell_line(info: Any) -> str:
    ended = "" if info.exit_code is None else f", exit {info.exit_code}"
    command = one_line(shlex.join(info.argv), 120)
    return f"shell {info.name}: {info.state.value}{ended}, printed {info.total_bytes} bytes, {command}"


def _shells(_asked: Asked, result: Any) -> Answer:
    return Answer("\n".join(_shell_line(each) for each in result.shells) or "no shells")


def _shell_read(asked: Asked, result: Any) -> Answer:
    lines = [
        f"shell {result.shell.name}: {'running' if result.running else 'ended'}; next_cursor: {result.next_cursor}"
    ]
    if result.dropped:
        lines.append(f"{result.dropped} bytes before that are no longer kept")
    if result.more:
        lines.append(f"read on: {asked.next_call(cursor=result.next_cursor)}")
    text = shown_plainly(result.text).strip("\n")
    return Answer(guarded(lines if text else [*lines, "nothing new"], asked.workspace, "output", text))


def _typed(asked: Asked, result: Any) -> Answer:
    shell = one_line(str(asked.fields.get("shell", "")), 80)
    return Answer(
        f"typed {result.bytes} bytes; what came of it: shell_read shell={shell} cursor={result.cursor} wait=5s"
    )


def _snapshot(_asked: Asked, result: Any) -> Answer:
    return Answer(f"snapshot {result.name} of {result.workspace_id}")


def _snapshots(_asked: Asked, result: Any) -> Answer:
    return Answer("\n".join(f"{each.name}, {each.created_at}" for each in result.snapshots) or "no snapshots")


def anything(asked: Asked, result: Any) -> Answer:
    """What has no words of its own: its data, as coming from inside."""
    text = one_line(json.dumps(_plain(result), ensure_ascii=False), CAP)
    return Answer(guarded([f"{asked.tool.name}: done"], asked.workspace, "facts", text))


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, (tuple, list)):
        return [_plain(each) for each in value]
    if isinstance(value, dict):
        return {str(key): _plain(each) for key, each in value.items()}
    return value


FORMATS: dict[str, Callable[[Asked, Any], Answer]] = {
    "service_list": _services,
    "service_logs": _service_logs,
    "service_start": _service,
    "service_status": _service,
    "service_stop": _service,
    "shell_close": _shell,
    "shell_list": _shells,
    "shell_open": _shell,
    "shell_read": _shell_read,
    "shell_resize": _shell,
    "shell_signal": _shell,
    "shell_write": _typed,
    "snapshot_create": _snapshot,
    "snapshot_delete": _snapshot,
    "snapshot_list": _snapshots,
    "workspace_create": _created,
    "workspace_delete": _deleted,
    "workspace_fork": _workspace,
    "workspace_list": _listed,
    "workspace_reset": _workspace,
    "workspace_start": _workspace,
    "workspace_status": _status,
    "workspace_stop": _workspace,
    "workspace_sync_push": _synced,
    "workspace_update": _workspace,
}
