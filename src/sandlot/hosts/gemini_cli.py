"""Gemini CLI (observed with 0.61.0)."""

from __future__ import annotations

from typing import ClassVar

from sandlot.hosts.around import Around
from sandlot.hosts.formats.base import JsonObject, KeyPath
from sandlot.hosts.formats.jsonc import Jsonc
from sandlot.hosts.host import CALL_MS, Host, HostFinding, Place, Probe, State
from sandlot.hosts.launch import SERVER, Allow, Invocation, Launch

__all__ = ["GeminiCli"]


class GeminiCli(Host):
    """Its own command writes the file anew: the file is edited."""

    key: ClassVar[str] = "gemini-cli"
    title: ClassVar[str] = "Gemini CLI"
    binary: ClassVar[str | None] = "gemini"
    allows: ClassVar[frozenset[Allow]] = frozenset({Allow.NONE, Allow.ALL})
    afterwards: ClassVar[str] = "start a new session of Gemini CLI"
    patience_s: ClassVar[float] = 5.0

    def places(self, around: Around) -> tuple[Place, ...]:
        home = around.folder("GEMINI_CLI_HOME") if around.environ.get("GEMINI_CLI_HOME") else around.home
        return (
            Place("user", home / ".gemini" / "settings.json", Jsonc(), ("mcpServers",)),
            Place("project", around.project / ".gemini" / "settings.json", Jsonc(), ("mcpServers",)),
        )

    def shape(self, command: str, arguments: list[str], _launch: Launch, allow: Allow, _place: Place) -> JsonObject:
        entry: JsonObject = {"command": command, "args": [*arguments], "timeout": CALL_MS}
        # "trust" is Gemini's word for: every tool of this server runs without asking.
        return {**entry, "trust": True} if allow is not Allow.NONE else entry

    def loosening(self, entry: JsonObject) -> tuple[KeyPath, ...]:
        return (("trust",),) if entry.get("trust") is True else ()

    def environment(self, around: Around, invocation: Invocation) -> dict[str, str]:
        kept = {name: value for name, value in around.environ.items() if name != "GEMINI_API_KEY"}
        return {**kept, "GEMINI_CLI": "1", **dict(invocation.env)}

    def approval(self, around: Around, _place: Place, _entry: JsonObject) -> HostFinding | None:
        from sandlot.hosts.files import read

        home = around.folder("GEMINI_CLI_HOME") if around.environ.get("GEMINI_CLI_HOME") else around.home
        trusted = read(home / ".gemini" / "trustedFolders.json", Jsonc()).value
        for folder in (around.project, *around.project.parents):
            if trusted.get(str(folder)) == "DO_NOT_TRUST":
                return self.finding(
                    "approval.state",
                    State.FAILED,
                    f"Gemini CLI shows no servers in {folder}, a folder it was told not to trust",
                    "/permissions in gemini changes that",
                )
        return None

    def probe(self, _around: Around) -> Probe | None:
        return Probe(("gemini", "mcp", "list"), rf"{SERVER}: .*Connected", needs={"GEMINI_CLI_TRUST_WORKSPACE": "true"})
