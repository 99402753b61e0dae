"""Preparing a workspace when there is no room or no permission: an error of the run, and nothing half made is used."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from sandlot.errors import SandlotError
from sandlot.evals.cases import HookName, WorkspaceMode, WorkspacePlan
from sandlot.evals.prepare import Preparation
from sandlot.sdk import Sandlot
from tests.evals.places import CASE, commit, hook, hooks, nth, repo, repository


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MiB."""
    folder = tmp_path / "small"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "none", folder], check=False).returncode:
        pytest.skip("nothing can be mounted here")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


@pytest.mark.parametrize("mode", list(WorkspaceMode))
def test_a_full_disk_while_a_workspace_is_put_together_is_an_error_and_the_next_run_makes_it(
    sandlot: Sandlot, tmp_path: Path, small: Path, monkeypatch: pytest.MonkeyPatch, mode: WorkspaceMode
) -> None:
    (tmp_path / "template").mkdir()
    (tmp_path / "template/data").write_bytes(os.urandom(3 << 20))
    repository(tmp_path / "source")
    (tmp_path / "source/big").write_text(os.urandom(2 << 20).hex())
    commit(tmp_path / "source", "more.py", "x = 1\n")
    path = str(small / "own") if mode is WorkspaceMode.STATIC else None
    plan = WorkspacePlan(mode, path, str(tmp_path / "template"), (repo(tmp_path / "source"),))
    monkeypatch.setattr(tempfile, "tempdir", str(small))
    with pytest.raises(SandlotError) as caught:
        Preparation(sandlot, plan, "full").__enter__()
    assert "No space left" in f"{caught.value.message} {caught.value.details}"
    assert sandlot.list() == []
    assert os.listdir(small) == []  # nothing that the next one could take for a workspace, or a copy of it
    monkeypatch.setattr(tempfile, "tempdir", None)
    if path is not None:
        plan = WorkspacePlan(mode, str(tmp_path / "elsewhere"), plan.template, plan.repos)
    with Preparation(sandlot, plan, "next") as preparation, preparation.trial(CASE, nth()) as place:
        assert not preparation.reused
        assert place.workspace.exec("wc -c < data; wc -c < repo/big").stdout.text.split() == ["3145728", "4194304"]


@pytest.mark.parametrize("what", ["repos", "hooks"])
def test_a_folder_for_temporary_files_that_cannot_be_written_is_an_error_in_a_sentence(
    sandlot: Sandlot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    repository(tmp_path / "source")
    repos = (repo(tmp_path / "source"),) if what == "repos" else ()
    made = hooks(hook(HookName.BEFORE_ALL, "true", tmp_path)) if what == "hooks" else {}
    monkeypatch.setattr(tempfile, "tempdir", "/proc/self/task")  # not even root makes files there
    with pytest.raises(SandlotError) as caught:
        Preparation(sandlot, WorkspacePlan(WorkspaceMode.POOLED, repos=repos, hooks=made), "run").__enter__()
    assert "No such file or directory" in caught.value.message or "ermission" in caught.value.message
    assert sandlot.list() == []
