"""Goose (from its documentation; not run)."""

from __future__ import annotations

from typing import ClassVar

from sandlot.hosts.around import Around
from sandlot.hosts.formats.base import JsonObject, JsonValue
from sandlot.hosts.formats.yaml import Yaml
from sandlot.hosts.host import Host, Place, flat_entry
from sandlot.hosts.launch import SERVER, Allow, Invocation, Launch, Scope

__all__ = ["Goose"]


class Goose(Host):
    """YAML, with words of its own: ``cmd`` and ``envs``."""

    key: ClassVar[str] = "goose"
    title: ClassVar[str] = "Goose"
    binary: ClassVar[str | None] = "goose"
    desktop: ClassVar[bool] = True
    scopes: ClassVar[tuple[Scope, ...]] = (Scope.USER,)
    refusal: ClassVar[str] = "allow tools with: goose configure, Tool Permission"
    afterwards: ClassVar[str] = "start a new session of Goose"

    def places(self, around: Around) -> tuple[Place, ...]:
        return (Place("user", around.config / "goose" / "config.yaml", Yaml(), ("extensions",)),)

    def shape(self, command: str, arguments: list[str], _launch: Launch, _allow: Allow, _place: Place) -> JsonObject:
        return {
            "name": SERVER,
            "type": "stdio",
            "cmd": command,
            "args": [*arguments],
            "envs": {},
            "enabled": True,
            "timeout": 900,
            "description": "isolated workspaces",
        }

    def read(self, entry: JsonValue) -> Invocation | None:
        return flat_entry(entry, command="cmd", env="envs")
