"""A project folder, servers in this process with the SDK's client, and servers in processes of their own."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest
from mcp import Client
from mcp_types import CallToolResult, TextContent

from sandlot.bases.trees import remove_tree
from sandlot.mcpserver.server import SandlotServer, create_server
from sandlot.sdk import Sandlot

R = TypeVar("R")
Connected = Callable[..., Any]


@pytest.fixture
def project() -> Iterator[Path]:
    """A small project of the user's, outside of sandlot's own state."""
    folder = Path(tempfile.mkdtemp(prefix="sl-project-"))
    (folder / "calc.py").write_text("def add(a, b):\n    return a - b\n")
    (folder / "sub").mkdir()
    (folder / "sub" / "inner.txt").write_text("inner\n")
    yield folder
    remove_tree(folder)


class Talk:
    """One client and one server in this process."""

    def __init__(self, server: SandlotServer, client: Client) -> None:
        self.server = server
        self.client = client

    async def call(self, tool: str, **arguments: Any) -> CallToolResult:
        """The result as it came."""
        return await self.client.call_tool(tool, arguments)

    async def text(self, tool: str, **arguments: Any) -> str:
        """The text of a call that must succeed."""
        result = await self.call(tool, **arguments)
        assert not result.is_error, result.content
        return text_of(result)

    async def refusal(self, tool: str, **arguments: Any) -> str:
        """The text of a call that must fail."""
        result = await self.call(tool, **arguments)
        assert result.is_error, result.content
        return text_of(result)


def text_of(result: CallToolResult) -> str:
    """The one block of a result."""
    (block,) = result.content
    assert isinstance(block, TextContent)
    return block.text


@pytest.fixture
def talk(sandlot: Sandlot, state_dir: Path, project: Path) -> Callable[..., Any]:
    """Run a conversation with a server: ``talk(work, mode="repro-fix")``, ``work`` takes a Talk."""

    def run(
        work: Callable[[Talk], Awaitable[R]],
        mode: str | None = "repro-fix",
        *,
        era: str = "legacy",
        prepare: Callable[[SandlotServer], None] = lambda _server: None,
        **options: Any,
    ) -> R:
        async def conversation() -> R:
            chosen = {"project_path": project, **options}
            server = create_server(mode, state_dir=state_dir, **chosen)
            prepare(server)
            try:
                async with Client(server, mode=era) as client:
                    return await work(Talk(server, client))
            finally:
                server.close()

        return asyncio.run(conversation())

    return run
