"""A server process: its pipes, its end, its neighbours."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from sandlot.sdk import Sandlot
from tests.conftest import LEFT, CompletedProcess, clean_environment
from tests.mcpserver.rawclient import raw_client
from tests.mcpserver.waiting import wait_until


def _line(message: dict[str, Any]) -> bytes:
    return json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n"


CLIENT = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "x", "version": "1"}}
HANDSHAKE = _line({"id": 1, "method": "initialize", "params": CLIENT})
CALL = _line({"id": 2, "method": "tools/call", "params": {"name": "workspace_list"}})
PING = _line({"id": 3, "method": "ping"})
ENDS: dict[str, Callable[[Any], None]] = {
    "end of input": lambda process: process.stdin.close(),
    "SIGTERM": lambda process: os.kill(process.pid, signal.SIGTERM),
    "SIGINT": lambda process: os.kill(process.pid, signal.SIGINT),
    "SIGHUP": lambda process: os.kill(process.pid, signal.SIGHUP),
}


@pytest.mark.parametrize("how", ENDS)
def test_it_ends_in_time_with_its_commands_and_leaves_workspaces(
    sandlot: Sandlot, state_dir: Path, project: Path, how: str
) -> None:
    workspace = sandlot.create(name="w")
    with raw_client(state_dir, "--mode", "repro-fix", "--project-path", str(project)) as client:
        client.handshake()
        arguments = {"workspace": "w", "command": "touch started; sleep 4321"}
        client.start("tools/call", {"name": "workspace_exec", "arguments": arguments})
        wait_until(lambda: "started" in workspace.exec(["ls"]).stdout.text)
        ENDS[how](client.process)
        assert client.process.wait(10) == 0
        assert b"Traceback" not in b"".join(client.errors)
    assert workspace.status().workspace.state == "running"
    wait_until(lambda: not workspace.status().running)
    assert workspace.exec(["sh", "-c", LEFT]).stdout.text == ""


@pytest.mark.parametrize("how", ENDS)
def test_before_the_first_call_it_ends_at_once(state_dir: Path, how: str) -> None:
    with raw_client(state_dir, "--mode", "repro-fix") as client:
        client.handshake()
        client.alive()
        ENDS[how](client.process)
        assert client.process.wait(10) == 0
        assert client.errors == []


def test_all_that_was_asked_before_the_input_ended_is_answered(state_dir: Path, project: Path) -> None:
    refused = _line({"id": 2, "method": "tools/call", "params": {"name": "file_write", "arguments": {}}})
    done = subprocess.run(
        [sys.executable, "-m", "sandlot", "mcp", "serve", "--mode", "inspect"],
        input=HANDSHAKE + refused.rstrip(), env=clean_environment(state_dir), capture_output=True, cwd=project,
        timeout=60, check=True,
    )  # fmt: skip
    assert [json.loads(line)["id"] for line in done.stdout.splitlines()] == [1, 2]


@pytest.mark.parametrize("after", ["the handshake", "a call"])
def test_a_client_that_no_longer_reads_is_gone(state_dir: Path, after: str) -> None:
    source, target = os.pipe()
    command = [sys.executable, "-m", "sandlot", "mcp", "serve", "--mode", "inspect"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=target, env=clean_environment(state_dir), cwd=state_dir
    ) as process:
        os.close(target)
        assert process.stdin is not None
        with open(source, "rb") as answers:
            process.stdin.write(HANDSHAKE + (CALL if after == "a call" else b""))
            process.stdin.flush()
            assert answers.readline()
            if after == "a call":
                assert b"no workspaces" in answers.readline()
        process.stdin.write(PING)
        process.stdin.flush()
        assert process.wait(20) == 0


def test_servers_side_by_side_see_the_same_workspaces(state_dir: Path, sandlot: Sandlot, project: Path) -> None:
    options = ("--project-path", str(project))
    with (
        raw_client(state_dir, "--mode", "repro-fix", *options) as first,
        raw_client(state_dir, "--mode", "review-eval", *options) as second,
    ):
        first.handshake()
        second.handshake("2024-11-05")
        first.text("workspace_create", name="shared", labels={"issue": "7"})
        first.text("file_write", workspace="shared", path="note", content="from the first\n")
        assert "name shared; running; labels issue=7" in second.text("workspace_list")
        assert "from the first" in second.text("file_read", workspace="shared", path="note")
        assert "\n1. [exit 0]" not in second.text("workspace_logs", workspace="shared")
        second.text("workspace_exec", workspace="shared", command="rm note")
        assert "path_not_found" in first.refusal("file_read", workspace="shared", path="note")
    with raw_client(state_dir, "--mode", "inspect", *options) as third:
        third.handshake()
        third.text("workspace_delete", workspace="shared")
    assert sandlot.list() == []


def test_only_json_reaches_the_client_whoever_prints() -> None:
    code = (
        "import os, subprocess, sys; from sandlot.mcpserver.output import Output, claim\n"
        "source, target = claim()\n"
        "print('from print', flush=True); os.system('echo from a child')\n"
        "assert sys.stdin.read() == ''\n"
        "Output(target).write(os.read(source, 99))"
    )
    done = subprocess.run([sys.executable, "-c", code], input=b"{}\n", capture_output=True, check=True, timeout=60)
    assert done.stdout == b"{}\n"
    assert done.stderr == b"from print\nfrom a child\n"


def test_an_ordinary_user_is_served_before_the_first_call(
    ordinary_user: Callable[[Sequence[str]], CompletedProcess],
) -> None:
    done = ordinary_user(["-m", "sandlot", "mcp", "serve", "--mode", "inspect"])
    assert (done.returncode, done.stdout) == (0, b"")
