"""Codex (observed with 0.169.0)."""

from __future__ import annotations

from typing import ClassVar

from sandlot.hosts.around import Around
from sandlot.hosts.formats.base import JsonObject, JsonValue, KeyPath, get
from sandlot.hosts.formats.toml import Toml
from sandlot.hosts.host import Host, HostFinding, Place, Probe, State, flat_entry, read_only_tools, strings
from sandlot.hosts.launch import SERVER, Allow, Invocation, Launch, Scope

__all__ = ["Codex"]

INHERITED = ("HOME", "LANG", "PATH", "SHELL", "TERM", "USER")
"""All that a server of Codex sees of the environment, unless its entry says more."""
PASSED = ("SANDLOT_STATE_DIR", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_RUNTIME_DIR", "XDG_STATE_HOME")
"""What sandlot needs to find the same workspaces and settings as on the command line, where it is set."""


class Codex(Host):
    """Its own command cannot say timeouts, and rewrites the whole table: the file is edited."""

    key: ClassVar[str] = "codex"
    title: ClassVar[str] = "Codex"
    binary: ClassVar[str | None] = "codex"
    allows: ClassVar[frozenset[Allow]] = frozenset(Allow)
    afterwards: ClassVar[str] = "start a new session of Codex"

    def places(self, around: Around) -> tuple[Place, ...]:
        home = around.folder("CODEX_HOME", ".codex")
        return (
            Place("user", home / "config.toml", Toml(), ("mcp_servers",)),
            Place("project", around.project / ".codex" / "config.toml", Toml(), ("mcp_servers",)),
        )

    def shape(self, command: str, arguments: list[str], launch: Launch, allow: Allow, _place: Place) -> JsonObject:
        entry: JsonObject = {
            "command": command,
            "args": [*arguments],
            "env_vars": [*PASSED],
            "startup_timeout_sec": 20,
            "tool_timeout_sec": 900,
        }
        if allow is Allow.ALL:
            entry["default_tools_approval_mode"] = "approve"
        elif allow is Allow.READ_ONLY:
            entry["tools"] = {name: {"approval_mode": "approve"} for name in read_only_tools(launch)}
        return entry

    def read(self, entry: JsonValue) -> Invocation | None:
        found = flat_entry(entry)
        if found is None:
            return None
        passed = strings(get(entry, ("env_vars",))) or ()
        return Invocation(found.command, found.arguments, found.env, passed)

    def loosening(self, entry: JsonObject) -> tuple[KeyPath, ...]:
        found: list[KeyPath] = []
        if entry.get("default_tools_approval_mode") == "approve":
            found.append(("default_tools_approval_mode",))
        tools = entry.get("tools")
        if isinstance(tools, dict):
            found += [("tools", name) for name, each in tools.items() if get(each, ("approval_mode",)) == "approve"]
        return tuple(found)

    def allowed(self, entry: JsonObject, _around: Around) -> Allow:
        if entry.get("default_tools_approval_mode") == "approve":
            return Allow.ALL
        return Allow.READ_ONLY if self.loosening(entry) else Allow.NONE

    def environment(self, around: Around, invocation: Invocation) -> dict[str, str]:
        names = (*INHERITED, *invocation.passed)
        return {**{name: around.environ[name] for name in names if name in around.environ}, **dict(invocation.env)}

    def approval(self, around: Around, place: Place, _entry: JsonObject) -> HostFinding | None:
        if place.scope != "project":
            return None
        from sandlot.hosts.files import read

        user = self.place(around, Scope.USER)
        value = read(user.path, user.form).value
        folders = {str(around.project), str(around.project.resolve()), str(around.repository)}
        if any(get(value, ("projects", folder, "trust_level")) == "trusted" for folder in folders):
            return self.finding("approval.state", State.OK, "the project is trusted")
        return self.finding(
            "approval.state",
            State.FAILED,
            f"Codex reads {around.shown(place.path)} only in a project it trusts",
            "start codex in the project once and trust it",
        )

    def probe(self, _around: Around) -> Probe | None:
        return Probe(("codex", "mcp", "get", SERVER, "--json"), '"enabled": *true', connects=False)
