"""What comes back to the user's own folder, and what stays outside and is said."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from sandlot.evals import unpatched
from sandlot.evals.cases import HookName, WorkspaceMode, WorkspacePlan
from sandlot.evals.prepare import Preparation
from sandlot.evals.unpatched import Seen
from sandlot.sdk import Sandlot
from tests.conftest import CompletedProcess
from tests.evals.places import CASE, git, hook, hooks, nth, repository

IDENTITY = "export " + " ".join(
    f"GIT_{who}_{what}=t@e.org" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")
)


def plan(own: Path, **fields: object) -> WorkspacePlan:
    own.mkdir(exist_ok=True)
    (own / "mine").write_text("mine\n")
    return WorkspacePlan(WorkspaceMode.STATIC, str(own), **fields)  # type: ignore[arg-type]  # of the plan


def after(sandlot: Sandlot, wanted: WorkspacePlan, command: str) -> list[str]:
    """Run one trial that does this; its warnings."""
    with Preparation(sandlot, wanted, "run") as preparation, preparation.trial(CASE, nth()) as place:
        done = place.workspace.exec(command)
        assert done.command.outcome is not None
        assert done.command.outcome.exit_code == 0, done.stderr.text
    assert preparation.warnings == []
    return place.warnings


def test_one_thing_that_cannot_come_back_does_not_keep_the_rest(sandlot: Sandlot, tmp_path: Path) -> None:
    own = tmp_path / "own"
    (warning,) = after(
        sandlot,
        plan(own),
        "mkdir -p venv/bin lib; ln -s /usr/bin/python3 venv/bin/python; ln -s python venv/bin/python3;"
        " echo x > lib/code; truncate -s 70M huge; ln -s /etc/hostname 'odd\x01name'; ln -sf /etc/passwd mine;"
        " mkfifo pipe; ln -s ../code lib/inner; ln -s code lib/same;"
        " echo y > 'a -> b'; ln -s /etc 'a -> c'",
    )
    assert warning.startswith(f"not brought back to {own}: a -> c: a link that leads out of the folder; huge: ")
    assert "venv/bin/python: a link that leads out of the folder" in warning
    assert (own / "lib/code").read_text() == "x\n"
    assert (own / "a -> b").read_text() == "y\n"
    assert (own / "mine").read_text() == "mine\n"  # its trial's link in its place stays outside
    assert sorted(os.listdir(own)) == ["a -> b", "lib", "mine"]
    assert sorted(os.listdir(own / "lib")) == ["code", "inner", "same"]  # links that stay inside


def test_when_all_of_it_cannot_come_back_the_folder_is_as_before(sandlot: Sandlot, tmp_path: Path) -> None:
    (warning,) = after(sandlot, plan(tmp_path / "own"), "ln -s / root")
    assert "root: a link that leads out of the folder" in warning
    assert os.listdir(tmp_path / "own") == ["mine"]


@pytest.mark.parametrize(
    "command",
    [
        "echo x > app.py && git commit -qam mine", "git checkout -qb other", "git tag mine",
        "echo x > app.py && git stash -q",
        "git init -q deeper && git -C deeper commit -q --allow-empty -m x", "git pack-refs --all",
        "git checkout -q --detach",
    ],
)  # fmt: skip
def test_commits_made_inside_stay_there_and_the_user_is_told(sandlot: Sandlot, tmp_path: Path, command: str) -> None:
    own = tmp_path / "own"
    repository(own)
    before = {path: path.read_bytes() for path in (own / ".git").rglob("*") if path.is_file()}
    (warning,) = after(sandlot, plan(own), f"{IDENTITY}; {command}")
    assert warning.startswith(f"commits, branches, tags or stashes made in {own}")
    assert {path: path.read_bytes() for path in (own / ".git").rglob("*") if path.is_file()} == before


def test_git_that_changes_no_commit_is_not_spoken_of(sandlot: Sandlot, tmp_path: Path) -> None:
    own = tmp_path / "own"
    repository(own)
    warnings = after(sandlot, plan(own), "git status; git add -A; git diff --cached; git config user.name x; git gc -q")
    assert [each for each in warnings if "commits" not in each] == []
    assert git(own, "status", "--porcelain") == "?? mine"


def test_new_empty_folders_come_back_and_later_trials_have_them(sandlot: Sandlot, tmp_path: Path) -> None:
    own = tmp_path / "own"
    wanted = plan(own, hooks=hooks(hook(HookName.AFTER_EACH, "mkdir -p /workspace/of/hook", tmp_path)))
    assert (
        after(
            sandlot,
            wanted,
            "mkdir -p logs/of/all no/one/sees; chmod 000 no/one;"
            " mkdir 'two words' 'new\nline'; mkdir -p full && echo x > full/x",
        )
        == []
    )
    assert (own / "logs/of/all").is_dir()
    assert sorted(os.listdir(own)) == ["full", "logs", "mine", "new\nline", "of", "two words"]
    assert after(sandlot, wanted, "test -d logs/of/all -a -d 'two words'") == []


def test_folders_are_made_through_no_link_and_nowhere_else(tmp_path: Path) -> None:
    own, outside = tmp_path / "own", tmp_path / "outside"
    own.mkdir()
    outside.mkdir()
    (own / "link").symlink_to(outside)
    (own / "file").write_text("mine")
    names = [
        "./link/in",
        "./../out",
        "./a/../../out",
        "./file/in",
        "./.git/refs",
        "./a/.GIT",
        ".//x",
        "./good/one",
        "./\ufffd",
    ]
    assert unpatched.make_folders(Seen(), Seen(empty=frozenset(names)), str(own)) == 1
    assert sorted(os.listdir(own)) == ["file", "good", "link"]
    assert os.listdir(outside) == []
    assert sorted(os.listdir(tmp_path)) == ["outside", "own"]


def test_a_target_that_puts_programs_in_the_way_of_the_look_gains_nothing(sandlot: Sandlot, tmp_path: Path) -> None:
    own = tmp_path / "own"
    command = (
        "mkdir -p ~/.local/bin; for name in find sort sha256sum sh; do printf '#!/bin/sh\\nprintf ./forged' >"
        " ~/.local/bin/$name; done; chmod +x ~/.local/bin/*; mkdir empty"
    )
    assert after(sandlot, plan(own), command) == []
    assert sorted(os.listdir(own)) == ["empty", "mine"]


def test_what_before_all_leaves_in_the_home_is_not_there_for_trials_and_the_run_says_so(
    sandlot: Sandlot, tmp_path: Path
) -> None:
    wanted = plan(
        tmp_path / "own", hooks=hooks(hook(HookName.BEFORE_ALL, "echo x > ~/tool; mkdir -p /workspace/d", tmp_path))
    )
    with Preparation(sandlot, wanted, "run") as preparation, preparation.trial(CASE, nth()) as place:
        assert place.workspace.exec("ls -A ~").stdout.text == ""
    assert place.warnings == []
    assert preparation.warnings == ["what before_all left in its home is gone: a static folder is all trials get"]


def test_a_folder_that_was_not_there_and_that_nothing_fills_is_spoken_of(sandlot: Sandlot, tmp_path: Path) -> None:
    for warnings in (
        [f"{tmp_path}/typo did not exist: it was made, empty, for neither template nor repos fill it"],
        [],
    ):
        with Preparation(sandlot, WorkspacePlan(WorkspaceMode.STATIC, str(tmp_path / "typo")), "run") as preparation:
            pass
        assert preparation.warnings == warnings


def test_a_folder_that_may_not_be_written_is_refused_before_a_trial(
    ordinary_user: Callable[[Sequence[str]], CompletedProcess],
) -> None:
    program = r"""
