"""Windsurf (from its documentation; not run)."""

from __future__ import annotations

from typing import ClassVar

from sandlot.hosts.around import Around
from sandlot.hosts.formats.base import JsonObject
from sandlot.hosts.formats.jsonc import Jsonc
from sandlot.hosts.host import Host, Place
from sandlot.hosts.launch import Allow, Launch, Scope

__all__ = ["Windsurf"]


class Windsurf(Host):
    """Has a user's file only."""

    key: ClassVar[str] = "windsurf"
    title: ClassVar[str] = "Windsurf"
    binary: ClassVar[str | None] = "windsurf"
    desktop: ClassVar[bool] = True
    scopes: ClassVar[tuple[Scope, ...]] = (Scope.USER,)
    refusal: ClassVar[str] = "allow tools in Windsurf's own settings"
    afterwards: ClassVar[str] = "press refresh in Windsurf's list of MCP servers"

    def places(self, around: Around) -> tuple[Place, ...]:
        path = around.home / ".codeium" / "windsurf" / "mcp_config.json"
        return (Place("user", path, Jsonc(), ("mcpServers",)),)

    def shape(self, command: str, arguments: list[str], _launch: Launch, _allow: Allow, _place: Place) -> JsonObject:
        return {"command": command, "args": [*arguments], "env": {}}
