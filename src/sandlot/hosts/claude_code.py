"""Claude Code (observed with 2.1.329)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import ClassVar

from sandlot.hosts.around import Around
from sandlot.hosts.formats.base import JsonObject, JsonValue, get
from sandlot.hosts.formats.jsonc import Jsonc
from sandlot.hosts.host import CALL_MS, Host, HostFinding, Place, Probe, Setting, State, read_only_tools
from sandlot.hosts.launch import SERVER, Allow, Launch, Scope

__all__ = ["ClaudeCode"]

_ALL = f"mcp__{SERVER}"


class ClaudeCode(Host):
    """Its user file is also its state, which it rewrites at any moment: there we let its own command write."""

    key: ClassVar[str] = "claude-code"
    title: ClassVar[str] = "Claude Code"
    binary: ClassVar[str | None] = "claude"
    allows: ClassVar[frozenset[Allow]] = frozenset(Allow)
    afterwards: ClassVar[str] = "start a new session of Claude Code"

    def places(self, around: Around) -> tuple[Place, ...]:
        named = around.environ.get("CLAUDE_CONFIG_DIR")
        state = (around.folder("CLAUDE_CONFIG_DIR") if named else around.home) / ".claude.json"
        return (
            Place("user", state, Jsonc(), ("mcpServers",)),
            Place("project", around.project / ".mcp.json", Jsonc(), ("mcpServers",)),
            Place("local", state, Jsonc(), ("projects", str(around.repository), "mcpServers")),
        )

    def shape(self, command: str, arguments: list[str], _launch: Launch, _allow: Allow, _place: Place) -> JsonObject:
        # alwaysLoad: without it the tools are behind a search, and the model does not know of them.
        return {"type": "stdio", "command": command, "args": [*arguments], "timeout": CALL_MS, "alwaysLoad": True}

    def own_commands(
        self, around: Around, place: Place, old: JsonObject | None, new: JsonObject | None
    ) -> tuple[tuple[str, ...], ...]:
        if place.scope == "project" or around.program("claude") is None:
            return ()
        commands: list[tuple[str, ...]] = []
        if old is not None:
            commands.append(("claude", "mcp", "remove", "--scope", place.scope, SERVER))
        if new is not None:  # `mcp add` cannot say timeout and alwaysLoad
            commands.append(("claude", "mcp", "add-json", "--scope", place.scope, SERVER, json.dumps(new)))
        return tuple(commands)

    def _settings(self, around: Around) -> Setting:
        path = around.folder("CLAUDE_CONFIG_DIR", ".claude") / "settings.json"
        return Setting(path, Jsonc(), ("permissions", "allow"), None)

    def rule_files(self, around: Around) -> tuple[Path, ...]:
        return (self._settings(around).path,)

    def rules(self, around: Around, launch: Launch, allow: Allow) -> tuple[Setting, ...]:
        from sandlot.hosts.files import read

        where = self._settings(around)
        present = get(read(where.path, where.form).value, where.keys)
        others: list[JsonValue] = [each for each in present if not _is_ours(each)] if isinstance(present, list) else []
        wanted = [_ALL] if allow is Allow.ALL else []
        if allow is Allow.READ_ONLY:
            wanted = [f"{_ALL}__{name}" for name in read_only_tools(launch)]
        value: JsonValue = [*others, *wanted]
        if value == (present if present is not None else []):
            return ()
        return (Setting(where.path, where.form, where.keys, value or None),)

    def allowed(self, _entry: JsonObject, around: Around) -> Allow:
        from sandlot.hosts.files import read

        where = self._settings(around)
        present = get(read(where.path, where.form).value, where.keys)
        ours = [each for each in present if _is_ours(each)] if isinstance(present, list) else []
        if not ours:
            return Allow.NONE
        return Allow.ALL if {_ALL, f"{_ALL}__*"} & {str(each) for each in ours} else Allow.READ_ONLY

    def approval(self, around: Around, place: Place, _entry: JsonObject) -> HostFinding | None:
        if place.scope != "project":
            return None
        from sandlot.hosts.files import read

        state = self.place(around, Scope.USER)
        said = get(read(state.path, state.form).value, ("projects", str(around.repository)))
        lists = [said] if isinstance(said, dict) else []
        settings = self._settings(around)
        lists += [read(settings.path, settings.form).value]
        if any(SERVER in (each.get("disabledMcpjsonServers") or ()) for each in lists):  # type: ignore[operator]
            return self.finding(
                "approval.state",
                State.FAILED,
                "you have refused this project's servers",
                "claude mcp reset-project-choices",
            )
        return None

    def probe(self, _around: Around) -> Probe | None:
        return Probe(("claude", "mcp", "get", SERVER), "[✔✓] Connected", pending="Pending approval", projects=True)


def _is_ours(rule: JsonValue) -> bool:
    return isinstance(rule, str) and (rule == _ALL or rule.startswith(f"{_ALL}__"))
