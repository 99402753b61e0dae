"""The demonstrations: each does what it shows, and leaves nothing behind."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest

from sandlot import Sandlot, demo
from tests.conftest import Cli, clean_environment

FIXED = {"till/split.py": "def split(c, p): return [c]\n"}
ROOT = Path(__file__).parent.parent


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where demonstrations in this process put their projects: empty before and, hopefully, afterwards."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@pytest.mark.parametrize("project", [demo.PYTHON, demo.SHELL], ids=["python", "shell"])
def test_every_step_goes_as_it_must(sandlot: Sandlot, project: demo.Project, temporary: Path) -> None:
    steps = list(demo.run(sandlot, project=project))
    assert [step.what for step in steps if not step.ok] == []
    assert len(steps) == 13
    assert sandlot.list() == []
    assert list(temporary.iterdir()) == []


@pytest.mark.parametrize(
    ("wrong", "last"),
    [
        (replace(demo.PYTHON, patch=demo.PYTHON.patch.replace("share + 1", "share + 2")), "the test passes"),
        (replace(demo.PYTHON, files={**demo.PYTHON.files, **FIXED}), "its own test fails"),
        (replace(demo.PYTHON, pattern="nowhere to be found"), "look for the cause"),
    ],
    ids=["wrong fix", "no bug", "no cause"],
)  # fmt: skip
def test_a_step_that_goes_wrong_is_the_last_one(
    sandlot: Sandlot, wrong: demo.Project, last: str, temporary: Path
) -> None:
    steps = list(demo.run(sandlot, project=wrong))
    assert ([step.ok for step in steps[:-1]], steps[-1].ok) == ([True] * (len(steps) - 1), False)
    assert steps[-1].what == last
    assert sandlot.list() == []
    assert list(temporary.iterdir()) == []


def test_a_change_of_the_project_on_the_host_is_noticed(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("1")
    before = demo.fingerprint(tmp_path)
    assert demo.fingerprint(tmp_path) == before
    (tmp_path / "a").chmod(0o600)
    assert demo.fingerprint(tmp_path) != before


def test_ending_early_cleans_up(sandlot: Sandlot, temporary: Path) -> None:
    steps = demo.run(sandlot)
    for _ in range(3):
        next(steps)
    assert len(sandlot.list()) == 1
    steps.close()
    assert sandlot.list() == []
    assert list(temporary.iterdir()) == []


def test_the_command_shows_commands_and_what_they_print(cli: Cli, sandlot: Sandlot) -> None:
    done = cli("demo")
    text = done.stdout.decode()
    assert (done.returncode, done.stderr) == (0, b"")
    assert "$ sandlot workspace create " in text
    assert "[exit 1]" in text
    assert "[exit 0]" in text
    assert "diff --git a/" in text
    assert sandlot.list() == []


def test_the_command_answers_in_json(cli: Cli) -> None:
    done = cli("demo", "--json")
    answer = json.loads(done.stdout)
    assert (done.returncode, answer["ok"], len(answer["steps"])) == (0, True, 13)


def test_keeping_keeps_the_workspace_and_the_project(cli: Cli, sandlot: Sandlot) -> None:
    done = cli("demo", "--keep")
    assert done.returncode == 0
    (info,) = sandlot.list()
    project = Path(info.origin.location)
    try:
        assert (project / "README.md").exists()
        assert sandlot.get(info.id).exec(["ls"]).ok
    finally:
        shutil.rmtree(project.parent)


def test_a_demo_that_fails_has_a_status(
    monkeypatch: pytest.MonkeyPatch, state_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from sandlot.cli import demo as face

    monkeypatch.setenv("SANDLOT_STATE_DIR", str(state_dir))
    monkeypatch.setattr(demo, "choose", lambda: replace(demo.PYTHON, pattern="nowhere to be found"))
    assert face.command([], False) == 1
    assert "error: this step did not go as it must" in capsys.readouterr().err


def test_the_example_runs(state_dir: Path, sandlot: Sandlot) -> None:
    example = ROOT / "examples" / "first_workspace.py"
    done = subprocess.run(
        [sys.executable, str(example)], env=clean_environment(state_dir), capture_output=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.decode().splitlines()[-2:] == ["hello, everybody", 'echo "hello, $1"']
    assert sandlot.list() == []
