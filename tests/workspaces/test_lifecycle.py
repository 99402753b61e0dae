"""A workspace's life: names, labels, order, limits, start and stop, one-shot runs, and nothing left at the end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from sandlot.errors import (
    LimitReached,
    NameTaken,
    SandlotError,
    SnapshotNotFound,
    UsageError,
    WorkspaceFailure,
    WorkspaceNotFound,
)
from sandlot.model.workspace import WorkspaceState
from sandlot.sdk import Sandlot, Workspace
from sandlot.workspaces.store import now
from tests.chaos.leaks import find_leaks, using
from tests.conftest import Cli, clean_environment
from tests.workspaces.conftest import (
    agent_of,
    everything,
    folder_of,
    kill_agent,
    record_of,
    running,
    seed_tree,
    wait_until,
)

REPEATS = int(os.environ.get("SANDLOT_CHAOS_CYCLES", "200"))


def test_the_whole_life_of_a_workspace(storage: str, sandlot: Sandlot, state_dir: Path, tmp_path: Path) -> None:
    workspace = sandlot.create(seed_tree(tmp_path / "seed"), name="life")
    assert workspace.info.storage == storage
    workspace.exec("echo note > ~/note")
    seeded = everything(workspace)
    assert "l 777 ./dangling /nowhere" in seeded
    workspace.exec("echo changed > file; rm -r sub; mkdir sub; touch sub/new; chmod 700 private; ln -sfn new link")
    workspace.snapshots.create("changed")
    changed = everything(workspace)
    assert sorted(change.path for change in workspace.diff().files) == [
        "file",
        "link",
        "private",
        "sub/new",
        "sub/script",
    ]
    forked = workspace.fork(name="fork")[0]
    workspace.reset()
    assert workspace.diff().files == ()
    workspace.exec("echo note > ~/note")
    assert everything(workspace) == seeded
    workspace.reset("changed")
    assert everything(workspace) == changed
    assert everything(forked) == changed
    assert forked.diff().files == ()
    workspace.stop()
    workspace.start()
    assert everything(workspace) == changed
    workspace.delete()
    forked.delete()
    assert sandlot.list() == []
    assert not list((state_dir / "trash").iterdir())
    assert not find_leaks(state_dir)


@pytest.mark.parametrize("name", ["", "ws-x", "-x", ".x", "a b", "a/b", "ü", "x" * 65, "a\n", "a\0"])
def test_a_name_that_could_be_mistaken_is_refused(sandlot: Sandlot, name: str) -> None:
    with pytest.raises(UsageError):
        sandlot.create(name=name)
    assert sandlot.list() == []


@pytest.mark.parametrize("name", ["a", "fix-123", "A.b_c-9", "x" * 64, "0"])
def test_a_name_works_wherever_an_id_does(sandlot: Sandlot, name: str) -> None:
    workspace = sandlot.create(name=name)
    assert sandlot.get(name).id == sandlot.get(workspace.id).id == workspace.id


def test_a_name_is_free_again_after_the_end_of_its_workspace(sandlot: Sandlot) -> None:
    first = sandlot.create(name="twice")
    with pytest.raises(NameTaken):
        sandlot.create(name="twice")
    first.delete()
    assert sandlot.create(name="twice").id != first.id


def test_a_workspace_that_does_not_exist_is_a_clear_error(sandlot: Sandlot, workspace: Workspace) -> None:
    workspace.delete()
    for key in (workspace.id, "ws-0000000000000000", "nobody", "", "../..", "a' OR '1'='1"):
        with pytest.raises(WorkspaceNotFound) as caught:
            sandlot.get(key)
        assert caught.value.hint == "sandlot workspace list"
    for use in (workspace.status, workspace.diff, workspace.stop, workspace.reset, workspace.logs, workspace.delete):
        with pytest.raises(WorkspaceNotFound):
            use()
    with pytest.raises(WorkspaceNotFound):
        workspace.exec("true")


@pytest.mark.parametrize(
    "labels", [{"": "x"}, {"a b": "x"}, {"-a": "x"}, {"a": "line\nbreak"}, {"a": "x" * 257}, {"a": "\x1b[31m"}]
)
def test_labels_that_would_break_a_table_are_refused(sandlot: Sandlot, labels: dict[str, str]) -> None:
    with pytest.raises(UsageError):
        sandlot.create(labels=labels)


def test_labels_are_merged_and_cleared_and_found(sandlot: Sandlot) -> None:
    workspace = sandlot.create(labels={"issue": "1", "owner": "ana"})
    other = sandlot.create(labels={"issue": "1"})
    workspace.update(labels={"issue": "2", "empty": ""}, clear_labels=["owner", "never there"])
    assert sandlot.get(workspace.id).info.labels == {"issue": "2", "empty": ""}
    assert [info.id for info in sandlot.list(labels={"issue": "1"})] == [other.id]
    assert [info.id for info in sandlot.list(labels={"empty": ""})] == [workspace.id]
    assert sandlot.list(labels={"issue": "1", "empty": ""}) == []


def test_an_update_changes_what_is_named_and_nothing_else(sandlot: Sandlot) -> None:
    workspace = sandlot.create(name="old", labels={"a": "b"}, idle_timeout=100, retention=None)
    before = record_of(workspace)
    workspace.update()
    assert record_of(workspace) == before
    workspace.update(name="old")  # its own name is no conflict
    workspace.update(name="new", idle_timeout=None)
    info = sandlot.get("new").info
    assert (info.labels, info.idle_timeout_s, info.retention_s) == ({"a": "b"}, None, None)
    workspace.update(clear_name=True)
    assert workspace.info.name is None
    with pytest.raises(UsageError):
        workspace.update(name="x", clear_name=True)


def test_an_update_cannot_take_the_name_of_another(sandlot: Sandlot) -> None:
    sandlot.create(name="taken")
    workspace = sandlot.create(name="mine")
    with pytest.raises(NameTaken):
        workspace.update(name="taken", labels={"a": "b"})
    assert sandlot.get("mine").info.labels == {}


def test_whatever_reads_or_changes_the_content_brings_a_workspace_to_the_front(sandlot: Sandlot) -> None:
    first, second = sandlot.create(name="first"), sandlot.create(name="second")
    uses: list[Callable[[], object]] = [
        lambda: second.exec("true"), lambda: second.files.write("file", "x"), second.files.list, second.diff,
        lambda: second.snapshots.create("s"), lambda: second.snapshots.delete("s"), second.reset, second.logs,
        lambda: second.fork()[0].delete(),
    ]  # fmt: skip
    for number, use in enumerate(uses):
        first.exec("true")
        assert [info.name for info in sandlot.list()] == ["first", "second"]
        wait_for_the_next_millisecond()
        use()
        assert [info.name for info in sandlot.list()] == ["second", "first"], number
        wait_for_the_next_millisecond()


def wait_for_the_next_millisecond() -> None:
    """Times of activity have a millisecond's resolution."""
    start = now()
    wait_until(lambda: now() > start, "the clock stands still")


