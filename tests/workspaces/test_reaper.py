"""What ends by itself: retention, one-shot owners, leftovers of killed processes."""

from __future__ import annotations

import json
import os
import shutil
import threading
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from sandlot import process
from sandlot.errors import SandlotError, StateUnwritable, WorkspaceFailure, WorkspaceNotFound
from sandlot.model.workspace import Lifetime
from sandlot.sdk import Sandlot, Workspace
from sandlot.workspaces import lifecycle, locks, reaper
from sandlot.workspaces.store import Phase
from tests.chaos.leaks import find_leaks
from tests.conftest import Cli
from tests.workspaces.conftest import folder_of, kill_agent, record_of, running, wait_until
from tests.workspaces.test_store import workspace_record

DAY = 86400


class Clock:
    """The wall clock and the time since boot, moved apart and together."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.wall = 0.0
        self.uptime = 0.0
        clock = self
        real = time.clock_gettime

        class Moved(datetime):
            @classmethod
            def now(cls, tz: object = None) -> datetime:  # type: ignore[override]  # as it is called
                return datetime.now(UTC) + timedelta(seconds=clock.wall)

        monkeypatch.setattr(reaper, "datetime", Moved)
        monkeypatch.setattr(time, "clock_gettime", lambda which: real(which) + self.uptime)

    def pass_(self, seconds: float) -> None:
        """Time goes by."""
        self.wall += seconds
        self.uptime += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def look(sandlot: Sandlot) -> list[str]:
    """What another process finds."""
    reaper.reconcile(sandlot._context)
    return [info.id for info in sandlot.list()]


def test_a_stopped_workspace_is_deleted_after_its_retention_and_not_before(sandlot: Sandlot, clock: Clock) -> None:
    workspace = sandlot.create(retention=DAY)
    workspace.stop()
    clock.pass_(DAY - 60)
    assert look(sandlot) == [workspace.id]
    clock.pass_(120)
    assert look(sandlot) == []
    with pytest.raises(WorkspaceNotFound):
        workspace.start()


def test_a_running_workspace_or_one_kept_for_ever_never_expires(sandlot: Sandlot, clock: Clock) -> None:
    runs, kept = sandlot.create(retention=1, idle_timeout=None), sandlot.create(retention=None)
    kept.stop()
    clock.pass_(1000 * DAY)
    assert set(look(sandlot)) == {runs.id, kept.id}


def test_a_clock_that_jumps_deletes_nothing(sandlot: Sandlot, clock: Clock) -> None:
    workspace = sandlot.create(retention=DAY)
    workspace.stop()
    clock.wall += 1000 * DAY
    assert look(sandlot) == [workspace.id]
    clock.wall = 0
    clock.uptime += 2 * DAY  # asleep, or the wall clock was turned back
    assert look(sandlot) == [workspace.id]


def test_after_a_reboot_the_wall_clock_decides(sandlot: Sandlot, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    workspace = sandlot.create(retention=DAY)
    workspace.stop()
    monkeypatch.setattr(process, "boot_id", lambda: "another boot")
    assert look(sandlot) == [workspace.id]
    clock.wall += 2 * DAY
    assert look(sandlot) == []


def test_use_of_a_stopped_workspace_keeps_it(sandlot: Sandlot, clock: Clock) -> None:
    workspace = sandlot.create(retention=DAY)
    workspace.stop()
    before = workspace.status().workspace.deadline
    assert before is not None
    clock.uptime += 2 * DAY
    workspace.diff()  # now, by the wall clock: it was used a moment ago
    assert look(sandlot) == [workspace.id]
    after = workspace.status().workspace.deadline
    assert after is not None
    assert (after.action, after.at >= before.at) == ("delete", True)


def test_deadlines_are_told_before_they_act(sandlot: Sandlot) -> None:
    workspace = sandlot.create(idle_timeout=600, retention=3600)
    due = workspace.status().workspace.deadline
    assert due is not None
    active = datetime.fromisoformat(record_of(workspace).active_at)
    assert (due.action, datetime.fromisoformat(due.at) - active < timedelta(seconds=601)) == ("stop", True)
    assert workspace.status().workspace.warnings == ()
    workspace.stop()
    info = workspace.status().workspace
    assert info.deadline is not None
    assert info.deadline.action == "delete"
    assert info.deadline.at in info.warnings[0]
    workspace.update(retention=None)
    assert workspace.info.deadline is None
    assert workspace.info.warnings == ()


@pytest.mark.parametrize("seconds", [0, 1, 100 * 365 * DAY])
def test_a_deadline_is_a_date_however_far(seconds: int) -> None:
    record = replace(workspace_record(), lifetime=Lifetime(seconds, seconds), instance=None)
    due = reaper.deadline(record)
    assert due is not None
    datetime.fromisoformat(due[1])


def test_an_expired_workspace_that_is_in_use_again_is_left_alone(sandlot: Sandlot, clock: Clock) -> None:
    workspace = sandlot.create(retention=DAY)
    workspace.stop()
    record = record_of(workspace)
    clock.pass_(2 * DAY)
    with lifecycle.locked(sandlot._context, workspace.id):
        reaper.reconcile(sandlot._context)  # somebody is at work on it
        assert sandlot._context.store.find(workspace.id) == record
    lifecycle.start(sandlot._context, workspace.id)
    assert look(sandlot) == [workspace.id]


# --- leftovers ----------------------------------------------------------------------------------------------------


def leave_everything(sandlot: Sandlot, state_dir: Path) -> None:
    """One of each thing that a killed process may leave."""
    store = sandlot._context.store
    own = sandlot._context.paths.workspace
    creating = workspace_record(1, instance=None, retired=None, owner=None, layers=(), baseline=(), snapshots=())
    store.add(creating, 100)
    own(creating.id).root.mkdir()
    deleting = sandlot.create()
    store.save(record_of(deleting), Phase.DELETING)
    orphan = sandlot.create()
    store.save(replace(record_of(orphan), owner=(1, 1, "another boot")))
    (state_dir / "workspaces" / "ws-ffffffffffffffff").mkdir()
    (state_dir / "building" / "half" / "made").mkdir(parents=True)
    (state_dir / "layers" / "sffff" / "workspace").mkdir(parents=True)
    (state_dir / "trash" / "old" / "deep").mkdir(parents=True)


def test_repair_finds_everything_and_says_so_and_doctor_says_it_before(
    sandlot: Sandlot, workspace: Workspace, state_dir: Path, cli: Cli
) -> None:
    workspace.exec("echo kept > file")
    leave_everything(sandlot, state_dir)
    (folder_of(workspace) / "g7").mkdir()
    (folder_of(workspace) / ".record.1234").write_text("half")
    assert find_leaks(state_dir)
    told = sandlot.doctor().leftovers
    found = json.loads(cli("repair", "--json").stdout)["found"]
    assert (found["workspaces"], found["layers"], found["folders"]) == (3, 1, 4)
    assert told == found["workspaces"] + found["layers"] + found["folders"] + 1
    assert not find_leaks(state_dir)
    assert sandlot.doctor().leftovers == 0
    assert sandlot.repair().total == 0
    assert workspace.exec("cat file").stdout.text == "kept\n"


def test_the_next_use_finishes_what_others_began(sandlot: Sandlot, state_dir: Path) -> None:
    leave_everything(sandlot, state_dir)
    with Sandlot(state_dir) as other:
        assert other.list() == []
    assert sandlot._context.store.everything() == []


def test_what_somebody_is_just_making_is_no_leftover(
    sandlot: Sandlot, state_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runtime = type(sandlot._context.runtime("bubblewrap"))
    launch = runtime.launch

    def meanwhile(self: object, request: object) -> object:
        with Sandlot(state_dir) as other:
            other.repair()
            reaper.leftovers(other._context)
        return launch(self, request)  # type: ignore[arg-type]  # whatever it was given

    monkeypatch.setattr(runtime, "launch", meanwhile)
    with sandlot.create() as workspace:
        workspace.exec("echo x > file")
        workspace.reset()
        workspace.stop()
        workspace.start()
    assert not find_leaks(state_dir)


def test_a_folder_swept_before_it_was_locked_is_made_again(
    sandlot: Sandlot, state_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    exclusive, sweeps = locks.exclusive, iter(range(2))

    def sweep_first(path: Path, what: str) -> object:
        if what == "the new workspace" and next(sweeps, None) is not None:
            with Sandlot(state_dir) as other:
                other.repair()
        return exclusive(path, what)

    monkeypatch.setattr(locks, "exclusive", sweep_first)
    with sandlot.create() as workspace:
        assert workspace.exec("echo made").stdout.text == "made\n"


def test_a_snapshot_that_is_being_written_survives_a_repair(
    sandlot: Sandlot, workspace: Workspace, state_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sandlot.bases.layer import publish
    from sandlot.workspaces import storage as module

    def meanwhile(*arguments: object) -> object:
        with Sandlot(state_dir) as other:
            other.repair()
        done = publish(*arguments)  # type: ignore[arg-type]  # whatever it was given
        with Sandlot(state_dir) as other:
            other.repair()
        return done

    workspace.exec("echo saved > file")
    monkeypatch.setattr(module, "publish", meanwhile)
    workspace.snapshots.create("s")
    forked = workspace.fork()[0]
    monkeypatch.undo()
    workspace.exec("rm file")
    workspace.reset("s")
    assert workspace.exec("cat file").stdout.text == forked.exec("cat file").stdout.text == "saved\n"


def test_a_workspace_that_stopped_by_itself_is_noted(sandlot: Sandlot, workspace: Workspace) -> None:
    kill_agent(workspace)
    assert record_of(workspace).instance is not None
    look(sandlot)
    record = record_of(workspace)
    assert record.instance is None
    assert record.stopped_at is not None
    assert record.stopped_uptime is not None


def test_a_process_that_cannot_be_ended_does_not_fail_whatever_else_was_asked_for(
    sandlot: Sandlot, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    doomed = sandlot.create()
    sandlot._context.store.save(record_of(doomed), Phase.DELETING)
    runtime = type(sandlot._context.runtime("bubblewrap"))

    def hangs(*_: object) -> None:
        raise WorkspaceFailure("it does not end")

    monkeypatch.setattr(runtime, "kill", hangs)
    assert look(sandlot) == [workspace.id]
    monkeypatch.undo()
    assert look(sandlot) == [workspace.id]
    assert sandlot._context.store.unfinished() == []


def test_trash_that_others_empty_at_the_same_time_is_no_failure(sandlot: Sandlot, state_dir: Path) -> None:
    errors: list[SandlotError] = []

    def empty() -> None:
        try:
            reaper.empty_trash(sandlot._context, wait=True)
        except SandlotError as error:
            errors.append(error)

    sandlot.list()
    for entry in range(4):
        for number in range(300):
            (state_dir / "trash" / str(entry) / str(number % 10) / str(number)).mkdir(parents=True)
    threads = [threading.Thread(target=empty) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert list((state_dir / "trash").iterdir()) == []


def test_trash_that_cannot_be_removed_now_is_left_for_later(
    sandlot: Sandlot, workspace: Workspace, state_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sandlot.bases import trees

    def fail(path: Path) -> None:
        raise StateUnwritable(f"cannot remove {path}")

    monkeypatch.setattr(trees, "remove_tree", fail)
    workspace.delete()
    monkeypatch.undo()
    assert sandlot.list() == []
    assert list((state_dir / "trash").iterdir())
    assert sandlot.repair().trash == 1
    assert not find_leaks(state_dir)


def test_layers_are_kept_while_somebody_takes_layers_into_use_and_go_with_the_next_release(
    sandlot: Sandlot, state_dir: Path
) -> None:
    def private() -> list[str]:
        return [layer.name for layer in (state_dir / "layers").iterdir() if layer.name.startswith("s")]

    first, second = sandlot.create(), sandlot.create()
    for each in (first, second):
        each.exec("touch file")
        each.snapshots.create("s")
    with sandlot._context.bases.in_use():
        first.delete()
        assert len(private()) == 2
    second.delete()
    assert private() == []


def test_an_idle_stop_ends_with_a_deletion_when_its_time_has_come(sandlot: Sandlot, clock: Clock) -> None:
    workspace = sandlot.create(idle_timeout=1, retention=DAY)
    wait_until(lambda: not running(workspace), "it goes on and on")
    assert look(sandlot) == [workspace.id]
    clock.pass_(2 * DAY)
    assert look(sandlot) == []
    assert not os.path.exists(sandlot._context.paths.workspace(workspace.id).root)


def test_a_tree_is_gone_when_remove_tree_returns_whoever_else_removes_it(
    state_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sandlot.bases import trees

    for name in "abc":
        (state_dir / "tree" / name / "deep").mkdir(parents=True)
        (state_dir / "tree" / name / "file").write_text("")
    listed = trees._unlink_files
    others = iter(["b", "a/deep"])

    def and_somebody_else(folder: int) -> list[bytes]:
        found = listed(folder)
        trees_gone = next(others, None)
        if trees_gone is not None:
            shutil.rmtree(state_dir / "tree" / trees_gone, ignore_errors=True)
        return found

    monkeypatch.setattr(trees, "_unlink_files", and_somebody_else)
    trees.remove_tree(state_dir / "tree")
    assert not (state_dir / "tree").exists()
