"""New files that git ignores stay out of diffs and hand-backs, and an ignore rule hides nothing else."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from sandlot.sdk import Sandlot


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    root = tmp_path / "repository"
    (root / "sub").mkdir(parents=True)
    (root / ".gitignore").write_text("*.pyc\nbuild/\nkept.log\n")
    (root / "sub" / ".gitignore").write_text("*.tmp\n!keep.tmp\n")
    (root / "a.py").write_text("a\n")
    (root / "kept.log").write_text("tracked although ignored\n")
    for words in (
        ["init", "-q"],
        ["add", "-A", "-f"],
        ["-c", "user.email=a@example.org", "-c", "user.name=a", "commit", "-qm", "one"],
    ):
        subprocess.run(["git", *words], cwd=root, check=True)
    return root


CHANGES = """
    mkdir -p build/deep sub/build; echo x > build/deep/x; echo x > sub/build/x; echo x > a.pyc; echo x > ':(top)a.pyc'
    echo x > sub/a.tmp; echo x > sub/keep.tmp; echo x > b.tmp; echo x >> kept.log; echo x >> a.py
"""


def test_new_ignored_files_are_left_out_and_counted(sandlot: Sandlot, repository: Path) -> None:
    workspace = sandlot.create(repository)
    workspace.exec(CHANGES)

    result = workspace.diff()

    assert [change.path for change in result.files] == ["a.py", "b.tmp", "kept.log", "sub/keep.tmp"]
    assert result.ignored == 5
    assert "5 new files that git ignores" in workspace.summary().text
    assert len(workspace.diff(include_ignored=True).files) == 9


def test_the_same_files_are_ignored_as_by_git_status_inside(sandlot: Sandlot, repository: Path) -> None:
    workspace = sandlot.create(repository)
    workspace.exec(CHANGES)

    inside = workspace.exec("git status --porcelain -z --untracked-files=all").stdout.text

    shown = sorted(line[3:] for line in inside.split("\0") if line)
    assert [change.path for change in workspace.diff(stat=True).files] == shown


def test_they_do_not_reach_the_host(sandlot: Sandlot, repository: Path) -> None:
    workspace = sandlot.create(repository)
    workspace.exec(CHANGES)

    done = workspace.apply(yes=True)

    assert done.ignored == 5
    assert not (repository / "build").exists()
    assert (repository / "b.tmp").exists()


def test_a_rule_written_inside_hides_no_change_to_what_was_there(sandlot: Sandlot, repository: Path) -> None:
    workspace = sandlot.create(repository)
    workspace.exec("echo '*' > .gitignore; echo evil >> a.py; rm kept.log")

    assert [change.path for change in workspace.diff(stat=True).files] == [".gitignore", "a.py", "kept.log"]


def test_without_git_nothing_is_ignored(sandlot: Sandlot, tmp_path: Path) -> None:
    (tmp_path / "plain").mkdir()
    (tmp_path / "plain" / ".gitignore").write_text("*.pyc\n")
    workspace = sandlot.create(tmp_path / "plain")
    workspace.exec("echo x > a.pyc")

    assert [change.path for change in workspace.diff(stat=True).files] == ["a.pyc"]


def test_a_fifo_or_a_huge_file_called_gitignore_is_no_rule(sandlot: Sandlot, repository: Path) -> None:
    workspace = sandlot.create(repository)
    workspace.exec("mkdir f h; mkfifo f/.gitignore; truncate -s 1T h/.gitignore; echo x > f/x; echo x > h/x")

    assert {"f/x", "h/x"} <= {change.path for change in workspace.diff(stat=True).files}
