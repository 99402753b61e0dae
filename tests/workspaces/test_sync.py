"""Later host changes come in whole or not at all, and become part of the baseline."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from sandlot.errors import SyncConflict
from sandlot.sdk import Sandlot, Workspace


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    root = tmp_path / "repository"
    root.mkdir()
    for number in range(1, 6):
        (root / f"f{number}").write_text(f"{number}\n")
    (root / "gone").mkdir()
    (root / "gone" / "x").write_text("x\n")
    for words in (
        ["init", "-q"],
        ["add", "-A"],
        ["-c", "user.email=a@example.org", "-c", "user.name=a", "commit", "-qm", "one"],
    ):
        subprocess.run(["git", *words], cwd=root, check=True)
    return root


def content(workspace: Workspace, path: str) -> str:
    return workspace.files.read(path).content


def changed(workspace: Workspace) -> list[str]:
    return [change.path for change in workspace.diff(stat=True).files]


def test_new_changed_and_deleted_files_arrive_and_are_no_changes_of_the_agent(
    sandlot: Sandlot, repository: Path
) -> None:
    workspace = sandlot.create(repository)
    workspace.exec("echo mine >> f1")
    (repository / "f2").write_text("from the host\n")
    (repository / "new").mkdir()
    (repository / "new" / "script").write_text("#!/bin/sh\n")
    (repository / "new" / "script").chmod(0o755)
    (repository / "link").symlink_to("f2")
    (repository / "gone" / "x").unlink()

    done = workspace.sync_push()

    assert (done.written, done.deleted) == (3, 2)
    assert content(workspace, "f2") == "from the host\n"
    assert workspace.exec("test -x new/script && readlink link && ! test -e gone").stdout.text == "f2\n"
    assert content(workspace, "f1") == "1\nmine\n"
    assert changed(workspace) == ["f1"]
    workspace.reset()
    assert content(workspace, "f2") == "from the host\n"
    assert content(workspace, "f1") == "1\n"


def test_a_file_changed_on_both_sides_is_a_conflict_that_names_it_and_pushes_nothing(
    sandlot: Sandlot, repository: Path
) -> None:
    workspace = sandlot.create(repository)
    workspace.exec("echo mine >> f1; rm f3")
    for name in ("f1", "f2", "f3"):
        (repository / name).write_text("host\n")

    with pytest.raises(SyncConflict) as caught:
        workspace.sync_push()

    assert {line.split(":")[0] for line in caught.value.details} == {"f1", "f3"}
    assert content(workspace, "f2") == "2\n"
    assert content(workspace, "f1") == "1\nmine\n"
    assert changed(workspace) == ["f1", "f3"]


def test_force_overwrites_what_the_workspace_changed(sandlot: Sandlot, repository: Path) -> None:
    workspace = sandlot.create(repository)
    workspace.exec("echo mine >> f1")
    (repository / "f1").write_text("host\n")

    workspace.sync_push(force=True)

    assert content(workspace, "f1") == "host\n"
    assert changed(workspace) == []


def test_changes_that_were_handed_back_are_no_conflict_and_leave_nothing_to_diff(
    sandlot: Sandlot, repository: Path
) -> None:
    workspace = sandlot.create(repository)
    workspace.exec("echo mine >> f1; rm f3; echo q > q")
    workspace.apply(yes=True)
    assert (repository / "f1").read_text() == "1\nmine\n"

    done = workspace.sync_push()

    assert (done.written, done.deleted) == (0, 0)
    assert changed(workspace) == []


def test_a_stopped_workspace_is_started_for_it(sandlot: Sandlot, repository: Path) -> None:
    workspace = sandlot.create(repository)
    workspace.stop()
    (repository / "f2").write_text("host\n")

    workspace.sync_push()

    assert content(workspace, "f2") == "host\n"


def test_a_symlink_planted_as_a_parent_never_leads_a_push_elsewhere(sandlot: Sandlot, repository: Path) -> None:
    workspace = sandlot.create(repository)
    workspace.exec("mkdir elsewhere; rm -r gone; ln -s elsewhere gone")
    (repository / "gone" / "y").write_text("host\n")

    with pytest.raises(SyncConflict):
        workspace.sync_push(force=True)

    assert workspace.exec("ls -A elsewhere").stdout.text == ""


def test_names_that_are_not_utf8_and_hold_newlines_arrive(sandlot: Sandlot, repository: Path) -> None:
    workspace = sandlot.create(repository)
    for name in (b"new\nline", b"bad\xff"):
        with open(os.path.join(os.fsencode(repository), name), "wb") as file:
            file.write(b"content")

    workspace.sync_push()

    assert workspace.exec("cat new*line bad*").stdout.text == "contentcontent"
