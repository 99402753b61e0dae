"""VS Code with GitHub Copilot (from its documentation; not run)."""

from __future__ import annotations

from typing import ClassVar

from sandlot.hosts.around import Around
from sandlot.hosts.formats.base import JsonObject
from sandlot.hosts.formats.jsonc import Jsonc
from sandlot.hosts.host import Host, Place
from sandlot.hosts.launch import Allow, Launch

__all__ = ["VsCode"]


class VsCode(Host):
    """Its key is ``servers``, in a file of its own."""

    key: ClassVar[str] = "vscode"
    title: ClassVar[str] = "VS Code"
    binary: ClassVar[str | None] = "code"
    desktop: ClassVar[bool] = True
    refusal: ClassVar[str] = "VS Code asks at the first use of a tool, and can remember the answer"
    afterwards: ClassVar[str] = "start the server in VS Code: command palette, MCP: List Servers"
    project_path: ClassVar[str] = "${workspaceFolder}"

    def places(self, around: Around) -> tuple[Place, ...]:
        return (
            Place("user", around.application("Code") / "User" / "mcp.json", Jsonc(), ("servers",)),
            Place("project", around.project / ".vscode" / "mcp.json", Jsonc(), ("servers",)),
        )

    def shape(self, command: str, arguments: list[str], _launch: Launch, _allow: Allow, _place: Place) -> JsonObject:
        return {"type": "stdio", "command": command, "args": [*arguments]}
