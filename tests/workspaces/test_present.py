"""What the host sees of a guest's files: a copy as of when somebody asked, whoever else asks, stops or is killed."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from sandlot.errors import ProtocolError
from sandlot.model.workspace import Instance, WorkspaceState
from sandlot.runtimes.base import Bounds, LaunchRequest, StorageKind
from sandlot.runtimes.bubblewrap.runtime import BubblewrapRuntime
from sandlot.sdk import Sandlot, Workspace
from sandlot.workspaces import storage as storing
from sandlot.workspaces.lifecycle import storage_of
from sandlot.workspaces.present import present
from tests.workspaces.conftest import folder_of, kill_agent, pretend_guests, record_of, use_storage

PROJECT = ("workspace",)


@pytest.fixture
def guest(monkeypatch: pytest.MonkeyPatch, sandlot: Sandlot) -> Workspace:
    """A workspace that keeps its changes as guests do."""
    use_storage(monkeypatch, StorageKind.GUEST)
    pretend_guests(monkeypatch)
    return sandlot.create()


def test_nothing_is_copied_until_somebody_asks(guest: Workspace) -> None:
    guest.exec("echo x > file; echo y > ~/note")
    upper = folder_of(guest) / "g1" / "workspace" / "upper"
    assert list(upper.iterdir()) == []
    context = guest._sandlot._context
    with present(context, record_of(guest), PROJECT) as storage:
        assert [path.name for path in storage.stack("workspace")[-1].iterdir()] == ["file"]
        assert list(storage.stack("home")[-1].iterdir()) == []


def test_a_copy_stays_while_it_is_read_and_is_new_for_the_next(guest: Workspace) -> None:
    context = guest._sandlot._context
    guest.exec("echo 1 > file")
    seen: list[str] = []
    with present(context, record_of(guest), PROJECT) as storage:
        guest.exec("echo 2 > file")

        def look_again() -> None:
            with present(context, record_of(guest), PROJECT) as later:
                seen.append((later.stack("workspace")[-1] / "file").read_text())

        other = threading.Thread(target=look_again)
        other.start()
        other.join(0.3)
        assert seen == []
        assert (storage.stack("workspace")[-1] / "file").read_text() == "1\n"
    other.join(60)
    assert seen == ["2\n"]


def test_many_may_compare_at_once(guest: Workspace) -> None:
    guest.exec("for i in $(seq 50); do echo $i > f$i; done")
    counts: list[int] = []
    threads = [threading.Thread(target=lambda: counts.append(len(guest.diff().files))) for _ in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert counts == [50] * 4


def test_a_stopped_guest_is_looked_into_once(guest: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    guest.exec("echo x > file")
    guest.stop()
    starts: list[str] = []
    launch = BubblewrapRuntime.launch

    def counted(self: BubblewrapRuntime, request: LaunchRequest) -> Instance:
        starts.append(request.workspace_id)
        return launch(self, request)

    monkeypatch.setattr(BubblewrapRuntime, "launch", counted)
    for _ in range(3):
        assert [change.path for change in guest.diff().files] == ["file"]
    assert len(starts) == 1
    assert guest.status().workspace.state is WorkspaceState.STOPPED
    guest.exec("echo y > other")
    guest.stop()
    assert [change.path for change in guest.diff().files] == ["file", "other"]


def test_one_that_was_killed_is_looked_into_as_well(guest: Workspace) -> None:
    guest.exec("echo x > file")
    kill_agent(guest)
    assert [change.path for change in guest.diff().files] == ["file"]
    assert guest.status().workspace.state is WorkspaceState.STOPPED


def test_what_a_guest_sends_amiss_is_an_error_and_leaves_nothing(
    guest: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def hostile(
        self: BubblewrapRuntime, instance: Instance, socket: Path, target: str, folder: Path, bounds: Bounds
    ) -> None:
        folder.mkdir()
        raise ProtocolError("the workspace's files could not be fetched: it is a trick")

    guest.exec("echo x > file")
    monkeypatch.setattr(BubblewrapRuntime, "fetch", hostile)
    with pytest.raises(ProtocolError, match="trick"):
        guest.diff()
    assert sorted(path.name for path in (folder_of(guest) / "g1" / "workspace").iterdir()) == ["upper"]


def test_a_fetch_that_was_killed_leaves_the_old_copy_or_none(guest: Workspace) -> None:
    guest.exec("echo x > file")
    assert len(guest.diff().files) == 1
    area = folder_of(guest) / "g1" / "workspace"
    (area / "fetched-dead").mkdir()
    (area / "upper").rename(area / "fetched-gone")  # killed between the two renames
    assert len(guest.diff().files) == 1
    assert [path.name for path in area.iterdir()] == ["upper"]


def test_an_old_record_is_no_old_answer(guest: Workspace) -> None:
    context = guest._sandlot._context
    old = record_of(guest)
    guest.stop()
    with present(context, old, PROJECT) as storage:
        assert storage.generation.asleep.exists()
    guest.start()
    guest.reset()
    with present(context, old, PROJECT) as storage:
        assert storage.generation.root.name == "g2"


def test_large_layers_of_a_base_are_warm_and_private_ones_are_not(
    sandlot: Sandlot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_storage(monkeypatch, StorageKind.GUEST)
    pretend_guests(monkeypatch)
    monkeypatch.setattr(storing, "WARM_FILES", 20)
    few, many = tmp_path / "few", tmp_path / "many"
    for folder, count in ((few, 3), (many, 30)):
        folder.mkdir()
        for number in range(count):
            (folder / f"{number}").write_text(f"{number}")
    context = sandlot._context
    assert storage_of(context, record_of(sandlot.create(few))).warm() == ()
    workspace = sandlot.create(many)
    (warm,) = storage_of(context, record_of(workspace)).warm()
    assert warm.name == "workspace"
    workspace.exec("for i in $(seq 40); do echo $i > f$i; done")
    forked = workspace.fork()[0]
    assert storage_of(context, record_of(forked)).warm() == (warm,)
    assert len(record_of(forked).layers) == 2