def test_looking_is_no_activity(sandlot: Sandlot) -> None:
    first, second = sandlot.create(name="first"), sandlot.create(name="second")
    before = record_of(first).active_at
    first.status()
    sandlot.list()
    sandlot.get("first")
    first.update(labels={"a": "b"})
    assert record_of(first).active_at == before
    assert [info.id for info in sandlot.list()] == [second.id, first.id]


def test_lists_are_filtered_by_state_and_name(sandlot: Sandlot) -> None:
    stopped, runs = sandlot.create(name="stopped"), sandlot.create(name="runs")
    stopped.stop()
    assert [info.id for info in sandlot.list(state="stopped")] == [stopped.id]
    assert [info.id for info in sandlot.list(state="running")] == [runs.id]
    assert [info.id for info in sandlot.list(name="runs")] == [runs.id]
    assert sandlot.list(name="runs", state="stopped") == []


def test_stop_ends_the_processes_and_keeps_the_files(storage: str, workspace: Workspace) -> None:
    workspace.exec("echo kept > file; echo home > ~/note; echo gone > /tmp/file; sleep 1000 & exit")
    workspace.stop()
    assert workspace.info.state is WorkspaceState.STOPPED
    assert not running(workspace)
    workspace.stop()
    assert [change.path for change in workspace.diff().files] == ["file"]  # no need to start it for that
    assert workspace.status().workspace.state is WorkspaceState.STOPPED
    workspace.start()
    workspace.start()
    assert workspace.exec("cat file ~/note; ls /tmp; pgrep sleep").stdout.text == "kept\nhome\n"


