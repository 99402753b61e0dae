"""Claude Desktop (from its documentation; not run)."""

from __future__ import annotations

from typing import ClassVar

from sandlot.hosts.around import Around
from sandlot.hosts.formats.base import JsonObject
from sandlot.hosts.formats.jsonc import Jsonc
from sandlot.hosts.host import Host, Place
from sandlot.hosts.launch import Allow, Invocation, Launch, Scope

__all__ = ["ClaudeDesktop"]

PATH = "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"
"""What an application that was not started from a terminal has."""


class ClaudeDesktop(Host):
    """Has no project: an entry without ``--project-path`` makes workspaces from what the user names."""

    key: ClassVar[str] = "claude-desktop"
    title: ClassVar[str] = "Claude Desktop"
    desktop: ClassVar[bool] = True
    scopes: ClassVar[tuple[Scope, ...]] = (Scope.USER,)
    refusal: ClassVar[str] = "Claude Desktop asks at the first use of a tool, and can remember the answer"
    afterwards: ClassVar[str] = "quit Claude Desktop entirely and open it again"

    def places(self, around: Around) -> tuple[Place, ...]:
        path = around.application("Claude") / "claude_desktop_config.json"
        return (Place("user", path, Jsonc(), ("mcpServers",)),)

    def shape(self, command: str, arguments: list[str], _launch: Launch, _allow: Allow, _place: Place) -> JsonObject:
        return {"command": command, "args": [*arguments]}

    def environment(self, around: Around, invocation: Invocation) -> dict[str, str]:
        return {**around.environ, "PATH": PATH, **dict(invocation.env)}
