"""Saved states: snapshots, reset and fork."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from sandlot.bases.layer import MAX_LAYERS
from sandlot.errors import NameTaken, SnapshotNotFound, StartFailed, StateUnwritable, UsageError, WorkspaceBusy
from sandlot.model.workspace import WorkspaceState
from sandlot.sdk import Sandlot, Workspace
from sandlot.workspaces import creation, states
from tests.chaos.leaks import find_leaks
from tests.workspaces.conftest import agent_of, everything, folder_of, kill_agent, record_of, seed_tree, wait_until


def test_a_snapshot_is_everything_that_was_there(storage: str, sandlot: Sandlot, tmp_path: Path) -> None:
    workspace = sandlot.create(seed_tree(tmp_path / "seed"))
    workspace.exec(
        "echo note > ~/note; rm file; mkdir new; echo x > new/x; chmod 751 new; ln new/x new/hard; "
        "ln -s ../new sub/up; rm -r sub/empty; touch -d @1000000000 new/x; printf 'a\\0b' > new/binary; "
        "chmod 4755 new/binary"
    )
    saved = everything(workspace)
    workspace.snapshots.create("one")
    workspace.exec("rm -rf ./* ~/note; echo junk > junk; echo junk > ~/note")
    workspace.reset("one")
    assert everything(workspace) == saved
    assert workspace.exec("stat -c '%Y %h' new/x").stdout.text == "1000000000 2\n"
    workspace.reset("one")  # as often as one likes
    assert everything(workspace) == saved


def test_reset_ends_processes_and_empties_tmp_and_home(storage: str, workspace: Workspace) -> None:
    workspace.exec("echo x > ~/note; echo x > /tmp/file; echo x > /dev/shm/file; (setsid sleep 1000 &)")
    sleeping = workspace.exec("sleep 1000", background=True).command.number
    pid = agent_of(workspace)
    workspace.reset()
    assert workspace.info.state is WorkspaceState.RUNNING
    assert agent_of(workspace) != pid
    assert workspace.exec("ls -A ~ /tmp /dev/shm /workspace; pgrep sleep").stdout.text.split() == [
        "/dev/shm:", "/home/agent:", "/tmp:", "/workspace:",
    ]  # fmt: skip
    assert workspace.wait(sleeping).command.state == "interrupted"


def test_reset_starts_a_stopped_workspace(workspace: Workspace) -> None:
    workspace.exec("touch file")
    workspace.stop()
    workspace.reset()
    assert workspace.status().workspace.state is WorkspaceState.RUNNING
    assert workspace.exec("ls").stdout.text == ""


def test_a_stopped_workspace_is_saved_and_forked_without_starting_it(storage: str, workspace: Workspace) -> None:
    workspace.exec("echo kept > file; echo note > ~/note")
    workspace.stop()
    workspace.snapshots.create("asleep")
    forked = workspace.fork()[0]
    assert workspace.status().workspace.state is WorkspaceState.STOPPED
    assert forked.exec("cat file ~/note").stdout.text == "kept\nnote\n"
    workspace.files.delete("file")
    workspace.reset("asleep")
    assert workspace.exec("cat file ~/note").stdout.text == "kept\nnote\n"


def test_an_agent_killed_a_moment_ago_is_no_reason_to_lose_a_snapshot(workspace: Workspace) -> None:
    workspace.exec("echo kept > file")
    kill_agent(workspace)
    workspace.snapshots.create("after")
    workspace.exec("rm file")
    workspace.reset("after")
    assert workspace.files.read("file").content == "kept\n"


@pytest.mark.parametrize("name", ["baseline", "", "a b", "../x", "-x", "x" * 65])
def test_a_snapshot_needs_a_name_of_its_own(workspace: Workspace, name: str) -> None:
    with pytest.raises((UsageError, NameTaken)):
        workspace.snapshots.create(name)
    assert workspace.snapshots.list() == []


def test_a_snapshot_s_name_is_unique_in_its_workspace_and_free_once_deleted(sandlot: Sandlot) -> None:
    first, second = sandlot.create(), sandlot.create()
    first.snapshots.create("same")
    second.snapshots.create("same")
    with pytest.raises(NameTaken):
        first.snapshots.create("same")
    first.snapshots.delete("same")
    first.snapshots.create("same")
    for missing in (first.reset, first.snapshots.delete):
        with pytest.raises(SnapshotNotFound, match="never") as caught:
            missing("never")
        assert "same" in caught.value.hint
    with pytest.raises(SnapshotNotFound):
        first.snapshots.delete("baseline")


def test_a_deleted_snapshot_takes_its_layer_along_but_none_that_others_stand_on(
    sandlot: Sandlot, workspace: Workspace, state_dir: Path
) -> None:
    workspace.exec("echo 1 > file")
    workspace.snapshots.create("one")
    forked = workspace.fork()[0]
    workspace.reset("one")
    workspace.exec("echo 2 > file")
    workspace.snapshots.create("two")
    workspace.reset()
    workspace.snapshots.delete("one")
    workspace.reset("two")
    assert workspace.exec("cat file").stdout.text == "2\n"
    workspace.snapshots.delete("two")
    workspace.reset()
    assert forked.exec("cat file").stdout.text == "1\n"
    workspace.delete()
    forked.reset()
    assert forked.exec("cat file").stdout.text == "1\n"
    forked.delete()
    assert not [layer for layer in (state_dir / "layers").iterdir() if layer.name.startswith("s")]


def test_a_snapshot_is_one_moment_of_a_workspace_at_work(storage: str, workspace: Workspace) -> None:
    """A writer counts in two files, a before b. Whatever is saved must be a state that was there: b <= a <= b + 1."""
    writer = (
        "import os\nfor n in range(10**9):\n    for name in 'ab':\n"
        "        open('t', 'w').write(str(n)); os.rename('t', name)\n"
    )
    workspace.exec(["python3", "-c", writer], background=True)
    wait_until(lambda: workspace.exec("cat b").exit_status == 0, "nobody writes")
    for number in range(6):
        workspace.snapshots.create(f"s{number}")
    seen = []
    for number in range(6):
        workspace.reset(f"s{number}")
        a, b = workspace.exec("cat a; echo; cat b").stdout.text.split()
        assert int(b) <= int(a) <= int(b) + 1
        seen.append(int(a))
    assert seen == sorted(seen)
    assert len(set(seen)) > 1, "the writer never went on"


def test_processes_go_on_after_a_snapshot_and_those_that_were_stopped_stay_stopped(workspace: Workspace) -> None:
    stopped = workspace.exec("kill -STOP $$; echo went on", background=True).command.number
    counts = workspace.exec("while :; do echo x; sleep 0.01; done", background=True).command.number
    wait_until(lambda: "T" in workspace.exec("cat /proc/[0-9]*/stat | cut -d' ' -f3").stdout.text, "nobody stopped")
    workspace.snapshots.create("paused")
    before = workspace.logs(counts).total_bytes
    wait_until(lambda: workspace.logs(counts).total_bytes > before, "it was left paused")
    assert workspace.logs(stopped).output == ""
    workspace.kill(stopped, signal="CONT")
    assert workspace.wait(stopped, timeout=60).stdout.text == "went on\n"


def test_processes_that_start_others_all_the_time_can_be_paused(workspace: Workspace) -> None:
    for _ in range(3):
        workspace.exec("while :; do /bin/true; done", background=True)
    script = "import subprocess\nwhile True: subprocess.run(['true'])"
    workspace.exec(["python3", "-c", script], background=True)
    for number in range(10):
        workspace.snapshots.create(f"s{number}")
    assert len(workspace.status().running) == 4


def test_only_one_snapshot_is_taken_at_a_time_and_all_succeed(workspace: Workspace) -> None:
    errors: list[BaseException] = []

    def take(number: int) -> None:
        try:
            workspace.snapshots.create(f"s{number}")
        except BaseException as error:
            errors.append(error)

    workspace.exec("touch file")
    threads = [threading.Thread(target=take, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert sorted(each.name for each in workspace.snapshots.list()) == [f"s{number}" for number in range(6)]


def test_a_snapshot_of_nothing_new_costs_nothing(workspace: Workspace, state_dir: Path) -> None:
    workspace.snapshots.create("empty")
    assert not list((state_dir / "layers").iterdir())
    workspace.exec("touch file")
    workspace.reset("empty")
    assert workspace.exec("ls").stdout.text == ""


def test_a_long_chain_of_snapshots_is_folded_and_every_one_stays_right(sandlot: Sandlot, tmp_path: Path) -> None:
    workspace = sandlot.create(seed_tree(tmp_path / "seed"))
    saved = {}
    for number in range(MAX_LAYERS + 3):
        workspace.exec(
            f"echo {number} > f{number}; echo {number} > file; rm -f f{number - 3}; mkdir -p sub/d{number % 4}; "
            f"rm -rf sub/d{(number + 1) % 4}; touch sub/d{number % 4}/x{number}; echo {number} > ~/note; rm -f dangling"
        )
        workspace.snapshots.create(f"s{number}")
        workspace.reset(f"s{number}")
        assert len(record_of(workspace).layers) <= MAX_LAYERS
        saved[f"s{number}"] = everything(workspace)
    for name, expected in reversed(saved.items()):
        workspace.reset(name)
        assert everything(workspace) == expected, name
    forked = workspace.fork()[0]
    assert everything(forked) == saved["s0"]
    for name in list(saved)[::2]:
        workspace.snapshots.delete(name)
    for name in list(saved)[1::2]:
        workspace.reset(name)
        assert everything(workspace) == saved[name], name


# --- fork ---------------------------------------------------------------------------------------------------------


def test_forks_start_from_the_present_and_go_their_own_ways(storage: str, sandlot: Sandlot) -> None:
    workspace = sandlot.create(name="parent", labels={"a": "1", "b": "1"}, idle_timeout=100, retention=200)
    workspace.exec("echo shared > file; echo note > ~/note; sleep 1000 & exit")
    forks = workspace.fork(name="child", count=3, labels={"b": "2"})
    assert [fork.name for fork in forks] == ["child-1", "child-2", "child-3"]
    for number, fork in enumerate(forks):
        assert fork.info.labels == {"a": "1", "b": "2"}
        assert (fork.info.idle_timeout_s, fork.info.retention_s) == (100, 200)
        assert fork.info.forked_from == workspace.id
        assert fork.exec("cat file ~/note; pgrep sleep").stdout.text == "shared\nnote\n"
        fork.exec(f"echo {number} > file")
    workspace.exec("echo parent > file")
    assert [each.files.read("file").content for each in (workspace, *forks)] == ["parent\n", "0\n", "1\n", "2\n"]
    workspace.delete()
    forks[0].reset()
    assert forks[0].files.read("file").content == "shared\n"
    assert forks[0].logs().commands[0].number == 1  # a history of its own


def test_a_fork_of_many_is_all_or_none_when_a_name_is_taken(sandlot: Sandlot, state_dir: Path) -> None:
    workspace = sandlot.create(name="parent")
    workspace.exec("echo x > file")
    other = sandlot.create(name="child-3")
    with pytest.raises(NameTaken):
        workspace.fork(name="child", count=4)
    assert sorted(info.name or "" for info in sandlot.list()) == ["child-3", "parent"]
    other.delete()
    assert len(workspace.fork(name="child", count=4)) == 4
    sandlot.repair()
    assert not find_leaks(state_dir)


def test_a_fork_of_many_is_all_or_none_when_a_start_fails(
    sandlot: Sandlot, workspace: Workspace, state_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace.exec("echo x > file")
    launch, count = creation.bring_up, iter(range(100))

    def fail_the_third(*given: object) -> object:
        if next(count) == 2:
            raise StartFailed("no")
        return launch(*given)  # type: ignore[arg-type]  # whatever it was given

    monkeypatch.setattr(states, "bring_up", fail_the_third)
    with pytest.raises(StartFailed):
        workspace.fork(count=4)
    assert [info.id for info in sandlot.list()] == [workspace.id]
    assert not [layer for layer in (state_dir / "layers").iterdir() if layer.name.startswith("s")]
    assert workspace.exec("cat file").stdout.text == "x\n"


def test_forks_of_forks_reach_back_to_their_own_beginning(sandlot: Sandlot, workspace: Workspace) -> None:
    each = workspace
    for number in range(MAX_LAYERS + 3):
        each.exec(f"echo {number} >> file")
        each = each.fork()[0]
        if number % 5:
            each.exec("true")
    lines = "".join(f"{number}\n" for number in range(MAX_LAYERS + 3))
    assert each.files.read("file").content == lines
    each.files.delete("file")
    each.reset()
    assert each.files.read("file").content == lines


# --- failing ------------------------------------------------------------------------------------------------------


def test_a_reset_that_cannot_start_changes_nothing(
    sandlot: Sandlot, workspace: Workspace, state_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace.exec("echo dirty > file; echo here > /tmp/file")
    runtime = type(sandlot._context.runtime("bubblewrap"))

    def fail(*_: object) -> None:
        raise StartFailed("no")

    monkeypatch.setattr(runtime, "launch", fail)
    for _ in range(2):
        with pytest.raises(StartFailed):
            workspace.reset()
    monkeypatch.undo()
    assert workspace.exec("cat file /tmp/file").stdout.text == "dirty\nhere\n"  # not even a restart
    assert sorted(entry.name for entry in folder_of(workspace).glob("g*")) == ["g1"]
    workspace.reset()
    assert workspace.exec("ls").stdout.text == ""


def test_a_reset_that_was_cut_off_is_finished_by_the_next_one_of_any_client(
    sandlot: Sandlot, workspace: Workspace, state_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A long-lived client repairs nothing between its calls; still no instance may be forgotten."""
    first = agent_of(workspace)

    def cut_off(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(states, "finish_reset", cut_off)
    with pytest.raises(KeyboardInterrupt):
        workspace.reset()
    monkeypatch.undo()
    assert record_of(workspace).retired is not None
    workspace.stop()
    assert record_of(workspace).retired is None
    assert not os.path.exists(f"/proc/{first}/root/workspace")
    workspace.reset()
    sandlot.repair()
    assert not find_leaks(state_dir)


def test_a_snapshot_that_cannot_be_written_leaves_nothing_and_lets_the_processes_go_on(
    workspace: Workspace, state_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sandlot.workspaces import storage as module

    number = workspace.exec("while :; do echo x; sleep 0.01; done", background=True).command.number
    workspace.exec("echo x > file")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device", "layer")

    monkeypatch.setattr(module, "publish", full)
    with pytest.raises(StateUnwritable, match="No space left"):
        workspace.snapshots.create("s")
    with pytest.raises(StateUnwritable, match="No space left"):
        workspace.fork()
    monkeypatch.undo()
    assert workspace.snapshots.list() == []
    assert not [entry for entry in (state_dir / "building").iterdir() if not entry.name.startswith("lock-")]
    before = workspace.logs(number).total_bytes
    wait_until(lambda: workspace.logs(number).total_bytes > before, "it was left paused")


def test_a_workspace_that_cannot_be_paused_is_busy_and_not_saved(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sandlot.runtimes.channel import Channel
    from sandlot.wire import messages

    workspace.exec("echo x > file")
    with Channel(folder_of(workspace) / "g1" / "agent.sock") as other:
        other.call(messages.FREEZE)  # somebody else is at it
        with pytest.raises(WorkspaceBusy):
            workspace.snapshots.create("s")
    wait_until(lambda: workspace.exec("true").exit_status == 0, "it was left paused")
    assert workspace.snapshots.list() == []
    workspace.snapshots.create("s")
