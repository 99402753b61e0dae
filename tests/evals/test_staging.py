"""The folders in which trees are put together."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

from sandlot.evals.cases import WorkspaceMode, WorkspacePlan
from sandlot.evals.scratch import staged, sweep
from sandlot.evals.staging import assemble


def test_folders_of_dead_processes_are_swept_and_all_others_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    for name in ("sandlot-eval-tree-dead", "sandlot-eval-theirs", "other"):
        (tmp_path / name / "inside").mkdir(parents=True)
    (tmp_path / "sandlot-eval-tree-link").symlink_to(tmp_path / "other")
    with staged() as mine:
        sweep()
        assert sorted(os.listdir(tmp_path)) == sorted(
            [mine.name, "sandlot-eval-theirs", "other", "sandlot-eval-tree-link"]
        )
        assert os.listdir(tmp_path / "other") == ["inside"]
        assert mine.stat().st_mode & 0o777 == 0o700
    assert not mine.exists()


def test_a_template_is_copied_as_it_stands(tmp_path: Path) -> None:
    template, made = tmp_path / "template", tmp_path / "made"
    (template / "deep/.git").mkdir(parents=True)
    (template / ".git").mkdir()
    (template / ".sandlot/runs/one").mkdir(parents=True)
    (template / ".sandlot/targets.yaml").touch()
    (template / "deep/.sandlot/runs").mkdir(parents=True)
    (template / "run").write_text("#!/bin/sh\n")
    (template / "run").chmod(0o751)
    os.utime(template / "run", ns=(1, 1_234_567_891_234_567_891))
    (template / "out").symlink_to("/etc/passwd")
    os.mkfifo(template / "pipe")
    made.mkdir()
    assemble(WorkspacePlan(WorkspaceMode.TEMP, template=str(template)), (), made)
    assert sorted(os.listdir(made)) == [".sandlot", "deep", "out", "run"]
    assert os.listdir(made / ".sandlot") == ["targets.yaml"]
    assert (made / "deep/.sandlot/runs").is_dir()
    assert (made / "deep/.git").is_dir()
    assert os.readlink(made / "out") == "/etc/passwd"
    info = (made / "run").stat()
    assert (info.st_mode & 0o777, info.st_mtime_ns) == (0o751, 1_234_567_891_234_567_891)
