"""Gemini CLI (observed with 0.61.0)."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from sandlot.hosts.around import Around
from sandlot.hosts.formats.base import JsonObject, KeyPath, get
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

    def _home(self, around: Around) -> Path:
        named = around.environ.get("GEMINI_CLI_HOME")
        return (around.folder("GEMINI_CLI_HOME") if named else around.home) / ".gemini"

    def places(self, around: Around) -> tuple[Place, ...]:
        return (
            Place("user", self._home(around) / "settings.json", Jsonc(), ("mcpServers",)),
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

        home = self._home(around)
        settings = read(home / "settings.json", Jsonc()).value
        if get(settings, ("security", "folderTrust", "enabled")) is False:
            return self.finding("approval.state", State.OK, "every folder is trusted")
        trusted = read(home / "trustedFolders.json", Jsonc()).value
        project = around.project.resolve()
        for folder in (project, *project.parents):
            said = trusted.get(str(folder))
            if said == "DO_NOT_TRUST" and folder == project:
                hint = "/permissions in gemini changes that"
                detail = f"Gemini CLI was told not to trust {folder}, and starts no servers there"
                return self.finding("approval.state", State.FAILED, detail, hint)
            if said in ("TRUST_FOLDER", "TRUST_PARENT"):
                return self.finding("approval.state", State.OK, f"{folder} is trusted")
        return self.finding(
            "approval.state",
            State.WARNING,
            f"Gemini CLI starts no servers in a folder that it was not told to trust, as {project}",
            "start gemini there once and trust the folder",
        )

    def probe(self, _around: Around) -> Probe | None:
        return Probe(
            ("gemini", "mcp", "list"), rf"{SERVER}: .*- Connected", needs={"GEMINI_CLI_TRUST_WORKSPACE": "true"}
        )
