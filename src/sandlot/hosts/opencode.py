"""OpenCode (observed with 1.18.33)."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from sandlot.hosts.around import Around
from sandlot.hosts.formats.base import JsonObject, JsonValue, get
from sandlot.hosts.formats.jsonc import Jsonc
from sandlot.hosts.host import CALL_MS, Host, Place, Probe, pairs, strings
from sandlot.hosts.launch import SERVER, Allow, Invocation, Launch

__all__ = ["OpenCode"]

_NAMES = ("opencode.jsonc", "opencode.json", "config.json")


class OpenCode(Host):
    """Its own command writes the user's file only, and reformats it: the file is edited."""

    key: ClassVar[str] = "opencode"
    title: ClassVar[str] = "OpenCode"
    binary: ClassVar[str | None] = "opencode"
    refusal: ClassVar[str] = "OpenCode runs tools of servers without asking, unless its own permissions say otherwise"
    afterwards: ClassVar[str] = "start OpenCode again"

    def places(self, around: Around) -> tuple[Place, ...]:
        project, inner = around.project, around.project / ".opencode"
        user = [around.config / "opencode" / name for name in _NAMES]
        below = [folder / name for folder in (project, inner) for name in _NAMES[:2]]
        return (*_ordered("user", user), *_ordered("project", [below[1], below[0], *below[2:]]))

    def shape(self, command: str, arguments: list[str], _launch: Launch, _allow: Allow, _place: Place) -> JsonObject:
        return {"type": "local", "command": [command, *arguments], "enabled": True, "timeout": CALL_MS}

    def read(self, entry: JsonValue) -> Invocation | None:
        words = strings(get(entry, ("command",)))
        return Invocation(words[0], words[1:], pairs(get(entry, ("environment",)))) if words else None

    def probe(self, _around: Around) -> Probe | None:
        return Probe(("opencode", "mcp", "list"), rf"{SERVER} +connected")


def _ordered(scope: str, paths: list[Path]) -> tuple[Place, ...]:
    """Those that are there first: the first is where we write."""
    there = sorted(paths, key=lambda path: not path.exists())
    return tuple(Place(scope, path, Jsonc(), ("mcp",)) for path in there)
