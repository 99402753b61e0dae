"""GitHub Copilot CLI (observed with 1.0.102)."""

from __future__ import annotations

from typing import ClassVar

from sandlot.hosts.around import Around
from sandlot.hosts.formats.base import JsonObject
from sandlot.hosts.formats.jsonc import Jsonc
from sandlot.hosts.host import CALL_MS, Host, Place, Probe
from sandlot.hosts.launch import SERVER, Allow, Launch

__all__ = ["CopilotCli"]


class CopilotCli(Host):
    """Reads ``.mcp.json`` of a project too, which is Claude Code's: ours goes into the file that is its own."""

    key: ClassVar[str] = "copilot-cli"
    title: ClassVar[str] = "GitHub Copilot CLI"
    binary: ClassVar[str | None] = "copilot"
    refusal: ClassVar[str] = f"copilot --allow-tool {SERVER} allows them for one session"
    afterwards: ClassVar[str] = "start a new session of copilot"

    def places(self, around: Around) -> tuple[Place, ...]:
        home = around.folder("COPILOT_HOME", ".copilot")
        return (
            Place("user", home / "mcp-config.json", Jsonc(), ("mcpServers",)),
            Place("project", around.project / ".github" / "mcp.json", Jsonc(), ("mcpServers",)),
            Place("project", around.project / ".mcp.json", Jsonc(), ("mcpServers",)),
        )

    def shape(self, command: str, arguments: list[str], _launch: Launch, _allow: Allow, _place: Place) -> JsonObject:
        return {"type": "local", "command": command, "args": [*arguments], "tools": ["*"], "timeout": CALL_MS}

    def probe(self, _around: Around) -> Probe | None:
        return Probe(("copilot", "mcp", "get", SERVER), SERVER, connects=False)
