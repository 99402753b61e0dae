"""What the user decides about new workspaces when a server is started, no client undoes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sandlot.cli import mcp
from sandlot.errors import IsolationUnavailable, UsageError
from sandlot.mcpserver.calls import Work
from sandlot.mcpserver.creating import Creating
from sandlot.mcpserver.project import Project
from sandlot.mcpserver.server import create_server
from sandlot.mcpserver.tools import find_tool
from sandlot.model.isolation import IsolationLevel, RuntimeChoice
from sandlot.sdk import Sandlot

EMULATED = IsolationLevel.VM_EMULATED


@pytest.mark.parametrize(
    ("said", "decided"),
    [
        ({}, {"runtime": "qemu", "min_isolation": "vm-emulated"}),
        (
            {"runtime": RuntimeChoice.BUBBLEWRAP, "min_isolation": IsolationLevel.NONE},
            {"runtime": "qemu", "min_isolation": "vm-emulated"},
        ),
        ({"min_isolation": "kernel"}, {"runtime": "qemu", "min_isolation": "vm-emulated"}),
        ({"min_isolation": "vm"}, {"runtime": "qemu", "min_isolation": "vm"}),
    ],
)
def test_a_client_can_demand_more_and_nothing_less(said: dict[str, Any], decided: dict[str, str]) -> None:
    fields = dict(said)
    Creating.of("", "qemu", "vm-emulated").decide("workspace_create", fields)
    assert fields == decided


def test_nothing_is_said_where_nothing_was_decided() -> None:
    fields: dict[str, Any] = {"runtime": None}
    Creating().decide("workspace_create", fields)
    assert fields == {"runtime": None}
    Creating.of("debian:12", "qemu", "vm").decide("workspace_exec", fields)
    assert fields == {"runtime": None}


@pytest.mark.parametrize("runtime", ["bubblewrap", "auto", "qemu"])
def test_a_server_fails_closed(
    sandlot: Sandlot, state_dir: Path, runtime: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SANDLOT_QEMU", "/nonexistent")
    server = create_server(
        "inspect", project_source=False, runtime=runtime, min_isolation="vm-emulated", state_dir=state_dir
    )
    try:
        tool = find_tool(server.tools, server.shown, "workspace_create")
        work = Work(sandlot, str(state_dir), tool, frozenset({"workspace_create"}), 45.0, server._creating)
        with pytest.raises(IsolationUnavailable) as caught:
            work.run({}, Project(server._options, None, "asked"))
        assert ("vm-emulated" if runtime != "qemu" else "qemu-system-x86_64 is not there") in caught.value.message
        assert sandlot.list() == []
    finally:
        server.close()


@pytest.mark.parametrize("words", [["--runtime", "docker"], ["--min-isolation", "adamantium"]])
def test_a_word_that_there_is_not_is_told_before_a_client_waits(words: list[str]) -> None:
    with pytest.raises(UsageError, match=words[1]):
        mcp.command(words)
