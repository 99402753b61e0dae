"""Cline: its command line (observed with 3.0.65), else its extension of VS Code (from its source; not run)."""

from __future__ import annotations

from typing import ClassVar

from sandlot.hosts.around import Around
from sandlot.hosts.formats.base import JsonObject, JsonValue, get
from sandlot.hosts.formats.jsonc import Jsonc
from sandlot.hosts.host import Host, Place, flat_entry
from sandlot.hosts.launch import Allow, Invocation, Launch, Scope

__all__ = ["Cline"]

_FILE = "cline_mcp_settings.json"


class Cline(Host):
    """Two programs, two files, two shapes; the extension's is written where only the extension is."""

    key: ClassVar[str] = "cline"
    title: ClassVar[str] = "Cline"
    binary: ClassVar[str | None] = "cline"
    desktop: ClassVar[bool] = True
    scopes: ClassVar[tuple[Scope, ...]] = (Scope.USER,)
    refusal: ClassVar[str] = "allow tools in Cline's own settings: auto-approve"
    afterwards: ClassVar[str] = "start a new task in Cline"

    def places(self, around: Around) -> tuple[Place, ...]:
        line = Place("user", around.home / ".cline" / "data" / "settings" / _FILE, Jsonc(), ("mcpServers",))
        folder = around.application("Code") / "User" / "globalStorage" / "saoudrizwan.claude-dev"
        extension = Place("extension", folder / "settings" / _FILE, Jsonc(), ("mcpServers",))
        if folder.is_dir() and not (around.home / ".cline").is_dir() and around.program("cline") is None:
            return (Place("user", extension.path, extension.form, extension.keys), line)
        return (line, extension)

    def shape(self, command: str, arguments: list[str], _launch: Launch, _allow: Allow, place: Place) -> JsonObject:
        if ".cline" in place.path.parts:
            return {"transport": {"type": "stdio", "command": command, "args": [*arguments]}}
        return {"command": command, "args": [*arguments], "env": {}}

    def read(self, entry: JsonValue) -> Invocation | None:
        return flat_entry(get(entry, ("transport",))) or flat_entry(entry)
