"""Zed (from its documentation; not run)."""

from __future__ import annotations

from typing import ClassVar

from sandlot.hosts.around import Around
from sandlot.hosts.formats.base import JsonObject
from sandlot.hosts.formats.jsonc import Jsonc
from sandlot.hosts.host import Host, Place
from sandlot.hosts.launch import Allow, Launch

__all__ = ["Zed"]


class Zed(Host):
    """Entries stand in its settings, among everything else."""

    key: ClassVar[str] = "zed"
    title: ClassVar[str] = "Zed"
    binary: ClassVar[str | None] = "zed"
    desktop: ClassVar[bool] = True
    refusal: ClassVar[str] = "allow tools in Zed's own settings: agent, tool_permissions"
    afterwards: ClassVar[str] = "Zed starts it by itself; the agent panel's settings show it"

    def places(self, around: Around) -> tuple[Place, ...]:
        return (
            Place("user", around.config / "zed" / "settings.json", Jsonc(), ("context_servers",)),
            Place("project", around.project / ".zed" / "settings.json", Jsonc(), ("context_servers",)),
        )

    def shape(self, command: str, arguments: list[str], _launch: Launch, _allow: Allow, _place: Place) -> JsonObject:
        return {"source": "custom", "command": command, "args": [*arguments], "env": {}}
