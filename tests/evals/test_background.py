"""Runs in processes of their own: who may ask, who may stop them, and what they import."""

from __future__ import annotations

import fcntl
import threading
from pathlib import Path

import pytest

from sandlot.evals import real, run_folder
from sandlot.evals.background import LOG, BackgroundRun, done, wait_for_end
from sandlot.evals.options import RunOptions
from sandlot.evals.report import Run
from sandlot.evals.run_folder import RunFolder
from sandlot.evals.session import begin, plan_run
from sandlot.paths import Paths
from tests.evals.projects import marker, outcomes, processes_with, project, wait_for

PATIENCE_S = 120.0


def nothing() -> None:
    """Nobody wants the wait to end."""


def begun(home: Path, target: str = "default") -> RunFolder:
    """A run of the one test ``good``, planned and not started."""
    options = RunOptions(paths=(str(home / "evals"),), targets=(target,), filters=("good",))
    return begin(plan_run(options, real.load, real.targets_near), home / "run", "20261121-000000-abcdef")


def test_who_asks_whether_a_run_is_on_its_way_keeps_nobody_from_running_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_folder, "PROBE_S", PATIENCE_S)
    folder = begun(project(tmp_path / "project"))
    held, trying = threading.Event(), threading.Event()

    def run() -> None:
        trying.set()
        with folder.lock():
            held.set()

    with open(folder.root / "lock", "w") as asker:
        fcntl.flock(asker, fcntl.LOCK_EX)
        thread = threading.Thread(target=run)
        thread.start()
        assert trying.wait(PATIENCE_S)
    assert held.wait(PATIENCE_S)
    thread.join()


def test_it_runs_to_its_end_and_imports_nothing_of_the_project_s(
    state_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = project(tmp_path / "project")
    for name in ("json.py", "sandlot.py", "sitecustomize.py"):
        (home / name).write_text(f"open({str(home / 'touched')!r}, 'w')\n")
    monkeypatch.chdir(home)  # where a chat host starts its server
    run = BackgroundRun.start(begun(home), Paths.at(state_dir))
    assert run.wait_until_it_runs(PATIENCE_S, nothing)
    assert run.wait(PATIENCE_S, nothing)
    assert wait_for_end(run.folder, PATIENCE_S, nothing)
    assert outcomes(run.folder.root) == {"first/good/default/1": "pass"}
    assert done(run.folder) == 1
    assert not (home / "touched").exists()


def test_stopped_it_ends_its_trials_and_can_be_resumed(state_dir: Path, tmp_path: Path) -> None:
    home = project(tmp_path / "project")
    run = BackgroundRun.start(begun(home, "slow"), Paths.at(state_dir))
    wait_for(lambda: processes_with(marker(home)))
    before = run.folder.busy
    run.stop()
    assert (before, run.folder.busy) == (True, False)
    wait_for(lambda: not processes_with(marker(home)))
    assert outcomes(run.folder.root) == {}
    assert Run.read(run.folder).state == "interrupted"


def test_what_kept_it_from_running_is_in_its_log(state_dir: Path, tmp_path: Path) -> None:
    home = project(tmp_path / "project")
    folder = begun(home)
    (home / "evals" / "first.yaml").unlink()
    run = BackgroundRun.start(folder, Paths.at(state_dir))
    assert run.wait(PATIENCE_S, nothing)
    assert Run.read(folder).state == "killed"
    assert "there is no suite in this folder" in (folder.root / LOG).read_text()