def test_stop_lets_commands_end_themselves(workspace: Workspace) -> None:
    script = "trap 'echo cleaned up > cleaned; exit 5' TERM; echo started; while :; do sleep 0.01; done"
    number = workspace.exec(script, background=True).command.number
    wait_until(lambda: workspace.logs(number).output == "started\n", "the command did not start")
    workspace.stop()
    assert workspace.files.read("cleaned").content == "cleaned up\n"


def test_exec_starts_a_stopped_workspace(workspace: Workspace) -> None:
    workspace.stop()
    assert workspace.exec("echo again").stdout.text == "again\n"
    assert workspace.status().workspace.state is WorkspaceState.RUNNING


def test_a_workspace_whose_agent_was_killed_is_shown_stopped_and_works_again(workspace: Workspace) -> None:
    workspace.exec("echo kept > file; echo gone > /tmp/file")
    kill_agent(workspace)
    assert workspace.status().workspace.state is WorkspaceState.STOPPED
    assert workspace.exec("cat file; ls /tmp").stdout.text == "kept\n"


def test_an_idle_workspace_stops_by_itself_and_the_next_command_starts_it(sandlot: Sandlot) -> None:
    workspace = sandlot.create(idle_timeout=1)
    workspace.exec("echo kept > file; echo gone > /tmp/file")
    wait_until(lambda: not running(workspace), "it goes on and on")
    status = workspace.status().workspace
    assert status.state is WorkspaceState.STOPPED
    assert status.deadline is not None
    assert status.deadline.action == "delete"
    assert workspace.exec("cat file; ls /tmp").stdout.text == "kept\n"


def test_a_running_command_keeps_a_workspace_from_being_idle(sandlot: Sandlot) -> None:
    workspace = sandlot.create(idle_timeout=1)
    assert workspace.exec("sleep 1.7; echo done").stdout.text == "done\n"


def test_looking_at_the_changes_keeps_a_workspace_from_being_idle(sandlot: Sandlot) -> None:
    workspace = sandlot.create(idle_timeout=2)
    workspace.exec("touch file; sleep 1000 & exit")
    pid = agent_of(workspace)
    moments = threading.Event()
    for _ in range(12):
        workspace.diff(stat=True)
        moments.wait(0.25)
    assert agent_of(workspace) == pid
    assert running(workspace)


def test_a_new_idle_timeout_holds_at_once(sandlot: Sandlot) -> None:
    workspace = sandlot.create(idle_timeout=None)
    workspace.update(idle_timeout=1)
    wait_until(lambda: not running(workspace), "it goes on and on")
    workspace.update(idle_timeout=10**9 * 3)  # about a hundred years
    workspace.start()
    workspace.update(idle_timeout=None)
    assert workspace.exec("true").exit_status == 0


