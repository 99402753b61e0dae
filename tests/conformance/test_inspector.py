"""The Inspector's command line lists and calls the tools of every mode over stdio, in both eras."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from sandlot.mcpserver.tools import tools_of
from sandlot.modes import StartupMode, surface
from sandlot.sdk import Sandlot
from tests.conformance.clients import INSPECTOR, INSTALLED, NODE, WHY_NOT
from tests.conftest import clean_environment

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not INSTALLED, reason=WHY_NOT)]
TOOL_NOT_FOUND = 5


def _inspect(state_dir: Path, mode: str, era: str, *words: str, status: int = 0) -> dict[str, Any]:
    server = [sys.executable, "-m", "sandlot", "mcp", "serve", "--mode", mode, "--no-project-source"]
    own = ["-e", f"SANDLOT_STATE_DIR={state_dir}"]  # it passes nothing on by itself
    command = [str(NODE), str(INSPECTOR), "--cli", *server, *own, "--protocol-era", era, "--format", "json", *words]
    done = subprocess.run(
        command,
        env=clean_environment(state_dir),
        cwd=state_dir,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == status, done.stdout[-1000:] + done.stderr[-1000:]
    found: dict[str, dict[str, Any]] = json.loads(done.stdout) if done.stdout.strip() else {}
    return found.get("result", {})


@pytest.mark.parametrize("era", ["legacy", "modern", "auto"])
@pytest.mark.parametrize("mode", StartupMode)
def test_every_mode_is_listed_strictly_and_called(sandlot: Sandlot, state_dir: Path, mode: str, era: str) -> None:
    tools = _inspect(state_dir, mode, era, "--method", "tools/list", "--strict")["tools"]
    assert [each["name"] for each in tools] == [each.name for each in tools_of(surface(mode))]
    assert _inspect(state_dir, mode, era, "--method", "prompts/list")["prompts"][0]["name"] == mode
    sandlot.create(name="w")
    call = ("--method", "tools/call", "--tool-name")
    listed = _inspect(state_dir, mode, era, *call, "workspace_list")
    assert listed["structuredContent"]["workspaces"][0]["name"] == "w"
    arguments = json.dumps({"workspace": "w", "command": "echo from inside"})
    ran = _inspect(state_dir, mode, era, *call, "workspace_exec", "--tool-args-json", arguments)
    assert ran["content"][0]["text"].endswith("from inside")
    _inspect(state_dir, mode, era, *call, "no_such_tool", status=TOOL_NOT_FOUND)
