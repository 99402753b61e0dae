"""The official SDK's client, in every protocol version it offers, lists and calls the tools of every surface."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest
from mcp import Client, StdioServerParameters
from mcp_types.version import HANDSHAKE_PROTOCOL_VERSIONS, MODERN_PROTOCOL_VERSIONS

from sandlot.mcpserver.tools import tools_of
from sandlot.modes import StartupMode, surface
from sandlot.sdk import Sandlot
from tests.conftest import clean_environment
from tests.mcpserver.conftest import text_of

VERSIONS = [*HANDSHAKE_PROTOCOL_VERSIONS, *MODERN_PROTOCOL_VERSIONS, "auto"]
SURFACES = [*StartupMode, None]
PAIRS = [
    *((StartupMode.REPRO_FIX, version) for version in VERSIONS),
    *((mode, version) for number, mode in enumerate(SURFACES[1:]) for version in (VERSIONS[number], "auto")),
]
"""Every version with one surface, and every surface in both eras: the rest would only take time."""


def test_the_client_offers_the_versions_we_know_of() -> None:
    assert VERSIONS == ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25", "2026-07-28", "auto"]


@pytest.mark.parametrize(("mode", "version"), PAIRS)
def test_every_surface_is_listed_and_called(
    sandlot: Sandlot, state_dir: Path, project: Path, monkeypatch: pytest.MonkeyPatch, mode: str | None, version: str
) -> None:
    if version in HANDSHAKE_PROTOCOL_VERSIONS:
        monkeypatch.setattr("mcp.client.session.LATEST_HANDSHAKE_VERSION", version)
    era = "legacy" if version in HANDSHAKE_PROTOCOL_VERSIONS else version
    options = ["--mode", mode] if mode else []
    if mode is StartupMode.COLD_START:
        options.append("--no-project-source")
    else:
        options += ["--project-path", str(project)]
    parameters = StdioServerParameters(
        command=sys.executable, args=["-m", "sandlot", "mcp", "serve", *options], env=clean_environment(state_dir)
    )

    async def conversation() -> None:
        async with Client(parameters, mode=era) as client:
            spoken = client.protocol_version
            assert spoken == ("2026-07-28" if version == "auto" else version)
            listed = (await client.list_tools()).tools
            assert [each.name for each in listed] == [each.name for each in tools_of(surface(mode))]
            assert [each.name for each in (await client.list_prompts()).prompts] == [surface(mode).prompt.name]
            prompt = await client.get_prompt(surface(mode).prompt.name)
            assert prompt.messages[0].content.text == surface(mode).prompt.text  # type: ignore[union-attr]
            if version != "2026-07-28":  # a client that pins it asks for nothing but what it needs
                assert client.instructions == surface(mode).instructions
            guide = (await client.read_resource("sandlot://guide")).contents[0]
            assert guide.text == surface(mode).instructions  # type: ignore[union-attr]
            if mode is StartupMode.COLD_START:  # makes workspaces of commits alone, and there is no repository here
                result = await client.call_tool("workspace_create", {"name": "w"})
                assert "there is no project" in text_of(result)
                sandlot.create(name="w")
            else:
                await client.call_tool("workspace_create", {"name": "w"})
            result = await client.call_tool("workspace_exec", {"workspace": "w", "command": "echo hello; exit 3"})
            assert text_of(result).startswith("command 1: exit 3")
            result = await client.call_tool("workspace_status", {"workspace": "w"})
            assert result.structured_content["name"] == "w"
            result = await client.call_tool("workspace_status", {"workspace": "gone"})
            assert result.is_error
            for name in ("file_list", "workspace_logs", "workspace_summary", "workspace_delete"):
                assert not (await client.call_tool(name, {"workspace": "w"})).is_error

    asyncio.run(conversation())
    assert sandlot.list() == []