def test_no_more_workspaces_than_the_limit(state_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SANDLOT_MAX_WORKSPACES", "2")
    with Sandlot(state_dir) as sandlot, sandlot.create() as first:
        with pytest.raises(LimitReached) as caught:
            first.fork(count=2)
        assert "SANDLOT_MAX_WORKSPACES" in caught.value.hint
        assert len(sandlot.list()) == 1
        with sandlot.create() as second:
            second.stop()
            with pytest.raises(LimitReached):
                sandlot.create()
            with pytest.raises(LimitReached):
                sandlot.run("true")
        sandlot.create().delete()
    assert not find_leaks(state_dir)


def test_the_limit_holds_when_many_come_at_once(state_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SANDLOT_MAX_WORKSPACES", "3")
    with Sandlot(state_dir) as sandlot:
        refused: list[SandlotError] = []

        def create() -> None:
            try:
                sandlot.create()
            except SandlotError as error:
                refused.append(error)

        threads = [threading.Thread(target=create) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(sandlot.list()) == 3
        assert [type(error) for error in refused] == [LimitReached] * 5
        sandlot.call("workspace_delete", all=True)
        sandlot.repair()
    assert not find_leaks(state_dir)


def test_delete_leaves_nothing(sandlot: Sandlot, state_dir: Path) -> None:
    workspace = sandlot.create()
    workspace.exec(
        "(setsid sleep 1000 &) ; mkdir deep; chmod 0 deep; mkfifo pipe; ln -s / root; touch \"$(printf 'a\\nb')\""
    )
    workspace.exec("sleep 1000", background=True)
    workspace.snapshots.create("one")
    folder = folder_of(workspace)
    workspace.delete()
    assert not folder.exists()
    assert not find_leaks(state_dir)
    assert not [pid for pid in using(state_dir) if pid != os.getpid()]


def test_several_are_deleted_or_none(sandlot: Sandlot) -> None:
    first = sandlot.create(name="first")
    with pytest.raises(WorkspaceNotFound):
        sandlot.call("workspace_delete", workspaces=("first", "nobody"))
    assert first.exec("echo there").stdout.text == "there\n"


def test_a_large_workspace_is_removed_in_the_background(sandlot: Sandlot, state_dir: Path) -> None:
    workspace = sandlot.create()
    workspace.exec("for i in $(seq 500); do : > $i; done")
    workspace.delete()
    assert sandlot.list() == []
    wait_until(lambda: not list((state_dir / "trash").iterdir()), "nobody empties the trash")


def test_a_file_that_gets_an_old_content_back_after_a_prune_was_killed(sandlot: Sandlot, tmp_path: Path) -> None:
    (tmp_path / "seed").mkdir()
    kept: list[Workspace] = []
    for number in (0, 1, 2, 1):
        if len(kept) == 3:  # the record of the second base is gone, its layer is not
            assert kept[1].base is not None
            (folder_of(kept[1]).parent.parent / "bases" / f"{kept[1].base}.json").unlink()
        (tmp_path / "seed" / "file").write_text(str(number))
        os.utime(tmp_path / "seed" / "file", (10**9 + number, 10**9 + number))
        kept.append(sandlot.create(tmp_path / "seed"))
    assert [each.exec("cat file").stdout.text for each in kept] == ["0", "1", "2", "1"]


# --- one-shot -----------------------------------------------------------------------------------------------------


def test_a_one_shot_run_leaves_nothing(sandlot: Sandlot, state_dir: Path) -> None:
    done = sandlot.run("echo out; exit 3")
    assert (done.stdout.text, done.exit_status) == ("out\n", 3)
    with pytest.raises(SandlotError):
        sandlot.run("true", source=state_dir / "nothing")
    assert sandlot.list() == []
    sandlot.repair()
    assert not find_leaks(state_dir)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_one_shot_run_ends_with_its_caller(sandlot: Sandlot, state_dir: Path, number: int) -> None:
    caller = subprocess.Popen(
        [sys.executable, "-m", "sandlot", "run", "--", "sh", "-c", "echo started; sleep 1000"],
        env=clean_environment(state_dir), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert caller.stdout is not None
    assert caller.stdout.readline() == b"started\n"
    inside = [pid for pid in using(state_dir) if pid not in (os.getpid(), caller.pid)]
    assert inside
    caller.send_signal(number)
    _, errors = caller.communicate(timeout=60)
    assert b"Traceback" not in errors
    ours = {os.getpid(), caller.pid}
    wait_until(lambda: not [pid for pid in using(state_dir) if pid not in ours], "its processes live on")
    sandlot.repair()  # after SIGKILL the record is still there; every next use finds it
    assert sandlot.list() == []
    assert not find_leaks(state_dir)


def test_the_next_use_finds_what_a_killed_one_shot_run_left(sandlot: Sandlot, cli: Cli, state_dir: Path) -> None:
    script = (
        "import os, sys\nfrom sandlot.sdk import Sandlot\n"
        "Sandlot(sys.argv[1]).run('echo x; sleep 100', on_output=lambda *_: os.kill(os.getpid(), 9))"
    )
    killed = subprocess.run(
        [sys.executable, "-c", script, str(state_dir)], env=clean_environment(state_dir), check=False
    )
    assert killed.returncode == -signal.SIGKILL
    assert len(sandlot._context.store.all()) == 1
    assert cli("workspace", "list", "--json").stdout.strip() == b'{"workspaces": []}'
    assert sandlot._context.store.all() == []


# --- long-lived callers -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cycles", [12, pytest.param(REPEATS, marks=[pytest.mark.slow, pytest.mark.timeout(1800)])])
def test_a_long_lived_caller_keeps_no_zombie_no_descriptor_and_no_thread(
    sandlot: Sandlot, tmp_path: Path, cycles: int
) -> None:
    seed = seed_tree(tmp_path / "seed")

    def cycle() -> None:
        with sandlot.create(seed) as workspace:
            workspace.exec("cat", stdin=b"x" * 100_000)
            workspace.exec("exit 3", background=True)
            workspace.files.write("file", b"x")
            workspace.snapshots.create("s")
            workspace.reset("s")
            workspace.diff()
            workspace.stop()
            workspace.start()
            with pytest.raises(SnapshotNotFound):
                workspace.reset("nothing")
        thread = threading.Thread(target=sandlot.list)  # each thread has a connection of its own to the database
        thread.start()
        thread.join()

    def held() -> tuple[int, int, list[str]]:
        pid = os.getpid()
        ours = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return len(os.listdir("/proc/self/fd")), threading.active_count(), ours

    for _ in range(3):
        cycle()
    before = held()
    for _ in range(cycles):
        cycle()
    after = held()
    assert after[0] <= before[0] + 1, os.listdir("/proc/self/fd")
    assert after[1:] == before[1:]


def test_errors_on_the_way_keep_no_descriptor(sandlot: Sandlot, monkeypatch: pytest.MonkeyPatch) -> None:
    workspace = sandlot.create(name="there")

    def fail() -> None:
        with pytest.raises(NameTaken):
            sandlot.create(name="there")
        with pytest.raises(NameTaken):
            workspace.snapshots.create("baseline")
        with pytest.raises(UsageError):
            workspace.exec(["a\0b"])
        kill_agent(workspace)
        workspace.exec("true")

    fail()
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(4):
        fail()
    assert len(os.listdir("/proc/self/fd")) <= before


# --- the last moments of a start ----------------------------------------------------------------------------------


def test_an_agent_that_dies_right_after_its_start_was_recorded_loses_nothing(
    sandlot: Sandlot, workspace: Workspace, state_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace.exec("echo clean > file")
    workspace.snapshots.create("clean")
    workspace.exec("echo dirty > file")
    runtime = sandlot._context.runtime("bubblewrap")
    release = type(runtime).release

    def die(self: object, instance: object, socket: Path) -> None:
        kill_agent(workspace)
        release(self, instance, socket)  # type: ignore[arg-type]  # whatever it was given

    monkeypatch.setattr(type(runtime), "release", die)
    with pytest.raises(WorkspaceFailure):
        workspace.reset("clean")
    monkeypatch.undo()
    assert workspace.exec("cat file").stdout.text == "clean\n"  # the reset had been committed
    sandlot.repair()
    assert not find_leaks(state_dir)


def test_a_monitor_that_dies_during_the_start_leaves_no_process(
    sandlot: Sandlot, state_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sandlot import process

    spawn = process.spawn_detached

    def spawn_and_kill(*arguments: object, **named: object) -> subprocess.Popen[bytes]:
        started = spawn(*arguments, **named)  # type: ignore[arg-type]  # whatever it was given
        started.kill()
        return started

    monkeypatch.setattr(process, "spawn_detached", spawn_and_kill)
    for _ in range(5):
        with pytest.raises(WorkspaceFailure):
            sandlot.create()
    monkeypatch.undo()
    assert sandlot.list() == []
    sandlot.repair()
    assert not find_leaks(state_dir)
