"""Cursor (from its documentation; not run)."""

from __future__ import annotations

from typing import ClassVar

from sandlot.hosts.around import Around
from sandlot.hosts.formats.base import JsonObject
from sandlot.hosts.formats.jsonc import Jsonc
from sandlot.hosts.host import Host, Place
from sandlot.hosts.launch import Allow, Launch

__all__ = ["Cursor"]


class Cursor(Host):
    """The editor; its command line agent reads the same files."""

    key: ClassVar[str] = "cursor"
    title: ClassVar[str] = "Cursor"
    binary: ClassVar[str | None] = "cursor"
    desktop: ClassVar[bool] = True
    refusal: ClassVar[str] = "allow tools in Cursor's own settings: Agents, Auto-Run"
    afterwards: ClassVar[str] = "switch the server on in Cursor's settings: Tools & MCP"
    project_path: ClassVar[str] = "${workspaceFolder}"

    def places(self, around: Around) -> tuple[Place, ...]:
        return (
            Place("user", around.home / ".cursor" / "mcp.json", Jsonc(), ("mcpServers",)),
            Place("project", around.project / ".cursor" / "mcp.json", Jsonc(), ("mcpServers",)),
        )

    def shape(self, command: str, arguments: list[str], _launch: Launch, _allow: Allow, _place: Place) -> JsonObject:
        return {"type": "stdio", "command": command, "args": [*arguments]}
