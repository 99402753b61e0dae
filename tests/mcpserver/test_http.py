"""Streamable HTTP: for this user alone, and the same server behind it."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from sandlot.sdk import Sandlot
from tests.conftest import LEFT, clean_environment
from tests.mcpserver.conftest import text_of
from tests.mcpserver.rawclient import envelope
from tests.mcpserver.waiting import wait_until

COMMAND = [sys.executable, "-m", "sandlot", "mcp", "serve", "--mode", "repro-fix", "--http", "--port", "0"]


@contextmanager
def served(state_dir: Path, *options: str) -> Iterator[tuple[subprocess.Popen[str], str, str]]:
    """A server on a free port: process, URL, token (empty when it is in a file)."""
    with subprocess.Popen(
        [*COMMAND, *options], stderr=subprocess.PIPE, text=True, env=clean_environment(state_dir), cwd=state_dir
    ) as process:
        assert process.stderr is not None
        try:
            url = process.stderr.readline().split()[-1]
            assert url.startswith("http://127.0.0.1:")
            token = "" if "--token-file" in options else process.stderr.readline().split()[-1]
            yield process, url, token
        finally:
            process.send_signal(signal.SIGTERM)
            assert process.wait(20) == 0
            assert process.stderr.read() == ""


async def _status(url: str, headers: dict[str, str]) -> int:
    async with httpx2.AsyncClient(timeout=30) as client:
        body = {"jsonrpc": "2.0", "id": 1, "method": "server/discover", "params": {"_meta": envelope()}}
        common = {"Accept": "application/json, text/event-stream", "MCP-Protocol-Version": "2026-07-28",
                  "Mcp-Method": "server/discover"}  # fmt: skip
        return (await client.post(url, headers={**common, **headers}, json=body)).status_code


def test_only_who_has_the_token_and_comes_from_here_is_served(state_dir: Path) -> None:
    with served(state_dir) as (_process, url, token):
        right = {"Authorization": f"Bearer {token}"}
        port = url.split(":")[2].split("/")[0]
        assert len(token) >= 40
        for headers, status in (
            (right, 200),
            ({**right, "Origin": f"http://127.0.0.1:{port}"}, 200),
            ({**right, "Host": f"localhost:{port}"}, 200),
            ({}, 401),
            ({"Authorization": "Bearer"}, 401),
            ({"Authorization": f"Bearer {token}x"}, 401),
            ({"Authorization": f"Basic {token}"}, 401),
            ({**right, "Host": "evil.example"}, 403),
            ({**right, "Host": f"evil.example:{port}"}, 403),
            ({**right, "Host": "127.0.0.1:1"}, 403),
            ({**right, "Origin": "http://evil.example"}, 403),
            ({**right, "Origin": f"http://127.0.0.1:{port}.evil.example"}, 403),
            ({**right, "Origin": f"https://127.0.0.1:{port}"}, 403),
            ({**right, "Origin": "null"}, 403),
            ({"Origin": "http://evil.example"}, 403),
        ):
            assert asyncio.run(_status(url, headers)) == status, headers


def test_it_listens_on_this_machine_alone(state_dir: Path) -> None:
    with served(state_dir) as (_process, url, _token):
        port = int(url.split(":")[2].split("/")[0])
        listening = [
            line.split()[1] for name in ("tcp", "tcp6") if Path(f"/proc/net/{name}").exists()
            for line in Path(f"/proc/net/{name}").read_text().splitlines()[1:] if line.split()[3] == "0A"
        ]  # fmt: skip
        assert [each for each in listening if each.endswith(f":{port:04X}")] == [f"0100007F:{port:04X}"]


@pytest.mark.parametrize("era", ["legacy", "2026-07-28"])
def test_tools_are_called_in_both_eras(sandlot: Sandlot, state_dir: Path, project: Path, era: str) -> None:
    token_file = state_dir / "token"
    token_file.write_text("a-token-of-our-own-choice\n")
    token_file.chmod(0o600)

    async def conversation(url: str) -> None:
        headers = {"Authorization": "Bearer a-token-of-our-own-choice"}
        http = httpx2.AsyncClient(headers=headers, timeout=60)
        async with http, Client(streamable_http_client(url, http_client=http), mode=era) as client:
            assert len((await client.list_tools()).tools) == 17
            await client.call_tool("workspace_create", {"name": "w"})
            calls = [client.call_tool("workspace_exec", {"workspace": "w", "command": "id -u"}) for _ in range(3)]
            for result in await asyncio.gather(*calls):
                assert text_of(result).endswith("\n1000")

    with served(state_dir, "--token-file", str(token_file), "--project-path", str(project)) as (_process, url, _token):
        asyncio.run(conversation(url))
    assert [each.state for each in sandlot.list()] == ["running"]


def test_a_request_that_is_dropped_ends_its_command(sandlot: Sandlot, state_dir: Path, project: Path) -> None:
    workspace = sandlot.create(name="w")

    async def dropped(url: str, token: str) -> None:
        arguments = {"workspace": "w", "command": "touch started; sleep 4321"}
        body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call",
                "params": {"name": "workspace_exec", "arguments": arguments, "_meta": envelope()}}  # fmt: skip
        headers = {"Authorization": f"Bearer {token}", "Accept": "application/json, text/event-stream",
                   "MCP-Protocol-Version": "2026-07-28", "Mcp-Method": "tools/call", "Mcp-Name": "workspace_exec",
                   }  # fmt: skip
        async with httpx2.AsyncClient(timeout=60) as client:
            request = asyncio.create_task(client.post(url, headers=headers, json=body))
            await asyncio.to_thread(wait_until, lambda: "started" in workspace.exec(["ls"]).stdout.text)
            request.cancel()
            await asyncio.wait([request])

    with served(state_dir, "--project-path", str(project)) as (_process, url, token):
        asyncio.run(dropped(url, token))
        wait_until(lambda: not workspace.status().running)
        assert workspace.exec(["sh", "-c", LEFT]).stdout.text == ""


def test_a_signal_ends_it_in_time_with_what_it_runs(sandlot: Sandlot, state_dir: Path, project: Path) -> None:
    workspace = sandlot.create(name="w")

    async def interrupted(process: subprocess.Popen[str], url: str, token: str) -> None:
        http = httpx2.AsyncClient(headers={"Authorization": f"Bearer {token}"}, timeout=60)
        async with http, Client(streamable_http_client(url, http_client=http), mode="2026-07-28") as client:
            arguments = {"workspace": "w", "command": "touch started; sleep 4321"}
            call = asyncio.create_task(client.call_tool("workspace_exec", arguments))
            await asyncio.to_thread(wait_until, lambda: "started" in workspace.exec(["ls"]).stdout.text)
            process.send_signal(signal.SIGINT)
            await asyncio.wait([call])
            call.exception()

    with served(state_dir, "--project-path", str(project)) as (process, url, token):
        asyncio.run(interrupted(process, url, token))
        assert process.wait(20) == 0
    wait_until(lambda: not workspace.status().running)
    assert workspace.status().workspace.state == "running"


@pytest.mark.parametrize(("content", "mode"), [
    ("a-token-of-our-own-choice", 0o644), ("short", 0o600), ("with a space in it, long enough", 0o600), ("", 0o600),
])  # fmt: skip
def test_a_token_file_must_be_private_and_hold_a_token(state_dir: Path, content: str, mode: int) -> None:
    path = state_dir / "token"
    path.write_text(content)
    path.chmod(mode)
    done = subprocess.run(
        [*COMMAND, "--token-file", str(path)],
        env=clean_environment(state_dir),
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert b"Traceback" not in done.stderr


def test_a_port_in_use_is_an_error_of_ours(state_dir: Path) -> None:
    with served(state_dir) as (_process, url, _token):
        port = url.split(":")[2].split("/")[0]
        command = [port if word == "0" else word for word in COMMAND]
        done = subprocess.run(command, env=clean_environment(state_dir), capture_output=True, timeout=60, check=False)
        assert done.returncode == 4
        assert b"error: port" in done.stderr
    assert os.path.isdir(state_dir)
