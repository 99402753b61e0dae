"""What a start loads: modules are counted, not milliseconds, so that a busy machine changes nothing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from sandlot.sdk import Sandlot
from tests.conftest import clean_environment

HEAVY = {"asyncio", "concurrent.futures", "email", "rich", "argcomplete", "zstandard", "tarfile", "zipfile", "tempfile"}


PROBE = """
import atexit, sys
atexit.register(lambda: print(*sys.modules, file=sys.stderr))
from sandlot.cli.main import main
main()
"""


def loaded(state_dir: Path, *words: str) -> set[str]:
    """The modules that are there when a command has been run; ``-S``: without those that an environment adds."""
    command = [sys.executable, "-S", "-c", PROBE, *words]
    done = subprocess.run(command, env=clean_environment(state_dir), capture_output=True, check=True)
    return set(done.stderr.decode().split())


def test_the_version_loads_next_to_nothing(state_dir: Path) -> None:
    names = loaded(state_dir, "--version")
    assert {name for name in names if name.startswith("sandlot.")} <= {
        "sandlot._version",
        "sandlot.cli",
        "sandlot.cli.main",
    }
    assert not names & {*HEAVY, "argparse", "dataclasses", "inspect", "json", "pathlib", "sqlite3", "subprocess"}


def test_a_command_in_a_running_workspace_loads_only_what_it_needs(sandlot: Sandlot, state_dir: Path) -> None:
    workspace = sandlot.create()
    names = loaded(state_dir, "workspace", "exec", workspace.id, "--", "true")
    assert not names & {*HEAVY, "hashlib", "secrets", "shutil", "subprocess", "tomllib", "difflib", "textwrap"}
    rooms = {name for name in names if name.startswith("sandlot.")}
    assert not {name for name in rooms if name.startswith(("sandlot.bases", "sandlot.guest", "sandlot.sdk"))}
    assert not rooms & {
        "sandlot.cli.completion",
        "sandlot.cli.progress",
        "sandlot.runtimes.bubblewrap.probe",
        "sandlot.runtimes.seccomp",
        "sandlot.workspaces.difference",
        "sandlot.workspaces.storage",
    }
    operations = {name for name in rooms if name.startswith("sandlot.operations.")}
    assert operations == {
        "sandlot.operations.addressed",
        "sandlot.operations.catalog",
        "sandlot.operations.denied",
        "sandlot.operations.exec",
        "sandlot.operations.executed",
        "sandlot.operations.operation",
        "sandlot.operations.secreted",
    }


@pytest.mark.parametrize("words", [["workspace", "list"], ["workspace", "--help"]], ids=" ".join)
def test_nothing_else_loads_what_only_few_need(sandlot: Sandlot, state_dir: Path, words: list[str]) -> None:
    sandlot.create()
    assert not loaded(state_dir, *words) & {"asyncio", "rich", "argcomplete", "zstandard"}


def test_importing_the_sdk_loads_no_faces(state_dir: Path) -> None:
    code = "import sys, sandlot.sdk; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], env=clean_environment(state_dir), capture_output=True, check=True
    )
    names = set(done.stdout.decode().split())
    assert not names & {"asyncio", "rich", "argcomplete", "zstandard", "argparse"}
    assert not {name for name in names if name.startswith(("sandlot.cli", "sandlot.aio"))}
