"""A state folder that several containers share: each sees only its own processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from sandlot.model.workspace import WorkspaceState
from sandlot.sdk import Sandlot
from tests.conftest import clean_environment


@pytest.fixture
def elsewhere(state_dir: Path) -> Any:
    """Runs ``sandlot`` in a pid namespace of its own, as in another container."""
    unshare = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"]
    if os.getuid() != 0:
        unshare += ["--user", "--map-current-user"]
    try:
        subprocess.run([*unshare, "true"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no pid namespaces to be had here: {error}")

    def run(*words: str) -> subprocess.CompletedProcess[bytes]:
        argv = [*unshare, sys.executable, "-m", "sandlot", *words]
        return subprocess.run(
            argv, env=clean_environment(state_dir), capture_output=True, timeout=120, check=False, cwd=state_dir
        )

    return run


def test_what_runs_in_another_container_is_seen_used_and_left_alone(sandlot: Sandlot, elsewhere: Any) -> None:
    workspace = sandlot.create()
    before = workspace.exec("cat /proc/sys/kernel/random/uuid > /tmp/mark; cat /tmp/mark").stdout.text
    (seen,) = json.loads(elsewhere("workspace", "list", "--json").stdout)["workspaces"]
    assert seen["state"] == "running"
    assert elsewhere("repair").returncode == 0
    assert elsewhere("workspace", "exec", workspace.id, "--", "cat", "/tmp/mark").stdout.decode() == before
    assert workspace.status().workspace.state is WorkspaceState.RUNNING
    assert workspace.exec("cat /tmp/mark").stdout.text == before


def test_what_died_with_its_container_is_stopped_and_can_be_started(sandlot: Sandlot, elsewhere: Any) -> None:
    workspace = json.loads(elsewhere("workspace", "create", "--json").stdout)["workspace"]
    elsewhere("workspace", "exec", workspace["id"], "--", "true")  # its namespace, and all in it, ended with that
    (info,) = sandlot.list()
    assert info.state is WorkspaceState.STOPPED
    assert sandlot.get(info.id).exec("echo anew").stdout.text == "anew\n"


def test_a_command_elsewhere_can_end_it_by_asking_its_agent(sandlot: Sandlot, elsewhere: Any) -> None:
    workspace = sandlot.create()
    workspace.exec("true")
    stopped = elsewhere("workspace", "stop", workspace.id)
    assert stopped.returncode == 0, stopped.stderr
    assert workspace.status().workspace.state is WorkspaceState.STOPPED