import os, tempfile
from sandlot.evals.cases import WorkspaceMode, WorkspacePlan
from sandlot.evals.prepare import Preparation
from sandlot.sdk import Sandlot
folder = tempfile.mkdtemp()
os.chmod(folder, 0o555)
try:
    Preparation(Sandlot(), WorkspacePlan(WorkspaceMode.STATIC, folder), "run").__enter__()
except Exception as error:
    print(error)
os.rmdir(folder)
"""
    done = ordinary_user(["-c", program])
    assert "you may not write /" in done.stdout.decode(), done.stderr.decode()


def test_a_target_does_not_get_to_write_what_the_next_run_starts(sandlot: Sandlot, tmp_path: Path) -> None:
    own = tmp_path / "own"
    wanted = plan(own)
    (own / ".sandlot").mkdir()
    (own / ".sandlot/targets.yaml").write_text("targets: []")
    (own / "deep/.agentv").mkdir(parents=True)
    (own / "deep/.agentv/targets.yaml").write_text("targets: []")
    evil = "targets: [{name: default, kind: cli, command: id, placement: host}]"
    (warning,) = after(
        sandlot,
        wanted,
        f"echo '{evil}' > .sandlot/targets.yaml; mv deep/.agentv/targets.yaml moved;"
        " mkdir -p new/.Sandlot; echo x > code; echo x > new/.Sandlot/targets.yaml; echo x > new/.sandlot",
    )
    assert warning.count("settings and runs of evals are not a target's to change") >= 3
    assert (own / ".sandlot/targets.yaml").read_text() == "targets: []"
    assert (own / "deep/.agentv/targets.yaml").read_text() == "targets: []"
    assert (own / "code").read_text() == "x\n"
    assert sorted(os.listdir(own / "new")) == [".sandlot"]  # a file of that name is no folder of settings
