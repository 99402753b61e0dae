"""A workspace in a real guest does what workspaces do: files, saved states, forks, stop and start, and back out.

One story, told in steps on few guests, for each of them takes its time where the processor is emulated.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from sandlot.bases.trees import remove_tree
from sandlot.errors import IsolationUnavailable
from sandlot.model.isolation import IsolationLevel
from sandlot.model.workspace import WorkspaceState
from sandlot.process import ProcessIdentity
from sandlot.runtimes.qemu.runtime import QemuRuntime
from sandlot.sdk import Sandlot, Workspace
from sandlot.settings import Settings
from sandlot.workspaces.context import Context
from tests.bases.seeding import git, repository
from tests.runtimes.qemu.guests import NEEDS_QEMU, paths_in

pytestmark = [NEEDS_QEMU, pytest.mark.slow, pytest.mark.xdist_group("guests")]

CHANGE = """
set -e
echo more >> a.txt; rm lib/b.py; ln -s /etc/shadow link; ln a.txt twin
mkdir -p new/deep; echo x > new/deep/file; chmod 700 new; printf q > "$(printf 'odd\\377')"
python3 -c 'import os; os.setxattr("a.txt", "user.mine", b"kept")'
truncate -s 1T sparse; echo note > ~/note
"""
SHOW = r"find . -path ./.git -prune -o -printf '%y %m %n %p %l %TY\n' | sort; cat a.txt ~/note; stat -c %s sparse"


@pytest.fixture(scope="module")
def sandlot(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandlot]:
    folder = tmp_path_factory.mktemp("q")
    with Sandlot(folder) as made:
        made._context = Context(paths_in(folder), Settings.load())
        yield made
        made.call("workspace_delete", all=True)
    remove_tree(folder)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return repository(tmp_path_factory.mktemp("project") / "repo")


@pytest.fixture(scope="module")
def workspace(sandlot: Sandlot, project: Path) -> Workspace:
    return sandlot.create(project, runtime="auto", min_isolation="vm-emulated", memory="512M", disk="1G")


def run(workspace: Workspace, script: str) -> str:
    done = workspace.exec(script)
    assert done.ok, done.stderr.text
    return done.stdout.text


def test_the_cheapest_that_is_a_machine_of_its_own_is_a_guest(sandlot: Sandlot, workspace: Workspace) -> None:
    assert workspace.info.runtime == "qemu"
    assert workspace.info.isolation.satisfies(IsolationLevel.VM_EMULATED)
    assert run(workspace, "uname -r").strip() != os.uname().release
    with pytest.raises(IsolationUnavailable):
        sandlot.create(runtime="bubblewrap", min_isolation="vm-emulated")


def test_git_finds_the_project_as_it_was_and_need_not_read_it(workspace: Workspace) -> None:
    assert run(workspace, "git diff-files --name-only; git status --short; git log --format=%s") == "one\n"
    assert run(workspace, "id -u; stat -c %u a.txt .") == "1000\n1000\n1000\n"


def test_what_changes_inside_is_seen_saved_and_comes_back(workspace: Workspace, tmp_path: Path) -> None:
    run(workspace, CHANGE)
    found = {change.path: change.status for change in workspace.diff().files}
    assert found == {
        "a.txt": "modified", "lib/b.py": "deleted", "link": "added", "twin": "added",
        "new/deep/file": "added", "odd\udcff": "added", "sparse": "added",
    }  # fmt: skip
    before = run(workspace, SHOW)
    workspace.snapshots.create("one")
    run(workspace, "rm -rf * ~/note; echo x > other")
    workspace.reset("one")
    assert run(workspace, SHOW) == before
    assert run(workspace, 'python3 -c \'import os; print(os.getxattr("a.txt", "user.mine"))\'') == "b'kept'\n"
    workspace.export("new", tmp_path / "out")
    assert stat.S_IMODE((tmp_path / "out").stat().st_mode) == 0o700
    assert (tmp_path / "out" / "deep" / "file").read_text() == "x\n"


def test_a_fork_has_it_all_and_goes_its_own_way(workspace: Workspace) -> None:
    before = run(workspace, SHOW)
    fork = workspace.fork()[0]
    assert run(fork, SHOW) == before
    run(fork, "echo fork > a.txt")
    assert run(workspace, SHOW) == before
    fork.delete()


def test_changes_of_the_host_come_in(workspace: Workspace, project: Path) -> None:
    (project / "c.txt").write_text("c\n")
    git(project, "add", "-A")
    git(project, "commit", "-qm", "two")
    workspace.sync_push(project)
    assert run(workspace, "cat c.txt") == "c\n"
    assert "c.txt" not in {change.path for change in workspace.diff().files}


def test_a_stopped_one_keeps_its_files_and_tells_of_them(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    before = run(workspace, SHOW)
    changed = {change.path for change in workspace.diff().files}
    workspace.stop()
    with monkeypatch.context() as forbidden:
        forbidden.setattr(QemuRuntime, "launch", None)  # what it has changed was copied while it stopped
        assert {change.path for change in workspace.diff().files} == changed
    assert workspace.status().workspace.state is WorkspaceState.STOPPED
    assert run(workspace, SHOW) == before


def test_nothing_of_a_deleted_one_is_left(sandlot: Sandlot, workspace: Workspace) -> None:
    record = sandlot._context.store.find(workspace.id)
    instance = record.instance
    assert instance is not None
    workspace.reset()
    assert run(workspace, "ls") == "a.txt\nc.txt\nlib\n"
    workspace.delete()
    for pid, start in ((instance.agent_pid, instance.agent_start), (instance.monitor_pid, instance.monitor_start)):
        assert not ProcessIdentity(pid, start, instance.boot).alive()
    assert list(sandlot.paths.workspaces.iterdir()) == []
