"""Write src/sandlot/mcpserver/answers/ from what the official SDK answers for each surface.

``python scripts/mcp_answers.py`` writes the files, ``--check`` says whether they are up to date (exit status 1: not).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import anyio
import mcp_types as types
from mcp.server.runner import serve_dual_era_loop
from mcp.shared.message import SessionMessage
from mcp_types.version import HANDSHAKE_PROTOCOL_VERSIONS, MODERN_PROTOCOL_VERSIONS

from sandlot import modes
from sandlot.mcpserver.answers import FOLDER, file_name
from sandlot.mcpserver.server import SandlotServer, create_server

LISTS = ("tools/list", "prompts/list", "resources/list", "resources/templates/list")
LEGACY = ("ping", *LISTS)
MODERN = ("server/discover", *LISTS)
REFUSED = ("completion/complete", "logging/setLevel", "subscriptions/listen")
"""Methods that hosts try, although nobody has declared them."""
PARAMS: dict[str, dict[str, Any]] = {
    "completion/complete": {"ref": {"type": "ref/prompt", "name": "x"}, "argument": {"name": "x", "value": "x"}},
    "logging/setLevel": {"level": "info"},
}


def main() -> int:
    """Write or check the files."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing, fail when a file is out of date")
    check = parser.parse_args().check
    stale = 0
    for name, text in prepared().items():
        path = Path(FOLDER) / name
        if path.exists() and path.read_text() == text:
            continue
        stale = 1
        if check:
            print(f"{name} is not what the SDK answers: run scripts/mcp_answers.py", file=sys.stderr)
        else:
            path.write_text(text)
    return stale if check else 0


def prepared() -> dict[str, str]:
    """Every file by its name."""
    found = {}
    with tempfile.TemporaryDirectory() as state:
        for each in modes.surfaces():
            for read_only in (False, True):
                profile = each.name if each.name in (modes.CORE, modes.FULL) else None
                mode = None if profile else each.name
                server = create_server(mode, profile=profile, read_only=read_only, state_dir=state)
                found[file_name(each.name, read_only=read_only)] = asyncio.run(_file(server))
                server.close()
    return found


async def _file(server: SandlotServer) -> str:
    results: list[str] = []

    def number(result: Any) -> int:
        text = json.dumps(result, separators=(",", ":"), ensure_ascii=False)
        if text not in results:
            results.append(text)
        return results.index(text)

    legacy: dict[str, dict[str, int]] = {}
    errors: dict[str, str] = {}
    for version in HANDSHAKE_PROTOCOL_VERSIONS:
        requests = [_handshake(version), *((method, None) for method in LEGACY)]
        requests += [(method, PARAMS.get(method)) for method in REFUSED]
        answers = await ask(server, requests)
        legacy[version] = {method: number(answers[method]["result"]) for method in ("initialize", *LEGACY)}
        for method in REFUSED:
            error = json.dumps(answers[method]["error"], separators=(",", ":"))
            assert errors.setdefault(method, error) == error, (version, method)
    modern: dict[str, dict[str, int]] = {}
    for version in MODERN_PROTOCOL_VERSIONS:
        meta = {
            "io.modelcontextprotocol/protocolVersion": version,
            "io.modelcontextprotocol/clientCapabilities": {},
            "io.modelcontextprotocol/clientInfo": {"name": "x", "version": "1"},
        }
        answers = await ask(server, [(method, {"_meta": meta}) for method in MODERN])
        modern[version] = {method: number(answers[method]["result"]) for method in MODERN}
    return json.dumps({"results": results, "legacy": legacy, "modern": modern, "errors": errors}, indent=1) + "\n"


def _handshake(version: str) -> tuple[str, dict[str, Any]]:
    client = {"name": "x", "version": "1"}
    return "initialize", {"protocolVersion": version, "capabilities": {}, "clientInfo": client}


async def ask(server: SandlotServer, requests: list[tuple[str, dict[str, Any] | None]]) -> dict[str, dict[str, Any]]:
    """Each request's answer of the SDK, as it would go over the wire."""
    to_sdk, from_us = anyio.create_memory_object_stream[SessionMessage | Exception](0)
    to_us, from_sdk = anyio.create_memory_object_stream[SessionMessage](0)
    found: dict[str, dict[str, Any]] = {}
    async with anyio.create_task_group() as group:

        async def serve() -> None:
            options = server.create_initialization_options()
            await serve_dual_era_loop(server, from_us, to_us, lifespan_state=None, init_options=options)

        group.start_soon(serve)
        for number, (method, params) in enumerate(requests):
            message = types.JSONRPCRequest(jsonrpc="2.0", id=number, method=method, params=params)
            await to_sdk.send(SessionMessage(message))
            answer = await from_sdk.receive()
            found[method] = answer.message.model_dump(by_alias=True, mode="json", exclude_unset=True)
        await to_sdk.aclose()
        await from_sdk.aclose()
    return found


if __name__ == "__main__":
    sys.exit(main())
