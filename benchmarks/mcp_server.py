"""What the MCP server costs: until a host has its tools, while it waits, and for a call.

``python -m benchmarks.mcp_server``, side by side with a server of the SDK without any tools. Printed, never asserted.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sandlot.bases.trees import remove_tree
from sandlot.modes import surfaces

BARE_SDK = """
import anyio
from mcp.server.lowlevel import Server
from mcp.server.stdio import stdio_server
from mcp_types import ListToolsResult
async def nothing(context, params): return ListToolsResult(tools=[])
async def main():
    server = Server("bare", on_list_tools=nothing)
    async with stdio_server() as (source, target):
        await server.run(source, target, server.create_initialization_options())
anyio.run(main)
"""
ENVELOPE = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientCapabilities": {},
    "io.modelcontextprotocol/clientInfo": {"name": "bench", "version": "1"},
}
HANDSHAKE = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "bench", "version": "1"}}
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Start:
    """One start, as a host sees it."""

    wall_ms: float
    cpu_ms: float
    peak_mib: float


class Server:
    """A server process."""

    def __init__(self, command: Sequence[str], environment: dict[str, str]) -> None:
        self.begun = time.perf_counter()
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment
        )

    def ask(self, method: str, params: dict[str, Any] | None = None) -> dict[str, Any]:
        """A request and its answer; the only one on its way."""
        message = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params or {}}
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(message).encode() + b"\n")
        self.process.stdin.flush()
        answer: dict[str, Any] = json.loads(self.process.stdout.readline())
        return answer

    def cost(self) -> Start:
        """So far."""
        wall = time.perf_counter() - self.begun
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(") ")[2].split()
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        peak = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))
        cpu = (int(fields[11]) + int(fields[12])) / TICKS
        return Start(wall * 1000, cpu * 1000, peak / 1024)


@contextlib.contextmanager
def _server(command: Sequence[str], state: Path) -> Iterator[Server]:
    server = Server(command, {**os.environ, "SANDLOT_STATE_DIR": str(state)})
    try:
        yield server
    finally:
        assert server.process.stdin is not None
        assert server.process.stdout is not None
        server.process.stdin.close()
        server.process.wait()
        server.process.stdout.close()


def _until_listed(command: Sequence[str], state: Path, *, modern: bool) -> Start:
    with _server(command, state) as server:
        if modern:
            server.ask("server/discover", {"_meta": ENVELOPE})
            server.ask("tools/list", {"_meta": ENVELOPE})
        else:
            server.ask("initialize", HANDSHAKE)
            server.ask("tools/list")
        return server.cost()


def _row(name: str, starts: Sequence[Start]) -> str:
    wall, cpu = (statistics.median(getattr(each, field) for each in starts) for field in ("wall_ms", "cpu_ms"))
    return f"{name:34} {wall:8.0f} ms {cpu:8.0f} ms {max(each.peak_mib for each in starts):8.1f} MiB"


def _calls(command: Sequence[str], state: Path, rounds: int) -> Iterator[str]:
    """The first call, which loads the SDK, and later ones."""
    with _server(command, state) as server:
        server.ask("initialize", HANDSHAKE)

        def call(tool: str, **arguments: Any) -> float:
            begun = time.perf_counter()
            answer = server.ask("tools/call", {"name": tool, "arguments": arguments})
            assert not answer["result"].get("isError"), answer
            return (time.perf_counter() - begun) * 1000

        yield f"{'first call (workspace_list)':34} {call('workspace_list'):8.0f} ms"
        yield f"{'first workspace_create':34} {call('workspace_create', name='w'):8.0f} ms"
        for name, tool, arguments in (
            ("workspace_exec true", "workspace_exec", {"command": "true"}),
            ("file_read", "file_read", {"path": "file"}),
            ("workspace_status", "workspace_status", {}),
        ):
            if tool == "file_read":
                call("file_write", workspace="w", path="file", content="text\n")
            times = [call(tool, workspace="w", **arguments) for _ in range(rounds)]
            yield f"{name:34} {statistics.median(times):8.1f} ms"
        yield f"{'peak after the calls':34} {server.cost().peak_mib:29.1f} MiB"
        call("workspace_delete", workspace="w")


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args(argv).rounds
    state = Path(tempfile.mkdtemp(prefix="sl-bench-"))
    serve = [sys.executable, "-m", "sandlot", "mcp", "serve", "--no-project-source"]
    try:
        print(f"{'until a host has the tools':34} {'wall':>11} {'cpu':>11} {'peak':>12}   (median of {rounds})")
        for each in surfaces():
            option = ["--profile" if each.name.startswith("workspace-") else "--mode", str(each.name)]
            for era, modern in (("handshake", False), ("2026-07-28", True)):
                starts = [_until_listed([*serve, *option], state, modern=modern) for _ in range(rounds)]
                print(_row(f"{each.name}, {era}", starts), flush=True)
        starts = [_until_listed([sys.executable, "-c", BARE_SDK], state, modern=False) for _ in range(rounds)]
        print(_row("the SDK alone, without a tool", starts))
        print("\ncalls")
        for line in _calls([*serve, "--mode", "repro-fix"], state, rounds):
            print(line, flush=True)
    finally:
        remove_tree(state)
    return 0


if __name__ == "__main__":
    sys.exit(main())
