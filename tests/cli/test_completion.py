"""Completion, asked the way shells ask: through the environment and a descriptor."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from sandlot.modes import StartupMode
from sandlot.sdk import Sandlot
from tests.cli.conftest import Bare
from tests.conftest import clean_environment


def complete(state_dir: Path, line: str, cwd: Path | None = None) -> list[str]:
    """What the shell would offer at the end of a command line (argcomplete's protocol)."""
    answer = state_dir / "answer"
    environment = {
        **clean_environment(state_dir),
        "_ARGCOMPLETE": "1",
        "_ARGCOMPLETE_IFS": "\n",
        "_ARGCOMPLETE_STDOUT_FILENAME": str(answer),
        "_ARGCOMPLETE_SUPPRESS_SPACE": "1",
        "COMP_LINE": line,
        "COMP_POINT": str(len(line)),
        "COMP_TYPE": "9",
    }
    subprocess.run([sys.executable, "-m", "sandlot"], env=environment, capture_output=True, check=True, cwd=cwd)
    return sorted(word.strip() for word in answer.read_text().split("\n") if word.strip())


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("sandlot work", ["workspace"]),
        ("sandlot workspace sn", ["snapshot"]),
        ("sandlot workspace snapshot ", ["create", "delete", "list"]),
        ("sandlot workspace file mo", ["move"]),
        ("sandlot workspace exec --tim", ["--timeout"]),
        ("sandlot workspace list --state ", ["running", "stopped"]),
        ("sandlot workspace create --min-isolation ke", ["kernel"]),
        ("sandlot completion ", ["bash", "fish", "zsh"]),
        ("sandlot demo --k", ["--keep"]),
    ],
)
def test_commands_options_and_choices(state_dir: Path, line: str, expected: list[str]) -> None:
    assert complete(state_dir, line) == expected


def test_names_and_ids_of_workspaces(sandlot: Sandlot, state_dir: Path) -> None:
    sandlot.create(name="alpha")
    nameless = sandlot.create()
    assert complete(state_dir, "sandlot workspace exec al") == ["alpha"]
    assert complete(state_dir, "sandlot workspace delete ") == sorted(["alpha", nameless.id])
    assert complete(state_dir, "sandlot workspace reset alpha s") == []


def test_snapshots_of_the_workspace_that_was_named(sandlot: Sandlot, state_dir: Path) -> None:
    workspace = sandlot.create(name="alpha")
    workspace.snapshots.create("before")
    assert complete(state_dir, "sandlot workspace reset alpha b") == ["baseline", "before"]
    assert complete(state_dir, "sandlot workspace snapshot delete alpha ") == ["before"]
    assert complete(state_dir, "sandlot workspace diff alpha --to be") == ["before"]


def test_hosts_modes_and_checks(state_dir: Path) -> None:
    assert complete(state_dir, "sandlot host connect z") == ["zed"]
    assert complete(state_dir, "sandlot host connect codex --mode ") == sorted(StartupMode)
    assert complete(state_dir, "sandlot host repair codex start.l") == ["start.legacy"]


def test_runs_of_evals_of_the_project(state_dir: Path, tmp_path: Path) -> None:
    for name in ("20260101-one", "20260102-two", "no-run"):
        (tmp_path / ".sandlot" / "runs" / name).mkdir(parents=True)
    for name in ("20260101-one", "20260102-two"):
        (tmp_path / ".sandlot" / "runs" / name / "run.json").write_text("{}")
    assert complete(state_dir, "sandlot eval report ", tmp_path) == ["20260101-one", "20260102-two", "latest"]
    assert complete(state_dir, "sandlot eval resume l", tmp_path) == ["latest"]
    assert complete(state_dir, "sandlot eval compare latest 20260102", tmp_path) == ["20260102-two"]
    assert complete(state_dir, "sandlot eval merge 20260101-one 2", tmp_path) == ["20260101-one", "20260102-two"]
    assert complete(state_dir, "sandlot eval run evals --baseline 20260101", tmp_path) == ["20260101-one"]
    assert complete(state_dir, "sandlot eval report ./.sandlot/ru", tmp_path) == ["./.sandlot/runs/"]


def test_a_broken_state_folder_completes_to_nothing(state_dir: Path) -> None:
    (state_dir / "state.db").write_bytes(b"not a database")
    assert complete(state_dir, "sandlot workspace exec ") == []


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_shell_takes_the_code(bare: Bare, tmp_path: Path, shell: str) -> None:
    done = bare("completion", shell)
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"_ARGCOMPLETE" in done.stdout
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    (tmp_path / "code").write_bytes(done.stdout)
    checked = subprocess.run([shell, "-n", str(tmp_path / "code")], capture_output=True, check=False)
    assert (checked.returncode, checked.stderr) == (0, b"")


def test_bash_really_completes(bare: Bare, state_dir: Path, sandlot: Sandlot) -> None:
    if shutil.which("bash") is None:
        pytest.skip("bash is not installed")
    sandlot.create(name="alpha")
    program = state_dir / "bin" / "sandlot"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m sandlot "$@"\n')
    program.chmod(0o755)
    script = """
        eval "$(sandlot completion bash)"
        COMP_WORDS=(sandlot workspace exec al); COMP_CWORD=3
        COMP_LINE="sandlot workspace exec al"; COMP_POINT=${#COMP_LINE}; COMP_TYPE=9
        handler=$(complete -p sandlot | sed 's/.*-F \\([^ ]*\\).*/\\1/')
        $handler sandlot al exec
        printf '%s\\n' "${COMPREPLY[@]}"
    """
    environment = clean_environment(state_dir)
    environment["PATH"] = f"{program.parent}{os.pathsep}{environment['PATH']}"
    done = subprocess.run(["bash", "-c", script], env=environment, capture_output=True, check=False)
    assert done.stdout.decode().split() == ["alpha"], done.stderr
